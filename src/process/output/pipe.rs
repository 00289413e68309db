//! The parent's end of the pipe that is a worker's stdout or stderr.

use std::io::{self, PipeReader};
use std::task::{Context, Poll};

use crate::home::Watched;
use crate::sys::{self, AsFd as _, Direction};

/// The most bytes to read at once.
const READ: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct OutputPipe(Watched<PipeReader>);

impl OutputPipe {
    pub(super) fn new(pipe: PipeReader) -> io::Result<Self> {
        sys::never_wait(&pipe)?;
        Ok(Self(Watched::new(pipe, Direction::In)))
    }

    /// Waits for bytes and calls `read`, which reads some of them.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        read: impl Fn(&PipeReader) -> io::Result<Vec<u8>>,
    ) -> Poll<io::Result<Vec<u8>>> {
        self.0.poll_some(cx, |pipe| {
            let bytes = read(pipe)?;
            // Fewer bytes than requested: the pipe is empty. An event reports later bytes.
            let has_more = bytes.is_empty() || bytes.len() == READ;
            Ok((bytes, has_more))
        })
    }

    /// The number of bytes in the pipe.
    pub(super) fn waiting(&self) -> usize {
        sys::bytes_waiting(self.0.get_ref().as_fd())
    }

    /// Reads at most `most` of the bytes that are there. Does not depend on the runtime's events.
    pub(super) fn read_now(&self, most: usize) -> io::Result<Vec<u8>> {
        read_some(self.0.get_ref(), most)
    }
}

/// Reads at most `most` bytes. No bytes mean the end.
pub(super) fn read_some(pipe: &PipeReader, most: usize) -> io::Result<Vec<u8>> {
    let most = most.min(READ);
    let mut bytes = Vec::with_capacity(most);
    sys::read_more(pipe.as_fd(), &mut bytes, most)?;
    Ok(bytes)
}
