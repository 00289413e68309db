//! Nothing (`None`, `()`) inside `Some`s. A nothing inside a `Some` would be read as `None`, so the number of `Some`s
//! is written instead.

use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::error::DataError;
use super::format::{FIXEXT1, NIL, SOMES};
use super::take::take_array;

/// Marks a `Some` whose content, which begins at `start`, could be read as nothing.
#[inline]
pub(super) fn mark_some(out: &mut Vec<u8>, start: usize) {
    match &mut out[start..] {
        [NIL] => {
            out.truncate(start);
            out.extend_from_slice(&[FIXEXT1, SOMES, 1]);
        }
        [FIXEXT1, SOMES, somes] => *somes += 1, // Each but the first counts as a level, so there are few.
        _ => {}
    }
}

/// Reads nothing inside this number of `Some`s.
pub(super) struct NothingInSomes(pub(super) u8);

impl NothingInSomes {
    /// Takes one whose marker was already taken.
    pub(super) fn take(input: &mut &[u8]) -> Result<Self, DataError> {
        match take_array(input)? {
            [SOMES, somes] => Ok(Self(somes)),
            [other, _] => Err(DataError::unknown(other)),
        }
    }
}

impl<'de> Deserializer<'de> for NothingInSomes {
    type Error = DataError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DataError> {
        match self.0.checked_sub(1) {
            Some(inner) => visitor.visit_some(Self(inner)),
            None => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DataError> {
        match self.0.checked_sub(1) {
            Some(inner) => visitor.visit_some(Self(inner)),
            None => visitor.visit_none(),
        }
    }

    /// A type that is no `Option` reads a `Some` as its content.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DataError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DataError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DataError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}
