//! A single number, written with the shortest marker that holds it.

use super::format::{
    F32, F64, FIXEXT16, I8, I16, I32, I64, LEAST_FIX_NUMBER, MOST_FIX_NUMBER, U8, U16, U32, U64,
    WIDE_SIGNED, WIDE_UNSIGNED,
};

/// A number of any type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum AnyNumber {
    Unsigned(u64),
    Signed(i64),
    WideUnsigned(u128),
    WideSigned(i128),
    F32(f32),
    F64(f64),
}

impl AnyNumber {
    /// Appends the number with its marker.
    #[inline]
    pub(super) fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Unsigned(number @ ..=MOST_FIX_NUMBER) => out.push(number as u8),
            Self::Signed(number @ LEAST_FIX_NUMBER..=0x7f) => out.push(number as u8),
            _ => self.put_long(out),
        }
    }

    fn put_long(self, out: &mut Vec<u8>) {
        match self {
            Self::Unsigned(number) => match number {
                ..=MOST_FIX_NUMBER => out.push(number as u8),
                0x80..=0xff => out.extend_from_slice(&[U8, number as u8]),
                0x100..=0xffff => put_marked(U16, (number as u16).to_be_bytes(), out),
                0x1_0000..=0xffff_ffff => put_marked(U32, (number as u32).to_be_bytes(), out),
                0x1_0000_0000.. => put_marked(U64, number.to_be_bytes(), out),
            },
            Self::Signed(number) => match number {
                0.. => Self::Unsigned(number as u64).put_long(out),
                LEAST_FIX_NUMBER..=-1 => out.push(number as u8),
                -0x80..=-0x21 => out.extend_from_slice(&[I8, number as u8]),
                -0x8000..=-0x81 => put_marked(I16, (number as i16).to_be_bytes(), out),
                -0x8000_0000..=-0x8001 => put_marked(I32, (number as i32).to_be_bytes(), out),
                ..=-0x8000_0001 => put_marked(I64, number.to_be_bytes(), out),
            },
            Self::WideUnsigned(number) => match u64::try_from(number) {
                Ok(short) => Self::Unsigned(short).put_long(out),
                Err(_) => put_wide(WIDE_UNSIGNED, number.to_le_bytes(), out),
            },
            Self::WideSigned(number) => match i64::try_from(number) {
                Ok(short) => Self::Signed(short).put_long(out),
                Err(_) => put_wide(WIDE_SIGNED, number.to_le_bytes(), out),
            },
            Self::F32(number) => put_marked(F32, number.to_be_bytes(), out),
            Self::F64(number) => put_marked(F64, number.to_be_bytes(), out),
        }
    }
}

fn put_marked<const N: usize>(marker: u8, number: [u8; N], out: &mut Vec<u8>) {
    out.push(marker);
    out.extend_from_slice(&number);
}

fn put_wide(extension: u8, number: [u8; 16], out: &mut Vec<u8>) {
    out.extend_from_slice(&[FIXEXT16, extension]);
    out.extend_from_slice(&number);
}
