//! Waits that end by a timeout.

use std::sync::Arc;
use std::time::Duration;

use concurrent_futures::sync::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, LockGuard, Queue, RLock,
};
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_millis(1);
const LATE: Duration = Duration::from_secs(3600);

/// Runs it on a separate thread.
fn elsewhere(run: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(run).join()).expect("no panic");
}

#[test]
fn a_thread_whose_time_is_over_has_taken_nothing() {
    let (lock, rlock) = (Lock::new(1), RLock::new(1));
    let (held, also_held) = (lock.blocking_lock(), rlock.blocking_lock());
    elsewhere(|| {
        assert!(lock.blocking_lock_timeout(SOON).is_none());
        assert!(rlock.blocking_lock_timeout(SOON).is_none());
    });
    assert!(
        rlock.blocking_lock_timeout(SOON).is_some(),
        "it is the holder"
    );
    drop((held, also_held));
    assert!(lock.try_lock().is_ok() && rlock.try_lock().is_ok());

    let semaphore = BoundedSemaphore::new(1);
    let permit = semaphore.blocking_acquire();
    assert!(semaphore.blocking_acquire_timeout(SOON).is_none());
    drop(permit);
    assert_eq!(semaphore.available_permits(), 1);

    assert!(!Event::new().blocking_wait_timeout(SOON));
    let barrier = Barrier::new(2);
    assert!(barrier.blocking_wait_timeout(SOON).is_none());
    assert_eq!(barrier.waiting(), 0);

    let queue = Queue::bounded(1);
    assert!(
        queue
            .blocking_get_timeout(SOON)
            .expect_err("it is empty")
            .is_timed_out()
    );
    queue.blocking_put("first").expect("there is room");
    let error = queue
        .blocking_put_timeout("second", SOON)
        .expect_err("it is full");
    assert!(error.is_timed_out() && !error.is_full() && !error.is_closed());
    assert_eq!(error.into_inner(), "second");
    assert!(!queue.blocking_join_timeout(SOON));
    assert_eq!(queue.try_get(), Ok("first"));
    queue.try_put("third").expect("the places are free again");
}

#[test]
fn a_ready_item_is_taken_in_no_time() {
    assert!(Lock::new(1).blocking_lock_timeout(Duration::ZERO).is_some());
    assert!(
        RLock::new(1)
            .blocking_lock_timeout(Duration::ZERO)
            .is_some()
    );
    assert!(
        BoundedSemaphore::new(1)
            .blocking_acquire_timeout(Duration::ZERO)
            .is_some()
    );
    let event = Event::new();
    event.set();
    assert!(event.blocking_wait_timeout(Duration::ZERO));
    let passed = Barrier::new(1).blocking_wait_timeout(Duration::ZERO);
    assert!(passed.expect("in time").expect("it is whole").is_leader());
    let queue = Queue::bounded(1);
    queue
        .blocking_put_timeout(1, Duration::ZERO)
        .expect("there is room");
    assert_eq!(queue.blocking_get_timeout(Duration::ZERO), Ok(1));
    queue.task_done();
    assert!(queue.blocking_join_timeout(Duration::ZERO));
    queue.close();
    assert!(
        queue
            .blocking_put_timeout(2, LATE)
            .expect_err("it is closed")
            .is_closed()
    );
    assert!(
        queue
            .blocking_get_timeout(LATE)
            .expect_err("it is closed")
            .is_closed()
    );
    assert!(Lock::new(1).blocking_lock_timeout(Duration::MAX).is_some());
}

