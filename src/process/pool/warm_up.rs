//! `warm_up`: all workers start, and the caller waits until each is ready or its tries have failed.

use super::Pool;
use super::config::ProcessPoolConfig;
use super::places::StartReason;
use super::state::PoolState;
use crate::executor::error::{Cause, InitFailure, Shortfall, TaskError};
use crate::executor::options::TaskName;

/// A `warm_up` in progress.
struct WarmUp {
    /// The number of starts that have not started. They wait for the places of workers that are about to end.
    owed: usize,
    /// How many places had given up before.
    missed_before: u64,
}

/// What a `warm_up` finds.
enum WarmUpProgress {
    /// Some workers are starting, or are about to end and make room.
    Waits,
    /// Each worker was made ready.
    Done,
    /// All tries of some places have failed.
    Short(Box<InitFailure>),
    /// The pool is closed.
    Closed,
}

impl WarmUp {
    fn begin(state: &mut PoolState, config: &ProcessPoolConfig) -> Self {
        state.starts.warm_up();
        state.places.retry_now();
        let there = state.places.serving() + state.places.starting();
        Self {
            owed: config.max_workers.saturating_sub(there),
            missed_before: state.starts.missed(),
        }
    }

    /// Adds a place for each worker that can start now. Returns their ids.
    fn add_places(&mut self, state: &mut PoolState, config: &ProcessPoolConfig) -> Vec<u64> {
        let free = config
            .max_workers
            .saturating_sub(state.places.taken(config));
        let now = self.owed.min(free);
        self.owed -= now;
        (0..now)
            .map(|_| state.places.add(StartReason::Wanted))
            .collect()
    }

    fn progress(&self, state: &PoolState, config: &ProcessPoolConfig) -> WarmUpProgress {
        let ready = state.places.serving();
        if ready >= config.max_workers {
            WarmUpProgress::Done
        } else if state.places.starting() > 0 {
            WarmUpProgress::Waits
        } else if state.starts.missed() > self.missed_before {
            let wanted = config.max_workers;
            WarmUpProgress::Short(Box::new(InitFailure {
                shortfall: (ready > 0).then_some(Shortfall { ready, wanted }),
                ..state.starts.last_failure()
            }))
        } else if self.owed > 0 {
            WarmUpProgress::Waits
        } else {
            WarmUpProgress::Done
        }
    }
}

impl Pool {
    /// Starts all workers. Tries again if the pool gave up before.
    pub(in crate::process) async fn warm_up(&self) -> Result<(), TaskError> {
        let error = |cause| TaskError::new(TaskName::Function("warm_up"), false, cause);
        let mut warm_up = self.begin_warm_up();
        loop {
            let changed = self.changed.notified();
            match self.go_on_with(&mut warm_up) {
                WarmUpProgress::Done => return Ok(()),
                WarmUpProgress::Short(failure) => return Err(error(Cause::InitFailed(*failure))),
                WarmUpProgress::Closed => return Err(error(Cause::Shutdown)),
                WarmUpProgress::Waits => changed.await,
            }
        }
    }

    fn begin_warm_up(&self) -> WarmUp {
        let warm_up = WarmUp::begin(&mut self.lock(), &self.config);
        self.changed.notify_waiters(); // This ends the pauses of kept workers.
        warm_up
    }

    fn go_on_with(&self, warm_up: &mut WarmUp) -> WarmUpProgress {
        let mut state = self.lock();
        if !state.phase.is_open() {
            return WarmUpProgress::Closed;
        }
        let new = warm_up.add_places(&mut state, &self.config);
        let progress = warm_up.progress(&state, &self.config);
        drop(state);
        self.hire_all(new);
        progress
    }

    /// Waits until a `warm_up` ends the pause of a place that keeps trying.
    pub(in crate::process) async fn pause_ended(&self, id: u64) {
        loop {
            let changed = self.changed.notified();
            if !self.lock().places.is_retrying(id) {
                return;
            }
            changed.await;
        }
    }
}
