//! Values that could not be read back are refused when they are written.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

use super::super::format::{BYTES, LIST, MAP, TEXT};
use super::model::{Model, Wrapper};
use super::round_trips::{Says, SaysMap};
use super::{bytes_of, read, trip, written};

const MOST: usize = u32::MAX as usize;

#[test]
fn a_length_over_32_bits_is_refused() {
    for kind in [TEXT, BYTES, LIST, MAP] {
        assert!(kind.head(MOST).is_ok());
        let error = kind.head(MOST + 6).err().expect("too long").to_string();
        assert!(
            error.contains("4294967301") && error.contains("4294967295"),
            "{error}"
        );
    }
}

/// The memory is not touched before the length is checked.
#[test]
fn parts_over_4_gib_are_refused_before_they_are_copied() {
    struct Bytes(memmap2::MmapMut);
    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }
    #[derive(Serialize)]
    struct Holder {
        id: u32,
        parts: (u8, Option<Bytes>),
    }
    let mut options = memmap2::MmapOptions::new();
    let memory = options.len(MOST + 6).no_reserve_swap().map_anon();
    let parts = (1, Some(Bytes(memory.expect("addresses"))));
    let error = written(&Holder { id: 7, parts })
        .expect_err("too long")
        .to_string();
    assert!(error.contains("byte string of 4294967301 bytes"), "{error}");
    assert!(error.contains("`parts[1]`"), "{error}");
}

#[test]
fn an_announced_length_over_32_bits_is_refused() {
    let list = |len| Says {
        len: Some(len),
        content: vec![1_u8],
    };
    for len in [MOST + 1, usize::MAX] {
        let error = written(&(7, list(len))).expect_err("too long").to_string();
        assert!(
            error.contains(&len.to_string()) && error.contains("[1]"),
            "{error}"
        );
        let content = BTreeMap::from([(1, 2)]);
        let map = SaysMap {
            len: Some(len),
            content,
        };
        let error = written(&map).expect_err("too long").to_string();
        assert!(error.contains(&len.to_string()), "{error}");
    }
    // A false length, even the longest, takes no more memory than there is content.
    let out = bytes_of(&list(MOST));
    assert_eq!(read::<Vec<u8>>(&out).expect("a list"), [1]);
    assert!(out.capacity() < 1 << 20);
}

#[test]
fn a_key_without_a_value_is_refused() {
    struct KeyOnly;
    impl Serialize for KeyOnly {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap as _;
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_key(&1)?;
            map.end()
        }
    }
    let error = written(&KeyOnly).expect_err("no value").to_string();
    assert!(error.contains("without a value"), "{error}");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct List(Vec<List>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Map(BTreeMap<String, Map>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Chain {
    next: Option<Box<Chain>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Somes(Option<Box<Somes>>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Variants {
    End,
    More(Box<Variants>),
}

fn nest<T>(levels: usize, end: T, wrap: impl Fn(T) -> T) -> T {
    (0..levels).fold(end, |inner, _| wrap(inner))
}

/// Values that nest `most` levels survive, and those that nest deeper are refused.
#[track_caller]
fn nests<T>(most: usize, value: impl Fn(usize) -> T)
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    assert!(trip(&value(most)) == value(most));
    for more in [most + 1, 2 * most, 5000] {
        // Never dropped: that alone can take more stack than a thread has.
        let deep = std::mem::ManuallyDrop::new(value(more));
        let error = written(&*deep).expect_err("too deep").to_string();
        assert!(error.contains("128 levels"), "{error}");
    }
}

#[test]
fn a_value_that_nests_deeper_than_it_can_be_read_is_refused() {
    nests(127, |levels| {
        nest(levels, List(vec![]), |inner| List(vec![inner]))
    });
    nests(127, |levels| {
        nest(levels, Map(BTreeMap::new()), |inner| {
            Map(BTreeMap::from([(String::new(), inner)]))
        })
    });
    nests(127, |levels| {
        nest(levels, Chain { next: None }, |inner| Chain {
            next: Some(Box::new(inner)),
        })
    });
    nests(128, |levels| {
        nest(levels, Variants::End, |inner| {
            Variants::More(Box::new(inner))
        })
    });
    nests(129, |levels| {
        nest(levels, Somes(None), |inner| Somes(Some(Box::new(inner))))
    });
}

#[derive(Clone, Copy, Debug)]
enum Layer {
    Some,
    Wrapper,
    List,
    Map,
    Fields,
}

proptest! {
    #[test]
    fn values_that_can_be_written_can_be_read_at_any_depth(
        layers in prop::collection::vec(prop_oneof![
            Just(Layer::Some), Just(Layer::Wrapper), Just(Layer::List), Just(Layer::Map), Just(Layer::Fields),
        ], 40..90),
    ) {
        let value = layers.iter().fold(Model::Nothing, |inner, layer| match layer {
            Layer::Some => Model::Maybe(Some(Box::new(inner))),
            Layer::Wrapper => Model::Wrapper(Wrapper(Box::new(inner))),
            Layer::List => Model::List(vec![inner]),
            Layer::Map => Model::Map(BTreeMap::from([(String::new(), inner)])),
            Layer::Fields => Model::Fields { one: Box::new(inner), two: vec![] },
        });
        // Each is a variant, so it takes one level or two.
        let levels: usize = layers.iter().map(|layer| match layer {
            Layer::Some | Layer::Wrapper => 1,
            Layer::List | Layer::Map | Layer::Fields => 2,
        }).sum();
        // With a leaf without levels, `two` is one.
        let levels = levels + usize::from(matches!(layers[0], Layer::Fields));
        let written = written(&value);
        prop_assert_eq!(written.is_ok(), levels <= 128);
        if let Ok(bytes) = written {
            prop_assert_eq!(read::<Model>(&bytes).expect("it was written"), value);
        }
    }
}
