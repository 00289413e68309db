//! Starts a thread with a value, and returns the value if the system refuses a thread.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A value that one of two threads takes.
pub(super) struct Handover<T>(Arc<Mutex<Option<T>>>);

impl<T> Handover<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(Some(value))))
    }

    /// The value, for the first caller.
    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Clone for Handover<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Starts a thread that runs `run` with `value`. The error contains the value.
pub(crate) fn start_thread<T: Send + 'static>(
    name: &str,
    value: T,
    run: impl FnOnce(T) + Send + 'static,
) -> Result<(), (Option<T>, io::Error)> {
    let ours = Handover::new(value);
    let theirs = ours.clone();
    let thread = thread::Builder::new().name(name.to_owned());
    let started = thread.spawn(move || theirs.take().map(run));
    started.map(drop).map_err(|error| (ours.take(), error))
}
