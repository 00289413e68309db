//! Tasks of two runtimes, and threads, wait for the same objects. Some give up at any point, even when they have just
//! been woken.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use concurrent_futures::multiprocessing::{
    Condition, JoinableQueue, Lock, Queue, RwLock, Semaphore,
};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::common::within;

const ROUNDS: u64 = 60;
const KINDS: u64 = 8;
/// The number of tasks of each kind in each runtime.
const TASKS: u64 = 3;

/// A number that differs each time.
fn any() -> u64 {
    RandomState::new().hash_one(0)
}

#[derive(Clone)]
struct Objects {
    lock: Lock,
    rw: RwLock,
    semaphore: Semaphore,
    queue: Queue<u64>,
    joined: JoinableQueue<u64>,
    condition: Condition,
    /// The value that the condition is about.
    round: Arc<AtomicU64>,
}

impl Objects {
    fn new() -> Self {
        Self {
            lock: Lock::new().expect("a lock"),
            rw: RwLock::new().expect("a lock"),
            semaphore: Semaphore::new(2).expect("permits"),
            queue: Queue::unbounded().expect("a queue"),
            joined: JoinableQueue::unbounded().expect("a queue"),
            condition: Condition::new().expect("a condition"),
            round: Arc::default(),
        }
    }

    async fn wait(self, kind: u64, round: u64) {
        match kind % KINDS {
            0 => drop(self.lock.lock().await),
            1 => drop(self.rw.read().await),
            2 => drop(self.rw.write().await.downgrade()),
            3 => drop(self.semaphore.acquire().await),
            4 => drop(self.semaphore.acquire_many(2).await),
            5 => drop(self.queue.get().await),
            6 => assert_eq!(self.joined.join().await, 0),
            _ => {
                let guard = self.condition.lock().await;
                let is_now = || self.round.load(Ordering::Relaxed) >= round;
                drop(self.condition.wait_for(guard, is_now).await);
            }
        }
    }

    fn blocking_wait(&self, round: u64) {
        let soon = Duration::from_micros(any() % 500);
        drop(self.lock.blocking_lock_timeout(soon));
        drop(self.rw.blocking_write_timeout(soon));
        drop(self.semaphore.blocking_acquire_many_timeout(2, soon));
        let guard = self.condition.blocking_lock();
        let is_now = || self.round.load(Ordering::Relaxed) >= round;
        drop(self.condition.blocking_wait_for(guard, is_now));
        self.joined.blocking_join();
        drop((self.lock.blocking_lock(), self.rw.blocking_read()));
        drop(self.semaphore.blocking_acquire());
    }

    fn round(&self, runtimes: &[Runtime; 2], round: u64) {
        let held = (
            self.lock.blocking_lock(),
            self.rw.blocking_write(),
            self.semaphore.blocking_acquire_many(2),
        );
        self.joined.blocking_put(round).expect("there is room");
        self.joined.blocking_get().expect("an item");
        let objects = self.clone();
        let thread = std::thread::spawn(move || objects.blocking_wait(round));
        let wait_in = |runtime: &Runtime, kind| runtime.spawn(self.clone().wait(kind, round));
        let kinds = 0..KINDS * TASKS;
        let tasks: Vec<[JoinHandle<()>; 2]> = kinds
            .map(|kind| runtimes.each_ref().map(|runtime| wait_in(runtime, kind)))
            .collect();
        let give_up = |most: u64| {
            for task in tasks.iter().flatten() {
                if any().is_multiple_of(most) {
                    task.abort();
                }
            }
        };
        (0..any() % 500).for_each(|_| std::thread::yield_now()); // Until a random moment.
        give_up(4);
        drop(held);
        self.joined.blocking_task_done().expect("it was taken");
        let guard = self.condition.blocking_lock();
        self.condition.notify_all(&guard); // No waiter needs this notification.
        drop(guard);
        let guard = self.condition.blocking_lock();
        self.condition.notify_all(&guard);
        self.round.store(round, Ordering::Relaxed);
        drop(guard);
        // A waiter that gives up may have taken an item.
        for item in 0..2 * TASKS {
            self.queue.blocking_put(item).expect("there is room");
        }
        give_up(4);
        for (task, runtime) in tasks.into_iter().flatten().zip(runtimes.iter().cycle()) {
            let ended = runtime.block_on(within(task));
            assert!(ended.is_ok() || ended.is_err_and(|error| error.is_cancelled()));
        }
        thread.join().expect("no panic");
        while self.queue.try_get().is_ok() {}
        assert!(self.lock.try_lock().is_some() && self.rw.try_write().is_some());
        assert_eq!(self.semaphore.available_permits(), 2);
    }
}

#[test]
fn all_others_continue_when_one_gives_up_at_any_moment() {
    let runtimes = [(); 2].map(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        runtime.expect("a runtime")
    });
    let objects = Objects::new();
    (1..=ROUNDS).for_each(|round| objects.round(&runtimes, round));
}
