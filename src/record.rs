//! Reports as data: serde's two traits for structs of named fields and for enums of plain words.
//!
//! A field keeps its name from the struct. A reader takes the fields in any order and ignores unknown
//! A list without names holds the values in the order of the `record!` line. So a new field is added at the end of that
//! line and has a default, and a reader accepts shorter and longer lists. Formats that do not write a list's length
//! (bincode, postcard) can only be read by the version that wrote them.
//!
//! Two macros rather than `#[derive]`: `serde_derive` would be one more crate in every build, for seven
//! types.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

/// `record!(Type as "Name" { field, other = default })`: a field without a default is required.
macro_rules! record {
    ($Type:ident as $name:literal { $($field:ident $(= $default:expr)?),* $(,)? }) => {
        impl serde::Serialize for $Type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                let count = [$(stringify!($field)),*].len();
                let mut fields = serializer.serialize_struct($name, count)?;
                $(fields.serialize_field(stringify!($field), &self.$field)?;)*
                fields.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $Type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                const FIELDS: &[&str] = &[$(stringify!($field)),*];

                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $Type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("struct ", $name))
                    }

                    fn visit_seq<A: serde::de::SeqAccess<'de>>(
                        self,
                        mut fields: A,
                    ) -> Result<$Type, A::Error> {
                        $(let $field = fields.next_element()?;)*
                        while fields.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                        Ok($Type { $($field: $crate::record::field_or_default!($field $(, $default)?)),* })
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut fields: A,
                    ) -> Result<$Type, A::Error> {
                        $(let mut $field = None;)*
                        while let Some(name) = fields.next_key_seed($crate::record::OneOf(FIELDS))? {
                            match name {
                                $(Some(name) if name == stringify!($field) => {
                                    if $field.replace(fields.next_value()?).is_some() {
                                        return Err(serde::de::Error::duplicate_field(name));
                                    }
                                })*
                                _ => {
                                    fields.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok($Type { $($field: $crate::record::field_or_default!($field $(, $default)?)),* })
                    }
                }

                deserializer.deserialize_struct($name, FIELDS, Fields)
            }
        }
    };
}

/// The value of a field, or its default. Without a default, a missing field is an error.
macro_rules! field_or_default {
    ($field:ident) => {
        $field.ok_or_else(|| serde::de::Error::missing_field(stringify!($field)))?
    };
    ($field:ident, $default:expr) => {
        $field.unwrap_or_else(|| $default)
    };
}

/// `words!(Type as "Name" { Variant = "word" })`, for an enum whose variants hold nothing.
#[cfg(feature = "process")]
macro_rules! words {
    ($Type:ident as $name:literal { $($Variant:ident = $word:literal),* $(,)? }) => {
        impl serde::Serialize for $Type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let word = match self {
                    $(Self::$Variant => $word,)*
                };
                serializer.serialize_unit_variant($name, *self as u32, word)
            }
        }

        impl<'de> serde::Deserialize<'de> for $Type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                const WORDS: &[&str] = &[$($word),*];

                struct Word;

                impl<'de> serde::de::Visitor<'de> for Word {
                    type Value = $Type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(f, concat!($name, ": one of {:?}"), WORDS)
                    }

                    fn visit_enum<A: serde::de::EnumAccess<'de>>(
                        self,
                        data: A,
                    ) -> Result<$Type, A::Error> {
                        use serde::de::VariantAccess as _;
                        let (word, variant) = data.variant_seed($crate::record::OneOf(WORDS))?;
                        variant.unit_variant()?;
                        match word {
                            $(Some($word) => Ok($Type::$Variant),)*
                            _ => Err(serde::de::Error::invalid_value(
                                serde::de::Unexpected::Other("another word"),
                                &self,
                            )),
                        }
                    }
                }

                deserializer.deserialize_enum($name, WORDS, Word)
            }
        }
    };
}

#[cfg(feature = "process")]
pub(crate) use words;
pub(crate) use {field_or_default, record};

