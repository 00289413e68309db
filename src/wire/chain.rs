//! Bytes on their way out are a [`Chain`]: small pieces are copied together, large ones are kept
//! as they are and written from where they lie. Bytes that came in are read off a [`Reader`].

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// From this size on, a piece is linked in rather than copied.
const LINKED: usize = 16 * 1024;
/// How many pieces one vectored write takes at the most.
const SLICES: usize = 16;

/// A queue of bytes in pieces. Cloning a finished chain shares the pieces.
#[derive(Debug, Default)]
pub struct Chain {
    pieces: VecDeque<Bytes>,
    /// Small pieces, copied together; they come after all of `pieces`.
    tail: BytesMut,
    linked: usize,
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

    /// Where small values are written.
    pub(crate) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Adds a piece: by reference when it is large.
    pub(crate) fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() < LINKED {
            self.tail.put_slice(&bytes);
        } else {
            self.seal();
            self.linked += bytes.len();
            self.pieces.push_back(bytes);
        }
    }

    /// Adds what another chain holds.
    pub(crate) fn put_chain(&mut self, other: &Self) {
        for piece in &other.pieces {
            self.put_bytes(piece.clone());
        }
        self.tail.put_slice(&other.tail);
    }

    /// Moves all of `other` to the end of this chain, leaving it empty but with its buffer.
    pub(crate) fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
        } else {
            self.put_chain(other);
            other.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.linked = 0;
        self.tail.clear();
    }

    /// Makes all of it shareable pieces, so that `put_chain` copies no large piece.
    pub(crate) fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.linked += self.tail.len();
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    /// Takes the bytes from `at` on away.
    pub(crate) fn truncate_tail(&mut self, at: usize) {
        debug_assert!(
            at >= self.linked,
            "only what was copied in can be taken back"
        );
        self.tail.truncate(at - self.linked);
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
    pub(crate) fn into_bytes(mut self) -> Bytes {
        self.seal();
        match self.pieces.len() {
            1 => self.pieces.pop_front().unwrap_or_default(),
            _ => self.pieces().flatten().copied().collect(),
        }
    }

    /// Writes all it can through `write`, which may take only a part, and drops what was written.
    pub(crate) fn write_with(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slot, piece) in slices.iter_mut().zip(self.pieces()) {
                *slot = IoSlice::new(piece);
                count += 1;
            }
            match write(&slices[..count]) {
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
        self.tail.advance(count);
    }
}

/// Bytes that came in, in one or more pieces, read from the front.
#[derive(Debug, Default)]
pub struct Reader {
    front: Bytes,
    /// What comes behind.
    rest: VecDeque<Bytes>,
}

impl From<Bytes> for Reader {
    fn from(front: Bytes) -> Self {
        let rest = VecDeque::new();
        Self { front, rest }
    }
}

impl Reader {
    pub(super) fn of(mut pieces: VecDeque<Bytes>) -> Self {
        let front = pieces.pop_front().unwrap_or_default();
        let rest = pieces;
        Self { front, rest }
    }

    pub(crate) fn len(&self) -> usize {
        self.front.len() + self.rest.iter().map(Bytes::len).sum::<usize>()
    }

    /// The next `len` bytes: shared with the piece they came in, or copied if they lie in several.
    pub(crate) fn take(&mut self, len: usize) -> Option<Bytes> {
        let front = self.front();
        if len <= front.len() {
            return Some(front.split_to(len));
        }
        self.gather(len)
    }

    #[cold]
    fn gather(&mut self, len: usize) -> Option<Bytes> {
        if len > self.len() {
            return None;
        }
        let mut bytes = BytesMut::with_capacity(len);
        while bytes.len() < len {
            let front = self.front();
            let part = front.split_to(front.len().min(len - bytes.len()));
            bytes.put_slice(&part);
        }
        Some(bytes.freeze())
    }

    /// The piece to read from: empty at the end only.
    fn front(&mut self) -> &mut Bytes {
        while self.front.is_empty() {
            match self.rest.pop_front() {
                Some(next) => self.front = next,
                None => break,
            }
        }
        &mut self.front
    }

    /// What is left, in one piece.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        self.take(self.len()).unwrap_or_default()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.front().try_get_u8().ok()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.front().try_get_u16_le().ok()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.front().try_get_u32_le().ok()
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.front().try_get_u64_le().ok()
    }

    /// A length of one to ten bytes, seven bits a byte, the low ones first (LEB128).
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// Appends a length as [`Reader::varint`] reads it.
pub(super) fn put_varint(out: &mut BytesMut, value: u64) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn collect(chain: &mut Chain, step: usize) -> Vec<u8> {
        let mut written = Vec::new();
        chain
            .write_with(|slices| {
                let before = written.len();
                for slice in slices {
                    let room = step - (written.len() - before);
                    written.extend_from_slice(&slice[..slice.len().min(room)]);
                }
                Ok(written.len() - before)
            })
            .expect("the writer takes all");
        written
    }

    proptest! {
        #[test]
        fn a_chain_writes_what_was_put_in_whatever_the_pieces(
            pieces in prop::collection::vec((any::<u8>(), 0_usize..40_000, any::<bool>()), 0..24),
            step in 1_usize..50_000,
        ) {
            let mut chain = Chain::new();
            let mut expected = Vec::new();
            for (byte, len, by_slice) in pieces {
                let bytes = vec![byte; len];
                expected.extend_from_slice(&bytes);
                if by_slice { chain.tail().put_slice(&bytes) } else { chain.put_bytes(bytes.into()) }
            }
            let mut copy = Chain::new();
            copy.put_chain(&chain);
            prop_assert_eq!(chain.len(), expected.len());
            prop_assert_eq!(collect(&mut chain, step), &expected[..]);
            prop_assert_eq!(collect(&mut copy, step), expected);
            prop_assert!(chain.is_empty());
        }

        #[test]
        fn a_length_survives_the_trip(value: u64) {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            let mut reader = Reader::from(out.freeze());
            prop_assert_eq!(reader.varint(), Some(value));
            prop_assert_eq!(reader.len(), 0);
        }

        #[test]
        fn a_reader_gives_the_same_however_its_bytes_are_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(0_usize..50, 0..8), takes in prop::collection::vec(0_usize..60, 0..20),
        ) {
            let mut left = Bytes::from(bytes.clone());
            let mut pieces: VecDeque<_> =
                cuts.iter().map(|cut| left.split_to(left.len().min(*cut))).collect();
            pieces.push_back(left);
            let (mut whole, mut cut) = (Reader::from(Bytes::from(bytes)), Reader::of(pieces));
            for len in takes {
                prop_assert_eq!(whole.take(len), cut.take(len));
                prop_assert_eq!(whole.len(), cut.len());
            }
            prop_assert_eq!(whole.into_bytes(), cut.into_bytes());
        }

        #[test]
        fn garbage_is_never_a_panic(bytes: Vec<u8>) {
            let mut reader = Reader::from(Bytes::from(bytes));
            while reader.varint().is_some() {}
        }
    }
}
