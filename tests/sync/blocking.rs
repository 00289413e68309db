//! No method blocks a thread that drives async code.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use concurrent_futures::sync::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, PriorityQueue, Queue, RLock,
};

fn refuses<T>(name: &str, block: impl FnOnce() -> T) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(block)) else {
        panic!("{name} blocks");
    };
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    let message = message.expect("a message");
    assert!(
        message.contains("Cannot block the current thread"),
        "{name}: {message}"
    );
}

/// All of these calls are ready at once.
#[tokio::test]
async fn a_blocking_method_panics_in_a_task_also_where_it_need_not_wait() {
    const TIME: Duration = Duration::from_secs(1);
    let (lock, rlock) = (Lock::new(0), RLock::new(0));
    refuses("lock", || drop(lock.blocking_lock()));
    refuses("lock, timeout", || drop(lock.blocking_lock_timeout(TIME)));
    let _held = rlock.lock().await;
    refuses("rlock", || drop(rlock.blocking_lock()));
    refuses("rlock, timeout", || drop(rlock.blocking_lock_timeout(TIME)));

    let event = Event::new();
    event.set();
    refuses("event", || event.blocking_wait());
    refuses("event, timeout", || event.blocking_wait_timeout(TIME));

    let changed = Condition::new();
    let guard = || lock.try_lock().expect("it is free again");
    refuses("wait", || drop(changed.blocking_wait(guard())));
    refuses("wait, timeout", || {
        drop(changed.blocking_wait_timeout(guard(), TIME))
    });
    refuses("wait for", || {
        drop(changed.blocking_wait_for(guard(), |_| true))
    });
    refuses("wait for, timeout", || {
        drop(changed.blocking_wait_for_timeout(guard(), TIME, |_| true));
    });

    let (queue, smallest) = (Queue::new(), PriorityQueue::new());
    refuses("put", || queue.blocking_put(1));
    refuses("put, timeout", || smallest.blocking_put_timeout(1, TIME));
    queue.put(1).await.expect("it is open");
    smallest.put(1).await.expect("it is open");
    refuses("get", || queue.blocking_get());
    refuses("get, timeout", || smallest.blocking_get_timeout(TIME));
    assert_eq!((queue.len(), smallest.len()), (1, 1));
    refuses("join", || Queue::<u8>::new().blocking_join());
    refuses("join, timeout", || {
        Queue::<u8>::new().blocking_join_timeout(TIME)
    });

    let (semaphore, barrier) = (BoundedSemaphore::new(1), Barrier::new(1));
    refuses("semaphore", || semaphore.blocking_acquire());
    refuses("semaphore, timeout", || {
        semaphore.blocking_acquire_timeout(TIME)
    });
    refuses("barrier", || barrier.blocking_wait());
    refuses("barrier, timeout", || barrier.blocking_wait_timeout(TIME));
    assert_eq!(semaphore.available_permits(), 1);
}
