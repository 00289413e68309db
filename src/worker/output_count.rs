//! If the parent relays stderr, the worker records how many bytes it has written by the end of each call. So the parent
//! knows without a system call whether something is left to read before it passes on the outcome. If the worker dies in
//! the next call, the error does not contain output of this one.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use crate::sys::{self, AsFd as _, OwnedFd};
use crate::wire::page::Page;

/// A call that took less time, in nanoseconds, has written nothing: a system call takes longer.
const SILENT: u64 = 150;

pub(super) struct OutputCount {
    page: Arc<Page>,
    /// The pipe that is stderr. It is a separate descriptor, because a task may replace its stderr. It has a high
    /// number, so that a task does not close it by mistake.
    stderr: OwnedFd,
    /// Whether something may have been written since the last record.
    is_due: Cell<bool>,
}

impl OutputCount {
    /// Opens the count, before the initializer, which may replace its stderr. `None` if the parent does not follow the
    /// output.
    pub(super) fn open(page: &Arc<Page>) -> io::Result<Option<Self>> {
        if !page.is_output_followed() {
            return Ok(None);
        }
        Ok(Some(Self {
            page: page.clone(),
            stderr: sys::out_of_reach(sys::own_descriptor(&io::stderr())?),
            is_due: Cell::new(true),
        }))
    }

    /// Called when a call of several items begins. The parent may get the outcomes of some items before the call ends.
    pub(super) fn begin_chunk(&self) {
        self.page.forget_output();
        self.is_due.set(true);
    }

    /// Called when a call has run for this number of nanoseconds, if known. Its last outcome is not posted yet.
    pub(super) fn end_call(&self, nanos: Option<u64>) {
        if self.is_due.get() || nanos.is_none_or(|nanos| nanos >= SILENT) {
            self.record();
        }
    }

    /// Called when the initializer, which may have written, has ended.
    pub(super) fn begin(&self) {
        self.record();
    }

    fn record(&self) {
        let waiting = || sys::bytes_waiting(self.stderr.as_fd());
        self.is_due.set(!self.page.record_output(waiting));
    }
}
