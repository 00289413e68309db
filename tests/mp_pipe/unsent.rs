//! A value that is not sent is returned as it was, without being decoded.

use std::cell::Cell;

use super::one_way;
use super::values::{Unread, is_same};

#[test]
fn a_value_that_is_not_sent_is_handed_back_without_being_decoded() {
    let (to, from) = one_way();
    let refused = (0..).find_map(|number| to.try_send(Unread::new(number)).err());
    let refused = refused.expect("it is full");
    assert!(refused.error().is_full());
    assert!(refused.into_inner().kept);
    drop(from);
    let error = to.try_send(Unread::new(1)).expect_err("it is closed");
    assert_eq!(error.into_inner(), Unread::new(1));
    let error = to.blocking_send(Unread::new(2)).expect_err("it is closed");
    assert!(error.error().is_closed());
    assert_eq!(error.into_inner(), Unread::new(2));
    assert_eq!(Unread::decoded(), 0);
}

#[tokio::test]
async fn a_buffer_that_is_not_sent_is_handed_back_untouched() {
    for len in [10, 1 << 20] {
        let (to, from) = one_way();
        drop(from);
        let bytes = vec![7_u8; len];
        let address = bytes.as_ptr();
        let error = to.send(bytes).await.expect_err("it is closed");
        assert!(error.error().is_closed());
        assert!(is_same(address, &error.into_inner()));
    }
}

/// A send borrows the value while it waits, but requires only that its type is `Send`.
#[tokio::test]
async fn a_value_need_not_be_sync() {
    fn in_any_thread<F: Future + Send>(future: F) -> F {
        future
    }
    let (to, from) = one_way();
    let sent = in_any_thread(to.send(Cell::new(7))).await;
    sent.expect("there is room");
    assert_eq!(from.recv().await.expect("it was sent").get(), 7);
}
