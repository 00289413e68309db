//! A task that never waits lets other tasks run.

use std::cell::Cell;
use std::time::Duration;

use concurrent_futures::sync::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, Queue, RLock, Timer,
};

/// Awaits an operation again and again, beside a task that needs some turns.
fn others_run(name: &str, mut ready: impl AsyncFnMut()) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let is_over = Cell::new(false);
    let tasks = tokio::task::LocalSet::new();
    let busy = async {
        for turn in 0.. {
            ready().await;
            if is_over.get() {
                return;
            }
            assert!(turn < 100_000, "{name} lets no other task run");
        }
    };
    let other = async {
        for _ in 0..10 {
            tokio::task::spawn_local(tokio::task::yield_now())
                .await
                .expect("no panic");
        }
        is_over.set(true);
    };
    tasks.block_on(&runtime, async { tokio::join!(busy, other) });
}

#[test]
fn a_task_that_never_has_to_wait_lets_others_run() {
    let lock = Lock::new(0);
    others_run("lock", async || drop(lock.lock().await));
    others_run("owned lock", async || drop(lock.lock_owned().await));
    let rlock = RLock::new(0);
    others_run("rlock", async || drop(rlock.lock().await));
    let held = rlock.try_lock().expect("it is free");
    others_run("rlock again", async || drop(rlock.lock().await));
    drop(held);

    let event = Event::new();
    event.set();
    others_run("event", async || event.wait().await);
    let changed = Condition::new();
    others_run("condition", async || {
        drop(
            changed
                .wait_for(lock.try_lock().expect("it is free"), |_| true)
                .await,
        );
    });
    others_run("condition, timeout", async || {
        let guard = lock.try_lock().expect("it is free");
        drop(
            changed
                .wait_for_timeout(guard, Duration::ZERO, |_| true)
                .await,
        );
    });

    let queue = Queue::new();
    others_run("put", async || queue.put(1).await.expect("it is open"));
    others_run("get", async || {
        assert!(queue.try_put(1).is_ok());
        assert_eq!(queue.get().await, Some(1));
    });
    let done = Queue::<u8>::new();
    others_run("join", async || done.join().await);
    done.close();
    others_run("closed put", async || assert!(done.put(1).await.is_err()));
    others_run("closed get", async || assert_eq!(done.get().await, None));

    let semaphore = BoundedSemaphore::new(1);
    others_run("semaphore", async || drop(semaphore.acquire().await));
    let barrier = Barrier::new(1);
    others_run("barrier", async || assert!(barrier.wait().await.is_ok()));
    barrier.abort();
    others_run("broken barrier", async || {
        assert!(barrier.wait().await.is_err())
    });
    others_run("timer", async || {
        let timer = Timer::start(Duration::ZERO, async {});
        timer.join().await.expect("no panic");
    });
}
