//! How workers start, and what follows a failed start: another try, after a growing pause, until the pool gives
//! up and fails the waiting calls.

use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::Pool;
use super::state::PoolState;
use crate::executor::error::{Cause, InitFailure, TaskError};
use crate::executor::options::TaskName;
use crate::home::Alarm;

/// The number of consecutive failed starts after which the pool gives up.
const MOST_FAILURES: u32 = 3;
/// The pause after the first failure. It doubles with each further one.
const BACK_OFF: Duration = Duration::from_millis(50);
/// The maximal number of doublings of the pause.
const MOST_DOUBLINGS: u32 = 10;

/// What follows a failed start.
pub(in crate::process) enum AfterFailure {
    TryAgain(Duration),
    GiveUp,
}

impl Pool {
    /// Starts as many workers as there is work for. Takes the lock in order to release it first.
    pub(super) fn start_workers(&self, mut state: MutexGuard<'_, PoolState>) {
        if !state.wants_another(&self.config) {
            return;
        }
        let mut new = Vec::new();
        while state.wants_another(&self.config) {
            new.push(state.add_place());
        }
        drop(state);
        self.hire_all(new);
    }

    pub(super) fn hire_all(&self, places: Vec<u64>) {
        for id in places {
            (self.hire)(self.shared(), id);
        }
    }

    /// After `span`, checks whether calls wait for a worker: the existing ones may be busy for long.
    fn start_workers_in(&self, span: Duration) -> Alarm {
        let pool = self.me.clone();
        let look = move || {
            if let Some(pool) = pool.upgrade() {
                pool.start_workers(pool.lock());
            }
        };
        Alarm::set(&self.home, span, look)
    }

    /// Records a failed start and decides what follows.
    pub(in crate::process) fn start_failed(
        &self,
        id: u64,
        mut failure: InitFailure,
        for_good: bool,
    ) -> AfterFailure {
        let mut state = self.lock();
        state.restarts.failed_to_start += 1;
        if let Some(old) = state.successors.get(&id).and_then(|old| state.link(*old)) {
            old.retire_later(pause_after); // Nothing is lost: the old worker stays.
            return AfterFailure::GiveUp;
        }
        state.failures += 1;
        let attempts = state.failures;
        let is_idle = state.closed && state.backlog.is_empty();
        if attempts < MOST_FAILURES && !state.broken && !is_idle {
            state.last_failure = Some(failure);
            return AfterFailure::TryAgain(pause_after(attempts - 1));
        }
        // Fails the waiting calls once no other worker is ready or starting, or once none is ready and `most`
        // starts have failed.
        let mut pending = Vec::new();
        let works = state.links().next().is_some();
        let is_last = state.workers.keys().all(|other| *other == id);
        let most = MOST_FAILURES.saturating_mul(1 + state.workers.len() as u32);
        if is_last || !works && attempts >= most {
            failure.broken = for_good;
            state.broken = for_good;
            state.gave_up = true;
            state.failures = 0;
            pending = state.backlog.drain();
        } else {
            let pause = pause_after(attempts);
            if works && state.taken(&self.config) <= self.config.min_workers && !is_idle {
                state.last_failure = Some(failure);
                drop(state);
                self.changed.notify_waiters(); // A `warm_up` must not wait forever.
                return AfterFailure::TryAgain(pause);
            }
            state.not_before = Some(Instant::now() + pause);
            state.tries_again = Some(self.start_workers_in(pause));
        }
        let cause = Cause::InitFailed(failure.clone());
        state.last_failure = Some(failure);
        drop(state);
        for waiting in pending {
            waiting.call.owed.fail_rest(&cause);
        }
        AfterFailure::GiveUp
    }

    /// The instant before which no worker starts, because too many have died right after their start.
    pub(in crate::process) fn starts_after(&self) -> Option<Instant> {
        self.lock().starts_after
    }

    /// Starts the workers that are kept. Outside of a runtime they start with the first task, since the runtime that
    /// submits it drives them.
    pub(in crate::process) fn start_kept(&self) {
        if self.config.min_workers > 0 && Handle::try_current().is_ok() {
            self.start_workers(self.lock());
        }
    }

    /// The runtime that was to start a worker has ended. If no worker is left, the waiting calls fail.
    pub(in crate::process) fn discard_place(&self, id: u64) {
        let mut state = self.lock();
        let _starting = state.remove(id);
        if state.workers.is_empty() {
            let pending = state.backlog.drain();
            drop(state);
            drop(pending); // Dropping a call fails it.
        }
        self.changed.notify_waiters();
    }

    /// Whether no further worker is needed.
    pub(in crate::process) fn needs_no_worker(&self) -> bool {
        let state = self.lock();
        state.closed && state.backlog.is_empty()
    }

    /// Starts all workers. Tries again if the pool gave up before.
    pub(in crate::process) async fn warm_up(&self) -> Result<(), TaskError> {
        let error = |cause| TaskError::new(TaskName::Function("warm_up"), false, cause);
        self.home.note_caller();
        {
            let mut state = self.lock();
            if state.closed {
                return Err(error(Cause::Shutdown));
            }
            state.broken = false;
            state.gave_up = false;
            state.failures = 0;
            state.last_failure = None;
            let mut new = Vec::new();
            while state.taken(&self.config) < self.config.max_workers {
                new.push(state.add_place());
            }
            drop(state);
            self.hire_all(new);
        }
        loop {
            let changed = self.changed.notified();
            {
                let state = self.lock();
                let starting = state.starting() > 0;
                if state.taken(&self.config) >= self.config.max_workers && !starting {
                    return Ok(());
                }
                if state.closed {
                    return Err(error(Cause::Shutdown));
                }
                // Kept workers are retried without limit.
                let keeps_failing = state.failures >= MOST_FAILURES && self.config.min_workers > 0;
                if !starting || keeps_failing {
                    return match &state.last_failure {
                        Some(_) => Err(error(state.failure())),
                        None => Ok(()), // They were started, and have ended since.
                    };
                }
            }
            changed.await;
        }
    }
}

/// The pause after this number of failures.
pub(super) fn pause_after(failures: u32) -> Duration {
    BACK_OFF * 2_u32.pow(failures.min(MOST_DOUBLINGS))
}
