//! Where the parent tells what this process prints by lines, it is told in the stream itself which
//! task runs.

use std::io;

use crate::sys::{self, OwnedFd};
use crate::wire::mark::Token;
use crate::wire::message::Captured;

/// The streams to mark. They are descriptors of our own: a task may close its stdout, or put
/// another file in its place.
#[derive(Debug)]
pub(super) struct Marks {
    token: Token,
    streams: Vec<OwnedFd>,
}

impl Marks {
    pub(super) fn open(captured: &Captured) -> io::Result<Self> {
        let mut streams = Vec::new();
        if captured.stdout {
            streams.push(sys::own_descriptor(&io::stdout())?);
        }
        if captured.stderr {
            streams.push(sys::own_descriptor(&io::stderr())?);
        }
        Ok(Self {
            token: captured.token,
            streams,
        })
    }

    pub(super) fn begin(&self, task: u64) {
        self.put(Some(task));
    }

    /// The task is over. What it printed is in the pipe before the mark, and the mark before the
    /// outcome is anywhere, so whoever has the outcome finds all of it.
    pub(super) fn end(&self) {
        self.put(None);
    }

    fn put(&self, task: Option<u64>) {
        sys::flush_stdout();
        let mark = self.token.mark(task);
        // What fails here, the parent does not read: it is going, and this process with it.
        for stream in &self.streams {
            let _ = sys::write_in_one(stream, mark.as_bytes());
        }
    }
}
