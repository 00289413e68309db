//! Values of every kind, from one end to the other.

use std::fmt::Debug;
use std::thread;

use concurrent_futures::multiprocessing::{Connection, pipe};
use concurrent_futures::{Data, ExecutorExt as _};

use super::alone::{alone, descriptors};
use super::common::within;
use super::values::{Carry, Picky, values_of_every_kind, values_of_every_size};
use super::{TIME_LIMIT, one_way, pool};

#[tokio::test]
async fn values_come_out_in_the_order_in_which_they_were_sent() {
    let (to, from) = one_way();
    let sender = tokio::spawn(async move {
        for number in 0..5000_u64 {
            let sent = to.send((number, number.to_string())).await;
            sent.expect("it is received");
        }
    });
    for number in 0..5000 {
        let value = within(from.recv()).await.expect("it comes");
        assert_eq!(value, (number, number.to_string()));
    }
    within(sender).await.expect("it ends");
    assert!(from.try_recv().expect_err("that was all").is_closed());
}

struct ThroughPipe;

impl Carry for ThroughPipe {
    /// In each of the ways in which a value can be sent and received.
    fn carry<T: Data + Clone + PartialEq + Debug>(&self, values: &[T]) {
        let (to, from) = one_way::<T>();
        for value in values {
            to.try_send(value.clone()).expect("there is room");
            assert!(from.try_recv().expect("it is there") == *value);
        }
        let (sent, expected) = (values.to_vec(), values.to_vec());
        let sender = to.clone();
        let sender = thread::spawn(move || {
            for value in sent {
                sender.blocking_send(value).expect("it is received");
            }
        });
        for value in values {
            assert!(from.blocking_recv().expect("it comes") == *value);
        }
        sender.join().expect("it ends");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async move {
            let receiver = tokio::spawn(async move {
                for value in expected {
                    assert!(from.recv().await.expect("it comes") == value);
                }
            });
            for value in values {
                within(to.send(value.clone()))
                    .await
                    .expect("it is received");
            }
            within(receiver).await.expect("it ends");
        });
    }
}

#[test]
fn values_of_every_kind_come_out_as_they_were_sent() {
    values_of_every_kind(&ThroughPipe);
}

#[test]
fn values_of_every_size_come_out_as_they_were_sent() {
    values_of_every_size(&ThroughPipe);
    ThroughPipe.carry(&[vec![7_u8; 64 << 20]]);
}

#[tokio::test]
async fn a_worker_receives_what_is_sent_and_sends_what_is_received() {
    fn double(numbers: Connection<u64, u64>) {
        while let Ok(number) = numbers.blocking_recv() {
            numbers.blocking_send(number * 2).expect("it is received");
        }
    }
    let pool = pool(1);
    let (ours, theirs) = pipe().expect("a pipe");
    let task = pool.submit(double, theirs);
    for number in 1..100 {
        ours.send(number).await.expect("it is received");
        assert_eq!(within(ours.recv()).await.expect("it comes"), number * 2);
    }
    drop(ours);
    within(task).await.expect("it ends");
    within(pool.shutdown()).await;
}

#[test]
fn outside_of_a_process_a_connection_is_a_clear_error() {
    let (one, _other) = one_way::<u8>();
    let error = rmp_serde::to_vec(&one).expect_err("MessagePack carries no descriptors");
    assert!(error.to_string().contains("argument of a task"), "{error}");
    let error = rmp_serde::from_slice::<Connection<u8, u8>>(&[0]).expect_err("none came");
    assert!(error.to_string().contains("argument of a task"), "{error}");
}

#[test]
fn a_value_that_cannot_be_encoded_or_decoded_costs_no_other_value() {
    let (to, from) = one_way();
    to.try_send(Picky(0)).expect("there is room");
    let error = to.try_send(Picky(1)).expect_err("it cannot be encoded");
    assert!(error.error().is_codec());
    assert!(error.to_string().contains("one is not written"), "{error}");
    assert_eq!(error.into_inner(), Picky(1));
    to.try_send(Picky(2)).expect("there is room");
    to.try_send(Picky(3)).expect("there is room");
    assert_eq!(from.try_recv().expect("it is there"), Picky(0));
    let error = from.try_recv().expect_err("it cannot be decoded");
    assert!(error.is_codec() && error.to_string().contains("two is not read"));
    assert_eq!(from.try_recv().expect("it is there"), Picky(3));
    assert!(from.try_recv().expect_err("that was all").is_empty());
}

#[test]
fn a_pipe_leaves_no_descriptor() {
    alone("basics::a_pipe_leaves_no_descriptor", async || {
        let before = descriptors().len();
        for _ in 0..3 {
            let (to, from) = one_way();
            let receiver = from.clone();
            let received = tokio::spawn(async move { receiver.recv().await });
            let first = vec![1_u8; 1 << 20];
            within(to.send(first)).await.expect("it is received");
            let received = within(received).await.expect("it ends");
            assert_eq!(received.expect("it comes").len(), 1 << 20);
            for size in [0, 10, 60_000, 1 << 20] {
                to.try_send(vec![1_u8; size]).expect("there is room");
            }
            from.recv().await.expect("it is there");
            let thread = from.clone();
            let waits = tokio::task::spawn_blocking(move || {
                while thread.blocking_recv_timeout(TIME_LIMIT).is_ok() {}
            });
            // In the middle of it.
            let never = to.send(vec![1_u8; 64 << 20]);
            let some = tokio::time::timeout(std::time::Duration::from_millis(1), never);
            let _ = some.await;
            drop(to);
            within(waits).await.expect("it ends");
        }
        assert_eq!(descriptors().len(), before, "{:?}", descriptors());
    });
}
