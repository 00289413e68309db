//! How the codec writes a type, as a name. Two builds that give a type the same name read each other's values.
//!
//! The head of a bare value contains only its size, so a reader that expects an `f64` would accept the bytes of a
//! `u64`. MessagePack describes itself: there, a wrong type is an error or a value that converts.

use std::any::TypeId;

use bytes::Bytes;

use super::codec::for_each_number;

/// A type that is MessagePack.
const DESCRIBES_ITSELF: &str = "*";

/// The types of numbers with the width of an address, by that width.
mod word {
    #[cfg(target_pointer_width = "16")]
    pub(super) type Signed = i16;
    #[cfg(target_pointer_width = "16")]
    pub(super) type Unsigned = u16;
    #[cfg(target_pointer_width = "32")]
    pub(super) type Signed = i32;
    #[cfg(target_pointer_width = "32")]
    pub(super) type Unsigned = u32;
    #[cfg(target_pointer_width = "64")]
    pub(super) type Signed = i64;
    #[cfg(target_pointer_width = "64")]
    pub(super) type Unsigned = u64;
}

/// How the codec writes a value of type `T`.
pub(crate) fn form<T: 'static>() -> &'static str {
    let wanted = TypeId::of::<T>();
    let is = |other: TypeId| wanted == other;
    if is(TypeId::of::<usize>()) {
        return form::<word::Unsigned>();
    }
    if is(TypeId::of::<isize>()) {
        return form::<word::Signed>();
    }
    if is(TypeId::of::<Vec<usize>>()) {
        return form::<Vec<word::Unsigned>>();
    }
    if is(TypeId::of::<Vec<isize>>()) {
        return form::<Vec<word::Signed>>();
    }
    if is(TypeId::of::<()>()) {
        return "()";
    }
    if is(TypeId::of::<String>()) {
        return "text";
    }
    if is(TypeId::of::<Bytes>()) || is(TypeId::of::<Vec<u8>>()) {
        return "bytes";
    }
    macro_rules! numbers {
        ($($number:ty),*) => {$(
            if is(TypeId::of::<$number>()) {
                return stringify!($number);
            }
            if cfg!(target_endian = "little") && is(TypeId::of::<Vec<$number>>()) {
                return concat!("[", stringify!($number), "]");
            }
        )*};
    }
    for_each_number!(numbers, u8);
    DESCRIBES_ITSELF
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/shape.rs"]
mod tests;
