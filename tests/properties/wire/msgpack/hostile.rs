//! Any bytes are a value or an error: no panic, no deep stack, and no memory without bytes.

use std::fmt;

use proptest::prelude::*;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::model::{self, Model};
use super::{bytes_of, read};

/// Reads any value, and checks that announced sizes do not exceed the content.
struct Checked<const BYTES: usize>;

impl<'de, const BYTES: usize> Deserialize<'de> for Checked<BYTES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

macro_rules! leaves {
    ($($visit:ident($Type:ty),)*) => {$(
        fn $visit<E>(self, _: $Type) -> Result<Self, E> {
            Ok(self)
        }
    )*};
}

impl<'de, const BYTES: usize> Visitor<'de> for Checked<BYTES> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    leaves! {
        visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_i128(i128), visit_u128(u128), visit_f64(f64),
        visit_str(&str), visit_bytes(&[u8]),
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        assert!(list.size_hint().is_some_and(|len| len <= BYTES));
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        assert!(map.size_hint().is_some_and(|len| len <= BYTES / 2));
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// A type that could be read endlessly.
#[derive(Debug, Deserialize)]
struct Somes(#[expect(dead_code, reason = "only its size on the stack counts")] Option<Box<Somes>>);

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Untagged {
    #[expect(dead_code, reason = "read only")]
    Number(u64),
    #[expect(dead_code, reason = "read only")]
    Bytes(Vec<u8>),
    #[expect(dead_code, reason = "read only")]
    More(Vec<Untagged>),
}

const LONGEST: usize = 4096;

fn read_as_anything(bytes: &[u8]) {
    fn read_as<T: DeserializeOwned>(bytes: &[u8]) {
        let _ = read::<T>(bytes);
    }
    read_as::<Checked<LONGEST>>(bytes);
    read_as::<Model>(bytes);
    read_as::<serde_json::Value>(bytes);
    read_as::<IgnoredAny>(bytes);
    read_as::<Somes>(bytes);
    read_as::<Untagged>(bytes);
    read_as::<()>(bytes);
    read_as::<char>(bytes);
    read_as::<u128>(bytes);
    read_as::<bytes::Bytes>(bytes);
    read_as::<(Vec<u8>, String, Option<Option<i8>>)>(bytes);
    read_as::<[u16; 20]>(bytes);
}

/// Bytes in which markers are frequent.
fn markers() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![0x90_u8..0xa4, 0xc0_u8..=0xdf, any::<u8>(), 0_u8..16];
    prop::collection::vec(byte, 0..200)
}

proptest! {
    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in markers()) {
        read_as_anything(&bytes);
    }

    #[test]
    fn a_changed_value_is_a_value_or_an_error(
        value in model::all(), changes in prop::collection::vec(any::<(usize, u8)>(), 1..6), cut: usize,
    ) {
        let mut bytes = bytes_of(&value);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(LONGEST);
        read_as_anything(&bytes);
        read_as_anything(&bytes[..cut % bytes.len()]);
    }

    #[test]
    fn a_value_that_is_cut_off_or_followed_by_more_is_an_error(value in model::all(), cut: usize, more: u8) {
        let mut bytes = bytes_of(&value);
        prop_assert!(read::<Model>(&bytes[..cut % bytes.len()]).is_err());
        bytes.push(more);
        prop_assert!(read::<Model>(&bytes).is_err());
    }
}

/// Each level takes one byte, or none.
#[test]
fn bytes_that_nest_without_end_are_an_error() {
    for head in [
        &[0x91][..],
        &[0x81, 0x01],
        &[0x81, 0xa4, b'M', b'o', b'r', b'e'],
        &[0xd4, 0, 255],
    ] {
        read_as_anything(&head.repeat(100_000));
    }
    let error = read::<IgnoredAny>(&[0x91; 200])
        .expect_err("too deep")
        .to_string();
    assert!(error.contains("128 levels"), "{error}");
    let error = read::<Somes>(&[7]).expect_err("no end").to_string();
    assert!(error.contains("128 levels"), "{error}");
}

#[test]
fn an_error_names_the_part() {
    #[derive(Serialize)]
    struct Sent {
        name: &'static str,
        points: Vec<(u8, i64)>,
    }
    #[derive(Debug, Deserialize)]
    struct Expected {
        #[expect(dead_code, reason = "read only")]
        name: String,
        #[expect(dead_code, reason = "read only")]
        points: Vec<(u8, u8)>,
    }
    let points = vec![(1, 2), (3, -4)];
    let bytes = bytes_of(&Sent { name: "x", points });
    let error = read::<Expected>(&bytes)
        .expect_err("-4 is no u8")
        .to_string();
    assert!(
        error.contains("-4") && error.ends_with("(at `points[1][1]`)"),
        "{error}"
    );
}
