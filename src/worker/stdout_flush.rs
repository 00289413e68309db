//! Flushes stdout after a call. A thread that a task or an initializer started may hold the lock of stdout for good,
//! and the worker would wait for it for good. So nothing is flushed while such threads run.

use std::cell::Cell;

use crate::sys;

/// A call that took fewer nanoseconds started no thread.
const QUICK: u64 = 10_000;

pub(super) struct StdoutFlush {
    /// The number of threads before any user code ran.
    own_threads: Option<usize>,
    /// Whether other threads ran when that was last checked.
    has_others: Cell<bool>,
}

impl StdoutFlush {
    /// For a worker with `own_threads` threads before its initializer.
    pub(super) fn new(own_threads: Option<usize>) -> Self {
        Self {
            own_threads,
            has_others: Cell::new(sys::thread_count() > own_threads),
        }
    }

    /// Writes what a call left in the buffers. The call took this number of nanoseconds, if that is known.
    pub(super) fn flush_after(&self, took: Option<u64>) {
        if took.is_none_or(|took| took > QUICK) {
            self.has_others.set(sys::thread_count() > self.own_threads);
        }
        if !self.has_others.get() {
            sys::flush_stdout();
        }
    }
}
