//! How each kind of value of serde's data model is written.

use serde::ser::{Serialize, Serializer};

use super::error::DataError;
use super::format::{BYTES, FALSE, MAP, NIL, TRUE};
use super::list_writer::ListWriter;
use super::map_writer::{MapWriter, put_text};
use super::nothing::mark_some;
use super::number::AnyNumber;
use super::value_writer::ValueWriter;

impl<'a> ValueWriter<'a> {
    /// Begins a variant with content, which is a map of one entry. Returns the writer of the content.
    fn variant(self, name: &str) -> Result<Self, DataError> {
        let writer = self.into_parts()?;
        MAP.put_head(1, writer.out)?;
        put_text(name, writer.out)?;
        Ok(writer)
    }
}

macro_rules! numbers {
    ($($serialize:ident($number:ty) as $Any:ident,)*) => {$(
        #[inline]
        fn $serialize(self, number: $number) -> Result<(), DataError> {
            AnyNumber::$Any(number.into()).put(self.out);
            Ok(())
        }
    )*};
}

impl<'a> Serializer for ValueWriter<'a> {
    type Ok = ();
    type Error = DataError;
    type SerializeSeq = ListWriter<'a>;
    type SerializeTuple = ListWriter<'a>;
    type SerializeTupleStruct = ListWriter<'a>;
    type SerializeTupleVariant = ListWriter<'a>;
    type SerializeMap = MapWriter<'a>;
    type SerializeStruct = MapWriter<'a>;
    type SerializeStructVariant = MapWriter<'a>;

    /// Serde's own buffer, which `flatten`, `untagged` and `tag` read from, expects the readable form of a
    /// type in every format.
    fn is_human_readable(&self) -> bool {
        true
    }

    numbers! {
        serialize_i8(i8) as Signed,
        serialize_i16(i16) as Signed,
        serialize_i32(i32) as Signed,
        serialize_i64(i64) as Signed,
        serialize_i128(i128) as WideSigned,
        serialize_u8(u8) as Unsigned,
        serialize_u16(u16) as Unsigned,
        serialize_u32(u32) as Unsigned,
        serialize_u64(u64) as Unsigned,
        serialize_u128(u128) as WideUnsigned,
        serialize_f32(f32) as F32,
        serialize_f64(f64) as F64,
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), DataError> {
        self.out.push(if value { TRUE } else { FALSE });
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), DataError> {
        put_text(value.encode_utf8(&mut [0; 4]), self.out)
    }

    #[inline]
    fn serialize_str(self, text: &str) -> Result<(), DataError> {
        put_text(text, self.out)
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), DataError> {
        BYTES.put_head(bytes.len(), self.out)?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), DataError> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(mut self, value: &T) -> Result<(), DataError> {
        let start = self.out.len();
        value.serialize(self.some()?)?;
        mark_some(self.out, start);
        Ok(())
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), DataError> {
        self.out.push(NIL);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), DataError> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
    ) -> Result<(), DataError> {
        put_text(name, self.out)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), DataError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), DataError> {
        match value.serialize(self.variant(name)?) {
            Ok(()) => Ok(()),
            Err(error) => Err(error.in_field(name)),
        }
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<ListWriter<'a>, DataError> {
        ListWriter::new(self.into_parts()?, len)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<ListWriter<'a>, DataError> {
        ListWriter::new(self.into_parts()?, Some(len))
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        len: usize,
    ) -> Result<ListWriter<'a>, DataError> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        len: usize,
    ) -> Result<ListWriter<'a>, DataError> {
        self.variant(name)?.serialize_tuple(len)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<MapWriter<'a>, DataError> {
        MapWriter::new(self.into_parts()?, len)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, len: usize) -> Result<MapWriter<'a>, DataError> {
        self.serialize_map(Some(len))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        len: usize,
    ) -> Result<MapWriter<'a>, DataError> {
        self.variant(name)?.serialize_map(Some(len))
    }
}
