//! Maps, and structs as maps by field name.

use serde::ser::{Serialize, SerializeMap, SerializeStruct, SerializeStructVariant};

use super::error::DataError;
use super::format::{MAP, TEXT};
use super::value_writer::ValueWriter;

/// Writes the entries of a map.
pub(super) struct MapWriter<'a> {
    writer: ValueWriter<'a>,
    /// Where the map begins.
    start: usize,
    /// The number of entries in the head. It can be wrong.
    expected: usize,
    /// The number of keys and values so far.
    parts: usize,
}

impl<'a> MapWriter<'a> {
    #[inline]
    pub(super) fn new(writer: ValueWriter<'a>, len: Option<usize>) -> Result<Self, DataError> {
        let (start, expected) = (writer.out.len(), len.unwrap_or(0));
        MAP.put_head(expected, writer.out)?;
        Ok(Self {
            writer,
            start,
            expected,
            parts: 0,
        })
    }

    #[inline]
    fn put<T: Serialize + ?Sized>(&mut self, part: &T) -> Result<(), DataError> {
        self.parts += 1;
        part.serialize(self.writer.again())
    }

    #[inline]
    fn put_field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), DataError> {
        self.parts += 1;
        put_text(name, self.writer.out)?;
        match self.put(value) {
            Ok(()) => Ok(()),
            Err(error) => Err(error.in_field(name)),
        }
    }

    #[inline]
    fn finish(self) -> Result<(), DataError> {
        if self.parts == 2 * self.expected {
            return Ok(());
        }
        if !self.parts.is_multiple_of(2) {
            return Err(DataError::new(
                "the `Serialize` of a map wrote a key without a value",
            ));
        }
        MAP.set_head(self.start, self.expected, self.parts / 2, self.writer.out)
    }
}

/// Appends text.
#[inline]
pub(super) fn put_text(text: &str, out: &mut Vec<u8>) -> Result<(), DataError> {
    TEXT.put_head(text.len(), out)?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

impl SerializeMap for MapWriter<'_> {
    type Ok = ();
    type Error = DataError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), DataError> {
        self.put(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), DataError> {
        self.put(value)
    }

    #[inline]
    fn end(self) -> Result<(), DataError> {
        self.finish()
    }
}

macro_rules! structs {
    ($($Trait:ident),*) => {$(
        impl $Trait for MapWriter<'_> {
            type Ok = ();
            type Error = DataError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), DataError> {
                self.put_field(name, value)
            }

            #[inline]
            fn end(self) -> Result<(), DataError> {
                self.finish()
            }
        }
    )*};
}

structs!(SerializeStruct, SerializeStructVariant);
