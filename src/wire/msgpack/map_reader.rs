//! The entries of a map, which may be a struct's fields, and the content of a variant.

use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer, EnumAccess, MapAccess, VariantAccess, Visitor,
};

use super::error::DataError;
use super::format::{FIX_TEXT, NIL, STR8, STR32};
use super::take::{take_byte, take_text};
use super::value_reader::ValueReader;

struct MapReader<'a, 'de> {
    reader: ValueReader<'a, 'de>,
    left: usize,
    /// The bytes from the last key on.
    key: &'de [u8],
}

/// Shows a visitor the map of `len` entries that follows.
pub(super) fn visit_map<'de, V: Visitor<'de>>(
    reader: ValueReader<'_, 'de>,
    len: usize,
    visitor: V,
) -> Result<V::Value, DataError> {
    let reader = reader.into_parts()?;
    let mut map = MapReader {
        reader,
        left: len,
        key: &[],
    };
    let value = visitor.visit_map(&mut map)?;
    match map.left {
        0 => Ok(value),
        left => Err(DataError::new(format!(
            "a map of {len} entries, where {} are expected",
            len - left
        ))),
    }
}

/// Shows a visitor the variant whose name and content follow.
#[inline]
pub(super) fn visit_variant<'de, V: Visitor<'de>>(
    reader: ValueReader<'_, 'de>,
    visitor: V,
) -> Result<V::Value, DataError> {
    visitor.visit_enum(VariantReader(reader.into_parts()?))
}

impl<'de> MapAccess<'de> for MapReader<'_, 'de> {
    type Error = DataError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DataError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        self.key = self.reader.input;
        seed.deserialize(self.reader.again()).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DataError> {
        match seed.deserialize(self.reader.again()) {
            Ok(value) => Ok(value),
            Err(error) => Err(in_entry(error, self.key)),
        }
    }

    /// At most half the number of remaining bytes, since an entry has two parts.
    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(self.reader.input.len() / 2))
    }
}

#[cold]
fn in_entry(error: DataError, mut key: &[u8]) -> DataError {
    match take_byte(&mut key) {
        Ok(marker @ (FIX_TEXT..NIL | STR8..=STR32)) => match take_text(marker, &mut key) {
            Ok(name) => error.in_field(name),
            Err(_) => error,
        },
        _ => error,
    }
}

/// A map of one entry: the variant's name and its content.
struct VariantReader<'a, 'de>(ValueReader<'a, 'de>);

impl<'a, 'de> EnumAccess<'de> for VariantReader<'a, 'de> {
    type Error = DataError;
    type Variant = ContentReader<'a, 'de>;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(
        mut self,
        seed: V,
    ) -> Result<(V::Value, ContentReader<'a, 'de>), DataError> {
        let name = *self.0.input;
        let variant = seed.deserialize(self.0.again())?;
        let reader = self.0;
        Ok((variant, ContentReader { reader, name }))
    }
}

struct ContentReader<'a, 'de> {
    reader: ValueReader<'a, 'de>,
    /// The bytes from the variant's name on.
    name: &'de [u8],
}

impl<'de> ContentReader<'_, 'de> {
    #[inline]
    fn read<T>(
        mut self,
        read: impl FnOnce(ValueReader<'_, 'de>) -> Result<T, DataError>,
    ) -> Result<T, DataError> {
        match read(self.reader.again()) {
            Ok(value) => Ok(value),
            Err(error) => Err(in_entry(error, self.name)),
        }
    }
}

impl<'de> VariantAccess<'de> for ContentReader<'_, 'de> {
    type Error = DataError;

    fn unit_variant(self) -> Result<(), DataError> {
        self.read(|reader| <()>::deserialize(reader))
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DataError> {
        self.read(|reader| seed.deserialize(reader))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, DataError> {
        self.read(|reader| reader.deserialize_tuple(len, visitor))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DataError> {
        self.read(|reader| reader.deserialize_struct("", fields, visitor))
    }
}
