//! Deadlocks of [`Lock`](super::Lock) and [`RLock`](super::RLock), told with the places in the source
//! instead of a hang. On in debug builds; [`Detection::enable`] turns it on in others.
//!
//! It knows who has which lock and who waits for which, and tells three things:
//!
//! - **A task takes a lock that it has.** It would wait for itself for ever.
//! - **Tasks wait for each other**, each for a lock that the next one has.
//! - **Two locks are taken in opposite orders**, be it at different times: that is a deadlock when it happens at
//!   the same time. This is told at once, when the opposite order is seen, to the hook of
//!   [`Detection::on_report`]. It goes to stderr unless set, once for each pair of places in the source.
//!
//! The first two are deadlocks if they last, so the wait that has closed the circle has five seconds
//! ([`Detection::patience`]). Then it panics with what is known. Its task's guards are dropped by that, so
//! that the others go on.
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
//!     *lock.lock().await += 1; // It has the lock already.
//! });
//! let panic = task.await.unwrap_err().into_panic();
//! let message = panic.downcast_ref::<String>().unwrap();
//! assert!(message.contains(" for a lock that it took itself at "));
//! # }
//! ```
//!
//! # What it cannot know
//!
//! A task is one flow of control here, and a thread outside of tasks is another. The branches of `join!` and
//! `select!` are one task, so that one which waits for another looks like a task that waits for itself. Hence
//! the time it is given: who has the lock may let go. Where branches have a lock for longer than that, spawn them, or set
//! more patience, or [`panics(false)`](Detection::panics). When both places are the same, it is told and does not
//! panic: that is most often branches which run the same code.
//!
//! An [`OwnedLockGuard`](super::OwnedLockGuard) can go anywhere, so it is nobody's, and waits for it are never told. A
//! [`LockGuard`](super::LockGuard) is taken to stay with its task.
//!
//! Futures that are polled on a thread without a tokio runtime are nobody's either.
//!
//! # Cost
//!
//! Off: reading one flag. On: three short turns under one lock for all of the process. What it remembers goes with the
//! locks: those had and waited for, and the orders they were taken in, 65536 of those at the most.

mod attempt;
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

/// How deadlocks are found and told. One setting holds for all of the process.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::sync::deadlock::Detection;
///
/// Detection::new().patience(Duration::from_secs(1)).enable();
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is in force when it is enabled"]
pub struct Detection(Settings);

impl Detection {
    /// What debug builds begin with.
    ///
    /// ```
    /// use concurrent_futures::sync::deadlock::Detection;
    ///
    /// Detection::new().enable(); // In a release build, too.
    /// ```
    pub fn new() -> Self {
        Self(Settings::default())
    }

    /// How long a circle of waits has to stand until it counts as a deadlock: five seconds unless set. With
    /// none, it counts at once, and branches of a task must not wait for each other.
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

    /// Whether a deadlock panics, in the task whose wait has closed the circle. It does unless set. If not,
    /// it is told as opposite orders are, and goes on.
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

    /// Whom to tell what does not panic. It is called by the task that takes a lock, once for each pair of
    /// places.
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

    /// From now on this is in force. Guards that were taken before are not known.
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

/// Ends it, for all of the process. What is waited for at the moment is still told.
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

/// Whether deadlocks are found and told now.
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
