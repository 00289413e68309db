//! Reports as data: serde's two traits for structs of named fields and for enums of plain words.
//!
//! A field has the name that it has in the struct. A reader takes the fields in any order and ignores
//! those it does not know. A format without names (bincode, postcard) holds them in the order of the
//! `record!` line, so a new field goes to the end of that line and has a default.
//!
//! Two macros rather than `#[derive]`: `serde_derive` would be one more crate in every build, for seven
//! types.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

/// `record!(Type as "Name" { field, other = default })`: a field without a default must be there.
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
                        Ok($Type { $($field: $crate::record::given!($field $(, $default)?)),* })
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
                        Ok($Type { $($field: $crate::record::given!($field $(, $default)?)),* })
                    }
                }

                deserializer.deserialize_struct($name, FIELDS, Fields)
            }
        }
    };
}

/// The value of a field, or its default; a field without one is missing.
macro_rules! given {
    ($field:ident) => {
        $field.ok_or_else(|| serde::de::Error::missing_field(stringify!($field)))?
    };
    ($field:ident, $default:expr) => {
        $field.unwrap_or_else(|| $default)
    };
}

/// `words!(Type as "Name" { Variant = "word" })`, for an enum whose variants hold nothing.
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

pub(crate) use {given, record, words};

/// Reads a name, or its number where the format has no names. Nothing if it is none of these.
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

#[cfg(test)]
mod tests {
    use serde_json::{from_str, to_string};

    #[derive(Debug, PartialEq)]
    struct Point {
        x: i32,
        y: i32,
        name: Option<String>,
    }

    record!(Point as "Point" { x, y = 7, name = None });

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Light {
        Red,
        Green,
    }

    words!(Light as "Light" { Red = "red", Green = "green" });

    #[test]
    fn fields_are_read_in_any_order_and_unknown_ones_are_ignored() {
        let point: Point =
            from_str(r#"{"y":2,"z":[1,{"a":2}],"name":"p","x":1}"#).expect("a point");
        let name = Some("p".to_owned());
        assert_eq!(point, Point { x: 1, y: 2, name });
        assert_eq!(
            to_string(&point).expect("text"),
            r#"{"x":1,"y":2,"name":"p"}"#
        );
    }

    #[test]
    fn a_field_without_a_default_must_be_there() {
        let point: Point = from_str(r#"{"x":1}"#).expect("the others have defaults");
        assert_eq!((point.x, point.y, point.name), (1, 7, None));
        let missing = from_str::<Point>(r#"{"y":1}"#).expect_err("no x");
        assert!(
            missing.to_string().contains("missing field `x`"),
            "{missing}"
        );
    }

    #[test]
    fn a_field_that_comes_twice_is_an_error() {
        let twice = from_str::<Point>(r#"{"x":1,"x":2}"#).expect_err("which one");
        assert!(twice.to_string().contains("duplicate field `x`"), "{twice}");
    }

    #[test]
    fn fields_may_come_by_position() {
        let point: Point = from_str("[1,2,null]").expect("a point");
        assert_eq!((point.x, point.y), (1, 2));
        let older: Point = from_str("[1]").expect("written before the others were there");
        assert_eq!((older.x, older.y), (1, 7));
    }

    #[test]
    fn a_variant_is_its_word() {
        assert_eq!(to_string(&Light::Green).expect("text"), r#""green""#);
        assert_eq!(from_str::<Light>(r#""red""#).expect("a word"), Light::Red);
        let unknown = from_str::<Light>(r#""blue""#).expect_err("no word");
        assert!(
            unknown.to_string().contains(r#"["red", "green"]"#),
            "{unknown}"
        );
    }
}
