//! How workers start, and what follows a failed start: another try, after a growing pause, until the pool gives up and
//! fails the waiting calls. [`starts`](super::starts) decides.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::SemaphorePermit;

use super::Pool;
use super::starts::{FailedStart, StartVerdict, pause_after};
use super::state::{PoolState, WaitingCall};
use crate::executor::error::Cause;
use crate::home::Alarm;
use crate::process::start::StartFailure;

/// What follows a failed start.
pub(in crate::process) enum AfterFailure {
    /// Try again after this pause.
    TryAgain(Duration),
    /// Try again after this pause, or once a `warm_up` ends it.
    KeepTrying(Duration),
    GiveUp,
}

impl Pool {
    /// Starts the workers that the pool wants. Takes the guard, because it releases the lock first.
    pub(super) fn start_workers(&self, mut state: MutexGuard<'_, PoolState>) {
        let new = state.add_wanted(&self.config);
        drop(state);
        self.hire_all(new);
    }

    /// Starts the workers of new places.
    pub(super) fn hire_all(&self, places: Vec<u64>) {
        for id in places {
            (self.hire)(self.shared(), id);
        }
    }

    /// Checks after `span` whether the pool wants another worker. The existing workers may be busy until long after
    /// that.
    fn check_again_in(&self, span: Duration) {
        let pool = self.me.clone();
        let check = move || {
            if let Some(pool) = pool.upgrade() {
                pool.start_workers(pool.lock());
            }
        };
        let alarm = Alarm::set(&self.home, span, check);
        let mut next = self
            .next_check
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = next.replace(alarm);
        drop(next);
        drop(before); // Dropping an alarm wakes the task that it cancels.
    }

    /// Waits until a worker may be created. Dropping the result lets the next one be created.
    pub(in crate::process) async fn start_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.start_turns.acquire().await.ok() // The semaphore is never closed.
    }

    /// Records a failed start and decides what follows.
    pub(in crate::process) fn start_failed(&self, id: u64, failure: StartFailure) -> AfterFailure {
        let mut state = self.lock();
        state.restarts.failed_to_start += 1;
        if let Some(old) = state.places.replaced_by(id) {
            let _starting = state.vacate(id);
            drop(state);
            old.retire_later(pause_after); // The old worker stays, so the pool loses nothing.
            return AfterFailure::GiveUp;
        }
        let start = FailedStart {
            kind: failure.kind(),
            failure: *failure.into_report(),
            others: state.places.len().saturating_sub(1),
            works: state.places.links().next().is_some(),
            is_kept: state.places.taken(&self.config) <= self.config.min_workers,
            is_needed: !state.is_drained(),
        };
        let verdict = state.starts.failed(start, Instant::now());
        match verdict {
            StartVerdict::TryAgain(pause) => return AfterFailure::TryAgain(pause),
            StartVerdict::KeepTrying(pause) => {
                state.places.keep_trying(id);
                drop(state);
                self.changed.notify_waiters(); // A `warm_up` does not wait for this place.
                return AfterFailure::KeepTrying(pause);
            }
            StartVerdict::Release(pause) => {
                let _starting = state.vacate(id);
                drop(state);
                self.check_again_in(pause);
            }
            StartVerdict::FailWaiting => {
                let _starting = state.vacate(id);
                let cause = Cause::InitFailed(state.starts.last_failure());
                let pending = state.backlog.drain();
                drop(state);
                self.refuse_all(pending, &cause);
            }
        }
        AfterFailure::GiveUp
    }

    /// The instant before which no worker starts, because workers have died right after their start.
    pub(in crate::process) fn starts_after(&self) -> Option<Instant> {
        self.lock().starts.starts_after()
    }

    /// Starts the workers that are kept. Outside a runtime they start with the first task, since the runtime that
    /// submits it drives them.
    pub(in crate::process) fn start_kept(&self) {
        if self.config.min_workers > 0 && Handle::try_current().is_ok() {
            self.start_workers(self.lock());
        }
    }

    /// Releases a place whose worker no runtime could start. If the pool has no other, the waiting calls fail.
    pub(in crate::process) fn discard_place(&self, id: u64) {
        let mut state = self.lock();
        let old = state.places.replaced_by(id);
        let _starting = state.vacate(id);
        if old.is_none() {
            state.starts.cut_off();
        }
        let pending = match state.places.is_empty() {
            true => state.backlog.drain(),
            false => Vec::new(),
        };
        let cause = Cause::InitFailed(state.starts.last_failure());
        drop(state);
        if let Some(old) = old {
            old.retire_later(pause_after);
        }
        self.refuse_all(pending, &cause);
        self.lock().settled();
        self.changed.notify_waiters();
    }

    /// Fails calls that were waiting.
    fn refuse_all(&self, waiting: Vec<WaitingCall>, cause: &Cause) {
        for waiting in waiting {
            let items = waiting.call.owed.fail_rest(cause);
            self.counts.items_refused(items);
        }
    }

    /// Whether no further worker is needed.
    pub(in crate::process) fn needs_no_worker(&self) -> bool {
        self.lock().is_drained()
    }
}
