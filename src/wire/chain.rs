//! Bytes on their way out are a [`Chain`]: small pieces are copied together, large ones are kept
//! as they are and written from where they lie, and descriptors go beside them. Bytes that came in are
//! read off a [`Reader`].

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes};

use super::descriptors::Descriptor;
use crate::sys::{self, AsFd, BorrowedFd};

/// From this size on, a piece is linked in rather than copied.
const LINKED: usize = 16 * 1024;
/// How many pieces one vectored write takes at the most.
const SLICES: usize = 16;

/// A queue of bytes in pieces. Cloning a finished chain shares the pieces.
#[derive(Debug, Default)]
pub struct Chain {
    pieces: VecDeque<Bytes>,
    /// Small pieces, copied together; they come after all of `pieces`.
    tail: Vec<u8>,
    linked: usize,
    /// What goes beside the bytes, no later than the last of them.
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

    /// Adds what is to go beside the bytes.
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

    /// Lets go of what was to go beside the bytes.
    pub(crate) fn detach(&mut self) -> Vec<Descriptor> {
        std::mem::take(&mut self.descriptors)
    }

    /// All of it, if nothing is linked in.
    pub(crate) fn in_one(&self) -> Option<&[u8]> {
        self.pieces.is_empty().then_some(&self.tail[..])
    }

    /// Where small values are written.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Adds a piece: by reference when it is large.
    pub(crate) fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() < LINKED {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.seal();
            self.linked += bytes.len();
            self.pieces.push_back(bytes);
        }
    }

    /// Adds what another chain holds.
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

    /// Takes all of it out, to wait. It is left empty; what was small leaves its buffer.
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

    pub(crate) fn clear(&mut self) {
        if self.linked > 0 {
            self.pieces.clear();
            self.linked = 0;
        }
        self.tail.clear();
        self.descriptors.clear();
    }

    /// Makes all of it shareable pieces, so that `put_chain` copies no large piece.
    pub(crate) fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.linked += self.tail.len();
            self.pieces.push_back(std::mem::take(&mut self.tail).into());
        }
    }

    /// Takes the bytes from `at` on away.
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
        debug_assert!(self.tail.is_empty(), "what was copied in is no piece yet");
        self.pieces.iter()
    }

    /// The pieces, except for what was copied in last.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        self.pieces.into_iter()
    }

    /// All of it.
    pub(crate) fn into_reader(mut self) -> Reader {
        self.seal();
        Reader::of(self.pieces)
    }

    /// All of it in one piece.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.into_reader().into_bytes()
    }

    /// Writes all it can through `write`, which may take only a part, and drops what was written.
    pub(crate) fn write_with(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        debug_assert!(self.descriptors.is_empty(), "they need a socket");
        self.send_with(|slices, _| write(slices))
    }

    /// As `write_with`, for a socket that takes descriptors beside the bytes.
    pub(crate) fn send_with(
        &mut self,
        mut send: impl FnMut(&[IoSlice<'_>], &[BorrowedFd<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        while !self.descriptors.is_empty() {
            let count = self.descriptors.len().min(sys::MOST_FDS);
            let beside: Vec<_> = self.descriptors[..count].iter().map(AsFd::as_fd).collect();
            // Where there are more, they go beside the bytes that follow: one is enough for each lot.
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

/// A chain that is finished and waits to be sent. Of these there are as many as there are tasks, so
/// a small one is its bytes and nothing else.
#[derive(Debug)]
pub(crate) enum Payload {
    Small(Box<[u8]>),
    /// Its pieces are shared by its copies.
    Large(Box<Chain>),
}

impl Payload {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Small(bytes) => bytes.len(),
            Self::Large(chain) => chain.len(),
        }
    }

    /// The chain that a large one is.
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

    /// What goes beside the bytes.
    pub(crate) fn descriptors(&self) -> &[Descriptor] {
        self.chain().map_or(&[], Chain::descriptors)
    }

    /// Lets go of it.
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

/// Bytes that came in, read from the front. They lie in one piece, or in several where a large one was
/// not to be copied; whoever wrote them cut them between values, or between a value's length and its
/// bytes.
#[derive(Debug, Default)]
pub struct Reader {
    /// Where to read. Empty at the end only.
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

    /// Passes over bytes of the piece at the front.
    #[inline]
    pub(super) fn advance(&mut self, len: usize) {
        self.front.advance(len);
        self.step();
    }

    /// Goes on to the next piece, if it is time.
    #[inline]
    fn step(&mut self) {
        while self.front.is_empty()
            && let Some(next) = self.rest.pop_front()
        {
            self.front = next;
        }
    }

    /// The next `len` bytes: shared with the piece they came in, or copied if they lie in several.
    pub(crate) fn take(&mut self, len: usize) -> Option<Bytes> {
        if len > self.front.len() {
            return Some(self.split_to(len)?.into_bytes());
        }
        let bytes = self.front.split_to(len);
        self.step();
        Some(bytes)
    }

    /// The next `len` bytes, in the pieces they lie in.
    pub(crate) fn split_to(&mut self, mut len: usize) -> Option<Self> {
        if len > self.len() {
            return None;
        }
        let mut pieces = VecDeque::new();
        while len > 0 {
            let piece = self.take(len.min(self.front.len()))?;
            len -= piece.len();
            pieces.push_back(piece);
        }
        Some(Self::of(pieces))
    }

    /// What is left, in one piece.
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

    /// A length as `front_varint` reads it.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let (value, len) = front_varint(&self.front)?;
        self.advance(len);
        Some(value)
    }
}

/// The length at the front, of one to ten bytes, seven bits a byte, the low ones first (LEB128); and
/// how many bytes it takes.
#[inline]
pub(super) fn front_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    match bytes.first() {
        Some(&byte) if byte < 0x80 => Some((byte.into(), 1)), // As most are.
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

/// Appends a length as [`Reader::varint`] reads it.
pub(super) fn put_varint(out: &mut Vec<u8>, value: u64) {
    let at = out.len();
    out.put_bytes(0, varint_len(value));
    write_varint(&mut out[at..], value);
}

/// How many bytes a length takes.
pub(super) fn varint_len(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Fills `out`, which must be as long as `varint_len` says.
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
