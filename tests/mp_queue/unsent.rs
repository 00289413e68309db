//! An item that is not put is returned as it was, without being decoded.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use concurrent_futures::Data;
use concurrent_futures::multiprocessing::{PutError, Queue};

use super::values::{Unread, is_same};

const SOON: Duration = Duration::from_millis(3);

/// Each way in which a put fails: the queue is full, the timeout has passed, the queue is closed.
fn fail<T: Data>(first: T, item: impl Fn() -> T) -> Vec<PutError<T>> {
    let queue = Queue::bounded(1).expect("a queue");
    queue.try_put(first).expect("there is room");
    let mut errors = vec![
        queue.try_put(item()).expect_err("it is full"),
        queue
            .blocking_put_timeout(item(), SOON)
            .expect_err("it is full"),
    ];
    assert!(errors[0].error().is_full() && errors[1].error().is_timed_out());
    queue.blocking_close();
    errors.push(queue.blocking_put(item()).expect_err("it is closed"));
    errors.push(queue.try_put(item()).expect_err("it is closed"));
    assert!(errors[2..].iter().all(|error| error.error().is_closed()));
    errors
}

#[test]
fn an_item_that_is_not_put_is_handed_back_without_being_decoded() {
    for error in fail(Unread::new(1), || Unread::new(2)) {
        assert_eq!(error.into_inner(), Unread::new(2));
    }
    assert_eq!(Unread::decoded(), 0);
}

#[test]
fn a_buffer_that_is_not_put_is_handed_back_untouched() {
    let bytes = Bytes::from(vec![7; 3 << 20]);
    for error in fail(Bytes::new(), || bytes.clone()) {
        assert!(is_same(bytes.as_ptr(), &error.into_inner()));
    }
    let queue = Queue::bounded(1).expect("a queue");
    queue.try_put(String::new()).expect("there is room");
    let mut text = String::with_capacity(5 << 20);
    text.push_str(&"x".repeat(3 << 20));
    let (address, capacity) = (text.as_ptr(), text.capacity());
    let error = queue
        .blocking_put_timeout(text, SOON)
        .expect_err("it is full");
    let text = error.into_inner();
    assert!(is_same(address, text.as_bytes()) && text.capacity() == capacity);
}

/// A put borrows the item while it waits, but requires only that its type is `Send`.
#[tokio::test]
async fn an_item_need_not_be_sync() {
    fn in_any_thread<F: Future + Send>(future: F) -> F {
        future
    }
    let queue = Queue::unbounded().expect("a queue");
    let put = in_any_thread(queue.put(Cell::new(7)));
    put.await.expect("there is room");
    let got = in_any_thread(queue.get()).await;
    assert_eq!(got.expect("it is there").get(), 7);
}
