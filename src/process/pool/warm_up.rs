//! `warm_up`: all workers start, and the caller waits until each is ready or its tries have failed.

use super::Pool;
use super::config::ProcessPoolConfig;
use super::state::{PoolPlace, PoolState};
use crate::executor::error::{Cause, InitFailure, Shortfall, TaskError};
use crate::executor::options::TaskName;

/// A `warm_up` in progress.
struct WarmUp {
    /// The number of starts that are still to begin. Those wait for the places of workers that are about to end.
    owed: usize,
    /// How often the tries of a place had failed before.
    missed_before: u64,
}

/// What a `warm_up` finds.
enum Warmth {
    /// Some workers are starting, or about to end and make room.
    Rising,
    /// Each worker was made ready.
    Ready,
    /// The tries of some places have failed.
    Short(Box<InitFailure>),
    /// The pool is closed.
    Closed,
}

impl WarmUp {
    fn begin(state: &mut PoolState, config: &ProcessPoolConfig) -> Self {
        state.starts.warm_up();
        for place in state.workers.values_mut() {
            if let PoolPlace::Retrying = place {
                *place = PoolPlace::Starting { replaces: None };
            }
        }
        let there = state.serving() + starting(state);
        Self {
            owed: config.max_workers.saturating_sub(there),
            missed_before: state.starts.missed(),
        }
    }

    /// Adds a place for each worker that can start now. Returns their ids.
    fn add_places(&mut self, state: &mut PoolState, config: &ProcessPoolConfig) -> Vec<u64> {
        let free = config.max_workers.saturating_sub(state.taken(config));
        let now = self.owed.min(free);
        self.owed -= now;
        (0..now).map(|_| state.add_place(None)).collect()
    }

    fn warmth(&self, state: &PoolState, config: &ProcessPoolConfig) -> Warmth {
        let ready = state.serving();
        if ready >= config.max_workers {
            Warmth::Ready
        } else if starting(state) > 0 {
            Warmth::Rising
        } else if state.starts.missed() > self.missed_before {
            let wanted = config.max_workers;
            Warmth::Short(Box::new(InitFailure {
                shortfall: (ready > 0).then_some(Shortfall { ready, wanted }),
                ..state.starts.last_failure()
            }))
        } else if self.owed > 0 {
            Warmth::Rising
        } else {
            Warmth::Ready
        }
    }
}

/// The number of workers that are being started, and whose tries have not failed.
fn starting(state: &PoolState) -> usize {
    let places = state.workers.values();
    let is_starting = |place: &&PoolPlace| matches!(place, PoolPlace::Starting { replaces: None });
    places.filter(is_starting).count()
}

impl Pool {
    /// Starts all workers. Tries again if the pool gave up before.
    pub(in crate::process) async fn warm_up(&self) -> Result<(), TaskError> {
        let error = |cause| TaskError::new(TaskName::Function("warm_up"), false, cause);
        self.home.note_caller();
        let mut warm_up = None;
        loop {
            let changed = self.changed.notified();
            match self.go_on_with(&mut warm_up) {
                Warmth::Ready => return Ok(()),
                Warmth::Short(failure) => return Err(error(Cause::InitFailed(*failure))),
                Warmth::Closed => return Err(error(Cause::Shutdown)),
                Warmth::Rising => changed.await,
            }
        }
    }

    fn go_on_with(&self, warm_up: &mut Option<WarmUp>) -> Warmth {
        let mut state = self.lock();
        if !state.phase.is_open() {
            return Warmth::Closed;
        }
        let warm_up = warm_up.get_or_insert_with(|| WarmUp::begin(&mut state, &self.config));
        let new = warm_up.add_places(&mut state, &self.config);
        let warmth = warm_up.warmth(&state, &self.config);
        drop(state);
        self.hire_all(new);
        warmth
    }
}