/// Reads a name, or its number where the format has no names. `None` if the name or number is unknown.
pub(crate) struct OneOf(pub(crate) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for OneOf {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for OneOf {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        let number = usize::try_from(number).ok();
        Ok(number.and_then(|number| self.0.get(number).copied()))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().copied().find(|known| *known == name))
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Self::Value, E> {
        Ok(self
            .0
            .iter()
            .copied()
            .find(|known| known.as_bytes() == name))
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize as _;
    use serde::de::value::{self, MapDeserializer, SeqDeserializer};
    use serde::de::{IntoDeserializer as _, value::StrDeserializer};

    #[derive(Debug, PartialEq)]
    struct Point {
        x: i32,
        y: i32,
        z: i32,
    }

    record!(Point as "Point" { x, y, z = 7 });

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Light {
        Red,
        Green,
    }

    words!(Light as "Light" { Red = "red", Green = "green" });

    fn by_name(fields: &[(&'static str, i32)]) -> Result<Point, value::Error> {
        Point::deserialize(MapDeserializer::new(fields.iter().copied()))
    }

    fn by_position(fields: &[i32]) -> Result<Point, value::Error> {
        Point::deserialize(SeqDeserializer::new(fields.iter().copied()))
    }

    #[test]
    fn fields_are_written_by_name() {
        let bytes = rmp_serde::to_vec_named(&Point { x: 1, y: 2, z: 3 }).expect("bytes");
        let fields: BTreeMap<String, i32> = rmp_serde::from_slice(&bytes).expect("a map");
        let names = ["x", "y", "z"].map(str::to_owned);
        assert_eq!(fields, names.into_iter().zip(1..).collect());
    }

    #[test]
    fn fields_are_read_in_any_order_and_unknown_ones_are_ignored() {
        let point = by_name(&[("y", 2), ("w", 9), ("z", 3), ("x", 1)]);
        assert_eq!(point, Ok(Point { x: 1, y: 2, z: 3 }));
    }

    #[test]
    fn a_field_without_a_default_must_be_there() {
        assert_eq!(
            by_name(&[("x", 1), ("y", 2)]),
            Ok(Point { x: 1, y: 2, z: 7 })
        );
        let error = by_name(&[("x", 1), ("z", 3)]).expect_err("no y");
        assert_eq!(error.to_string(), "missing field `y`");
    }

    #[test]
    fn a_field_that_comes_twice_is_an_error() {
        let error = by_name(&[("x", 1), ("x", 1)]).expect_err("which one");
        assert_eq!(error.to_string(), "duplicate field `x`");
    }

    #[test]
    fn a_format_without_names_reads_by_position() {
        let bytes = rmp_serde::to_vec(&Point { x: 1, y: 2, z: 3 }).expect("bytes");
        assert_eq!(
            rmp_serde::from_slice::<[i32; 3]>(&bytes).expect("an array"),
            [1, 2, 3]
        );
        assert_eq!(by_position(&[1, 2, 3]), Ok(Point { x: 1, y: 2, z: 3 }));
        // Written by a version without `z`.
        assert_eq!(by_position(&[1, 2]), Ok(Point { x: 1, y: 2, z: 7 }));
        // Written by a version with more fields than `z`.
        let longer = rmp_serde::from_slice::<Point>(&[0x94, 1, 2, 3, 4]);
        assert_eq!(longer.expect("a point"), Point { x: 1, y: 2, z: 3 });
        assert!(by_position(&[1]).is_err());
    }

    #[test]
    fn a_variant_is_its_word() {
        let bytes = rmp_serde::to_vec(&[Light::Red, Light::Green]).expect("bytes");
        assert_eq!(
            rmp_serde::from_slice::<[&str; 2]>(&bytes).expect("text"),
            ["red", "green"]
        );
        let read = |word: &'static str| -> Result<Light, value::Error> {
            let deserializer: StrDeserializer<'_, _> = word.into_deserializer();
            Light::deserialize(deserializer)
        };
        assert_eq!(
            [read("red"), read("green")],
            [Ok(Light::Red), Ok(Light::Green)]
        );
        let error = read("blue").expect_err("an unknown word");
        assert!(error.to_string().contains(r#"["red", "green"]"#), "{error}");
    }
}
