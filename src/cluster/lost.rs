//! The errors of tasks that another program ran.

use std::sync::Arc;

use super::record::WorkerId;
use crate::executor::error::{Cause, Death, ErrorOrigin, TaskError};
use crate::executor::options::TaskName;

/// The error of a task whose worker is lost, in this attempt.
pub(crate) fn lost_error(task: TaskName, by: &WorkerId, attempt: u32) -> TaskError {
    let death = Death {
        pid: by.pid,
        runs: attempt,
        ..Death::default()
    };
    let error = TaskError::new(task, true, Cause::WorkerLost(death)).of_worker(origin_of(by));
    error.after(attempt.saturating_sub(1), true)
}

/// The worker that reported an error.
pub(crate) fn origin_of(worker: &WorkerId) -> Arc<ErrorOrigin> {
    Arc::new(ErrorOrigin {
        host: worker.host.clone(),
        worker: worker.id.clone(),
        name: worker.name.clone(),
    })
}
