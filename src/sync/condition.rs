//! Waiting for a change of what a lock protects.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::block::block_on;
use super::deadlock::CodePlace;
use super::lock::LockGuard;

/// Where tasks wait for a change of what a [`Lock`](super::Lock) protects.
///
/// ```
/// use std::sync::Arc;
/// use concurrent_futures::sync::{Condition, Lock};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shared = Arc::new((Lock::new(0), Condition::new()));
/// let waiter = tokio::spawn({
///     let shared = shared.clone();
///     async move {
///         let (count, changed) = &*shared;
///         *changed.wait_for(count.lock().await, |count| *count > 1).await
///     }
/// });
/// let (count, changed) = &*shared;
/// for _ in 0..2 {
///     *count.lock().await += 1;
///     changed.notify_all();
/// }
/// assert_eq!(waiter.await?, 2);
/// # Ok(()) }
/// ```
pub struct Condition {
    waiters: Mutex<Waiters>,
}

#[derive(Debug)]
struct Waiters {
    last_number: u64,
    /// Who came first has the lowest number.
    waiting: BTreeMap<u64, oneshot::Sender<Notification>>,
}

/// How a waiter was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notification {
    /// As one of so many: should it go away, another must come in its place.
    One,
    All,
}

impl Condition {
    /// One that nobody waits for.
    ///
    /// ```
    /// use concurrent_futures::sync::Condition;
    ///
    /// static CHANGED: Condition = Condition::new();
    /// CHANGED.notify_all();
    /// ```
    pub const fn new() -> Self {
        Self {
            waiters: Mutex::new(Waiters {
                last_number: 0,
                waiting: BTreeMap::new(),
            }),
        }
    }

    /// Lets go of the lock, waits to be notified, and takes the lock again. Nothing that happens after the
    /// lock is let go is missed, and nobody is woken without a notification; but others may have had the lock
    /// since that. Thus see [`wait_for`](Self::wait_for).
    ///
    /// ```
    /// use concurrent_futures::sync::{Condition, Lock};
    ///
    /// # #[tokio::main] async fn main() {
    /// let (lock, changed) = (Lock::new(0), Condition::new());
    /// let guard = lock.lock().await;
    /// let waiter = async { *changed.wait(guard).await };
    /// let other = async {
    ///     *lock.lock().await += 1; // The waiter has let go.
    ///     changed.notify_one();
    /// };
    /// assert_eq!(tokio::join!(biased; waiter, other).0, 1);
    /// # }
    /// ```
    ///
    /// # Panics
    /// As [`Lock::lock`](super::Lock::lock), when it takes the lock again.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait, and the lock is not had. A notification for one that it may have got by
    /// then goes to the next who waits.
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: LockGuard<'a, T>) -> impl Future<Output = LockGuard<'a, T>> {
        self.wait_at(guard, Location::caller())
    }

