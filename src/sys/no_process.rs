//! The platform of a crate that is built without worker processes.

/// Without worker processes, no signal needs a name.
pub(crate) fn signal_name(_signal: i32) -> Option<&'static str> {
    None
}

/// This process is never forked by the crate.
pub(crate) fn generation() -> u32 {
    0
}
