//! Values that are sent by their own stream: they arrive complete or not at all, whichever side gives up in the middle.

use std::time::Duration;

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::Connection;
use futures::FutureExt as _;

use super::common::{Gate, Key, within};
use super::{TIME_LIMIT, one_way, pool};

const LARGE: usize = 16 << 20;

fn value(number: u8) -> Vec<u8> {
    vec![number; LARGE]
}

/// Polls both in turn, so that neither completes before it is dropped.
fn some_of(
    sending: &mut (impl Future + Unpin),
    receiving: &mut (impl Future + Unpin),
    rounds: usize,
) {
    for _ in 0..rounds {
        assert!(sending.now_or_never().is_none());
        assert!(receiving.now_or_never().is_none());
    }
}

#[tokio::test]
async fn a_send_that_is_dropped_in_the_middle_has_sent_nothing() {
    let (to, from) = one_way();
    for rounds in 0..8 {
        let mut sending = Box::pin(to.send(value(1)));
        let mut receiving = Box::pin(from.recv());
        some_of(&mut sending, &mut receiving, rounds);
        drop(sending);
        let next = to.send(value(2));
        let (sent, received) = within(futures::future::join(next, receiving)).await;
        sent.expect("it is received");
        assert!(received.expect("it comes") == value(2));
        assert!(from.try_recv().expect_err("that was all").is_empty());
    }
}

#[tokio::test]
async fn a_recv_that_is_dropped_in_the_middle_has_received_nothing() {
    let (to, from) = one_way();
    for rounds in 1..8 {
        let mut sending = Box::pin(to.send(value(1)));
        let mut receiving = Box::pin(from.recv());
        some_of(&mut sending, &mut receiving, rounds);
        drop(receiving);
        assert!(from.poll(Duration::ZERO).await);
        assert!(from.try_recv().expect_err("not all is there").is_empty());
        let (sent, received) = within(futures::future::join(sending, from.recv())).await;
        sent.expect("it is received");
        assert!(received.expect("it comes") == value(1));
    }
}

/// A task that waits for the socket continues with the value that another task gave up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_receiver_continues_a_message_that_another_gave_up() {
    for is_thread in [false, true] {
        let (to, from) = one_way();
        let mut sending = Box::pin(to.send(value(1)));
        let mut receiving = Box::pin(from.recv());
        some_of(&mut sending, &mut receiving, 3);
        let waiter = from.clone();
        let waits = if is_thread {
            tokio::task::spawn_blocking(move || waiter.blocking_recv_timeout(TIME_LIMIT))
        } else {
            tokio::spawn(async move { waiter.recv().await })
        };
        for _ in 0..100 {
            tokio::task::yield_now().await; // The task waits now, unless the value was faster.
        }
        drop(receiving);
        within(sending).await.expect("it is received");
        let received = within(waits).await.expect("it ends");
        assert!(received.expect("it comes") == value(1));
    }
}

#[test]
fn a_thread_whose_time_is_over_in_the_middle_has_received_nothing() {
    let (to, from) = one_way();
    let mut sending = Box::pin(to.send(value(1)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { assert!((&mut sending).now_or_never().is_none()) });
    for _ in 0..3 {
        let late = from.blocking_recv_timeout(Duration::from_millis(2));
        assert!(late.expect_err("not all is there").is_timed_out());
        assert!(from.blocking_poll(Duration::ZERO));
    }
    let received = std::thread::spawn(move || from.blocking_recv_timeout(TIME_LIMIT));
    runtime.block_on(within(sending)).expect("it is received");
    let received = received.join().expect("it ends");
    assert!(received.expect("it comes") == value(1));
}

/// Its receiver drops the part that it has, and continues with the next value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_whose_time_is_over_in_the_middle_has_sent_nothing() {
    let (to, from) = one_way();
    for _ in 0..3 {
        let sender = to.clone();
        let first = std::thread::spawn(move || {
            sender.blocking_send_timeout(value(1), Duration::from_millis(20))
        });
        let mut receiving = Box::pin(from.recv());
        for _ in 0..8 {
            assert!((&mut receiving).now_or_never().is_none());
            std::thread::yield_now();
        }
        let late = first.join().expect("it ends").expect_err("it takes longer");
        assert!(late.error().is_timed_out());
        assert!(late.into_inner() == value(1));
        let sender = to.clone();
        let next = std::thread::spawn(move || sender.blocking_send_timeout(value(2), TIME_LIMIT));
        assert!(within(receiving).await.expect("it comes") == value(2));
        next.join().expect("it ends").expect("it is received");
        assert!(from.try_recv().expect_err("that was all").is_empty());
    }
}

/// The process that started to receive it is dead. Another process also has the end.
#[tokio::test]
async fn bytes_that_a_dead_receiver_did_not_read_reach_another() {
    fn begin(key: Key, from: Connection<(), Vec<u8>>) {
        while !from.blocking_poll(TIME_LIMIT) {}
        let late = from.blocking_recv_timeout(Duration::from_millis(1));
        assert!(late.expect_err("not all is there").is_timed_out());
        key.wait();
        std::process::abort();
    }
    let (pool, gate) = (pool(1), Gate::new());
    let (to, from) = one_way();
    let task = pool.submit(begin, (gate.key(), from.clone()));
    let mut sending = Box::pin(to.send(value(1)));
    assert!((&mut sending).now_or_never().is_none());
    let guest = gate.guest().await;
    assert!((&mut sending).now_or_never().is_none());
    guest.let_in().await;
    assert!(within(task).await.expect_err("it is dead").is_worker_lost());
    let (sent, received) = within(futures::future::join(sending, from.recv())).await;
    sent.expect("it is received");
    assert!(received.expect("it comes") == value(1));
    within(pool.shutdown()).await;
}

#[tokio::test]
async fn a_large_value_without_receivers_is_returned() {
    let (to, from) = one_way();
    let mut sending = Box::pin(to.send(value(1)));
    let mut receiving = Box::pin(from.recv());
    some_of(&mut sending, &mut receiving, 2);
    drop(receiving);
    drop(from);
    let error = within(sending).await.expect_err("it has no receiver");
    assert!(error.error().is_closed());
    assert!(error.into_inner() == value(1));
}

/// Each value from a task of its own, into the same end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_and_small_values_of_many_tasks_come_whole() {
    let (to, from) = one_way();
    let senders: Vec<_> = (0..8_u8)
        .map(|number| {
            let to = to.clone();
            tokio::spawn(async move {
                for size in [10, 200_000, 60_000, 3 << 20, 0] {
                    to.send(vec![number; size]).await.expect("it is received");
                }
            })
        })
        .collect();
    drop(to);
    let receivers = [(); 3].map(|()| {
        let from = from.clone();
        tokio::spawn(async move {
            let (mut count, mut bytes) = (0, 0);
            while let Ok(value) = from.recv().await {
                assert!(value.windows(2).all(|pair| pair[0] == pair[1]));
                count += 1;
                bytes += value.len();
            }
            (count, bytes)
        })
    });
    for sender in senders {
        within(sender).await.expect("it ends");
    }
    let mut all = (0, 0);
    for receiver in receivers {
        let (count, bytes) = within(receiver).await.expect("it ends");
        all = (all.0 + count, all.1 + bytes);
    }
    assert_eq!(all, (8 * 5, 8 * (10 + 200_000 + 60_000 + (3 << 20))));
}
