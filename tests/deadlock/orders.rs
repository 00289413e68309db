//! Locks that are taken in opposite orders.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use concurrent_futures::sync::deadlock::Detection;
use concurrent_futures::sync::{Lock, RLock};
use tokio::sync::oneshot;

use crate::explore::pause;
use crate::{Detected, TIME_LIMIT, has_places, here};

type Locks = Arc<[RLock<()>; 3]>;

fn locks() -> Locks {
    Arc::new([RLock::new(()), RLock::new(()), RLock::new(())])
}

/// Takes these locks, each under the ones before, in a task of its own.
async fn nest(locks: &Locks, order: &'static [usize]) {
    let locks = locks.clone();
    let task = tokio::spawn(async move {
        let mut guards = Vec::new();
        for lock in order {
            guards.push(locks[*lock].lock().await);
            pause().await;
        }
    });
    task.await.expect("no panic");
}

#[tokio::test]
async fn opposite_orders_are_reported_though_nothing_hangs() {
    let detected = Detected::at_once();
    let (a, b, c) = <(Arc<Lock<()>>, Arc<Lock<()>>, Lock<()>)>::default();
    let (first, second) = (a.clone(), b.clone());
    let forth = tokio::spawn(async move {
        let (a, _a) = (here(), first.lock().await);
        let (b, _b) = (here(), second.lock().await);
        (a, b)
    });
    let (a1, b1) = forth.await.expect("no panic");
    assert!(detected.reports().is_empty(), "there is one order so far");
    let (b2, guard_b) = (here(), b.lock().await);
    let _c = c.lock().await;
    let (a2, guard_a) = (here(), a.lock().await);
    drop(guard_a);
    assert!(
        detected.reports().is_empty(),
        "the guard of b may have moved"
    );
    drop(guard_b);
    has_places(&detected.only_report(), &[[&b2, &a2], [&a1, &b1]]);
    drop(a.lock().await);
    assert!(detected.reports().is_empty(), "a report");
}

#[tokio::test]
async fn a_cycle_through_other_locks_is_reported_step_by_step() {
    async fn step(locks: Locks, from: usize, to: usize) -> (String, String) {
        let (held, _held) = (here(), locks[from].lock().await);
        let (wanted, _wanted) = (here(), locks[to].lock().await);
        (held, wanted)
    }

    let detected = Detected::at_once();
    let locks = locks();
    let mut places = Vec::new();
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        assert!(detected.reports().is_empty());
        let task = tokio::spawn(step(locks.clone(), from, to));
        places.push(task.await.expect("no panic"));
    }
    let [(a1, b1), (b2, c2), (c3, a3)] = &places[..] else {
        unreachable!("there are three")
    };
    has_places(&detected.only_report(), &[[c3, a3], [a1, b1], [b2, c2]]);
}

#[test]
fn opposite_orders_of_threads_are_reported() {
    let detected = Detected::at_once();
    let locks = locks();
    for order in [[0, 1], [1, 0]] {
        let locks = locks.clone();
        let thread = std::thread::spawn(move || {
            let _first = locks[order[0]].blocking_lock();
            drop(locks[order[1]].blocking_lock());
        });
        thread.join().expect("no panic");
    }
    assert!(!detected.only_report().is_deadlock());
}

/// Only one task at a time is between the two locks.
#[tokio::test]
async fn opposite_orders_under_a_common_lock_are_no_reason_for_a_report() {
    let detected = Detected::at_once();
    let locks = locks();
    nest(&locks, &[2, 0, 1]).await;
    nest(&locks, &[2, 1, 0]).await;
    assert!(detected.reports().is_empty());
    nest(&locks, &[0, 1]).await; // Without the common lock, while another task takes the opposite order with it.
    assert_eq!(detected.reports().len(), 1);
}

#[tokio::test]
async fn opposite_orders_of_one_task_are_no_reason_for_a_report() {
    let detected = Detected::at_once();
    let locks = locks();
    for [first, second] in [[0, 1], [1, 0]] {
        let _first = locks[first].lock().await;
        drop(locks[second].lock().await);
    }
    assert!(detected.reports().is_empty(), "it never waits for itself");
    nest(&locks, &[0, 1]).await;
    assert_eq!(detected.reports().len(), 1);
}

/// One branch holds the first lock while another one takes the second.
#[tokio::test]
async fn branches_of_a_task_have_no_order() {
    async fn hold(locks: &Locks, lock: usize) {
        let _guard = locks[lock].lock().await;
        pause().await;
        pause().await;
    }

    let detected = Detected::at_once();
    for kind in 0..4 {
        let locks = locks();
        nest(&locks, &[0, 1]).await;
        let shared = locks.clone();
        let branches = tokio::spawn(async move {
            let [one, other] = [1, 0].map(|lock| hold(&shared, lock));
            match kind {
                0 => drop(tokio::join!(one, other)),
                1 => drop(futures::join!(one, other)),
                2 => drop(futures::future::join_all([one, other]).await),
                _ => {
                    let mut other = std::pin::pin!(other);
                    tokio::select! {
                        () = one => other.await,
                        () = &mut other => {}
                    }
                }
            }
        });
        branches.await.expect("no panic");
        assert!(detected.reports().is_empty(), "{kind}");
    }
}

/// The task takes later locks without holding this one.
#[tokio::test]
async fn a_guard_that_moved_to_another_task_makes_no_order() {
    static LOCKS: [LazyLock<Lock<()>>; 2] = [const { LazyLock::new(Lock::default) }; 2];
    let detected = Detected::by(Detection::new().patience(TIME_LIMIT));
    let forth = tokio::spawn(async {
        let _first = LOCKS[0].lock().await;
        drop(LOCKS[1].lock().await);
    });
    forth.await.expect("no panic");
    let (resume, resumed) = oneshot::channel::<()>();
    let guard = LOCKS[1].lock().await;
    let holder = tokio::spawn(async move {
        resumed.await.expect("the test says so");
        drop(guard);
    });
    drop(LOCKS[0].lock().await);
    resume.send(()).expect("it waits");
    holder.await.expect("no panic");
    assert!(detected.reports().is_empty());
}

#[test]
fn a_wait_with_an_end_makes_no_order() {
    let detected = Detected::at_once();
    let locks = locks();
    for order in [[0, 1], [1, 0]] {
        let locks = locks.clone();
        let thread = std::thread::spawn(move || {
            let _first = locks[order[0]].blocking_lock();
            let second = locks[order[1]].blocking_lock_timeout(Duration::from_millis(1));
            assert!(second.is_some(), "it is free");
        });
        thread.join().expect("no panic");
    }
    assert!(detected.reports().is_empty());
}
