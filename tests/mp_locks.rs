//! Read-write locks, conditions and permits of `multiprocessing`, among the tasks and threads of one process and
//! between two processes. The promises about killed processes are in `mp_kills`.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

mod common;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use concurrent_futures::multiprocessing::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, RwLock, Semaphore, Value,
};
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
use futures::poll;

use self::common::{eventually, in_thread, within};

concurrent_futures::init_before_main!();

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(60);

/// Runs these tasks in turn until they have taken this number of turns together. Returns the turns of each.
async fn turns<F: Future<Output = ()>>(all: usize, turn: impl Fn(usize) -> F) -> [usize; 8] {
    let turns = [const { Cell::new(0) }; 8];
    let tasks = turns.iter().enumerate().map(async |(task, own)| {
        while turns.iter().map(Cell::get).sum::<usize>() < all {
            turn(task).await;
            own.set(own.get() + 1);
        }
    });
    within(futures::future::join_all(tasks)).await;
    turns.map(Cell::into_inner)
}

fn are_fair(turns: [usize; 8]) {
    let (least, most) = (turns.iter().min(), turns.iter().max());
    let (least, most) = (least.expect("8"), most.expect("8"));
    assert!(least * 2 >= *most, "{turns:?}");
}

#[tokio::test]
async fn readers_share_a_lock_and_a_writer_has_it_alone() {
    let lock = RwLock::new().expect("a lock");
    let (one, other) = (lock.read().await, lock.read().await);
    assert!(lock.try_read().is_some() && lock.try_write().is_none());
    drop(one);
    let mut writing = Box::pin(lock.write());
    assert!(poll!(writing.as_mut()).is_pending());
    assert!(lock.try_read().is_none(), "a writer waits");
    let mut reading = Box::pin(lock.read());
    assert!(poll!(reading.as_mut()).is_pending());
    drop(other);
    let written = within(writing).await;
    assert!(poll!(reading.as_mut()).is_pending());
    assert!(lock.try_read().is_none() && lock.try_write().is_none());
    drop(written);
    let read = within(reading).await;
    assert!(lock.try_write().is_none() && lock.try_read().is_some());
    assert_eq!(read.abandoned_by(), None);
}

#[tokio::test]
async fn a_writer_that_gives_up_lets_readers_in_again() {
    let lock = RwLock::new().expect("a lock");
    let reading = lock.read().await;
    {
        let mut writing = Box::pin(lock.write());
        assert!(poll!(writing.as_mut()).is_pending());
        assert!(lock.try_read().is_none());
    }
    assert!(lock.try_read().is_some());
    let other = lock.clone();
    let timed_out = in_thread(move || other.blocking_write_timeout(SHORT).is_none()).await;
    assert!(timed_out && lock.try_read().is_some());
    drop(reading);
    assert!(lock.try_write().is_some());
}

#[tokio::test]
async fn a_writer_goes_on_as_a_reader_with_no_other_writer_in_between() {
    let lock = RwLock::new().expect("a lock");
    let written = lock.write().await;
    let mut other = Box::pin(lock.write());
    assert!(poll!(other.as_mut()).is_pending());
    let reading = written.downgrade();
    assert!(poll!(other.as_mut()).is_pending());
    drop(reading);
    drop(within(other).await);
    assert!(lock.try_write().is_some());
}

/// A task: reads while its parent reads, and writes when the parent does not.
fn read_then_write(lock: RwLock, both_read: Barrier, value: Value<u32>) {
    let reading = lock.blocking_read();
    both_read.blocking_wait().expect("it is whole");
    drop(reading);
    let _writing = lock.blocking_write();
    value.blocking_set(1);
}

#[tokio::test]
async fn two_processes_read_at_the_same_time_and_write_one_at_a_time() {
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let (lock, value) = (
        RwLock::new().expect("a lock"),
        Value::new(0).expect("memory"),
    );
    let both_read = Barrier::new(2).expect("a barrier");
    let reading = lock.read().await;
    let task = pool.submit(
        read_then_write,
        (lock.clone(), both_read.clone(), value.clone()),
    );
    within(both_read.wait()).await.expect("it is whole");
    eventually(|| lock.try_read().is_none()).await; // The writer waits for this reader.
    assert_eq!(value.get().await, 0);
    drop(reading);
    within(task).await.expect("it ends");
    assert_eq!(value.get().await, 1);
    within(pool.shutdown()).await;
}

#[tokio::test]
async fn readers_and_writers_of_one_process_take_turns() {
    let lock = RwLock::new().expect("a lock");
    let taken = turns(400, async |task| {
        if task % 2 == 0 {
            let _guard = lock.read().await;
            tokio::task::yield_now().await;
        } else {
            let _guard = lock.write().await;
            tokio::task::yield_now().await;
        }
    });
    let taken = taken.await;
    // Readers that read together count several turns.
    let writers = taken.iter().skip(1).step_by(2);
    assert!(
        writers.clone().min() > Some(&10) && taken.iter().min() > Some(&10),
        "{taken:?}"
    );
    are_fair(
        turns(400, async |_| {
            let _guard = lock.write().await;
            tokio::task::yield_now().await;
        })
        .await,
    );
}

