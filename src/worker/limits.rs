//! The resource limits of this process.

use crate::panic::PanicReport;
use crate::sys::Limit;

/// Sets the limits, before any user code runs.
pub(super) fn limit(limits: &[(Limit, i64)]) -> Result<(), Result<String, PanicReport>> {
    for (limit, value) in limits {
        let refused = |error| {
            let name = limit.name();
            Ok(format!(
                "the system refused the limit {name} of {value}: {error}"
            ))
        };
        limit.set(*value).map_err(refused)?;
    }
    Ok(())
}
