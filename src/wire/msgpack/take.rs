//! Takes parts off the front of the bytes that are read. Fails if there are too few.

use super::error::DataError;
use super::format::{ARRAY16, BIN8, BIN16, FIX_LIST, FIX_MAP, FIX_TEXT, MAP16, NIL, STR8, STR16};

/// The next `len` bytes.
#[inline]
pub(super) fn take<'de>(input: &mut &'de [u8], len: usize) -> Result<&'de [u8], DataError> {
    match input.split_at_checked(len) {
        Some((taken, rest)) => {
            *input = rest;
            Ok(taken)
        }
        None => Err(DataError::torn()),
    }
}

/// The next `N` bytes.
#[inline]
pub(super) fn take_array<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], DataError> {
    match input.split_first_chunk() {
        Some((taken, rest)) => {
            *input = rest;
            Ok(*taken)
        }
        None => Err(DataError::torn()),
    }
}

#[inline]
pub(super) fn take_byte(input: &mut &[u8]) -> Result<u8, DataError> {
    take_array(input).map(|[byte]| byte)
}

/// A length of two bytes.
pub(super) fn take_len16(input: &mut &[u8]) -> Result<usize, DataError> {
    take_array(input).map(|len| u16::from_be_bytes(len).into())
}

/// A length of four bytes.
pub(super) fn take_len32(input: &mut &[u8]) -> Result<usize, DataError> {
    take_array(input).map(|len| u32::from_be_bytes(len) as usize)
}

/// The text that starts with this marker.
#[inline]
pub(super) fn take_text<'de>(marker: u8, input: &mut &'de [u8]) -> Result<&'de str, DataError> {
    let len = match marker {
        FIX_TEXT..NIL => (marker - FIX_TEXT).into(),
        STR8 => take_byte(input)?.into(),
        STR16 => take_len16(input)?,
        _ => take_len32(input)?,
    };
    str::from_utf8(take(input, len)?)
        .map_err(|error| DataError::new(format!("a text of {len} bytes is invalid: {error}")))
}

/// The length of the list that starts with this marker.
#[inline]
pub(super) fn take_list_len(marker: u8, input: &mut &[u8]) -> Result<usize, DataError> {
    match marker {
        FIX_LIST..FIX_TEXT => Ok((marker - FIX_LIST).into()),
        ARRAY16 => take_len16(input),
        _ => take_len32(input),
    }
}

/// The length of the map that starts with this marker.
#[inline]
pub(super) fn take_map_len(marker: u8, input: &mut &[u8]) -> Result<usize, DataError> {
    match marker {
        FIX_MAP..FIX_LIST => Ok((marker - FIX_MAP).into()),
        MAP16 => take_len16(input),
        _ => take_len32(input),
    }
}

/// The bytes that start with this marker.
pub(super) fn take_bytes<'de>(marker: u8, input: &mut &'de [u8]) -> Result<&'de [u8], DataError> {
    let len = match marker {
        BIN8 => take_byte(input)?.into(),
        BIN16 => take_len16(input)?,
        _ => take_len32(input)?,
    };
    take(input, len)
}
