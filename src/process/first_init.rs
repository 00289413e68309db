//! The first call of `init` in this program. It decides whether workers can start.

use std::sync::OnceLock;

use super::start::ServeForked;
use crate::executor::error::{BuildError, BuildFailure};
use crate::sys;

/// Set by the first call of `init`: this executable can be a worker.
static INITIALIZED: OnceLock<FirstInit> = OnceLock::new();

struct FirstInit {
    serve: ServeForked,
    /// Whether the call came too late: an executed worker would fail at it.
    is_late: bool,
}

pub(crate) fn allow_workers(serve: ServeForked) {
    INITIALIZED.get_or_init(|| {
        let in_runtime = tokio::runtime::Handle::try_current().is_ok();
        let is_late = sys::init_is_late(in_runtime);
        FirstInit { serve, is_late }
    });
}

/// Refuses to start processes that would fail because `init` was not called in time. A fork of this process calls no
/// `init`.
pub(super) fn workers_allowed(is_fork: bool) -> Result<ServeForked, BuildError> {
    let failure = match INITIALIZED.get() {
        Some(init) if init.is_late && !is_fork => BuildFailure::InitializedLate,
        Some(init) => return Ok(init.serve),
        None => BuildFailure::NotInitialized,
    };
    Err(BuildError(failure))
}
