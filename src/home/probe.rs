//! Whether a runtime can drive background tasks: it needs an I/O driver, timers, and a clock that shows the real time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};

use super::clock;
use crate::panic;
#[cfg(feature = "process")]
use crate::sys;

/// Whether a task that runs on `runtime` can wait for descriptors and for points in time.
pub(super) fn can_drive(runtime: &Handle) -> bool {
    let _entered = runtime.enter();
    has_drivers(runtime.id()) && clock::is_real()
}

/// Whether the current runtime, with this id, has its drivers. That does not change, so the last answer is kept.
fn has_drivers(runtime: Id) -> bool {
    static KNOWN: Mutex<Option<(Id, bool)>> = Mutex::new(None);
    let known = *KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((id, answer)) = known
        && id == runtime
    {
        return answer;
    }
    // Tokio has no method for this. It panics if a driver is missing.
    let probed = panic::quietly(|| {
        drop(tokio::time::sleep(Duration::ZERO));
        #[cfg(feature = "process")]
        sys::probe_events();
    });
    let answer = probed.is_ok();
    *KNOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some((runtime, answer));
    answer
}
