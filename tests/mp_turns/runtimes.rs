//! A runtime that is not driven delays no task of another one.

use concurrent_futures::multiprocessing::{Barrier, Event, Lock, Queue, Semaphore};

use super::common::within;
use super::{current_thread, settle};

/// Objects for each of which a task waits.
#[derive(Clone)]
struct Objects {
    lock: Lock,
    semaphore: Semaphore,
    queue: Queue<u8>,
    barrier: Barrier,
    event: Event,
}

impl Objects {
    fn new() -> Self {
        Self {
            lock: Lock::new().expect("a lock"),
            semaphore: Semaphore::new(1).expect("a permit"),
            queue: Queue::unbounded().expect("a queue"),
            barrier: Barrier::new(2).expect("a barrier"),
            event: Event::new().expect("an event"),
        }
    }

    fn wait_in(&self, runtime: &tokio::runtime::Runtime) {
        for _ in 0..3 {
            let (lock, semaphore, queue) = (
                self.lock.clone(),
                self.semaphore.clone(),
                self.queue.clone(),
            );
            runtime.spawn(async move { drop(lock.lock().await) });
            runtime.spawn(async move { drop(semaphore.acquire().await) });
            runtime.spawn(async move { drop(queue.get().await) });
            let event = self.event.clone();
            runtime.spawn(async move { event.wait().await });
        }
        runtime.block_on(settle());
    }

    /// Uses all of them in another runtime, while the tasks of the first wait.
    fn use_in(&self, runtime: &tokio::runtime::Runtime, kept: impl Sized) {
        runtime.block_on(async {
            let other = self.clone();
            let waits = tokio::spawn(async move {
                drop(other.lock.lock().await);
                drop(other.semaphore.acquire().await);
                other.barrier.wait().await.expect("it is whole");
                other.event.wait().await;
                other.queue.get().await.expect("an item")
            });
            settle().await;
            drop(kept);
            within(self.barrier.wait()).await.expect("it is whole");
            settle().await;
            self.event.set();
            settle().await;
            self.queue.put(1).await.expect("there is room");
            assert_eq!(within(waits).await.expect("no panic"), 1);
        });
    }
}

#[test]
fn a_runtime_that_stands_still_holds_up_no_task_of_another() {
    let objects = Objects::new();
    let (still, live) = (current_thread(), current_thread());
    let kept = (objects.lock.try_lock(), objects.semaphore.try_acquire());
    objects.wait_in(&still);
    objects.use_in(&live, kept); // Nothing drives the other runtime.
    drop(still);
}

#[test]
fn a_runtime_that_has_ended_holds_up_no_task_of_another() {
    let objects = Objects::new();
    let (ended, live) = (current_thread(), current_thread());
    let kept = (objects.lock.try_lock(), objects.semaphore.try_acquire());
    objects.wait_in(&ended);
    drop(ended);
    objects.use_in(&live, kept);
}

#[test]
fn threads_and_tasks_of_several_runtimes_all_have_their_turns() {
    let (lock, semaphore) = (
        Lock::new().expect("a lock"),
        Semaphore::new(2).expect("two"),
    );
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let _kept = (semaphore.blocking_acquire(), lock.blocking_lock());
                    std::thread::yield_now();
                }
            });
            scope.spawn(|| {
                current_thread().block_on(async {
                    let tasks = (0..10).map(|_| async {
                        for _ in 0..20 {
                            let _kept = (semaphore.acquire().await, lock.lock().await);
                            tokio::task::yield_now().await;
                        }
                    });
                    within(futures::future::join_all(tasks)).await;
                });
            });
        }
    });
    assert!(lock.try_lock().is_some() && semaphore.available_permits() == 2);
}

#[test]
fn a_wait_for_an_event_goes_on_in_another_runtime_when_its_own_ends() {
    let event = Event::new().expect("an event");
    let (ended, live) = (current_thread(), current_thread());
    let mut wait = Box::pin(event.wait());
    ended.block_on(async { assert!(futures::poll!(&mut wait).is_pending()) });
    drop(ended);
    live.block_on(async {
        let set = async {
            settle().await;
            event.set();
        };
        within(futures::future::join(wait, set)).await;
    });
}
