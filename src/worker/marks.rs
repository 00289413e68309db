//! If the parent reports output by line, marks in the stream say which task runs.

use std::io;

use crate::sys::{self, OwnedFd};
use crate::wire::mark::Token;
use crate::wire::message::Captured;

/// The streams to mark. They are separate descriptors, because a task may close its stdout or replace it.
#[derive(Debug)]
pub(super) struct Marks {
    token: Token,
    streams: Vec<OwnedFd>,
}

impl Marks {
    pub(super) fn open(captured: &Captured) -> io::Result<Self> {
        let mut streams = Vec::new();
        if captured.stdout {
            streams.push(sys::out_of_reach(sys::own_descriptor(&io::stdout())?));
        }
        if captured.stderr {
            streams.push(sys::out_of_reach(sys::own_descriptor(&io::stderr())?));
        }
        Ok(Self {
            token: captured.token,
            streams,
        })
    }

    pub(super) fn begin(&self, task: u64) {
        self.put(Some(task));
    }

    /// Marks the end of the task. The task's output is in the pipe before the mark, and the mark is in the pipe before
    /// the outcome is posted. So all output is in the pipe when the caller gets the outcome.
    pub(super) fn end(&self) {
        self.put(None);
    }

    fn put(&self, task: Option<u64>) {
        sys::flush_stdout();
        let mark = self.token.mark(task);
        // If this fails, the parent does not read the stream any more: it exits, and this process with it.
        for stream in &self.streams {
            let _ = sys::write_in_one(stream, mark.as_bytes());
        }
    }
}
