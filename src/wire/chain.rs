//! Outgoing bytes are a [`Chain`]: small pieces are copied together, and large ones are kept and written
//! from their own memory. Descriptors travel beside the bytes. Incoming bytes are read from a [`Reader`].

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes};

use super::descriptors::Descriptor;
use crate::sys::{self, AsFd, BorrowedFd};

/// A piece of this size or more is linked in rather than copied.
const LINKED: usize = 16 * 1024;
/// The most pieces of one vectored write.
const SLICES: usize = 16;

/// A queue of bytes in pieces. Chains share their large pieces with the chains that they are put into.
#[derive(Debug, Default)]
pub struct Chain {
    pieces: VecDeque<Bytes>,
    /// Small pieces, copied together. They follow all of `pieces`.
    tail: Vec<u8>,
    linked: usize,
    /// Descriptors that are sent beside the bytes, at the latest with the last byte.
    descriptors: Vec<Descriptor>,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn len(&self) -> usize {
        self.linked + self.tail.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds descriptors to send beside the bytes.
    pub(crate) fn attach(&mut self, descriptors: Vec<Descriptor>) {
        if self.descriptors.is_empty() {
            self.descriptors = descriptors;
        } else {
            self.descriptors.extend(descriptors);
        }
    }

    pub(crate) fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    /// Removes the descriptors and returns them.
    pub(crate) fn detach(&mut self) -> Vec<Descriptor> {
        std::mem::take(&mut self.descriptors)
    }

    /// All bytes as one slice. `None` if a piece is linked in.
    pub(crate) fn in_one(&self) -> Option<&[u8]> {
        self.pieces.is_empty().then_some(&self.tail[..])
    }

    /// The buffer for small values.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Adds a piece, by reference if it is large.
    pub(crate) fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() < LINKED {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.seal();
            self.linked += bytes.len();
            self.pieces.push_back(bytes);
        }
    }

    /// Adds the content of another chain.
    pub(crate) fn put_chain(&mut self, other: &Self) {
        for piece in &other.pieces {
            if piece.len() < LINKED {
                self.tail.extend_from_slice(piece);
            } else {
                self.put_bytes(piece.clone());
            }
        }
        self.tail.extend_from_slice(&other.tail);
        self.descriptors.extend_from_slice(&other.descriptors);
    }

    pub(crate) fn put_payload(&mut self, payload: &Payload) {
        match payload {
            Payload::Small(bytes) => self.tail.extend_from_slice(bytes),
            Payload::Large(chain) => self.put_chain(chain),
        }
    }

    /// Takes the content out, to be sent later, and leaves this chain empty. Its buffer stays here if the
    /// content is small.
    pub(crate) fn finish(&mut self) -> Payload {
        if self.pieces.is_empty() && self.tail.len() < LINKED && self.descriptors.is_empty() {
            let bytes = self.tail[..].into();
            self.clear();
            return Payload::Small(bytes);
        }
        let mut chain = std::mem::take(self);
        chain.seal();
        Payload::Large(Box::new(chain))
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        if self.linked > 0 {
            self.pieces.clear();
            self.linked = 0;
        }
        self.tail.clear();
        if !self.descriptors.is_empty() {
            self.descriptors.clear();
        }
    }

