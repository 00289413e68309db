//! Many numbers of one type, without markers. They are little-endian.

use super::error::DataError;
use super::number::AnyNumber;
use super::take::{take, take_byte, take_len32};

/// The type of the numbers in a block. Its number is the block's extension type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum NumberKind {
    U8 = 1,
    U16,
    U32,
    U64,
    U128,
    I8,
    I16,
    I32,
    I64,
    I128,
    F32,
    F64,
}

const KINDS: [NumberKind; 12] = {
    use NumberKind as K;
    [
        K::U8,
        K::U16,
        K::U32,
        K::U64,
        K::U128,
        K::I8,
        K::I16,
        K::I32,
        K::I64,
        K::I128,
        K::F32,
        K::F64,
    ]
};

impl NumberKind {
    /// The kind of this extension type.
    pub(super) fn of_extension(code: u8) -> Option<Self> {
        KINDS.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// The size of each number in bytes.
    pub(super) fn width(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::U128 | Self::I128 => 16,
        }
    }
}

/// The numbers of a block, or the rest of them.
pub(super) struct NumberBlock<'de> {
    kind: NumberKind,
    bytes: &'de [u8],
}

impl<'de> NumberBlock<'de> {
    pub(super) fn new(kind: NumberKind, bytes: &'de [u8]) -> Self {
        Self { kind, bytes }
    }

    /// Takes a block whose marker was already taken.
    pub(super) fn take(input: &mut &'de [u8]) -> Result<Self, DataError> {
        let len = take_len32(input)?;
        let extension = take_byte(input)?;
        let kind =
            NumberKind::of_extension(extension).ok_or_else(|| DataError::unknown(extension))?;
        let bytes = take(input, len)?;
        if len.is_multiple_of(kind.width()) {
            Ok(Self { kind, bytes })
        } else {
            Err(DataError::torn())
        }
    }

    /// The block as bytes, if its numbers are bytes.
    pub(super) fn as_bytes(&self) -> Option<&'de [u8]> {
        (self.kind == NumberKind::U8).then_some(self.bytes)
    }

    pub(super) fn bytes(&self) -> &'de [u8] {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.kind.width()
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (number, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*number)
    }
}

impl Iterator for NumberBlock<'_> {
    type Item = AnyNumber;

    #[inline]
    fn next(&mut self) -> Option<AnyNumber> {
        use {AnyNumber as Any, NumberKind as Kind};
        Some(match self.kind {
            Kind::U8 => Any::Unsigned(u8::from_le_bytes(self.number()?).into()),
            Kind::U16 => Any::Unsigned(u16::from_le_bytes(self.number()?).into()),
            Kind::U32 => Any::Unsigned(u32::from_le_bytes(self.number()?).into()),
            Kind::U64 => Any::Unsigned(u64::from_le_bytes(self.number()?)),
            Kind::U128 => Any::WideUnsigned(u128::from_le_bytes(self.number()?)),
            Kind::I8 => Any::Signed(i8::from_le_bytes(self.number()?).into()),
            Kind::I16 => Any::Signed(i16::from_le_bytes(self.number()?).into()),
            Kind::I32 => Any::Signed(i32::from_le_bytes(self.number()?).into()),
            Kind::I64 => Any::Signed(i64::from_le_bytes(self.number()?)),
            Kind::I128 => Any::WideSigned(i128::from_le_bytes(self.number()?)),
            Kind::F32 => Any::F32(f32::from_le_bytes(self.number()?)),
            Kind::F64 => Any::F64(f64::from_le_bytes(self.number()?)),
        })
    }
}
