//! Values to bytes and back.
//!
//! A value is a length, then that many bytes. The bytes are self-describing MessagePack with field names
//! (see [`msgpack`]), so every value that serde_json can carry works here too. Numbers and bulk types are plain bytes
//! (little-endian numbers) instead, which costs one memory copy. The low bit of the length says which.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut as _, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::chain::{Chain, Reader, front_varint, put_varint, varint_len, write_varint};
use super::msgpack;

/// A result of this size or more keeps the buffer that it arrived in, instead of being copied.
const KEEP_BUFFER: usize = 32 * 1024;

/// Why a value could not be encoded or decoded.
#[derive(Debug)]
pub struct CodecError(Cow<'static, str>);

impl CodecError {
    pub(crate) fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const TORN: CodecError = CodecError(Cow::Borrowed("the bytes end in the middle of a value"));

/// Appends `value`. On an error, `out` is unchanged.
pub(crate) fn put<T: Serialize + 'static>(value: T, out: &mut Chain) -> Result<(), CodecError> {
    if put_number(&value, out.tail()) {
        return Ok(());
    }
    let value = match bulk_to_bytes(value) {
        Ok(bytes) => {
            put_varint(out.tail(), ((bytes.len() as u64) << 1) | 1);
            out.put_bytes(bytes);
            return Ok(());
        }
        Err(value) => value,
    };
    put_encoded(&value, out)
}

/// As `put`, for a value that is neither a number nor bulk. [`get`] reads it.
pub(crate) fn put_encoded<T: Serialize>(value: &T, out: &mut Chain) -> Result<(), CodecError> {
    append_encoded(value, out.tail())
}

fn append_encoded<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    // The length comes first but is known last. Leave one byte for it, which is enough for most values. For
    // the others, move the bytes up.
    let start = out.len();
    out.put_u8(0);
    if let Err(error) = write(value, out) {
        out.truncate(start);
        return Err(error);
    }
    let len = out.len() - start - 1;
    let head = varint_len((len as u64) << 1);
    out.put_bytes(0, head - 1);
    out.copy_within(start + 1..start + 1 + len, start + head);
    write_varint(&mut out[start..start + head], (len as u64) << 1);
    Ok(())
}

/// As [`put`], but borrows the value. For a value with [`bulk_bytes`], it appends only the head.
#[cfg(feature = "multiprocessing")]
pub(crate) fn put_borrowed<T: Serialize + 'static>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    if put_number(value, out) {
        return Ok(());
    }
    if let Some(bytes) = bulk_bytes(value) {
        put_varint(out, ((bytes.len() as u64) << 1) | 1);
        return Ok(());
    }
    append_encoded(value, out)
}

/// Reads the next value. Skips it even if it cannot be decoded.
pub(crate) fn get<T: DeserializeOwned + 'static>(input: &mut Reader) -> Result<T, CodecError> {
    if let Some(number) = get_number(input) {
        return Ok(number);
    }
    let (len, plain) = head(input)?;
    if plain {
        return bulk_from_bytes(input.take(len).ok_or(TORN)?);
    }
    if len > input.front.len() {
        return Err(TORN); // Only plain bytes may be in a different piece than their length.
    }
    let value = SkipOnDrop { input, len };
    read(&value.input.front[..len])
}

/// Skips the value when dropped: decoding calls user code, which may panic.
struct SkipOnDrop<'a> {
    input: &'a mut Reader,
    len: usize,
}

impl Drop for SkipOnDrop<'_> {
    fn drop(&mut self) {
        self.input.advance(self.len);
    }
}

fn write<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    msgpack::write(value, out).map_err(|error| failed::<T>(error))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    msgpack::read(bytes).map_err(|error| failed::<T>(error))
}

#[cold]
fn failed<T>(error: impl fmt::Display) -> CodecError {
    CodecError::new(format!("`{}`: {error}", std::any::type_name::<T>()))
}

/// The head of an encoded value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg(feature = "multiprocessing")]
pub(crate) struct ValueHead {
    /// The size of the head in bytes.
    pub(crate) own_len: usize,
    /// The size of the value in bytes.
    pub(crate) len: usize,
    pub(crate) is_plain: bool,
}

/// The head of the value at the front.
#[cfg(feature = "multiprocessing")]
pub(crate) fn value_head(bytes: &[u8]) -> Option<ValueHead> {
    let (head, own_len) = front_varint(bytes)?;
    Some(ValueHead {
        own_len,
        len: usize::try_from(head >> 1).ok()?,
        is_plain: head & 1 == 1,
    })
}

/// The encoded value without a head, and whether it is plain bytes. [`get_bare`] reads it. Plain bytes are borrowed
/// from the value.
pub(crate) fn bare<T: Serialize + 'static>(value: &T) -> Result<(bool, Cow<'_, [u8]>), CodecError> {
    if let Some(bytes) = bulk_bytes(value) {
        return Ok((true, Cow::Borrowed(bytes)));
    }
    let mut bytes = Vec::new();
    write(value, &mut bytes)?;
    Ok((false, Cow::Owned(bytes)))
}