    /// Turns all bytes into shareable pieces, so that `put_chain` copies no large piece.
    pub(crate) fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.linked += self.tail.len();
            self.pieces.push_back(std::mem::take(&mut self.tail).into());
        }
    }

    /// Removes the bytes from `at` on.
    pub(crate) fn truncate(&mut self, at: usize) {
        self.tail.truncate(at.saturating_sub(self.linked));
        while self.linked > at
            && let Some(mut last) = self.pieces.pop_back()
        {
            self.linked -= last.len();
            if self.linked < at {
                last.truncate(at - self.linked);
                self.linked = at;
                self.pieces.push_back(last);
            }
        }
    }

    /// Splits off the bytes from `at` on.
    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        let mut rest = Self::new();
        let mut passed = 0;
        self.seal();
        for piece in &self.pieces {
            let before = at.saturating_sub(passed).min(piece.len());
            rest.put_bytes(piece.slice(before..));
            passed += piece.len();
        }
        self.truncate(at);
        rest
    }

    /// The pieces, in order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let tail = std::iter::once(&self.tail[..]).filter(|tail| !tail.is_empty());
        self.pieces.iter().map(|piece| &piece[..]).chain(tail)
    }

    /// The pieces of a sealed chain, in order.
    pub(super) fn sealed(&self) -> impl Iterator<Item = &Bytes> {
        debug_assert!(self.tail.is_empty(), "the chain is not sealed");
        self.pieces.iter()
    }

    /// The pieces, without the bytes that were copied into `tail`.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        self.pieces.into_iter()
    }

    /// A reader of all bytes.
    pub(crate) fn into_reader(mut self) -> Reader {
        self.seal();
        Reader::of(self.pieces)
    }

    /// All bytes in one piece.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.into_reader().into_bytes()
    }

    /// Writes all bytes through `write`, which may accept a part at a time. Removes what was accepted, also if there is
    /// an error.
    pub(crate) fn write_with(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        debug_assert!(self.descriptors.is_empty(), "descriptors need a socket");
        self.send_with(|slices, _| write(slices))
    }

    /// As `write_with`, for a socket that sends descriptors beside the bytes.
    pub(crate) fn send_with(
        &mut self,
        mut send: impl FnMut(&[IoSlice<'_>], &[BorrowedFd<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        while !self.descriptors.is_empty() {
            let count = self.descriptors.len().min(sys::MOST_FDS);
            let beside: Vec<_> = self.descriptors[..count].iter().map(AsFd::as_fd).collect();
            // Each batch of descriptors travels with at least one byte. Before the last batch, sends only one byte at a
            // time.
            let is_last = count == self.descriptors.len();
            let first = self.pieces().next().unwrap_or_default();
            let bytes = if is_last {
                first
            } else {
                &first[..first.len().min(1)]
            };
            match send(&[IoSlice::new(bytes)], &beside) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    self.descriptors.drain(..count);
                    self.advance(sent);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slot, piece) in slices.iter_mut().zip(self.pieces()) {
                *slot = IoSlice::new(piece);
                count += 1;
            }
            match send(&slices[..count], &[]) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                self.linked -= count;
                return;
            }
            count -= piece.len();
            self.linked -= piece.len();
            self.pieces.pop_front();
        }
        if count == self.tail.len() {
            self.tail.clear();
        } else if count > 0 {
            self.seal();
            self.advance(count);
        }
    }
}

/// A finished chain that waits to be sent. Each queued task has one, so a small one is only its bytes.
#[derive(Debug)]
pub(crate) enum Payload {
    Small(Box<[u8]>),
    /// Copies share its pieces.
    Large(Box<Chain>),
}

impl Payload {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Small(bytes) => bytes.len(),
            Self::Large(chain) => chain.len(),
        }
    }

    /// The chain of a large payload.
    pub(crate) fn chain(&self) -> Option<&Chain> {
        match self {
            Self::Small(_) => None,
            Self::Large(chain) => Some(chain),
        }
    }

    pub(crate) fn into_chain(self) -> Option<Chain> {
        match self {
            Self::Small(_) => None,
            Self::Large(chain) => Some(*chain),
        }
    }

    /// The descriptors that travel beside the bytes.
    pub(crate) fn descriptors(&self) -> &[Descriptor] {
        self.chain().map_or(&[], Chain::descriptors)
    }

    /// Removes the descriptors and returns them.
    pub(crate) fn detach(&mut self) -> Vec<Descriptor> {
        match self {
            Self::Small(_) => Vec::new(),
            Self::Large(chain) => chain.detach(),
        }
    }
}

impl Clone for Payload {
    fn clone(&self) -> Self {
        let mut copy = Chain::new();
        copy.put_payload(self);
        copy.finish()
    }
}

