//! An operation that is ready at once, again and again, lets other tasks run; and a blocking method never blocks in a
//! task.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use concurrent_futures::multiprocessing::{
    Barrier, Condition, Event, JoinableQueue, Lock, Queue, RLock, Semaphore, Value, pipe,
};

use super::common::within;

/// Repeats an operation that is ready at once, until another task has run.
async fn lets_others_run(what: &str, again: impl AsyncFn()) {
    let has_run = Arc::new(AtomicBool::new(false));
    let other = has_run.clone();
    let other = tokio::spawn(async move { other.store(true, Ordering::Relaxed) });
    let mut times = 0;
    while !has_run.load(Ordering::Relaxed) {
        again().await;
        times += 1;
        assert!(times < 10_000, "{what} lets no other task run");
    }
    other.await.expect("no panic");
}

#[tokio::test]
async fn calls_that_are_ready_at_once_let_other_tasks_run() {
    let event = Event::new().expect("an event");
    event.set();
    lets_others_run("Event", async || event.wait().await).await;
    let lock = Lock::new().expect("a lock");
    lets_others_run("Lock", async || drop(lock.lock().await)).await;
    let lock = RLock::new().expect("a lock");
    let _outer = lock.lock().await;
    lets_others_run("RLock", async || drop(lock.lock().await)).await;
    let semaphore = Semaphore::new(1).expect("a permit");
    lets_others_run("Semaphore", async || drop(semaphore.acquire().await)).await;
    let value = Value::new(0_u64).expect("a value");
    lets_others_run("Value", async || value.set(1).await).await;
    let barrier = Barrier::new(1).expect("a barrier");
    lets_others_run("Barrier", async || assert!(barrier.wait().await.is_ok())).await;
    let condition = Condition::new().expect("a condition");
    let hold = async || drop(condition.wait_for(condition.lock().await, || true).await);
    lets_others_run("Condition", hold).await;
    let queue = Queue::unbounded().expect("a queue");
    let put = async || queue.put(1_u8).await.expect("there is room");
    lets_others_run("Queue::put", put).await;
    for _ in 0..10_000 {
        put().await;
    }
    lets_others_run("Queue::get", async || drop(queue.get().await)).await;
    let queue = JoinableQueue::<u8>::unbounded().expect("a queue");
    lets_others_run("JoinableQueue::join", async || {
        assert_eq!(queue.join().await, 0)
    })
    .await;
    let (one, other) = pipe::<u8, u8>().expect("a pipe");
    let poll = async || assert!(!one.poll(Duration::ZERO).await);
    lets_others_run("Connection::poll", poll).await;
    other.send(1).await.expect("there is room");
    let poll = async || assert!(one.poll(Duration::MAX).await);
    lets_others_run("Connection::poll", poll).await;
}

#[tokio::test]
async fn a_method_that_blocks_panics_in_a_task_though_it_need_not_wait() {
    fn panics<T>(what: &str, blocks: impl FnOnce() -> T) {
        let outcome = catch_unwind(AssertUnwindSafe(|| drop(blocks())));
        assert!(
            outcome.is_err(),
            "{what} blocks a thread that drives async code"
        );
    }
    let soon = Duration::from_millis(1);
    let lock = Lock::new().expect("a lock");
    panics("Lock", || lock.blocking_lock());
    panics("Lock", || lock.blocking_lock_timeout(soon));
    let reentrant = RLock::new().expect("a lock");
    let outer = reentrant.lock().await;
    panics("RLock", || reentrant.blocking_lock());
    panics("RLock", || reentrant.blocking_lock_timeout(soon));
    drop(outer);
    let semaphore = Semaphore::new(1).expect("a permit");
    panics("Semaphore", || semaphore.blocking_acquire());
    let value = Value::new(0_u64).expect("a value");
    panics("Value", || value.blocking_get());
    let event = Event::new().expect("an event");
    event.set();
    panics("Event", || event.blocking_wait());
    let barrier = Barrier::new(1).expect("a barrier");
    panics("Barrier", || barrier.blocking_wait());
    panics("Barrier", || barrier.blocking_abort());
    let queue = JoinableQueue::unbounded().expect("a queue");
    panics("Queue", || queue.blocking_put(1_u8));
    panics("Queue", || queue.blocking_get_timeout(soon));
    panics("JoinableQueue", || queue.blocking_join());
    // On a thread that may block, no method panics.
    let blocks = move || (lock.blocking_lock(), semaphore.blocking_acquire());
    drop(
        within(tokio::task::spawn_blocking(blocks))
            .await
            .expect("no panic"),
    );
}
