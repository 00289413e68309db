//! The end of a pipe: which operations see it, and when.

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::{Connection, pipe};
use futures::FutureExt as _;
use rustix::process::Signal;

use super::common::{Gate, Key, within};
use super::{TIME_LIMIT, one_way, pool, signal};

#[tokio::test]
async fn a_closed_end_fails_waiting_and_later_calls() {
    let (one, other) = pipe::<u8, u8>().expect("a pipe");
    let mut waits = Box::pin(one.recv());
    assert!(waits.as_mut().now_or_never().is_none());
    drop(other);
    assert!(within(waits).await.expect_err("it is closed").is_closed());
    assert!(one.recv().await.expect_err("it is closed").is_closed());
    assert!(one.try_recv().expect_err("it is closed").is_closed());
    let error = one.send(5).await.expect_err("it is closed");
    assert!(error.error().is_closed());
    assert_eq!(error.into_inner(), 5);
    let error = one.try_send(6).expect_err("it is closed");
    assert!(error.error().is_closed());
    assert_eq!(error.into_inner(), 6);
}

#[test]
fn a_closed_end_fails_the_calls_of_threads() {
    let (one, other) = pipe::<String, u8>().expect("a pipe");
    let waits = one.clone();
    let waits = std::thread::spawn(move || waits.blocking_recv());
    drop(other);
    let received = waits.join().expect("it ends");
    assert!(received.expect_err("it is closed").is_closed());
    let large = "x".repeat(1 << 20);
    let error = one.blocking_send(large.clone()).expect_err("it is closed");
    assert!(error.error().is_closed());
    assert!(error.into_inner() == large);
}

/// The system reports that the connection was reset before it returns the values that were sent.
#[tokio::test]
async fn values_sent_before_the_end_are_received_before_it() {
    let (one, other) = pipe::<u8, u8>().expect("a pipe");
    for number in 0..3 {
        one.send(number).await.expect("there is room");
        other.send(10 + number).await.expect("there is room");
    }
    drop(other); // The other end has not received anything.
    for number in 0..3 {
        assert_eq!(one.recv().await.expect("it was sent"), 10 + number);
    }
    assert!(one.recv().await.expect_err("it is closed").is_closed());

    let (one, other) = pipe::<u8, Vec<u8>>().expect("a pipe");
    one.send(1).await.expect("there is room");
    other.try_send(vec![7; 1 << 20]).expect("there is room");
    drop(other);
    assert!(one.try_recv().expect("it was sent") == vec![7; 1 << 20]);
    assert!(one.try_recv().expect_err("it is closed").is_closed());
}

#[tokio::test]
async fn an_end_closes_with_its_last_holder() {
    fn hold(key: Key, _end: Connection<u8, u8>) {
        key.wait();
    }
    let (pool, gate) = (pool(2), Gate::new());
    let (one, other) = pipe::<u8, u8>().expect("a pipe");
    let tasks = [(); 2].map(|()| pool.submit(hold, (gate.key(), other.clone())));
    let guests = [gate.guest().await, gate.guest().await];
    drop(other);
    let [first, second] = guests;
    let mut end = Box::pin(one.recv());
    assert!(end.as_mut().now_or_never().is_none());
    first.let_in().await;
    assert!(one.try_recv().expect_err("there is one left").is_empty());
    signal(second.pid(), Signal::KILL);
    assert!(within(end).await.expect_err("it is closed").is_closed());
    let outcomes = futures::future::join_all(tasks).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    within(pool.shutdown()).await;
}

/// No process closes the other end, but all its holders are dead.
#[tokio::test]
async fn a_killed_process_has_no_end_any_more() {
    fn take_and_wait(key: Key, numbers: Connection<u8, u8>) -> u8 {
        let number = numbers.blocking_recv_timeout(TIME_LIMIT);
        numbers.blocking_send(7).expect("there is room");
        key.wait();
        number.expect("it comes")
    }
    let (pool, gate) = (pool(1), Gate::new());
    let (ours, theirs) = pipe().expect("a pipe");
    let task = pool.submit(take_and_wait, (gate.key(), theirs));
    ours.send(3).await.expect("there is room");
    let guest = gate.guest().await;
    ours.send(4).await.expect("there is room"); // No process will receive it.
    signal(guest.pid(), Signal::KILL);
    assert!(within(task).await.expect_err("it is dead").is_worker_lost());
    assert_eq!(within(ours.recv()).await.expect("it was sent"), 7);
    let end = within(ours.recv()).await;
    assert!(end.expect_err("it is closed").is_closed());
    let error = ours.send(5).await.expect_err("it is closed");
    assert!(error.error().is_closed());
    within(pool.shutdown()).await;
}

#[test]
fn a_clone_is_the_same_end() {
    let (to, from) = one_way();
    let (other_to, other_from) = (to.clone(), from.clone());
    drop(to);
    other_to.try_send(1).expect("there is room");
    other_to.try_send(2).expect("there is room");
    assert_eq!(from.try_recv().expect("it is there"), 1);
    drop(from);
    assert_eq!(other_from.try_recv().expect("it is there"), 2);
    drop(other_to);
    assert!(other_from.try_recv().expect_err("it is closed").is_closed());
}

/// A worker that answers is killed again and again; its peer sees this, and starts with another worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_peer_of_a_killed_process_gets_an_error() {
    fn echo(values: Connection<Vec<u8>, Vec<u8>>) {
        while let Ok(value) = values.blocking_recv() {
            if values.blocking_send(value).is_err() {
                return;
            }
        }
    }
    let pool = pool(1);
    for round in 0..15 {
        let (ours, theirs) = pipe().expect("a pipe");
        let task = pool.submit(echo, theirs);
        let value = vec![7_u8; [10, 60_000, 3_000_000][round % 3]];
        ours.send(value.clone()).await.expect("it is received");
        assert!(within(ours.recv()).await.expect("it comes") == value);
        let pid = pool.workers()[0].pid();
        let after = round as u64 * 13;
        let talk = tokio::spawn(async move {
            let mut killed = false;
            for count in 0.. {
                if count >= after && !killed {
                    signal(pid, Signal::KILL);
                    killed = true;
                }
                if ours
                    .send(value.clone())
                    .await
                    .is_err_and(|error| error.error().is_closed())
                {
                    break;
                }
                match ours.recv().await {
                    Ok(back) => assert!(back == value),
                    Err(error) => {
                        assert!(error.is_closed(), "{error}");
                        break;
                    }
                }
            }
        });
        within(talk).await.expect("it ends");
        let error = within(task).await.expect_err("it was killed");
        assert!(error.is_worker_lost(), "{error}");
    }
    within(pool.shutdown()).await;
}
