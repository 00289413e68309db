//! [`message!`]: a message is declared once, as a type. Parent and child run one build, so an encoded
//! message holds no names: a struct is the list of its fields, and an enum is the number of its variant and
//! the list of that variant's fields. Both ends get number and order from the same declaration.
//!
//! Serde's derive would be one more crate in every build of a user.

/// Declares a type, and implements serde's two traits for it.
///
/// It takes a struct with named fields, a struct that wraps one value, or an enum. A variant holds named
/// fields, nothing, or one value, which then has a name: `Variant(name: Type)`.
macro_rules! message {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Type:ident($inner_vis:vis $Inner:ty);
    ) => {
        $(#[$meta])*
        $vis struct $Type($inner_vis $Inner);

        impl serde::Serialize for $Type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $Type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                serde::Deserialize::deserialize(deserializer).map(Self)
            }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis struct $Type:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $Field:ty),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $Type {
            $($(#[$field_meta])* $field_vis $field: $Field),*
        }

        impl serde::Serialize for $Type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Self { $($field),* } = self;
                ($($field,)*).serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $Type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let ($($field,)*) = serde::Deserialize::deserialize(deserializer)?;
                Ok(Self { $($field),* })
            }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis enum $Type:ident {
            $(
                $(#[doc = $doc:literal])*
                $(#[cfg($($cfg:tt)*)])?
                $Variant:ident
                $(($inner:ident: $Inner:ty))?
                $({ $($(#[$field_meta:meta])* $field:ident: $Field:ty),* $(,)? })?
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis enum $Type {
            $(
                $(#[doc = $doc])*
                $(#[cfg($($cfg)*)])?
                $Variant
                $(($Inner))?
                $({ $($(#[$field_meta])* $field: $Field),* })?
            ),*
        }

        const _: () = {
            /// The number of each variant.
            #[derive(Clone, Copy)]
            enum Number {
                $($(#[cfg($($cfg)*)])? $Variant),*
            }

            impl serde::Serialize for $Type {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    match self {
                        $(
                            $(#[cfg($($cfg)*)])?
                            Self::$Variant $(($inner))? $({ $($field),* })? => {
                                let fields = ($($inner,)? $($($field,)*)?);
                                (Number::$Variant as u8, fields).serialize(serializer)
                            }
                        )*
                    }
                }
            }

            impl<'de> serde::Deserialize<'de> for $Type {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    deserializer.deserialize_tuple(2, NumberAndFields)
                }
            }

            struct NumberAndFields;

            impl<'de> serde::de::Visitor<'de> for NumberAndFields {
                type Value = $Type;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str(concat!("a variant of ", stringify!($Type)))
                }

                fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut parts: A) -> Result<$Type, A::Error> {
                    let missing = |at| serde::de::Error::invalid_length(at, &NumberAndFields);
                    let number: u8 = parts.next_element()?.ok_or_else(|| missing(0))?;
                    match number {
                        $(
                            $(#[cfg($($cfg)*)])?
                            number if number == Number::$Variant as u8 => {
                                let fields = parts.next_element()?.ok_or_else(|| missing(1))?;
                                let ($($inner,)? $($($field,)*)?) = fields;
                                Ok($Type::$Variant $(($inner))? $({ $($field),* })?)
                            }
                        )*
                        other => Err(serde::de::Error::invalid_value(
                            serde::de::Unexpected::Unsigned(other.into()),
                            &self,
                        )),
                    }
                }
            }
        };
    };
}

pub(crate) use message;

#[cfg(all(test, not(properties)))]
mod tests {
    message! {
        #[derive(Debug, PartialEq)]
        struct Point {
            x: i32,
            y: i32,
        }
    }

    message! {
        #[derive(Debug, PartialEq)]
        enum Shape {
            /// A variant of which only the name is known.
            Unknown,
            Dot(at: Point),
            #[cfg(any())]
            Cube(side: u32),
            Circle { at: Point, radius: u8 },
        }
    }

    message! {
        #[derive(Debug, PartialEq)]
        struct Drawing(Vec<Shape>);
    }

    fn drawing() -> Drawing {
        let at = || Point { x: 3, y: -4 };
        Drawing(vec![
            Shape::Unknown,
            Shape::Dot(at()),
            Shape::Circle {
                at: at(),
                radius: 5,
            },
        ])
    }

    fn read(bytes: &[u8]) -> Option<Shape> {
        rmp_serde::from_slice(bytes).ok()
    }

    #[test]
    fn a_message_is_numbers_and_lists() {
        let bytes = rmp_serde::to_vec(&drawing()).expect("bytes");
        let unknown = [0x92, 0, 0xc0];
        let dot = [0x92, 1, 0x91, 0x92, 3, 0xfc];
        let circle = [0x92, 2, 0x92, 0x92, 3, 0xfc, 5];
        assert_eq!(bytes, [&[0x93], &unknown[..], &dot, &circle].concat());
        let read: Drawing = rmp_serde::from_slice(&bytes).expect("a drawing");
        assert_eq!(read, drawing());
    }

    #[test]
    fn a_list_that_is_too_short_or_too_long_is_no_message() {
        assert_eq!(read(&[0x92, 0, 0xc0]), Some(Shape::Unknown));
        for invalid in [
            &[0x91, 0][..],         // No fields.
            &[0x93, 0, 0xc0, 0xc0], // One part too many.
            &[0x92, 0, 0x91, 0xc0], // A field of a variant without any.
            &[0x92, 1, 0x90],       // A field is missing.
            &[0x92, 1, 0x92, 0x92, 3, 4, 5],
            &[0x92, 1, 0x91, 0x91, 3],
        ] {
            assert_eq!(read(invalid), None, "{invalid:x?}");
        }
    }

    #[test]
    fn the_number_of_no_variant_is_no_message() {
        assert_eq!(read(&[0x92, 3, 0xc0]), None);
        assert_eq!(read(&[0x92, 0xff, 0xc0]), None);
        assert_eq!(read(&[0x92, 0xcd, 1, 0, 0xc0]), None, "256 is not 0");
    }
}
