//! How an element of a list is written: a number joins the list's block, anything else ends it.

use serde::ser::{Serialize, Serializer};

use super::error::DataError;
use super::list_writer::ListWriter;
use super::map_writer::MapWriter;
use super::number::AnyNumber;
use super::number_block::NumberKind;

macro_rules! numbers {
    ($($serialize:ident($number:ty) as $Any:ident in $Kind:ident,)*) => {$(
        #[inline]
        fn $serialize(self, number: $number) -> Result<(), DataError> {
            self.number(AnyNumber::$Any(number.into()), NumberKind::$Kind, number.to_le_bytes())
        }
    )*};
}

macro_rules! others {
    ($($serialize:ident($($name:ident: $Type:ty),*) -> $Output:ty,)*) => {$(
        #[inline]
        fn $serialize(self $(, $name: $Type)*) -> Result<$Output, DataError> {
            self.element()?.$serialize($($name),*)
        }
    )*};
}

impl<'a> Serializer for &'a mut ListWriter<'_> {
    type Ok = ();
    type Error = DataError;
    type SerializeSeq = ListWriter<'a>;
    type SerializeTuple = ListWriter<'a>;
    type SerializeTupleStruct = ListWriter<'a>;
    type SerializeTupleVariant = ListWriter<'a>;
    type SerializeMap = MapWriter<'a>;
    type SerializeStruct = MapWriter<'a>;
    type SerializeStructVariant = MapWriter<'a>;

    fn is_human_readable(&self) -> bool {
        true
    }

    numbers! {
        serialize_i8(i8) as Signed in I8,
        serialize_i16(i16) as Signed in I16,
        serialize_i32(i32) as Signed in I32,
        serialize_i64(i64) as Signed in I64,
        serialize_i128(i128) as WideSigned in I128,
        serialize_u8(u8) as Unsigned in U8,
        serialize_u16(u16) as Unsigned in U16,
        serialize_u32(u32) as Unsigned in U32,
        serialize_u64(u64) as Unsigned in U64,
        serialize_u128(u128) as WideUnsigned in U128,
        serialize_f32(f32) as F32 in F32,
        serialize_f64(f64) as F64 in F64,
    }

    others! {
        serialize_bool(value: bool) -> (),
        serialize_char(value: char) -> (),
        serialize_str(text: &str) -> (),
        serialize_bytes(bytes: &[u8]) -> (),
        serialize_none() -> (),
        serialize_unit() -> (),
        serialize_unit_struct(name: &'static str) -> (),
        serialize_unit_variant(of: &'static str, index: u32, name: &'static str) -> (),
        serialize_seq(len: Option<usize>) -> ListWriter<'a>,
        serialize_tuple(len: usize) -> ListWriter<'a>,
        serialize_tuple_struct(name: &'static str, len: usize) -> ListWriter<'a>,
        serialize_tuple_variant(of: &'static str, index: u32, name: &'static str, len: usize) -> ListWriter<'a>,
        serialize_map(len: Option<usize>) -> MapWriter<'a>,
        serialize_struct(name: &'static str, len: usize) -> MapWriter<'a>,
        serialize_struct_variant(of: &'static str, index: u32, name: &'static str, len: usize) -> MapWriter<'a>,
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), DataError> {
        self.element()?.serialize_some(value)
    }

    /// A number in a newtype is a number.
    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), DataError> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        of: &'static str,
        index: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), DataError> {
        self.element()?
            .serialize_newtype_variant(of, index, name, value)
    }
}