/// Reads a value from all of `bytes`, which followed its head. A bulk value takes the buffer.
pub(crate) fn get_bare<T: DeserializeOwned + 'static>(
    is_plain: bool,
    bytes: &mut Vec<u8>,
) -> Result<T, CodecError> {
    if is_plain && is_text_or_bytes::<T>() {
        return bulk_from_vec(std::mem::take(bytes));
    }
    get_from(is_plain, bytes)
}

/// As [`get_bare`], but does not take the buffer.
pub(crate) fn get_from<T: DeserializeOwned + 'static>(
    is_plain: bool,
    bytes: &[u8],
) -> Result<T, CodecError> {
    if !is_plain {
        return read(bytes);
    }
    if let Some(number) = bare_number(bytes) {
        return Ok(number);
    }
    if is_text_or_bytes::<T>() {
        return bulk_from_vec(bytes.to_vec());
    }
    numbers_from_bytes(bytes)
}

/// Skips the next value.
pub(crate) fn skip(input: &mut Reader) -> Result<(), CodecError> {
    next(input).map(drop)
}

/// Takes the next value, still encoded.
pub(crate) fn next(input: &mut Reader) -> Result<Reader, CodecError> {
    let (head, len) = front_varint(&input.front).ok_or(TORN)?;
    let value = usize::try_from(head >> 1).map_err(|_| TORN)?;
    let end = len.checked_add(value).ok_or(TORN)?;
    input.split_to(end).ok_or(TORN)
}

/// How many bytes the value at the front takes. `None` if it is incomplete.
pub(crate) fn value_len(bytes: &[u8]) -> Option<usize> {
    let (head, len) = front_varint(bytes)?;
    let end = len.checked_add(usize::try_from(head >> 1).ok()?)?;
    (end <= bytes.len()).then_some(end)
}

/// Reads the length of the next value. Returns it, and whether the value is plain bytes. Fails if the value is
/// incomplete.
fn head(input: &mut Reader) -> Result<(usize, bool), CodecError> {
    let head = input.varint().ok_or(TORN)?;
    let len = usize::try_from(head >> 1).map_err(|_| TORN)?;
    if len > input.len() {
        return Err(TORN);
    }
    Ok((len, head & 1 == 1))
}

/// The types of numbers whose vectors travel as plain bytes. On a big-endian machine these vectors are MessagePack.
macro_rules! for_each_number {
    ($with:ident $(, $more:ty)*) => {
        $with!(i8, i16, i32, i64, i128, isize, u16, u32, u64, u128, usize, f32, f64 $(, $more)*)
    };
}

#[cfg(feature = "cluster")]
pub(super) use for_each_number;

/// The head of a number of type `N`, which takes one byte.
const fn number_head<N>() -> u8 {
    (size_of::<N>() as u8) << 1 | 1
}

/// Appends a number as plain bytes. Returns false if the value is not a number.
fn put_number<T: 'static>(value: &T, out: &mut Vec<u8>) -> bool {
    let any: &dyn Any = value;
    macro_rules! number {
        ($($number:ty),*) => {$(
            if let Some(number) = any.downcast_ref::<$number>() {
                const LEN: usize = 1 + size_of::<$number>();
                let mut bytes = [number_head::<$number>(); LEN];
                bytes[1..].copy_from_slice(&number.to_le_bytes());
                out.extend_from_slice(&bytes);
                return true;
            }
        )*};
    }
    for_each_number!(number, u8);
    false
}

/// Reads a number that `put_number` wrote. Returns `None`, and reads nothing, if `T` is not a number or
/// something else is at the front.
pub(crate) fn get_number<T: 'static>(input: &mut Reader) -> Option<T> {
    let (number, len) = front_number(&input.front)?;
    input.advance(len);
    Some(number)
}

/// The number at the front, as `get_number` reads it, and its size in bytes.
#[inline]
pub(crate) fn front_number<T: 'static>(bytes: &[u8]) -> Option<(T, usize)> {
    macro_rules! number {
        ($($number:ty),*) => {$(
            if TypeId::of::<T>() == TypeId::of::<$number>() {
                const LEN: usize = 1 + size_of::<$number>();
                let (&head, bytes) = bytes.first_chunk::<LEN>()?.split_first()?;
                if head != number_head::<$number>() {
                    return None;
                }
                let number = <$number>::from_le_bytes(bytes.try_into().ok()?);
                return cast(number).map(|number| (number, LEN));
            }
        )*};
    }
    for_each_number!(number, u8);
    None
}

/// Reads a number that has no head.
fn bare_number<T: 'static>(bytes: &[u8]) -> Option<T> {
    macro_rules! number {
        ($($number:ty),*) => {$(
            if TypeId::of::<T>() == TypeId::of::<$number>() {
                return cast(<$number>::from_le_bytes(bytes.try_into().ok()?));
            }
        )*};
    }
    for_each_number!(number, u8);
    None
}

/// The value, if its type is `T`.
fn cast<V: 'static, T: 'static>(value: V) -> Option<T> {
    let mut slot = Some(value);
    let any: &mut dyn Any = &mut slot;
    any.downcast_mut::<Option<T>>().and_then(Option::take)
}

