//! Shared objects as arguments of tasks and of initializers: how long each process keeps them.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "common/alone.rs"]
mod alone;
mod common;

use std::sync::OnceLock;

use concurrent_futures::multiprocessing::{Lock, Semaphore, Value};
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, TaskOptions};
use futures::StreamExt as _;

use self::alone::{alone, descriptors};
use self::common::{Gate, Key, eventually, within};

concurrent_futures::init_before_main!();

fn pool(workers: usize) -> ProcessPoolExecutor {
    ProcessPoolExecutor::with_workers(workers).expect("the settings are valid")
}

fn hold(lock: Lock, gate: Key) {
    let _held = lock.blocking_lock();
    gate.wait();
}

#[test]
fn an_argument_is_closed_here_when_its_task_has_started() {
    let test = "an_argument_is_closed_here_when_its_task_has_started";
    alone(test, || async {
        let (pool, gate) = (pool(1), Gate::new());
        within(pool.submit(|| (), ())).await.expect("it ran");
        let before = descriptors().len();
        let lock = Lock::new().expect("a lock");
        assert!(descriptors().len() > before);
        let task = pool.submit(hold, (lock, gate.key()));
        let guest = gate.guest().await;
        eventually(|| descriptors().len() == before + 1).await; // The descriptor of the gate.
        guest.let_in().await;
        within(task).await.expect("it ran");
    });
}

#[test]
fn an_argument_is_kept_as_long_as_its_task_may_be_run_again() {
    let test = "an_argument_is_kept_as_long_as_its_task_may_be_run_again";
    alone(test, || async {
        let (pool, gate) = (pool(1), Gate::new());
        within(pool.submit(|| (), ())).await.expect("it ran");
        let before = descriptors().len();
        let lock = Lock::new().expect("a lock");
        let of_lock = descriptors().len() - before;
        let again = TaskOptions::new().retries(1);
        let task = pool.submit_with(&again, hold, (lock, gate.key()));
        // The first run dies with its worker, which holds the lock, and the second run takes the lock over.
        let first = gate.guest().await;
        assert_eq!(descriptors().len(), before + of_lock + 1);
        pool.workers().iter().for_each(|worker| kill(worker.pid()));
        drop(first);
        let second = gate.guest().await;
        eventually(|| descriptors().len() == before + 1).await;
        second.let_in().await;
        within(task).await.expect("it ran");
    });
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a worker that runs");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
}

static GIVEN: OnceLock<(Semaphore, Value<u64>)> = OnceLock::new();

fn keep(semaphore: Semaphore, sum: Value<u64>) {
    GIVEN.set((semaphore, sum)).expect("it is called once");
}

fn add(amount: u64) -> u64 {
    let (semaphore, sum) = GIVEN.get().expect("the initializer has run");
    let _permit = semaphore.blocking_acquire();
    *sum.blocking_lock() += amount;
    amount
}

#[tokio::test]
async fn an_initializer_gives_every_worker_the_same_objects() {
    let (semaphore, sum) = (Semaphore::new(1), Value::new(0));
    let (semaphore, sum) = (semaphore.expect("a semaphore"), sum.expect("a value"));
    let pool = ProcessPoolExecutor::builder()
        .max_workers(3)
        .max_tasks_per_child(5)
        .initializer(keep, (semaphore, sum.clone()))
        .build();
    let pool = pool.expect("the settings are valid");
    let mut added = pool.map(add, 1..=100).chunk_size(1);
    while let Some(amount) = within(added.next()).await {
        amount.expect("it ran");
    }
    assert_eq!(*sum.lock().await, 5050);
}

#[tokio::test]
async fn items_of_a_map_may_have_objects_each() {
    fn set(index: u64, value: Value<u64>) {
        *value.blocking_lock() = index + 1;
    }
    let pool = pool(2);
    let new = |_| Value::new(0).expect("a value");
    let values: Vec<Value<u64>> = (0..30).map(new).collect();
    let items: Vec<_> = (0..).zip(values.clone()).collect();
    let mut done = pool.map(set, items).chunk_size(7);
    while let Some(done) = within(done.next()).await {
        done.expect("it ran");
    }
    for (index, value) in values.iter().enumerate() {
        assert_eq!(*value.lock().await, index as u64 + 1);
    }
}

#[tokio::test]
async fn hundreds_of_objects_travel_with_one_task() {
    fn lock_all(locks: Vec<Lock>) -> usize {
        locks
            .iter()
            .filter(|lock| lock.try_lock().is_some())
            .count()
    }
    let lock = |_| Lock::new().expect("a lock");
    let locks: Vec<_> = (0..200).map(lock).collect();
    let held = locks[7].lock().await;
    let task = pool(1).submit(lock_all, locks.clone());
    assert_eq!(within(task).await.expect("it ran"), 199);
    drop(held);
}

#[test]
fn an_object_elsewhere_is_an_error_that_says_where_it_can_be_sent() {
    let lock = Lock::new().expect("a lock");
    let error = rmp_serde::to_vec(&lock).expect_err("MessagePack has no descriptors");
    assert!(error.to_string().contains("as an argument of a task"));
    let error = rmp_serde::from_slice::<Lock>(&[0x92, 0, 0x92, 0, 0]).expect_err("there is none");
    assert!(
        error.to_string().contains("as an argument of a task"),
        "{error}"
    );
}

#[tokio::test]
async fn a_result_with_an_object_is_an_error_that_says_where_it_can_be_sent() {
    fn new() -> Lock {
        Lock::new().expect("a lock")
    }
    let error = within(pool(1).submit(new, ())).await.expect_err("no way");
    assert!(error.is_codec());
    assert!(
        error.to_string().contains("as an argument of a task"),
        "{error}"
    );
}
