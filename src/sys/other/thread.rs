//! What the operating system calls a thread.

/// Names nothing: std gives a thread its name when it starts it, and not later.
pub(crate) struct ThreadName;

impl ThreadName {
    pub(crate) fn set(_: &str) -> Self {
        Self
    }
}
