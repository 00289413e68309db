//! Frames: a length of four bytes, low byte first, and that many bytes. Supervisors and starts read them with
//! tokio-util's codec. [`Frames`] reads the same format where no task waits: in a worker, and in the parent
//! when it reads how a `Process` ended.

use std::io::{self, Read};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio_util::codec::LengthDelimitedCodec;

use super::chain::Chain;

/// How many bytes the length takes.
pub(crate) const HEAD: usize = 4;
/// The largest frame that can be told.
pub(crate) const LARGEST: usize = u32::MAX as usize;

/// How much a worker reads at once: a page, and more once there is more. (To fill as much with zeros
/// takes longer than the first words to a new worker, and one that has little to do needs no more.)
const READ: usize = 4 * 1024;
const READ_MUCH: usize = 64 * 1024;
/// From this size on, a frame is read to where it stays.
const LARGE: usize = 8 * 1024;

/// The parent's side of the format.
pub(crate) fn codec(limit: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_length(HEAD)
        .max_frame_length(limit)
        .new_codec()
}

/// Begins a frame at the end of `out`. Its length is filled in by `finish`.
pub(crate) fn begin(out: &mut Chain) -> usize {
    let start = out.len();
    out.tail().put_u32_le(0);
    start
}

/// Ends the frame that `begin` began, but for its last part: a payload of so many bytes follows.
pub(crate) fn finish(out: &mut Chain, start: usize, payload: usize) {
    let head = out.len() - start;
    let len = u32::try_from(head - HEAD + payload).expect("the payload was held against the limit");
    let at = out.tail().len() - head;
    out.tail()[at..at + HEAD].copy_from_slice(&len.to_le_bytes());
}

/// The worker's side of the format.
#[derive(Debug)]
pub(crate) struct Frames {
    buffer: BytesMut,
    scratch: Box<[u8]>,
    limit: usize,
}

impl Frames {
    /// Frames of at most `limit` bytes.
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

    /// The next frame, or nothing at the end of the input.
    pub(crate) fn next(&mut self, input: &mut impl Read) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(len) = self.head()? {
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

    /// Whether the next frame is there in full, so that `next` will not wait.
    pub(crate) fn has_next(&self) -> bool {
        matches!(self.head(), Ok(Some(len)) if self.buffer.len() >= HEAD + len)
    }

    /// The length of the frame at the front, if that much has come.
    fn head(&self) -> io::Result<Option<usize>> {
        let Some(head) = self.buffer.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes(*head) as usize;
        if len > self.limit {
            let message = format!("a frame of {len} bytes is over the limit of {}", self.limit);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Some(len))
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

    /// A large frame is read to where it stays. Memory is taken as bytes come, not as the length
    /// promises.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_util::codec::Decoder as _;

    use super::*;

    fn framed(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Chain::new();
        for payload in payloads {
            let start = begin(&mut out);
            let mut chain = Chain::new();
            chain.put_bytes(payload.clone().into());
            finish(&mut out, start, chain.len());
            out.put_chain(&chain);
        }
        let mut bytes = Vec::new();
        out.write_with(|slices| io::Write::write_vectored(&mut bytes, slices))
            .expect("memory takes all");
        bytes
    }

    /// Gives at most `step` bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(self.1);
            self.0.read(&mut buffer[..len])
        }
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let payload = (
            any::<u8>(),
            prop_oneof![0_usize..300, 60_000_usize..200_000],
        );
        prop::collection::vec(payload.prop_map(|(byte, len)| vec![byte; len]), 0..6)
    }

    proptest! {
        #[test]
        fn both_sides_read_what_was_written_however_it_is_cut(payloads in payloads(), step in 1_usize..100_000) {
            let bytes = framed(&payloads);
            let mut input = Trickle(&bytes, step);
            let mut frames = Frames::new(LARGEST);
            let mut decoder = codec(LARGEST);
            let mut buffer = BytesMut::from(&bytes[..]);
            for payload in &payloads {
                let frame = frames.next(&mut input).expect("a whole frame");
                prop_assert_eq!(frame.as_deref(), Some(&payload[..]));
                let frame = decoder.decode(&mut buffer).expect("a whole frame");
                prop_assert_eq!(frame.as_deref(), Some(&payload[..]));
            }
            prop_assert!(frames.next(&mut input).expect("the end").is_none());
        }

        #[test]
        fn a_torn_frame_is_an_error_and_a_huge_length_never_allocates(
            payload in prop::collection::vec(any::<u8>(), 1..500), cut in 1_usize..500, huge in 1_001_u32..,
        ) {
            let bytes = framed(std::slice::from_ref(&payload));
            let cut = cut.min(bytes.len() - 1);
            let torn = Frames::new(1000).next(&mut &bytes[..cut]);
            prop_assert_eq!(torn.expect_err("torn").kind(), io::ErrorKind::UnexpectedEof);

            let mut frames = Frames::new(1000);
            let error = frames.next(&mut &huge.to_le_bytes()[..]).expect_err("over the limit");
            prop_assert!(error.to_string().contains(&huge.to_string()) && error.to_string().contains("1000"));
            let mut buffer = BytesMut::from(&huge.to_le_bytes()[..]);
            prop_assert!(codec(1000).decode(&mut buffer).is_err());
            prop_assert!(buffer.capacity() < 1000);
        }

        #[test]
        fn garbage_never_panics_a_reader(bytes: Vec<u8>) {
            let mut input = &bytes[..];
            let mut frames = Frames::new(1 << 20);
            while let Ok(Some(_)) = frames.next(&mut input) {}
        }
    }

    #[test]
    fn a_large_length_takes_memory_only_as_bytes_come() {
        let mut bytes = (u32::MAX - 1).to_le_bytes().to_vec();
        bytes.extend_from_slice(&[7; 100]);
        // Were memory taken as promised, this would take 4 GiB.
        let error = Frames::new(LARGEST)
            .next(&mut &bytes[..])
            .expect_err("torn");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
