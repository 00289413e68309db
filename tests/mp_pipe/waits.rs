//! Waits for room and for values, and operations that do not wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::{Connection, pipe};
use futures::FutureExt as _;
use futures::future::join_all;

use super::common::within;
use super::{TIME_LIMIT, one_way, pool};

const SOON: Duration = Duration::from_millis(5);

#[tokio::test]
async fn a_slow_receiver_makes_the_sender_wait() {
    let (to, from) = one_way();
    let mut count = 0_u64;
    let refused = loop {
        match to.try_send(count) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(refused.error().is_full(), "{refused}");
    assert_eq!(refused.into_inner(), count, "it is handed back");
    assert!(count > 100, "there was room for {count}");
    let sent = Arc::new(AtomicU64::new(count));
    let sender = {
        let (to, sent) = (to.clone(), sent.clone());
        tokio::spawn(async move {
            for number in count..3 * count {
                to.send(number).await.expect("it is received");
                sent.store(number + 1, Ordering::Relaxed);
            }
        })
    };
    for number in 0..3 * count {
        assert_eq!(within(from.recv()).await.expect("it was sent"), number);
        assert!(sent.load(Ordering::Relaxed) <= number + 1 + count);
    }
    within(sender).await.expect("it ends");
}

#[test]
fn a_thread_waits_for_room() {
    let (to, from) = one_way();
    let sender = std::thread::spawn(move || {
        for number in 0..5000_u64 {
            to.blocking_send(number).expect("it is received");
        }
    });
    for number in 0..5000 {
        let value = from.blocking_recv_timeout(TIME_LIMIT);
        assert_eq!(value.expect("it comes"), number);
    }
    sender.join().expect("it ends");
}

#[test]
fn a_wait_is_over_when_its_time_is() {
    let (to, from) = one_way();
    let start = Instant::now();
    let error = from.blocking_recv_timeout(SOON).expect_err("nothing came");
    assert!(error.is_timed_out() && start.elapsed() >= SOON);
    let error = from.blocking_recv_timeout(Duration::ZERO);
    assert!(error.expect_err("nothing came").is_timed_out());
    assert!(!from.blocking_poll(SOON));
    to.try_send(5).expect("there is room");
    assert!(from.blocking_poll(Duration::ZERO) && from.blocking_poll(Duration::MAX));
    let value = from.blocking_recv_timeout(Duration::ZERO);
    assert_eq!(value.expect("it is there at once"), 5);
    to.try_send(6).expect("there is room");
    let value = from.blocking_recv_timeout(Duration::MAX);
    assert_eq!(value.expect("it is there"), 6);
    drop(to);
    assert!(from.blocking_poll(Duration::ZERO), "the end is news");
}

#[test]
fn a_send_whose_time_is_over_has_sent_nothing_and_hands_its_value_back() {
    let (to, from) = one_way();
    let mut count = 0_u64;
    while to.try_send(count).is_ok() {
        count += 1;
    }
    let start = Instant::now();
    let late = to.blocking_send_timeout(count, SOON);
    let late = late.expect_err("there is no room");
    assert!(late.error().is_timed_out() && start.elapsed() >= SOON);
    assert_eq!(late.into_inner(), count);
    let late = to.blocking_send_timeout(count, Duration::ZERO);
    assert!(late.expect_err("there is no room").error().is_timed_out());
    for number in 0..count {
        assert_eq!(from.try_recv().expect("it was sent"), number);
    }
    assert!(from.try_recv().expect_err("that was all").is_empty());
    let sent = to.blocking_send_timeout(count, Duration::ZERO);
    sent.expect("there is room at once");
    let sent = to.blocking_send_timeout(count + 1, Duration::MAX);
    sent.expect("there is room");
    drop(from);
    let error = to
        .blocking_send_timeout(5, TIME_LIMIT)
        .expect_err("it is closed");
    assert!(error.error().is_closed());
}

#[tokio::test]
async fn poll_tells_whether_something_comes_in_time_and_takes_nothing() {
    let (to, from) = one_way();
    assert!(!from.poll(Duration::ZERO).await);
    let start = Instant::now();
    assert!(!from.poll(SOON).await && start.elapsed() >= SOON);
    let poller = from.clone();
    let polled = tokio::spawn(async move { poller.poll(TIME_LIMIT).await });
    tokio::task::yield_now().await;
    to.send(1).await.expect("there is room");
    assert!(within(polled).await.expect("it ends"));
    assert!(from.poll(Duration::ZERO).await);
    assert_eq!(from.recv().await.expect("it was sent"), 1);
    assert!(!from.poll(Duration::ZERO).await);
    drop(to);
    assert!(from.poll(TIME_LIMIT).await, "the end is news");
}

#[tokio::test]
async fn a_recv_that_is_dropped_has_received_nothing_and_a_send_has_sent_nothing() {
    let (to, from) = one_way();
    for _ in 0..3 {
        let mut recv = Box::pin(from.recv());
        assert!(recv.as_mut().now_or_never().is_none());
        to.send(1).await.expect("there is room");
        drop(recv);
        assert_eq!(from.recv().await.expect("it was sent"), 1);
    }
    let mut count = 0_u64;
    while to.try_send(count).is_ok() {
        count += 1;
    }
    let mut send = Box::pin(to.send(u64::MAX));
    assert!(send.as_mut().now_or_never().is_none());
    for number in 0..count {
        assert_eq!(from.recv().await.expect("it was sent"), number);
    }
    drop(send);
    assert!(from.try_recv().expect_err("that was all").is_empty());
}

/// Tasks and threads of one process wait for the same end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_who_waits_gets_one() {
    const WAITING: u64 = 20;
    let (to, from) = one_way();
    let tasks = (0..WAITING).map(|_| {
        let from = from.clone();
        tokio::spawn(async move { from.recv().await.expect("it comes") })
    });
    let threads = (0..WAITING).map(|_| {
        let from = from.clone();
        tokio::task::spawn_blocking(move || {
            from.blocking_recv_timeout(TIME_LIMIT).expect("it comes")
        })
    });
    let all: Vec<_> = tasks.chain(threads).collect();
    for number in 0..2 * WAITING {
        to.send(number).await.expect("there is room");
    }
    let all = within(join_all(all)).await;
    let mut got: Vec<u64> = all.into_iter().map(|got| got.expect("it ends")).collect();
    got.sort_unstable();
    assert!(got.into_iter().eq(0..2 * WAITING));
}

