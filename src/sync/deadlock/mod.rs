//! Reports deadlocks of [`Lock`](super::Lock) and [`RLock`](super::RLock), with the places in the source,
//! instead of a hang. On by default in debug builds; [`Detection::enable`] turns it on in others.
//!
//! It records which task holds which lock and which task waits for which lock. It reports three things:
//!
//! - **A task takes a lock that it holds.** It would wait for itself forever.
//! - **Tasks wait for each other**, each for a lock that the next one holds.
//! - **Locks are taken in opposite orders** by different tasks, at any two times. That is a deadlock if it happens at
//!   the same time. The hook of [`Detection::on_report`] receives this report as soon as both orders are complete, once
//!   for each pair of locks and each pair of places in the source. The default hook writes to stderr.
//!
//! The first two are deadlocks if they last. So the wait that closes the cycle has five seconds
//! ([`Detection::patience`]) to end. After that it panics with the report, unless [`panics(false)`](Detection::panics)
//! is set. The panic drops the guards of its task, so the other tasks continue.
//!
//! ```
//! use std::time::Duration;
//! use concurrent_futures::sync::{Lock, deadlock::Detection};
//!
//! # #[tokio::main] async fn main() {
//! Detection::new().patience(Duration::ZERO).enable();
//! let task = tokio::spawn(async {
//!     let lock = Lock::new(0);
//!     let _guard = lock.lock().await;
//!     *lock.lock().await += 1; // It holds the lock already.
//! });
//! let panic = task.await.unwrap_err().into_panic();
//! let message = panic.downcast_ref::<String>().unwrap();
//! assert!(message.contains(" for a lock that it already holds, taken at "));
//! # }
//! ```
//!
//! # What is not reported
//!
//! A wrong report costs more than a missing one. So these are not reported:
//!
//! - **Opposite orders that cannot meet**: under a common lock, or by one task alone.
//! - **Branches of one task** (`join!`, `select!`): a branch does not hold what another branch holds. The branches are
//!   distinguished by the memory of their futures. So a deadlock is not found if a lock is taken inside a boxed future,
//!   or many calls below the function that holds the other lock.
//! - **A guard that moved.** A lock taken by [`lock_owned`](super::Lock::lock_owned) has no known holder. A
//!   [`LockGuard`](super::LockGuard) has none once another task uses or drops it. Until then, the task that took it
//!   counts as its holder. To hand a guard over, use `lock_owned`.
//! - **A wait with an end**: `try_lock`, `blocking_lock_timeout`. A `tokio::time::timeout` around a lock is not known.
//! - The tasks of an executor other than tokio's, on a thread without a tokio runtime.
//!
//! # Cost
//!
//! Off: one atomic read. On: three short critical sections under one lock of the process, and a comparison each time a
//! guard is used. Its memory grows with the locks that are held, waited for, or taken together: at most 65536 orders
//! are kept.
//!
//! # In this module
//!
//! An `attempt` is one call that takes a lock. `takes` has the holds and waits, `flow` the branches, and `order` the
//! orders. `suspects` are waits that have some time to end. `state` holds everything under one lock and delivers each
//! `report`.

mod attempt;
mod flow;
mod order;
mod report;
mod state;
mod suspects;
mod takes;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) use attempt::{Attempt, Hold, Tag};
pub(super) use report::CodePlace;
pub use report::Report;

use attempt::IS_ENABLED;
use state::Settings;

/// How deadlocks are detected and reported. One setting applies to the whole process.
///
/// Default: five seconds of patience, deadlocks panic, other reports go to stderr.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::sync::deadlock::Detection;
///
/// Detection::new().patience(Duration::from_secs(1)).enable();
/// ```
#[derive(Clone, Debug)]
#[must_use = "it has no effect until `enable` is called"]
pub struct Detection(Settings);

impl Detection {
    /// Creates the default settings, which debug builds start with.
    ///
    /// ```
    /// use concurrent_futures::sync::deadlock::Detection;
    ///
    /// Detection::new().enable(); // In a release build, too.
    /// ```
    pub fn new() -> Self {
        Self(Settings::default())
    }

    /// How long a cycle of waits must last to count as a deadlock. Default: five seconds. With zero it counts
    /// at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::sync::deadlock::Detection;
    ///
    /// Detection::new().patience(Duration::from_secs(60)).enable();
    /// ```
    pub fn patience(mut self, patience: Duration) -> Self {
        self.0.patience = patience;
        self
    }

    /// Whether a deadlock panics, in the task whose wait closed the cycle. Default: true. If false, the hook of
    /// [`on_report`](Self::on_report) receives the report and the wait continues.
    ///
    /// ```
    /// use concurrent_futures::sync::deadlock::Detection;
    ///
    /// Detection::new().panics(false).enable();
    /// ```
    pub fn panics(mut self, panics: bool) -> Self {
        self.0.panics = panics;
        self
    }

    /// Sets the hook for reports that do not panic. Default: write to stderr. The task that takes or releases a lock
    /// calls the hook, once for each pair of places. That task may hold locks, so the hook must not wait for any lock.
    ///
    /// ```
    /// use concurrent_futures::sync::deadlock::Detection;
    ///
    /// Detection::new().on_report(|report| eprintln!("{report}")).enable();
    /// ```
    pub fn on_report(mut self, hook: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.0.hook = Arc::new(hook);
        self
    }

    /// Applies these settings and turns detection on. Locks taken earlier with detection off are unknown.
    ///
    /// ```
    /// use concurrent_futures::sync::deadlock::{Detection, is_enabled};
    ///
    /// Detection::new().enable();
    /// assert!(is_enabled());
    /// ```
    pub fn enable(self) {
        state::set(self.0);
        IS_ENABLED.store(true, Ordering::Relaxed);
    }
}

impl Default for Detection {
    fn default() -> Self {
        Self::new()
    }
}

/// Turns detection off for the whole process. Waits that are in progress are still reported.
///
/// ```
/// use concurrent_futures::sync::deadlock;
///
/// deadlock::disable();
/// assert!(!deadlock::is_enabled());
/// ```
pub fn disable() {
    IS_ENABLED.store(false, Ordering::Relaxed);
}

/// Whether deadlock detection is on.
///
/// ```
/// use concurrent_futures::sync::deadlock;
///
/// deadlock::Detection::new().enable();
/// assert!(deadlock::is_enabled());
/// ```
pub fn is_enabled() -> bool {
    IS_ENABLED.load(Ordering::Relaxed)
}
