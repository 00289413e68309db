//! The runtimes that drive async tasks, while their seats have no thread. A seat that moves to another thread gets its
//! runtime back, with the connections and tasks in it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disposal;
use crate::executor::drive::{KeptRuntime, swap_runtime};

#[derive(Default)]
pub(super) struct IdleRuntimes(Mutex<IdleState>);

enum IdleState {
    Open(HashMap<u64, KeptRuntime>),
    /// No seat will need one.
    Closed,
}

impl Default for IdleState {
    fn default() -> Self {
        Self::Open(HashMap::new())
    }
}

impl IdleRuntimes {
    /// Makes the runtime of this seat that of this thread, until the result is dropped.
    pub(super) fn lend(&self, seat: u64) -> SeatRuntime<'_> {
        let own = match &mut *self.lock() {
            IdleState::Open(runtimes) => runtimes.remove(&seat),
            IdleState::Closed => None,
        };
        dispose(swap_runtime(own));
        SeatRuntime { idle: self, seat }
    }

    /// Drops them, and those that come back.
    pub(super) fn close(&self) {
        let state = std::mem::replace(&mut *self.lock(), IdleState::Closed);
        if let IdleState::Open(runtimes) = state {
            runtimes
                .into_values()
                .for_each(|runtime| dispose(Some(runtime)));
        }
    }

    fn keep(&self, seat: u64, runtime: Option<KeptRuntime>) {
        let surplus = match &mut *self.lock() {
            IdleState::Open(runtimes) => runtime.and_then(|runtime| runtimes.insert(seat, runtime)),
            IdleState::Closed => runtime,
        };
        dispose(surplus);
    }

    fn lock(&self) -> MutexGuard<'_, IdleState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for IdleRuntimes {
    fn drop(&mut self) {
        self.close();
    }
}

/// The runtime that a seat has on its thread.
pub(super) struct SeatRuntime<'a> {
    idle: &'a IdleRuntimes,
    seat: u64,
}

impl Drop for SeatRuntime<'_> {
    fn drop(&mut self) {
        self.idle.keep(self.seat, swap_runtime(None));
    }
}

/// The tasks on it are user code.
fn dispose(runtime: Option<KeptRuntime>) {
    if let Some(runtime) = runtime {
        disposal::dispose(runtime);
    }
}