    /// Waits until `condition` holds for what is locked: looks, and if it does not hold, waits to be notified
    /// and looks again.
    ///
    /// ```
    /// use concurrent_futures::sync::{Condition, Lock};
    ///
    /// # #[tokio::main] async fn main() {
    /// let (lock, changed) = (Lock::new(1), Condition::new());
    /// let guard = changed.wait_for(lock.lock().await, |number| *number == 1).await;
    /// assert_eq!(*guard, 1);
    /// # }
    /// ```
    ///
    /// # Panics
    /// As [`wait`](Self::wait), and as `condition` does.
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_for<'a, T>(
        &self,
        guard: LockGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> impl Future<Output = LockGuard<'a, T>> {
        let place = Location::caller();
        async move {
            let mut guard = guard;
            while !condition(&mut guard) {
                guard = self.wait_at(guard, place).await;
            }
            guard
        }
    }

    /// As [`wait`](Self::wait), for threads that may block.
    ///
    /// ```
    /// use concurrent_futures::sync::{Condition, Lock};
    ///
    /// let (lock, changed) = (Lock::new(0), Condition::new());
    /// std::thread::scope(|scope| {
    ///     let guard = lock.blocking_lock();
    ///     scope.spawn(|| {
    ///         *lock.blocking_lock() += 1; // The waiter has let go.
    ///         changed.notify_one();
    ///     });
    ///     assert_eq!(*changed.blocking_wait(guard), 1);
    /// });
    /// ```
    ///
    /// # Panics
    /// On a thread that drives async code, and as [`wait`](Self::wait).
    #[track_caller]
    pub fn blocking_wait<'a, T>(&self, guard: LockGuard<'a, T>) -> LockGuard<'a, T> {
        block_on(self.wait(guard))
    }

    /// As [`wait_for`](Self::wait_for), for threads that may block.
    ///
    /// ```
    /// use concurrent_futures::sync::{Condition, Lock};
    ///
    /// let (lock, changed) = (Lock::new(0), Condition::new());
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         *lock.blocking_lock() += 1;
    ///         changed.notify_one();
    ///     });
    ///     let guard = lock.blocking_lock();
    ///     assert_eq!(*changed.blocking_wait_for(guard, |number| *number == 1), 1);
    /// });
    /// ```
    ///
    /// # Panics
    /// As [`blocking_wait`](Self::blocking_wait), and as `condition` does.
    #[track_caller]
    pub fn blocking_wait_for<'a, T>(
        &self,
        guard: LockGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockGuard<'a, T> {
        block_on(self.wait_for(guard, condition))
    }

    /// Wakes the one who has waited for the longest time. If nobody waits, nothing happens.
    ///
    /// Change what is locked before this, or before the lock is let go. It need not be had for this.
    ///
    /// ```
    /// concurrent_futures::sync::Condition::new().notify_one();
    /// ```
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes so many, those first who have waited for the longest time.
    ///
    /// ```
    /// concurrent_futures::sync::Condition::new().notify(2);
    /// ```
    pub fn notify(&self, number: usize) {
        for _ in 0..number {
            loop {
                let Some((_, waiter)) = self.waiters().waiting.pop_first() else {
                    return;
                };
                // If it goes away in this very moment, it is not there to answer.
                if waiter.send(Notification::One).is_ok() {
                    break;
                }
            }
        }
    }

    /// Wakes all who wait.
    ///
    /// ```
    /// concurrent_futures::sync::Condition::new().notify_all();
    /// ```
    pub fn notify_all(&self) {
        let waiting = mem::take(&mut self.waiters().waiting);
        for waiter in waiting.into_values() {
            let _ = waiter.send(Notification::All);
        }
    }

    async fn wait_at<'a, T>(&self, guard: LockGuard<'a, T>, place: CodePlace) -> LockGuard<'a, T> {
        let lock = LockGuard::lock(&guard);
        let mut waiter = self.enlist();
        drop(guard);
        waiter.wait_for_call().await;
        let guard = lock.lock_at(place).await;
        waiter.call = None; // It has answered.
        guard
    }

    fn enlist(&self) -> Waiter<'_> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.waiters();
        waiters.last_number += 1;
        let number = waiters.last_number;
        waiters.waiting.insert(number, sender);
        Waiter {
            condition: self,
            number,
            receiver,
            call: None,
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits to be called. A call that it cannot answer, since it is dropped, goes to the next.
struct Waiter<'a> {
    condition: &'a Condition,
    number: u64,
    receiver: oneshot::Receiver<Notification>,
    /// Until it is answered.
    call: Option<Notification>,
}

impl Waiter<'_> {
    async fn wait_for_call(&mut self) {
        self.call = (&mut self.receiver).await.ok();
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let is_enlisted = self
            .condition
            .waiters()
            .waiting
            .remove(&self.number)
            .is_some();
        if is_enlisted {
            return;
        }
        // Whoever calls at this moment finds this closed, or is heard here.
        self.receiver.close();
        let call = self.call.or_else(|| self.receiver.try_recv().ok());
        if call == Some(Notification::One) {
            self.condition.notify_one();
        }
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiters().waiting.len();
        f.debug_struct("Condition")
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}
