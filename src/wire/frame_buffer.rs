//! Frames of a process that is not trusted, as their bytes arrive. Memory grows with the bytes that have arrived, not
//! with the length that a frame announces. A frame that does not fit in memory is an error.

use std::io;

use bytes::{Bytes, BytesMut};

use super::frame::{HEAD, head};
use crate::sys::{self, BorrowedFd};

/// The number of bytes of one read: a little more than the usual 64 KiB of a payload. A larger frame gets memory of its
/// own, so that a result can keep it.
const READ: usize = 80 * 1024;
/// The most memory that is reserved before any of the bytes arrive.
const UNTRUSTED: usize = 1 << 20;

/// How much memory to reserve for `len` announced bytes of which `arrived` are here.
pub(super) fn trusted(len: usize, arrived: usize) -> usize {
    len.min(arrived.saturating_mul(4).max(UNTRUSTED))
}

#[derive(Debug)]
pub(crate) struct FrameBuffer {
    limit: usize,
    /// Small frames, and the start of the next frame.
    bytes: BytesMut,
    /// The frame at the front, if it is large and incomplete. Then `bytes` is empty.
    large: Option<LargeFrame>,
}

#[derive(Debug)]
struct LargeFrame {
    content: Vec<u8>,
    /// The length that its head announces.
    len: usize,
}

impl FrameBuffer {
    /// A buffer for frames of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: BytesMut::new(),
            large: None,
        }
    }

    /// The limit of the frames that follow.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// How many bytes are here that `next` has not returned.
    pub(crate) fn len(&self) -> usize {
        let large = self.large.as_ref();
        self.bytes.len() + large.map_or(0, |large| large.content.len())
    }

    /// The bytes of the next frames, for an error report. Without the head of a large frame.
    pub(crate) fn unread(&self) -> &[u8] {
        let large = self.large.as_ref();
        large.map_or(&self.bytes, |large| &large.content)
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.large = None;
    }

    /// Appends small frames, or parts of them.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match &mut self.large {
            Some(large) => {
                let (more, rest) = bytes.split_at(bytes.len().min(large.missing()));
                large.content.extend_from_slice(more);
                self.bytes.extend_from_slice(rest);
            }
            None => self.bytes.extend_from_slice(bytes),
        }
    }

    /// Reads available bytes once. Returns their number, and whether there may be more. No bytes mean the end.
    pub(crate) fn fill(&mut self, from: BorrowedFd<'_>) -> io::Result<(usize, bool)> {
        if let Some(large) = self.large.as_mut().filter(|large| large.missing() > 0) {
            return large.fill(from);
        }
        self.bytes.reserve(READ);
        let room = self.bytes.spare_capacity_mut().len();
        let len = sys::read_onto(from, &mut self.bytes)?;
        Ok((len, len == 0 || len == room))
    }

    /// The next frame, if all of it has arrived.
    pub(crate) fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(large) = self.large.take() {
            if large.missing() == 0 {
                return Ok(Some(large.content.into()));
            }
            self.large = Some(large);
            return Ok(None);
        }
        let Some(len) = head(&self.bytes, self.limit)? else {
            return Ok(None);
        };
        if self.bytes.len() >= HEAD + len {
            let _head = self.bytes.split_to(HEAD);
            return Ok(Some(self.bytes.split_to(len).freeze()));
        }
        if len > READ {
            let _head = self.bytes.split_to(HEAD);
            let mut content = Vec::new();
            sys::enlarge(&mut content, trusted(len, self.bytes.len()))?;
            content.extend_from_slice(&self.bytes.split());
            self.large = Some(LargeFrame { content, len });
        }
        Ok(None)
    }
}

impl LargeFrame {
    fn missing(&self) -> usize {
        self.len - self.content.len()
    }

    fn fill(&mut self, from: BorrowedFd<'_>) -> io::Result<(usize, bool)> {
        if self.content.len() == self.content.capacity() {
            let room = trusted(self.len, self.content.len());
            sys::enlarge(&mut self.content, room)?;
        }
        let room = self.content.capacity() - self.content.len();
        let room = room.min(self.missing());
        let len = sys::read_more(from, &mut self.content, room)?;
        Ok((len, len == 0 || len == room))
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/frame_buffer.rs"]
mod tests;
