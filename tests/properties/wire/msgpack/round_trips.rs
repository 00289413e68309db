//! Values survive a round trip, as they do in serde_json.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::ser::{SerializeMap as _, SerializeSeq as _, SerializeStruct as _};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::model::{self, Model};
use super::{bytes_of, read, trip, trip_as};

proptest! {
    #[test]
    fn a_value_of_every_kind_arrives_as_it_is(value in model::all()) {
        prop_assert_eq!(trip(&value), value);
    }

    #[test]
    fn deserialize_any_sees_the_value_that_serde_json_shows(value in model::for_json()) {
        let json = serde_json::to_value(&value).expect("JSON can hold it");
        prop_assert_eq!(trip_as::<Value>(&value), json.clone());
        // A value that serde_json reads from its own form is also read from this form, and the reverse.
        let by_json = serde_json::from_value::<Model>(json.clone()).ok();
        prop_assert_eq!(read::<Model>(&bytes_of(&json)).ok(), by_json);
    }

    #[test]
    fn parts_that_serde_buffers_arrive_as_they_are(
        value in model::for_json(), blob: Vec<u8>, maybe: Option<Option<u8>>,
    ) {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        enum Tagged {
            One { #[serde(flatten)] rest: Rest },
        }
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Rest {
            blob: Vec<u8>,
            maybe: Option<Option<u8>>,
            value: Value,
        }
        let value = serde_json::to_value(&value).expect("JSON can hold it");
        let tagged = Tagged::One { rest: Rest { blob, maybe, value } };
        prop_assert_eq!(trip(&tagged), tagged);
    }

    #[test]
    fn lists_of_numbers_and_other_elements_arrive_whatever_their_order(
        parts in prop::collection::vec(prop_oneof![
            any::<u8>().prop_map(Mixed::Byte),
            any::<f32>().prop_map(Mixed::Float),
            any::<i64>().prop_map(Mixed::Number),
            any::<String>().prop_map(Mixed::Text),
            Just(Mixed::Nothing),
        ], 0..60),
        prefix in prop_oneof![
            any::<u8>().prop_map(Mixed::Byte),
            any::<i64>().prop_map(Mixed::Number),
            any::<f32>().prop_map(Mixed::Float),
        ],
    ) {
        // Numbers of one type first, so that a block begins and is then turned into a list.
        let numbers = vec![prefix; 20];
        let list: Vec<_> = numbers.into_iter().chain(parts).collect();
        prop_assert_eq!(trip_as::<Value>(&list), serde_json::to_value(&list).expect("JSON can hold it"));
    }

    #[test]
    fn a_list_or_map_arrives_whatever_length_it_announced(
        content: Vec<u16>, says in prop::option::of(0_usize..100_000),
    ) {
        let pairs: BTreeMap<u16, u16> = content.iter().map(|n| (*n, n ^ 1)).collect();
        prop_assert_eq!(trip_as::<Vec<u16>>(&Says { len: says, content: content.clone() }), content.clone());
        let map = SaysMap { len: says, content: pairs.clone() };
        prop_assert_eq!(trip_as::<BTreeMap<u16, u16>>(&map), pairs);
        let texts: Vec<String> = content.iter().map(u16::to_string).collect();
        prop_assert_eq!(trip_as::<Vec<String>>(&Says { len: says, content: texts.clone() }), texts);
    }
}

/// Written as its content.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Mixed {
    Byte(u8),
    Number(i64),
    Float(f32),
    Text(String),
    Nothing,
}

/// A list that announces any length.
pub(super) struct Says<T> {
    pub(super) len: Option<usize>,
    pub(super) content: Vec<T>,
}

impl<T: Serialize> Serialize for Says<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(self.len)?;
        self.content
            .iter()
            .try_for_each(|element| list.serialize_element(element))?;
        list.end()
    }
}

