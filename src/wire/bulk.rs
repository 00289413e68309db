//! Large pieces of a payload go through the [`ring`](super::ring). The frame says where they belong, and contains the
//! rest of the payload.
//!
//! Frames and the bytes in the ring are two streams in the same order. A [`PayloadPart`] says how many of
//! the next bytes in the ring it means, whether they have arrived or not. So a receiver reads a large piece
//! into its final buffer while the sender still writes it.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;

use super::chain::{Chain, Reader};
use super::declare::message;
use super::frame_buffer::trusted;
use super::ring::{Moved, PayloadRing};
use super::spare::Spare;
use crate::sys;

/// From this size on, a piece goes through the ring. The socket is faster for smaller ones.
pub(crate) const LARGE: usize = 32 * 1024;

message! {
    /// A large piece of a payload: `len` bytes that belong at offset `at` of the bytes in the frame.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct PayloadPart {
        pub(crate) at: u32,
        pub(crate) len: u32,
    }
}

/// A payload, split between frame and ring.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// The bytes for the frame.
    pub(crate) rest: Chain,
    pub(crate) parts: Vec<PayloadPart>,
    /// The pieces for the ring, one for each part.
    pub(crate) pieces: VecDeque<Bytes>,
}

impl Split {
    /// `None` if no piece is large. The payload must be sealed.
    pub(crate) fn of(payload: &Chain) -> Option<Self> {
        if payload.len() < LARGE {
            return None;
        }
        let mut split = Self::default();
        for piece in payload.sealed() {
            if piece.len() < LARGE {
                split.rest.put_bytes(piece.clone());
            } else {
                split.parts.push(PayloadPart {
                    at: split.rest.len() as u32, // A payload has less than 4 GiB.
                    len: piece.len() as u32,
                });
                split.pieces.push_back(piece.clone());
            }
        }
        split.rest.attach(payload.descriptors().to_vec());
        (!split.parts.is_empty()).then_some(split)
    }

    /// How many bytes go through the ring.
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

/// The parts of one payload, as they arrive through the ring.
#[derive(Debug)]
pub(crate) struct IncomingPayload {
    parts: Vec<PayloadPart>,
    /// The complete parts.
    whole: Vec<Bytes>,
    /// The next part, as far as it has arrived.
    next: Vec<u8>,
    /// A buffer for the largest part.
    spare: Vec<u8>,
    missing: usize,
}

impl IncomingPayload {
    pub(crate) fn new(parts: Vec<PayloadPart>) -> Self {
        Self {
            missing: parts.iter().map(|part| part.len as usize).sum(),
            whole: Vec::with_capacity(parts.len()),
            next: Vec::new(),
            spare: Vec::new(),
            parts,
        }
    }

    /// Lets the largest part use the spare buffer.
    pub(crate) fn use_spare(&mut self, spare: &mut Spare) {
        let largest = self.parts.iter().map(|part| part.len as usize).max();
        self.spare = spare.take_for(largest.unwrap_or(0));
    }

    /// How many bytes are missing.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// Reads some of the missing bytes. Fails if there is no memory for them.
    pub(crate) fn take(&mut self, ring: PayloadRing<'_>) -> io::Result<Moved> {
        let len = self
            .parts
            .get(self.whole.len())
            .map_or(0, |part| part.len as usize);
        if self.next.capacity() == 0 && (len..2 * len).contains(&self.spare.capacity()) {
            self.next = std::mem::take(&mut self.spare);
        }
        if self.next.len() == self.next.capacity() {
            let room = trusted(len, self.next.len());
            sys::enlarge(&mut self.next, room)?;
        }
        let most = len.min(self.next.capacity()) - self.next.len();
        let moved = ring.take(&mut self.next, most);
        self.missing -= moved.len;
        if self.next.len() == len {
            self.whole.push(std::mem::take(&mut self.next).into());
        }
        Ok(moved)
    }

    /// The payload, once nothing is missing. `rest` is the content of the frame. `None` if the two do not
    /// fit together.
    pub(crate) fn join(self, mut rest: Reader) -> Option<Reader> {
        let mut payload = VecDeque::new();
        let mut at = 0;
        for (part, piece) in self.parts.iter().zip(self.whole) {
            payload.push_back(rest.take((part.at as usize).checked_sub(at)?)?);
            payload.push_back(piece);
            at = part.at as usize;
        }
        payload.push_back(rest.take(rest.len())?);
        Some(Reader::of(payload))
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use super::*;
    use crate::wire::page::Page;
    use crate::wire::ring::RingDirection;

    #[test]
    fn a_part_takes_memory_only_as_bytes_arrive() {
        const LEN: u32 = 1 << 30;
        let (page, fd) = Page::create().expect("memory");
        let worker = Page::open(fd).expect("the same page");
        let (ours, theirs) = (
            page.ring(RingDirection::FromWorker),
            worker.ring(RingDirection::FromWorker),
        );
        assert!(theirs.prepare(LEN as usize, false));
        let mut payload = IncomingPayload::new(vec![PayloadPart { at: 0, len: LEN }]);
        let mut arrived = 0;
        while arrived < 10 << 20 {
            assert!(theirs.put(&[7; 100_000]).len > 0);
            arrived += payload.take(ours).expect("memory for the parts").len;
            let capacity = payload.next.capacity();
            assert!(
                capacity <= (4 * arrived).max(1 << 20),
                "{capacity} for {arrived}"
            );
        }
    }
}
