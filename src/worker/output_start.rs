//! If the parent relays stderr, this says where the output of the latest call begins. So if the worker dies in that
//! call, the error has no words of an earlier one.

use std::io;
use std::sync::Arc;

use crate::sys::{self, AsFd as _, OwnedFd};
use crate::wire::page::Page;

/// A call that took less time, in nanoseconds, has written nothing: a system call takes longer.
const SILENT: u64 = 150;

pub(super) struct OutputStart {
    page: Arc<Page>,
    /// The pipe that is stderr. It is a separate descriptor, because a task may replace its stderr.
    stderr: OwnedFd,
    /// Something may have been written since the last record.
    is_due: bool,
}

impl OutputStart {
    /// `None` if the parent does not ask.
    pub(super) fn open(page: &Arc<Page>) -> io::Result<Option<Self>> {
        if !page.is_output_followed() {
            return Ok(None);
        }
        Ok(Some(Self {
            page: page.clone(),
            stderr: sys::own_descriptor(&io::stderr())?,
            is_due: true,
        }))
    }

    /// A call has ended after `nanos` nanoseconds, if that is known.
    pub(super) fn call_ended(&mut self, nanos: Option<u64>) {
        self.is_due |= nanos.is_none_or(|nanos| nanos >= SILENT);
    }

    /// The next call has not begun.
    pub(super) fn record(&mut self) {
        if self.is_due {
            let waiting = || sys::bytes_waiting(self.stderr.as_fd());
            self.is_due = !self.page.start_output(waiting);
        }
    }
}
