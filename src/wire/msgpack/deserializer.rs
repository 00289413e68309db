//! How each kind of value of serde's data model is read. The bytes say what they contain, so most kinds are read in the
//! same way, whatever type is expected.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::error::DataError;
use super::format::{
    ARRAY16, ARRAY32, BIN8, BIN32, EXT32, F32, F64, FALSE, FIX_LIST, FIX_MAP, FIX_TEXT, FIXEXT1,
    FIXEXT16, I8, I16, I32, I64, LEAST_FIX_NUMBER, MAP16, MAP32, NIL, SOMES, STR8, STR32, TRUE, U8,
    U16, U32, U64, WIDE_SIGNED, WIDE_UNSIGNED,
};
use super::list_reader::{visit_block, visit_bytes, visit_list};
use super::map_reader::{visit_map, visit_variant};
use super::nothing::NothingInSomes;
use super::number_block::{NumberBlock, NumberKind};
use super::take::{take_array, take_byte, take_bytes, take_list_len, take_map_len, take_text};
use super::value_reader::ValueReader;

const LEAST_FIX: u8 = LEAST_FIX_NUMBER as u8;
const MAP_OF_ONE: u8 = FIX_MAP | 1;
const BYTE_BLOCK: u8 = NumberKind::U8 as u8;

impl<'de> ValueReader<'_, 'de> {
    /// Shows a visitor a list. Bytes are one too.
    #[inline]
    fn visit_sequence<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DataError> {
        match *self.input {
            [marker @ BIN8..=BIN32, rest @ ..] => {
                *self.input = rest;
                visit_bytes(take_bytes(*marker, self.input)?, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for ValueReader<'_, 'de> {
    type Error = DataError;

    fn is_human_readable(&self) -> bool {
        true
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DataError> {
        let marker = take_byte(self.input)?;
        match marker {
            ..FIX_MAP => visitor.visit_u8(marker),
            FIX_MAP..FIX_LIST | MAP16 | MAP32 => {
                let len = take_map_len(marker, self.input)?;
                visit_map(self, len, visitor)
            }
            FIX_LIST..FIX_TEXT | ARRAY16 | ARRAY32 => {
                let len = take_list_len(marker, self.input)?;
                visit_list(self, len, visitor)
            }
            FIX_TEXT..NIL | STR8..=STR32 => {
                visitor.visit_borrowed_str(take_text(marker, self.input)?)
            }
            LEAST_FIX.. => visitor.visit_i8(marker as i8),
            NIL => visitor.visit_unit(),
            FALSE => visitor.visit_bool(false),
            TRUE => visitor.visit_bool(true),
            BIN8..=BIN32 => visitor.visit_borrowed_bytes(take_bytes(marker, self.input)?),
            EXT32 => visit_block(NumberBlock::take(self.input)?, visitor),
            F32 => visitor.visit_f32(f32::from_be_bytes(take_array(self.input)?)),
            F64 => visitor.visit_f64(f64::from_be_bytes(take_array(self.input)?)),
            U8 => visitor.visit_u8(u8::from_be_bytes(take_array(self.input)?)),
            U16 => visitor.visit_u16(u16::from_be_bytes(take_array(self.input)?)),
            U32 => visitor.visit_u32(u32::from_be_bytes(take_array(self.input)?)),
            U64 => visitor.visit_u64(u64::from_be_bytes(take_array(self.input)?)),
            I8 => visitor.visit_i8(i8::from_be_bytes(take_array(self.input)?)),
            I16 => visitor.visit_i16(i16::from_be_bytes(take_array(self.input)?)),
            I32 => visitor.visit_i32(i32::from_be_bytes(take_array(self.input)?)),
            I64 => visitor.visit_i64(i64::from_be_bytes(take_array(self.input)?)),
            FIXEXT1 => NothingInSomes::take(self.input)?.deserialize_any(visitor),
            FIXEXT16 => match take_byte(self.input)? {
                WIDE_UNSIGNED => visitor.visit_u128(u128::from_le_bytes(take_array(self.input)?)),
                WIDE_SIGNED => visitor.visit_i128(i128::from_le_bytes(take_array(self.input)?)),
                other => Err(DataError::unknown(other)),
            },
            _ => Err(DataError::unknown(marker)),
        }
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DataError> {
        match *self.input {
            [NIL, rest @ ..] => {
                *self.input = rest;
                visitor.visit_none()
            }
            [FIXEXT1, SOMES, somes, rest @ ..] => {
                *self.input = rest;
                NothingInSomes(*somes).deserialize_option(visitor)
            }
            _ => visitor.visit_some(self.into_some()?),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DataError> {
        match *self.input {
            [FIXEXT1, SOMES, somes, rest @ ..] => {
                *self.input = rest;
                NothingInSomes(*somes).deserialize_unit(visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DataError> {
        self.deserialize_unit(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DataError> {
        visitor.visit_newtype_struct(self)
    }

    /// A variant without content is its name, one with content a map.
    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DataError> {
        match *self.input {
            [MAP_OF_ONE, rest @ ..] => {
                *self.input = rest;
                visit_variant(self, visitor)
            }
            [marker @ (FIX_TEXT..NIL | STR8..=STR32), rest @ ..] => {
                *self.input = rest;
                visitor.visit_enum(BorrowedStrDeserializer::new(take_text(
                    *marker, self.input,
                )?))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DataError> {
        self.visit_sequence(visitor)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DataError> {
        self.visit_sequence(visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DataError> {
        self.visit_sequence(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DataError> {
        match *self.input {
            [EXT32, _, _, _, _, BYTE_BLOCK, ..] => {
                take_byte(self.input)?;
                let block = NumberBlock::take(self.input)?;
                visitor.visit_borrowed_bytes(block.bytes())
            }
            _ => self.deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DataError> {
        self.deserialize_bytes(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string map struct identifier ignored_any
    }
}
