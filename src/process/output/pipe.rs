//! The parent's end of the pipe that is a worker's stdout or stderr.

use std::io::{self, PipeReader};
use std::task::{Context, Poll, ready};

use crate::sys::{self, AsFd as _, AsyncFd};

/// The most bytes to read at once.
const READ: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct OutputPipe(AsyncFd<PipeReader>);

impl OutputPipe {
    pub(super) fn new(pipe: PipeReader) -> io::Result<Self> {
        sys::watch_output(pipe).map(Self)
    }

    /// Waits for bytes and calls `read`, which reads some of them.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        read: impl Fn(&PipeReader) -> io::Result<Vec<u8>>,
    ) -> Poll<io::Result<Vec<u8>>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            match read(self.0.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// The number of bytes in the pipe.
    pub(super) fn waiting(&self) -> usize {
        sys::bytes_waiting(self.0.get_ref().as_fd())
    }

    /// Reads at most `most` bytes of these, whatever the runtime knows of them.
    pub(super) fn read_now(&self, most: usize) -> io::Result<Vec<u8>> {
        read_some(self.0.get_ref(), most)
    }
}

/// Reads at most `most` bytes. None at all means the end.
pub(super) fn read_some(pipe: &PipeReader, most: usize) -> io::Result<Vec<u8>> {
    let most = most.min(READ);
    let mut bytes = Vec::with_capacity(most);
    sys::read_more(pipe.as_fd(), &mut bytes, most)?;
    Ok(bytes)
}