pub(super) struct SaysMap {
    pub(super) len: Option<usize>,
    pub(super) content: BTreeMap<u16, u16>,
}

impl Serialize for SaysMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(self.len)?;
        self.content
            .iter()
            .try_for_each(|(key, value)| map.serialize_entry(key, value))?;
        map.end()
    }
}

#[test]
fn a_struct_arrives_whatever_number_of_fields_it_announced() {
    struct Sparse;
    impl Serialize for Sparse {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut fields = serializer.serialize_struct("Sparse", 40)?;
            fields.serialize_field("x", &1)?;
            fields.end()
        }
    }
    let fields: Vec<BTreeMap<String, u8>> = trip_as(&[Sparse, Sparse]);
    let x = BTreeMap::from([("x".to_owned(), 1)]);
    assert_eq!(fields, [x.clone(), x]);
}

#[track_caller]
fn arrives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    assert_eq!(trip(&value), value);
}

#[test]
fn a_some_around_nothing_is_no_none() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Newtype(Option<()>);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Fields {
        a: Option<()>,
        b: Option<Option<u8>>,
        c: Vec<Option<Option<Option<()>>>>,
    }
    arrives(Some(()));
    arrives(None::<()>);
    arrives(Some(Unit));
    arrives(Some(None::<u8>));
    arrives(Some(Some(None::<u8>)));
    arrives(Some(Some(Some(7))));
    arrives(Some(Newtype(None)));
    arrives(Some(Newtype(Some(()))));
    arrives(Some(Value::Null));
    arrives((Some(()), None::<()>, Some(None::<String>)));
    arrives(BTreeMap::from([
        (Some(None::<u8>), Some(Some(()))),
        (None, None),
    ]));
    for a in [None, Some(())] {
        for b in [None, Some(None), Some(Some(1))] {
            let c = vec![None, Some(None), Some(Some(None)), Some(Some(Some(())))];
            arrives(Fields { a, b, c });
        }
    }
}

#[test]
fn a_number_that_is_not_one_arrives_with_all_its_bits() {
    let (short, long) = (
        f32::from_bits(0x7fa0_0001),
        f64::from_bits(0xfff4_0000_0000_0001),
    );
    let single: (f32, f64) = trip(&(short, long));
    assert_eq!(
        (single.0.to_bits(), single.1.to_bits()),
        (short.to_bits(), long.to_bits())
    );
    let many: (Vec<f32>, Vec<f64>) = trip(&(vec![short; 20], vec![long; 20]));
    assert!(
        many.0
            .iter()
            .all(|number| number.to_bits() == short.to_bits())
    );
    assert!(
        many.1
            .iter()
            .all(|number| number.to_bits() == long.to_bits())
    );
}

#[test]
fn numbers_of_one_type_take_their_own_size() {
    let head = 6;
    assert_eq!(bytes_of(&vec![200_u8; 1000]).len(), 1000 + head);
    assert_eq!(bytes_of(&vec![u64::MAX; 1000]).len(), 8000 + head);
    assert_eq!(bytes_of(&[200_u8; 32]).len(), 32 + head);
}

#[test]
fn bytes_are_read_as_numbers_and_numbers_as_bytes() {
    for len in [0, 1, 15, 16, 300, 70_000] {
        let bytes = Bytes::from_iter((0..len).map(|n: u32| n as u8));
        assert_eq!(trip_as::<Vec<u8>>(&bytes), bytes);
        assert_eq!(trip_as::<Bytes>(&bytes.to_vec()), bytes);
        assert_eq!(trip_as::<Vec<Option<u64>>>(&bytes).len(), bytes.len());
    }
}

#[test]
fn a_text_is_borrowed_from_the_bytes() {
    let bytes = bytes_of(&("text", vec![1_u8; 20]));
    let (text, _): (&str, Vec<u8>) = super::super::read(&bytes).expect("it was just written");
    assert!(bytes.as_ptr_range().contains(&text.as_ptr()));
}
