//! What this process may use of the system.

use crate::panic::PanicReport;
use crate::sys::Limit;

/// Holds this process to its limits, before any code of the user's runs.
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
