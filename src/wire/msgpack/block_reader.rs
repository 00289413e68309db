//! A block of numbers, as a visitor sees it: a list. Each of its numbers can also be the content of an `Option` or a
//! newtype, as it was when it was written.

use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::error::DataError;
use super::number::AnyNumber;
use super::number_block::NumberBlock;

/// One number.
pub(super) struct NumberReader<N>(pub(super) N);

impl<'de, N: IntoDeserializer<'de, DataError>> Deserializer<'de> for NumberReader<N> {
    type Error = DataError;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DataError> {
        self.0.into_deserializer().deserialize_any(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DataError> {
        visitor.visit_some(self)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DataError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> SeqAccess<'de> for NumberBlock<'de> {
    type Error = DataError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DataError> {
        let Some(number) = self.next() else {
            return Ok(None);
        };
        let element = match number {
            AnyNumber::Unsigned(number) => seed.deserialize(NumberReader(number)),
            AnyNumber::Signed(number) => seed.deserialize(NumberReader(number)),
            AnyNumber::WideUnsigned(number) => seed.deserialize(NumberReader(number)),
            AnyNumber::WideSigned(number) => seed.deserialize(NumberReader(number)),
            AnyNumber::F32(number) => seed.deserialize(NumberReader(number)),
            AnyNumber::F64(number) => seed.deserialize(NumberReader(number)),
        };
        element.map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.len())
    }
}

/// A block of bytes, the most frequent kind. A loop over it is faster, since it does not check the kind for each.
pub(super) struct ByteBlock<'de>(pub(super) &'de [u8]);

impl<'de> SeqAccess<'de> for ByteBlock<'de> {
    type Error = DataError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DataError> {
        let Some((byte, rest)) = self.0.split_first() else {
            return Ok(None);
        };
        self.0 = rest;
        seed.deserialize(NumberReader(*byte)).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