/// The bytes of a bulk value, borrowed. `None` for other values.
pub(crate) fn bulk_bytes<T: 'static>(value: &T) -> Option<&[u8]> {
    let any: &dyn Any = value;
    if let Some(bytes) = any.downcast_ref::<Bytes>() {
        return Some(bytes);
    }
    if let Some(bytes) = any.downcast_ref::<Vec<u8>>() {
        return Some(bytes);
    }
    if let Some(text) = any.downcast_ref::<String>() {
        return Some(text.as_bytes());
    }
    macro_rules! numbers {
        ($($number:ty),*) => {$(
            if cfg!(target_endian = "little")
                && let Some(numbers) = any.downcast_ref::<Vec<$number>>()
            {
                return Some(bytemuck::cast_slice(numbers));
            }
        )*};
    }
    for_each_number!(numbers);
    None
}

/// The bytes of a bulk value, or the value itself if it is not one.
pub(crate) fn bulk_to_bytes<T: 'static>(value: T) -> Result<Bytes, T> {
    /// A vector of numbers that is read as bytes, and freed as a vector of numbers.
    struct Numbers<N>(Vec<N>);

    impl<N: bytemuck::NoUninit> AsRef<[u8]> for Numbers<N> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }

    let mut slot = Some(value);
    let any: &mut dyn Any = &mut slot;
    if let Some(bytes) = any.downcast_mut::<Option<Bytes>>().and_then(Option::take) {
        return Ok(bytes);
    }
    if let Some(bytes) = any.downcast_mut::<Option<Vec<u8>>>().and_then(Option::take) {
        return Ok(bytes.into());
    }
    if let Some(text) = any.downcast_mut::<Option<String>>().and_then(Option::take) {
        return Ok(text.into());
    }
    macro_rules! numbers {
        ($($number:ty),*) => {$(
            if cfg!(target_endian = "little")
                && let Some(numbers) = any.downcast_mut::<Option<Vec<$number>>>().and_then(Option::take)
            {
                return Ok(Bytes::from_owner(Numbers(numbers)));
            }
        )*};
    }
    for_each_number!(numbers);
    Err(slot.expect("only a bulk type takes the value"))
}

/// Whether a bulk value of this type is its own encoding, without any conversion.
pub(crate) fn is_bytes<T: 'static>() -> bool {
    [TypeId::of::<Bytes>(), TypeId::of::<Vec<u8>>()].contains(&TypeId::of::<T>())
}

/// Whether a bulk value of this type keeps the buffer that it is read from.
pub(crate) fn is_text_or_bytes<T: 'static>() -> bool {
    is_bytes::<T>() || TypeId::of::<T>() == TypeId::of::<String>()
}

fn bulk_from_bytes<T: 'static>(bytes: Bytes) -> Result<T, CodecError> {
    if TypeId::of::<T>() == TypeId::of::<Bytes>() {
        // A small value must not keep the large buffer alive that it arrived in.
        let small = bytes.len() < KEEP_BUFFER;
        return cast_known(if small {
            Bytes::copy_from_slice(&bytes)
        } else {
            bytes
        });
    }
    if is_text_or_bytes::<T>() {
        return bulk_from_vec(into_vec(bytes));
    }
    numbers_from_bytes(&bytes)
}

/// Creates text or bytes from a buffer.
fn bulk_from_vec<T: 'static>(bytes: Vec<u8>) -> Result<T, CodecError> {
    let wanted = TypeId::of::<T>();
    if wanted == TypeId::of::<Bytes>() {
        cast_known(Bytes::from(bytes))
    } else if wanted == TypeId::of::<Vec<u8>>() {
        cast_known(bytes)
    } else {
        let text = String::from_utf8(bytes);
        cast_known(text.map_err(|error| CodecError::new(error.to_string()))?)
    }
}

fn numbers_from_bytes<T: 'static>(bytes: &[u8]) -> Result<T, CodecError> {
    let wanted = TypeId::of::<T>();
    macro_rules! numbers {
        ($($number:ty),*) => {$(
            if cfg!(target_endian = "little") && wanted == TypeId::of::<Vec<$number>>() {
                if bytes.len() % size_of::<$number>() != 0 {
                    return Err(TORN);
                }
                return cast_known(bytemuck::pod_collect_to_vec::<u8, $number>(bytes));
            }
        )*};
    }
    for_each_number!(numbers);
    Err(CodecError::new(format!(
        "expected a `{}`, found plain bytes",
        std::any::type_name::<T>()
    )))
}

/// As `cast`, where the caller has compared the types.
fn cast_known<V: 'static, T: 'static>(value: V) -> Result<T, CodecError> {
    Ok(cast(value).expect("the caller compared the types"))
}

/// A large value may keep the buffer that it arrived in. A small one must not keep a large buffer alive.
fn into_vec(bytes: Bytes) -> Vec<u8> {
    if bytes.len() < KEEP_BUFFER {
        bytes.to_vec()
    } else {
        bytes.into()
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/codec.rs"]
mod tests;
