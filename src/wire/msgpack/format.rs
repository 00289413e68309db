//! The bytes that both sides agree on: MessagePack's markers, and what its extension types mean here.

use super::error::DataError;

pub(super) const NIL: u8 = 0xc0;
pub(super) const FALSE: u8 = 0xc2;
pub(super) const TRUE: u8 = 0xc3;
pub(super) const BIN8: u8 = 0xc4;
pub(super) const BIN16: u8 = 0xc5;
pub(super) const BIN32: u8 = 0xc6;
pub(super) const EXT32: u8 = 0xc9;
pub(super) const F32: u8 = 0xca;
pub(super) const F64: u8 = 0xcb;
pub(super) const U8: u8 = 0xcc;
pub(super) const U16: u8 = 0xcd;
pub(super) const U32: u8 = 0xce;
pub(super) const U64: u8 = 0xcf;
pub(super) const I8: u8 = 0xd0;
pub(super) const I16: u8 = 0xd1;
pub(super) const I32: u8 = 0xd2;
pub(super) const I64: u8 = 0xd3;
pub(super) const FIXEXT1: u8 = 0xd4;
pub(super) const FIXEXT16: u8 = 0xd8;
pub(super) const STR8: u8 = 0xd9;
pub(super) const STR16: u8 = 0xda;
pub(super) const STR32: u8 = 0xdb;
pub(super) const ARRAY16: u8 = 0xdc;
pub(super) const ARRAY32: u8 = 0xdd;
pub(super) const MAP16: u8 = 0xde;
pub(super) const MAP32: u8 = 0xdf;

/// The most that a marker with a number in its low bits holds.
pub(super) const MOST_FIX_NUMBER: u64 = 0x7f;
pub(super) const LEAST_FIX_NUMBER: i64 = -0x20;
pub(super) const FIX_TEXT: u8 = 0xa0;
pub(super) const FIX_LIST: u8 = 0x90;
pub(super) const FIX_MAP: u8 = 0x80;

/// An extension type of one byte: the number of `Some`s around nothing.
pub(super) const SOMES: u8 = 0;

/// Extension types of numbers that need 128 bits.
pub(super) const WIDE_UNSIGNED: u8 = 1;
pub(super) const WIDE_SIGNED: u8 = 2;

/// A list of at least this many numbers is a block: an [`EXT32`] whose extension type is the
/// [`NumberKind`](super::number_block::NumberKind). Shorter ones are smaller as lists.
pub(super) const BLOCK_FROM: usize = 16;
/// The size of a block's head: marker, length, type.
pub(super) const BLOCK_HEAD: usize = 6;

/// A kind of value whose head contains its length. Its markers: for lengths in the marker itself, and in one, two and
/// four bytes.
pub(super) struct SizedKind {
    name: &'static str,
    unit: &'static str,
    fix: Option<(u8, usize)>,
    one: Option<u8>,
    two: u8,
    four: u8,
}

pub(super) const TEXT: SizedKind = SizedKind {
    name: "a text",
    unit: "bytes",
    fix: Some((FIX_TEXT, 31)),
    one: Some(STR8),
    two: STR16,
    four: STR32,
};

pub(super) const BYTES: SizedKind = SizedKind {
    name: "a byte string",
    unit: "bytes",
    fix: None,
    one: Some(BIN8),
    two: BIN16,
    four: BIN32,
};

pub(super) const LIST: SizedKind = SizedKind {
    name: "a list",
    unit: "elements",
    fix: Some((FIX_LIST, 15)),
    one: None,
    two: ARRAY16,
    four: ARRAY32,
};

pub(super) const MAP: SizedKind = SizedKind {
    name: "a map",
    unit: "entries",
    fix: Some((FIX_MAP, 15)),
    one: None,
    two: MAP16,
    four: MAP32,
};

/// A marker and a length.
pub(super) struct ValueStart {
    bytes: [u8; 5],
    len: usize,
}

impl ValueStart {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl SizedKind {
    /// The head of a value of this length. Fails if the length does not fit.
    pub(super) fn head(&self, len: usize) -> Result<ValueStart, DataError> {
        let Ok(short) = u32::try_from(len) else {
            return Err(DataError::too_long(self.name, len, self.unit));
        };
        let mut bytes = [0; 5];
        let used = match (self.fix, self.one) {
            (Some((marker, most)), _) if len <= most => {
                bytes[0] = marker | short as u8;
                1
            }
            (_, Some(marker)) if len <= 0xff => {
                bytes[..2].copy_from_slice(&[marker, short as u8]);
                2
            }
            _ if len <= 0xffff => {
                bytes[0] = self.two;
                bytes[1..3].copy_from_slice(&(short as u16).to_be_bytes());
                3
            }
            _ => {
                bytes[0] = self.four;
                bytes[1..].copy_from_slice(&short.to_be_bytes());
                5
            }
        };
        Ok(ValueStart { bytes, len: used })
    }

    /// Appends the head of a value of this length.
    #[inline]
    pub(super) fn put_head(&self, len: usize, out: &mut Vec<u8>) -> Result<(), DataError> {
        match self.fix {
            Some((marker, most)) if len <= most => out.push(marker | len as u8),
            _ => out.extend_from_slice(self.head(len)?.as_bytes()),
        }
        Ok(())
    }

    /// Replaces the head at `start`, which was for `before`, by one for `len`.
    pub(super) fn set_head(
        &self,
        start: usize,
        before: usize,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let end = start + self.head(before)?.as_bytes().len();
        let head = self.head(len)?;
        out.splice(start..end, head.as_bytes().iter().copied());
        Ok(())
    }
}
