//! The head of a line, or of a crowd, passes its role on wherever it ends.

use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use concurrent_futures::multiprocessing::{Barrier, Event, Lock, Process, Queue, Semaphore};
use futures::poll;
use tokio::task::JoinSet;

use super::alone::{alone, descriptors};
use super::common::within;
use super::{current_thread, settle};

#[tokio::test]
async fn a_head_that_gives_up_before_the_release_hands_over() {
    let lock = Lock::new().expect("a lock");
    let held = lock.lock().await;
    let mut second = pin!(lock.lock());
    {
        let mut head = pin!(lock.lock());
        for _ in 0..1000 {
            assert!(poll!(head.as_mut()).is_pending()); // This one listens.
            tokio::task::yield_now().await;
        }
        assert!(poll!(second.as_mut()).is_pending());
    }
    assert!(poll!(second.as_mut()).is_pending());
    drop(held);
    drop(within(second).await);
    assert!(lock.try_lock().is_some());
}

#[tokio::test]
async fn a_head_that_gives_up_after_the_release_hands_over() {
    let (lock, queue) = (
        Lock::new().expect("a lock"),
        Queue::unbounded().expect("a queue"),
    );
    let held = lock.lock().await;
    let (mut second, mut second_get) = (pin!(lock.lock()), pin!(queue.get()));
    {
        let (mut head, mut head_get) = (pin!(lock.lock()), pin!(queue.get()));
        for _ in 0..1000 {
            assert!(poll!(head.as_mut()).is_pending());
            assert!(poll!(head_get.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        assert!(poll!(second.as_mut()).is_pending());
        assert!(poll!(second_get.as_mut()).is_pending());
        drop(held);
        queue.put(1).await.expect("there is room");
        settle().await; // The heads are woken, and never polled again.
    }
    drop(within(second).await);
    assert_eq!(within(second_get).await.expect("an item"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parties_that_give_up_leave_a_barrier_to_the_others() {
    let barrier = Barrier::new(20).expect("a barrier");
    for _ in 0..20 {
        let mut all = JoinSet::new();
        for _ in 0..10 {
            let barrier = barrier.clone();
            let waits = all.spawn(async move { barrier.wait().await.is_ok() });
            tokio::task::yield_now().await;
            waits.abort();
        }
        while all.join_next().await.is_some() {}
        for _ in 0..20 {
            let barrier = barrier.clone();
            all.spawn(async move { barrier.wait().await.is_ok() });
        }
        assert_eq!(within(all.join_all()).await, [true; 20]);
    }
}

fn keep(lock: Lock, semaphore: Semaphore, taken: Queue<()>) {
    let _kept = (lock.blocking_lock(), semaphore.blocking_acquire());
    taken.blocking_put(()).expect("there is room");
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn of_a_hundred_tasks_the_first_learns_of_the_killed_holder_and_all_have_their_turn() {
    let (lock, semaphore) = (
        Lock::new().expect("a lock"),
        Semaphore::new(1).expect("a permit"),
    );
    let taken = Queue::unbounded().expect("a queue");
    let args = (lock.clone(), semaphore.clone(), taken.clone());
    let holder = Process::spawn(keep, args).await.expect("it starts");
    within(taken.get()).await.expect("an item");
    let count = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let (lock, semaphore, count) = (lock.clone(), semaphore.clone(), count.clone());
        tasks.spawn(async move {
            let abandoned = lock.lock().await.abandoned_by();
            let abandoned = abandoned.or(semaphore.acquire().await.abandoned_by());
            count.fetch_add(usize::from(abandoned.is_some()), Ordering::Relaxed);
        });
    }
    settle().await;
    holder.kill();
    within(tasks.join_all()).await;
    let count = count.load(Ordering::Relaxed);
    assert!(
        (1..=2).contains(&count),
        "one task may learn of both: {count}"
    );
    let killed = std::process::ExitStatus::from_raw(9);
    assert!(
        within(holder.join())
            .await
            .expect_err("it was killed")
            .is_worker_lost(),
        "{killed}"
    );
}

#[test]
fn tasks_that_wait_for_one_object_use_one_descriptor() {
    let test = "heads::tasks_that_wait_for_one_object_use_one_descriptor";
    alone(test, async || {
        // In a runtime of one thread, so that all tasks have started to wait once it has settled.
        let counted = std::thread::spawn(|| current_thread().block_on(wait_and_count()));
        counted.join().expect("no panic");
    });
}

async fn wait_and_count() {
    let (lock, semaphore) = (
        Lock::new().expect("a lock"),
        Semaphore::new(1).expect("one"),
    );
    let (queue, barrier) = (
        Queue::<u8>::unbounded().expect("a queue"),
        Barrier::new(500).expect("a barrier"),
    );
    let event = Event::new().expect("an event");
    let before = descriptors().len();
    let kept = (lock.lock().await, semaphore.acquire().await);
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let (lock, semaphore) = (lock.clone(), semaphore.clone());
        let (queue, barrier) = (queue.clone(), barrier.clone());
        tasks.spawn(async move { drop(lock.lock().await) });
        tasks.spawn(async move { drop(semaphore.acquire().await) });
        tasks.spawn(async move { drop(queue.get().await) });
        tasks.spawn(async move { assert!(barrier.wait().await.is_ok()) });
        let event = event.clone();
        tasks.spawn(async move { event.wait().await });
    }
    settle().await;
    assert_eq!(descriptors().len() - before, 5);
    drop(kept);
    tasks.shutdown().await;
    assert_eq!(descriptors().len(), before);
}

/// All tasks that wait for an event check it, and none depends on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_an_event_that_is_not_polled_or_is_dropped_holds_up_no_other() {
    let event = Event::new().expect("an event");
    for _ in 0..100 {
        let (mut still, mut dropped) = (Box::pin(event.wait()), Box::pin(event.wait()));
        assert!(poll!(&mut still).is_pending() && poll!(&mut dropped).is_pending());
        let mut all = JoinSet::new();
        for _ in 0..20 {
            let event = event.clone();
            all.spawn(async move { event.wait().await });
        }
        tokio::task::yield_now().await;
        drop(dropped);
        event.set();
        within(all.join_all()).await;
        event.clear();
        assert!(poll!(&mut still).is_pending(), "it is cleared again");
        event.set();
        within(still).await;
        event.clear();
    }
}