/// Aborts an endless task, once other tasks have run.
async fn lets_others_run(busy: impl Future<Output = ()> + Send + 'static) {
    let busy = tokio::spawn(busy);
    within(async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    busy.abort();
    assert!(busy.await.expect_err("it was aborted").is_cancelled());
}

/// Whether the result is a value, nothing, or an error.
#[tokio::test]
async fn a_task_that_never_has_to_wait_lets_others_run() {
    let (one, other) = pipe::<u8, u8>().expect("a pipe");
    lets_others_run(async move {
        loop {
            one.send(1).await.expect("there is room");
            assert_eq!(other.recv().await.expect("it was sent"), 1);
        }
    })
    .await;
    let (one, other) = pipe::<u8, u8>().expect("a pipe");
    let silent = other.clone();
    lets_others_run(async move { while !silent.poll(Duration::ZERO).await {} }).await;
    one.send(1).await.expect("there is room");
    lets_others_run(async move { while other.poll(TIME_LIMIT).await {} }).await;
    let sender = one.clone();
    lets_others_run(async move { while sender.send(1).await.is_err() {} }).await;
    lets_others_run(async move { while one.recv().await.is_err() {} }).await;
}

/// In the second round the first runtime has ended; in the third, it still exists but is not driven.
#[test]
fn a_connection_outlives_the_runtime_that_it_was_used_in() {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().expect("a runtime")
    };
    let (one, other) = pipe::<u32, u32>().expect("a pipe");
    let mut last = None;
    for round in 0..4 {
        let runtime = runtime();
        runtime.block_on(async {
            let echo = other.clone();
            let echo = tokio::spawn(async move {
                for _ in 0..50 {
                    let number = echo.recv().await.expect("it comes");
                    echo.send(number + 1).await.expect("there is room");
                }
            });
            for number in 0..50 {
                one.send(number).await.expect("there is room");
                assert_eq!(within(one.recv()).await.expect("it comes"), number + 1);
            }
            within(echo).await.expect("it ends");
        });
        if round > 0 {
            last = Some(runtime);
        }
    }
    drop(last);
}

#[tokio::test]
async fn blocking_calls_panic_in_a_task() {
    let (one, _other) = pipe::<u8, u8>().expect("a pipe");
    type Call = fn(&Connection<u8, u8>);
    let calls: [Call; 5] = [
        |one| drop(one.blocking_recv()),
        |one| drop(one.blocking_recv_timeout(Duration::ZERO)),
        |one| drop(one.blocking_send(1)),
        |one| drop(one.blocking_send_timeout(1, TIME_LIMIT)),
        |one| assert!(!one.blocking_poll(Duration::ZERO)),
    ];
    for call in calls {
        let one = one.clone();
        let task = tokio::spawn(async move { call(&one) });
        assert!(task.await.expect_err("it panics").is_panic());
    }
}

#[tokio::test]
async fn waits_across_processes_end_with_what_they_wait_for() {
    fn pass_on(from: Connection<(), u32>, to: Connection<u32, ()>) {
        for _ in 0..300 {
            let number = from.blocking_recv_timeout(TIME_LIMIT).expect("it comes");
            to.blocking_send(number).expect("it is received");
        }
    }
    let pool = pool(2);
    let [first, second, third] = [(); 3].map(|()| one_way::<u32>());
    let tasks = [
        pool.submit(pass_on, (first.1, second.0)),
        pool.submit(pass_on, (second.1, third.0)),
    ];
    for number in 0..300 {
        first.0.send(number).await.expect("it is received");
        assert_eq!(within(third.1.recv()).await.expect("it comes"), number);
    }
    for task in tasks {
        within(task).await.expect("it ends");
    }
    within(pool.shutdown()).await;
}
