//! Whether a runtime can drive background tasks: with an I/O driver, timers, and a clock that tells the real time.

use tokio::runtime::Handle;

use super::clock;
use crate::panic;
#[cfg(feature = "process")]
use crate::sys;

/// Whether a task that runs on `runtime` can wait for descriptors and for points in time.
pub(super) fn can_drive(runtime: &Handle) -> bool {
    let _entered = runtime.enter();
    // Tokio has no way to ask for its drivers. It panics where there is none.
    let has_timers = || panic::quietly(|| drop(tokio::time::sleep(std::time::Duration::ZERO)));
    #[cfg(feature = "process")]
    let has_io = || panic::quietly(sys::probe_events).is_ok();
    #[cfg(not(feature = "process"))]
    let has_io = || true;
    has_timers().is_ok() && has_io() && clock::is_real()
}
