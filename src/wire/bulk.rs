//! What of a payload goes by the [`ring`](super::ring): its large pieces. The frame says where they
//! belong; the rest of the payload is in the frame.
//!
//! Frames on the socket and bytes in the ring come in the same order, each as a stream of its own: a
//! [`PayloadPart`] says how many of the next bytes in the ring are meant, whether they are there already or
//! still to come. So a receiver reads a large piece straight to where it stays, while the sender is
//! still writing it.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;

use super::chain::{Chain, Reader};
use super::ring::{Moved, PayloadRing, RING};
use super::spare::Spare;
use crate::sys;

/// From this size on, a piece goes by the ring. Less is sooner copied into a socket.
pub(crate) const LARGE: usize = 32 * 1024;

/// A length is believed when as much has come as the ring holds, and more memory than that is taken
/// only then.
const BELIEVED: usize = RING;

/// A piece of a payload: `len` bytes that belong at `at` bytes of what is in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PayloadPart {
    pub(crate) at: u32,
    pub(crate) len: u32,
}

/// A payload with its large pieces taken out.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// What goes into the frame.
    pub(crate) rest: Chain,
    pub(crate) parts: Vec<PayloadPart>,
    /// The pieces, as `parts` tells.
    pub(crate) pieces: VecDeque<Bytes>,
}

impl Split {
    /// Nothing if no piece of it is large. The payload has to be sealed.
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

    /// How many bytes go by the ring.
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

/// The parts of one payload, as they come out of the ring.
#[derive(Debug)]
pub(crate) struct IncomingPayload {
    parts: Vec<PayloadPart>,
    /// Those that are there in full.
    whole: Vec<Bytes>,
    /// The next one, as far as it has come.
    next: Vec<u8>,
    /// Where the largest of them is to go.
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

    /// Lets the largest part be read to a buffer that is there.
    pub(crate) fn use_spare(&mut self, spare: &mut Spare) {
        let largest = self.parts.iter().map(|part| part.len as usize).max();
        self.spare = spare.take_for(largest.unwrap_or(0));
    }

    /// How many bytes are still to come.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// Reads a piece. An error if there is no memory for it.
    pub(crate) fn take(&mut self, ring: PayloadRing<'_>) -> io::Result<Moved> {
        let len = self
            .parts
            .get(self.whole.len())
            .map_or(0, |part| part.len as usize);
        if self.next.capacity() == 0 && (len..2 * len).contains(&self.spare.capacity()) {
            self.next = std::mem::take(&mut self.spare);
        }
        let believed = if self.next.len() < BELIEVED {
            len.min(BELIEVED)
        } else {
            len
        };
        if self.next.capacity() < believed {
            sys::enlarge(&mut self.next, believed)?;
        }
        let most = believed - self.next.len();
        let moved = ring.take(&mut self.next, most);
        self.missing -= moved.len;
        if self.next.len() == len {
            self.whole.push(std::mem::take(&mut self.next).into());
        }
        Ok(moved)
    }

    /// The payload, once nothing is missing: `rest` is what was in the frame. Nothing if the two do
    /// not fit.
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