#[tokio::test]
async fn callers_of_one_process_that_want_several_permits_take_turns_with_those_that_want_one() {
    let semaphore = Semaphore::new(4).expect("permits");
    let taken = turns(800, async |task| {
        let _permit = semaphore.acquire_many(if task == 0 { 4 } else { 1 }).await;
        tokio::task::yield_now().await;
    });
    let taken = taken.await;
    assert!(taken.iter().min() > Some(&10), "{taken:?}");
    are_fair(
        turns(400, async |_| {
            let _permits = semaphore.acquire_many(3).await;
            tokio::task::yield_now().await;
        })
        .await,
    );
    assert_eq!(semaphore.available_permits(), 4);
}

#[tokio::test]
async fn several_permits_are_taken_together_or_not_at_all() {
    let semaphore = Semaphore::new(5).expect("permits");
    let mut most = semaphore.acquire_many(3).await;
    assert_eq!((most.num_permits(), semaphore.available_permits()), (3, 2));
    assert!(semaphore.try_acquire_many(3).is_none());
    assert_eq!(semaphore.available_permits(), 2);
    {
        let mut waiting = Box::pin(semaphore.acquire_many(4));
        assert!(poll!(waiting.as_mut()).is_pending());
        assert!(
            semaphore.try_acquire_many(2).is_none(),
            "another one collects"
        );
    }
    assert_eq!(semaphore.available_permits(), 2);
    let part = most.split(2).expect("it has three");
    assert!(most.split(2).is_none());
    drop(part);
    most.merge(semaphore.try_acquire_many(4).expect("they are free"));
    assert_eq!((most.num_permits(), semaphore.available_permits()), (5, 0));
    most.split(1).expect("it has five").forget();
    drop(most);
    assert_eq!(semaphore.available_permits(), 4);
    assert_eq!(semaphore.acquire_many(0).await.num_permits(), 0);
}

#[tokio::test]
async fn two_callers_that_each_want_most_permits_do_not_wait_for_each_others_part() {
    let semaphore = Semaphore::new(4).expect("permits");
    let held = [
        semaphore.acquire_many(2).await,
        semaphore.acquire_many(2).await,
    ];
    let (mut one, mut other) = (
        Box::pin(semaphore.acquire_many(3)),
        Box::pin(semaphore.acquire_many(3)),
    );
    assert!(poll!(one.as_mut()).is_pending() && poll!(other.as_mut()).is_pending());
    for permits in held {
        drop(permits);
        let _ = poll!(other.as_mut());
    }
    drop(within(one).await);
    drop(within(other).await);
    assert_eq!(semaphore.available_permits(), 4);
}

#[test]
fn more_permits_than_there_can_be_are_refused_at_once() {
    let semaphore = BoundedSemaphore::new(2).expect("permits");
    let refused = |call: &dyn Fn()| catch_unwind(AssertUnwindSafe(call)).is_err();
    assert!(refused(&|| drop(semaphore.try_acquire_many(3))));
    assert!(refused(&|| drop(semaphore.blocking_acquire_many(3))));
    assert!(semaphore.try_acquire_many(2).is_some());
    let other = Semaphore::new(1).expect("permits");
    let mut permit = semaphore.try_acquire().expect("it is free");
    let foreign = other.try_acquire().expect("it is free");
    let merge = || permit.merge(foreign);
    assert!(catch_unwind(AssertUnwindSafe(merge)).is_err());
}

#[tokio::test]
async fn a_condition_refuses_the_guard_of_another_lock() {
    let (condition, other) = (
        Condition::new().expect("a lock"),
        Lock::new().expect("a lock"),
    );
    let guard = other.lock().await;
    for refused in [
        catch_unwind(AssertUnwindSafe(|| condition.notify_one(&guard))),
        catch_unwind(AssertUnwindSafe(|| condition.notify(&guard, 0))),
        catch_unwind(AssertUnwindSafe(|| condition.notify_all(&guard))),
    ] {
        let message = refused.expect_err("it is refused");
        let message = message.downcast_ref::<&str>().expect("a text");
        assert!(message.contains("another lock"), "{message}");
    }
    let waits = tokio::spawn(async move { condition.wait(guard).await });
    assert!(within(waits).await.expect_err("it is refused").is_panic());
}

/// A task. Condition and lock arrive as two handles.
fn notify_by_another_handle(lock: Lock, condition: Condition) {
    let guard = lock.blocking_lock();
    condition.notify_all(&guard);
    let (guard, result) = condition.blocking_wait_timeout(guard, Duration::ZERO);
    assert!(result.timed_out());
    drop(guard);
}

