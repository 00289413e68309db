//! What each worker of a pool does now.

use super::Pool;
use crate::process::{WorkerInfo, WorkerState};

impl Pool {
    /// The workers that are ready, in the order of their start.
    pub(in crate::process) fn workers(&self) -> Vec<WorkerInfo> {
        let state = self.lock();
        let ready = state.places.links().map(|link| WorkerInfo {
            id: link.id,
            pid: link.pid,
            state: match link.ending() {
                Some(_) => WorkerState::Ending,
                None if link.is_idle() => WorkerState::Idle,
                None => WorkerState::Busy,
            },
            tasks_done: link.tasks_done(),
            started_at: link.started_at,
        });
        ready.collect()
    }
}
