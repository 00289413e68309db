//! Frames: a length of four bytes, little-endian, then that number of bytes. Supervisors and starts read them with a
//! [`FrameBuffer`](super::frame_buffer::FrameBuffer). [`Frames`] reads them where a thread may block: in a worker, and
//! in the parent when it reads how a `Process` ended.

use std::io::{self, Read};

use bytes::{BufMut as _, Bytes, BytesMut};

use super::chain::Chain;

/// The size of the length in bytes.
pub(crate) const HEAD: usize = 4;
/// The largest frame that the length can express.
pub(crate) const LARGEST: usize = u32::MAX as usize;

/// How much one read takes: a page at first, and more once a read filled the page. (Zeroing a large buffer would take
/// longer than a new worker's first messages, and a worker with small messages never needs one.)
const READ: usize = 4 * 1024;
const READ_MUCH: usize = 64 * 1024;
/// A frame above this size is read into its final buffer.
const LARGE: usize = 8 * 1024;

/// Starts a frame at the end of `out`. `finish` fills in its length.
pub(crate) fn begin(out: &mut Chain) -> usize {
    let start = out.len();
    out.tail().put_u32_le(0);
    start
}

/// Ends the frame that `begin` started, except for its last part: `payload` bytes must follow.
pub(crate) fn finish(out: &mut Chain, start: usize, payload: usize) {
    let head = out.len() - start;
    let len = u32::try_from(head - HEAD + payload).expect("the payload is within the limit");
    let at = out.tail().len() - head;
    out.tail()[at..at + HEAD].copy_from_slice(&len.to_le_bytes());
}

/// The length of the frame at the front. `None` if the length is incomplete.
pub(super) fn head(bytes: &[u8], limit: usize) -> io::Result<Option<usize>> {
    let Some(head) = bytes.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let len = u32::from_le_bytes(*head) as usize;
    if len > limit {
        let message = format!("a frame of {len} bytes is over the limit of {limit}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Some(len))
}

/// Reads frames from a blocking source.
#[derive(Debug)]
pub(crate) struct Frames {
    buffer: BytesMut,
    scratch: Box<[u8]>,
    limit: usize,
}

impl Frames {
    /// A reader of frames of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scratch: vec![0; READ].into(),
            limit,
        }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next frame. `None` at the end of the input.
    pub(crate) fn next(&mut self, input: &mut impl Read) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(len) = head(&self.buffer, self.limit)? {
                if self.buffer.len() >= HEAD + len {
                    let _head = self.buffer.split_to(HEAD);
                    return Ok(Some(self.buffer.split_to(len).freeze()));
                }
                if len > LARGE {
                    return self.read_large(len, input).map(Some);
                }
            }
            if !self.fill(input)? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Whether the next frame is complete, so that `next` does not block.
    pub(crate) fn has_next(&self) -> bool {
        matches!(head(&self.buffer, self.limit), Ok(Some(len)) if self.buffer.len() >= HEAD + len)
    }

    fn fill(&mut self, input: &mut impl Read) -> io::Result<bool> {
        loop {
            match input.read(&mut self.scratch) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => {
                    let len = outcome?;
                    self.buffer.extend_from_slice(&self.scratch[..len]);
                    if len == READ {
                        self.scratch = vec![0; READ_MUCH].into();
                    }
                    return Ok(len > 0);
                }
            }
        }
    }

    /// Reads a large frame into its final buffer. Memory grows as bytes arrive: the length alone allocates
    /// at most 1 MiB.
    #[cold]
    fn read_large(&mut self, len: usize, input: &mut impl Read) -> io::Result<Bytes> {
        let _head = self.buffer.split_to(HEAD);
        let mut frame = Vec::with_capacity(len.min(1 << 20));
        frame.extend_from_slice(&self.buffer.split());
        input
            .take((len - frame.len()) as u64)
            .read_to_end(&mut frame)?;
        if frame.len() < len {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(frame.into())
        }
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/frame.rs"]
mod tests;