#[tokio::test]
async fn a_condition_accepts_a_guard_of_another_handle_to_its_lock() {
    let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
    let lock = Lock::new().expect("a lock");
    let condition = Condition::with_lock(&lock);
    let mut waiting = Box::pin(async { condition.wait(lock.lock().await).await });
    assert!(poll!(waiting.as_mut()).is_pending());
    let task = pool.submit(notify_by_another_handle, (lock.clone(), condition.clone()));
    drop(within(waiting).await);
    within(task).await.expect("it ends");
    within(pool.shutdown()).await;
}

#[tokio::test]
async fn a_wait_at_a_condition_says_whether_its_time_was_over() {
    let condition = Condition::new().expect("a lock");
    let guard = condition.lock().await;
    let (guard, result) = condition.wait_timeout(guard, SHORT).await;
    assert!(result.timed_out());
    let (guard, result) = condition.wait_for_timeout(guard, SHORT, || false).await;
    assert!(result.timed_out());
    let (guard, result) = condition
        .wait_for_timeout(guard, Duration::ZERO, || true)
        .await;
    assert!(!result.timed_out());
    drop(guard);
    let notified = async {
        let guard = condition.lock().await;
        condition.wait_timeout(guard, LONG).await.1
    };
    let mut notified = Box::pin(notified);
    assert!(poll!(notified.as_mut()).is_pending());
    condition.notify_one(&condition.lock().await);
    assert!(!within(notified).await.timed_out());
    let other = condition.clone();
    let (no_one, predicate) = in_thread(move || {
        let guard = other.blocking_lock();
        let (guard, no_one) = other.blocking_wait_timeout(guard, SHORT);
        (
            no_one,
            other.blocking_wait_for_timeout(guard, SHORT, || true).1,
        )
    })
    .await;
    assert!(no_one.timed_out() && !predicate.timed_out());
}

#[tokio::test(start_paused = true)]
async fn the_time_of_an_async_wait_is_that_of_its_runtime() {
    let condition = Condition::new().expect("a lock");
    let guard = condition.lock().await;
    let (_guard, result) = condition.wait_timeout(guard, LONG * 60).await;
    assert!(result.timed_out(), "the runtime has advanced its clock");
}

#[tokio::test]
async fn a_notification_wakes_at_least_as_many_as_it_says() {
    let condition = Condition::new().expect("a lock");
    let woken = Cell::new(0);
    let waits = (0..4).map(async |_| {
        drop(condition.wait(condition.lock().await).await);
        woken.set(woken.get() + 1);
    });
    let mut waits = Box::pin(futures::future::join_all(waits));
    assert!(poll!(waits.as_mut()).is_pending());
    while woken.get() < 4 {
        let before = woken.get();
        condition.notify(&condition.lock().await, 2);
        while woken.get() < (before + 2).min(4) {
            let _ = poll!(waits.as_mut());
            tokio::task::yield_now().await;
        }
    }
}

/// Each of these calls is ready at once.
#[tokio::test]
async fn a_blocking_method_panics_on_a_thread_that_drives_async_code_even_if_it_need_not_wait() {
    let (lock, rlock, rw) = (Lock::new(), RLock::new(), RwLock::new());
    let (lock, rlock, rw) = (
        lock.expect("a lock"),
        rlock.expect("a lock"),
        rw.expect("a lock"),
    );
    let (semaphore, event) = (Semaphore::new(9), Event::new());
    let (semaphore, event) = (semaphore.expect("permits"), event.expect("an event"));
    let (condition, barrier) = (Condition::new(), Barrier::new(1));
    let (condition, barrier) = (condition.expect("a lock"), barrier.expect("a barrier"));
    event.set();
    let calls: &[&dyn Fn()] = &[
        &|| drop(lock.blocking_lock()),
        &|| drop(lock.blocking_lock_timeout(SHORT)),
        &|| drop(rlock.blocking_lock()),
        &|| drop(rlock.blocking_lock_timeout(SHORT)),
        &|| drop(rw.blocking_read()),
        &|| drop(rw.blocking_read_timeout(SHORT)),
        &|| drop(rw.blocking_write()),
        &|| drop(rw.blocking_write_timeout(SHORT)),
        &|| drop(semaphore.blocking_acquire()),
        &|| drop(semaphore.blocking_acquire_timeout(SHORT)),
        &|| drop(semaphore.blocking_acquire_many(2)),
        &|| drop(semaphore.blocking_acquire_many_timeout(2, SHORT)),
        &|| event.blocking_wait(),
        &|| drop(condition.blocking_lock()),
        &|| assert!(barrier.blocking_wait().is_ok()),
        &|| barrier.blocking_abort(),
        &|| barrier.blocking_reset(),
    ];
    for (number, call) in calls.iter().enumerate() {
        let outcome = catch_unwind(AssertUnwindSafe(call));
        assert!(outcome.is_err(), "call {number} did not panic");
    }
    let _outer = rlock.lock().await;
    let again = catch_unwind(AssertUnwindSafe(|| drop(rlock.blocking_lock())));
    assert!(again.is_err(), "the owner's too");
    let guard = condition.lock().await;
    let call = || drop(condition.blocking_wait_for(guard, || true));
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    assert!(rw.try_write().is_some() && semaphore.available_permits() == 9);
}