#[test]
fn a_thread_that_waits_with_a_timeout_is_woken_in_time() {
    let (lock, event) = (Lock::new(1), Event::new());
    let (queue, barrier) = (Queue::bounded(1), Barrier::new(2));
    let guard = lock.blocking_lock();
    queue.blocking_put(1).expect("there is room");
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(event.blocking_wait_timeout(LATE)));
        scope.spawn(|| {
            assert!(
                barrier
                    .blocking_wait_timeout(LATE)
                    .expect("in time")
                    .is_ok()
            )
        });
        scope.spawn(|| queue.blocking_put_timeout(2, LATE).expect("in time"));
        scope.spawn(|| assert_eq!(lock.blocking_lock_timeout(LATE).as_deref(), Some(&1)));
        event.set();
        assert!(barrier.blocking_wait().is_ok());
        assert_eq!(queue.blocking_get_timeout(LATE), Ok(1));
        assert_eq!(queue.blocking_get_timeout(LATE), Ok(2));
        drop(guard);
    });
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_change_says_whether_its_time_was_over() {
    let shared = Arc::new((Lock::new(0), Condition::new()));
    let notify = |after: Duration| {
        let shared = shared.clone();
        async move {
            sleep(after).await;
            *shared.0.lock().await += 1;
            shared.1.notify_one();
        }
    };
    let (lock, changed) = &*shared;
    let start = Instant::now();
    let (guard, result) = changed
        .wait_timeout(lock.lock().await, Duration::from_secs(3))
        .await;
    assert!(result.timed_out() && start.elapsed() >= Duration::from_secs(3));
    drop(guard);
    let other = tokio::spawn(notify(Duration::from_secs(1)));
    let (guard, result) = changed
        .wait_timeout(lock.lock().await, Duration::from_secs(3))
        .await;
    assert!(!result.timed_out());
    assert_eq!(*guard, 1);
    drop(guard);
    other.await.expect("no panic");

    let others = [1, 2].map(|after| tokio::spawn(notify(Duration::from_secs(after))));
    let (timeout, wanted) = (Duration::from_secs(5), |count: &mut i32| *count == 3);
    let (guard, result) = changed
        .wait_for_timeout(lock.lock().await, timeout, wanted)
        .await;
    assert!(!result.timed_out());
    let (guard, result) = changed
        .wait_for_timeout(guard, timeout, |count| *count == 4)
        .await;
    assert!(result.timed_out());
    assert_eq!(*guard, 3);
    for other in others {
        other.await.expect("no panic");
    }
}

#[test]
fn a_thread_that_waits_for_a_change_learns_whether_its_time_was_over() {
    let (lock, changed) = (Lock::new(0), Condition::new());
    std::thread::scope(|scope| {
        let guard = lock.blocking_lock();
        scope.spawn(|| {
            *lock.blocking_lock() += 1; // The waiter has released it.
            changed.notify_one();
        });
        let (guard, result) = changed.blocking_wait_timeout(guard, LATE);
        assert!(!result.timed_out() && *guard == 1);
        let (guard, result) = changed.blocking_wait_for_timeout(guard, SOON, |count| *count == 2);
        assert!(result.timed_out() && *guard == 1);
        let lock = LockGuard::lock(&guard);
        assert!(lock.try_lock().is_err(), "it has it again");
        let result = changed
            .blocking_wait_for_timeout(guard, Duration::ZERO, |count| *count == 1)
            .1;
        assert!(!result.timed_out(), "it holds");
    });
}

/// The timeout of one waiter passes when it is notified: either this waiter or the other one gets the notification.
#[tokio::test(start_paused = true)]
async fn a_notification_at_the_end_of_a_wait_is_not_lost() {
    for _ in 0..100 {
        let shared = Arc::new((Lock::new(()), Condition::new()));
        let first = tokio::spawn({
            let shared = shared.clone();
            async move {
                let guard = shared.0.lock().await;
                shared.1.wait_timeout(guard, Duration::from_secs(1)).await.1
            }
        });
        tokio::task::yield_now().await;
        let second = tokio::spawn({
            let shared = shared.clone();
            async move {
                let guard = shared.0.lock().await;
                shared.1.wait_timeout(guard, Duration::from_secs(2)).await.1
            }
        });
        sleep(Duration::from_secs(1)).await;
        shared.1.notify_one();
        let results = [
            first.await.expect("no panic"),
            second.await.expect("no panic"),
        ];
        let notified = results.iter().filter(|result| !result.timed_out()).count();
        assert_eq!(notified, 1);
    }
}