/// Incoming bytes, read from the front. They are in one piece, or in several if a large one was not copied.
/// The sender cuts only between values, or between a value's length and its bytes.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// The piece to read from. Empty only at the end.
    pub(crate) front: Bytes,
    rest: VecDeque<Bytes>,
}

impl<B: Into<Bytes>> From<B> for Reader {
    fn from(bytes: B) -> Self {
        let (front, rest) = (bytes.into(), VecDeque::new());
        Self { front, rest }
    }
}

impl Reader {
    pub(super) fn of(rest: VecDeque<Bytes>) -> Self {
        let front = Bytes::new();
        let mut reader = Self { front, rest };
        reader.step();
        reader
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.front.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.front.len() + self.rest.iter().map(Bytes::len).sum::<usize>()
    }

    pub(crate) fn is_in_one(&self) -> bool {
        self.rest.is_empty()
    }

    /// Skips bytes of the front piece.
    #[inline]
    pub(super) fn advance(&mut self, len: usize) {
        self.front.advance(len);
        self.step();
    }

    /// Moves to the next piece if the front one is used up.
    #[inline]
    fn step(&mut self) {
        while self.front.is_empty()
            && let Some(next) = self.rest.pop_front()
        {
            self.front = next;
        }
    }

    /// The next `len` bytes: shared with their piece, or copied if they are in several. `None` if there are
    /// fewer.
    pub(crate) fn take(&mut self, len: usize) -> Option<Bytes> {
        if len > self.front.len() {
            return Some(self.split_to(len)?.into_bytes());
        }
        let bytes = self.front.split_to(len);
        self.step();
        Some(bytes)
    }

    /// The next `len` bytes, in their pieces. `None` if there are fewer.
    pub(crate) fn split_to(&mut self, mut len: usize) -> Option<Self> {
        if len > self.len() {
            return None;
        }
        if len <= self.front.len() {
            return self.take(len).map(Self::from); // The usual case allocates nothing.
        }
        let mut pieces = VecDeque::new();
        while len > 0 {
            let piece = self.take(len.min(self.front.len()))?;
            len -= piece.len();
            pieces.push_back(piece);
        }
        Some(Self::of(pieces))
    }

    /// The rest, in one piece.
    pub(crate) fn into_bytes(self) -> Bytes {
        if self.is_in_one() {
            return self.front;
        }
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend_from_slice(&self.front);
        for piece in self.rest {
            bytes.extend_from_slice(&piece);
        }
        bytes.into()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        let byte = self.front.try_get_u8().ok();
        self.step();
        byte
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        let number = self.front.try_get_u16_le().ok();
        self.step();
        number
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        let number = self.front.try_get_u32_le().ok();
        self.step();
        number
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        let number = self.front.try_get_u64_le().ok();
        self.step();
        number
    }

    /// A length, as `front_varint` reads it.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let (value, len) = front_varint(&self.front)?;
        self.advance(len);
        Some(value)
    }
}

/// The length at the front, and how many bytes it takes: one to ten, with seven bits each, the lowest first (LEB128).
#[inline]
pub(super) fn front_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    match bytes.first() {
        Some(&byte) if byte < 0x80 => Some((byte.into(), 1)), // Most lengths are short.
        _ => long_varint(bytes),
    }
}

fn long_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (shift, (at, byte)) in (0..64).step_by(7).zip(bytes.iter().enumerate()) {
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Appends a length that [`Reader::varint`] reads.
pub(super) fn put_varint(out: &mut Vec<u8>, value: u64) {
    let at = out.len();
    out.put_bytes(0, varint_len(value));
    write_varint(&mut out[at..], value);
}

/// How many bytes an encoded length takes.
pub(super) fn varint_len(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Fills `out`, whose length must be `varint_len(value)`.
pub(super) fn write_varint(out: &mut [u8], mut value: u64) {
    let last = out.len() - 1;
    for byte in &mut out[..last] {
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    out[last] = value as u8;
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/chain.rs"]
mod tests;
