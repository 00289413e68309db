//! Flushes stdout after a call. A thread that a task or an initializer started may hold the lock of stdout forever, and
//! the worker would wait forever for it. So nothing is flushed while such threads run.

use std::cell::Cell;

use crate::sys;

/// A call that took fewer nanoseconds cannot have started a thread.
const QUICK: u64 = 10_000;

pub(super) struct StdoutFlush {
    /// The number of threads before any user code ran.
    own_threads: Option<usize>,
    /// Whether other threads ran when that was last checked.
    has_others: Cell<bool>,
}

impl StdoutFlush {
    /// Creates it for a worker that had `own_threads` threads before its initializer.
    pub(super) fn new(own_threads: Option<usize>) -> Self {
        Self {
            own_threads,
            has_others: Cell::new(sys::thread_count() > own_threads),
        }
    }

    /// Writes what a call left in the buffers. The call took this number of nanoseconds, if known. `later` is the
    /// number of threads that the worker itself has started since `own_threads` was counted.
    pub(super) fn flush_after(&self, took: Option<u64>, later: impl FnOnce() -> usize) {
        if took.is_none_or(|took| took > QUICK) {
            let own_threads = self.own_threads.map(|count| count + later());
            self.has_others.set(sys::thread_count() > own_threads);
        }
        if !self.has_others.get() {
            sys::flush_stdout();
        }
    }
}
