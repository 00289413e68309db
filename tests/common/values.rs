//! Tables of values, and what queues and pipes have in common when they transfer them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use concurrent_futures::Data;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Transfers values, in each way that it has, and compares what arrives.
pub(crate) trait Carry {
    fn carry<T: Data + Clone + PartialEq + Debug>(&self, values: &[T]);
}

pub(crate) fn values_of_every_kind(through: &impl Carry) {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Unit,
        Tuple(u8, Option<String>),
        Struct { map: BTreeMap<i32, Vec<f64>> },
    }
    through.carry(&[(); 3]);
    through.carry(&[0_u8, 1, 255]);
    through.carry(&[i64::MIN, 0, i64::MAX]);
    through.carry(&[f64::MIN, 0.5]);
    through.carry(&[String::new(), "text".to_owned()]);
    through.carry(&[vec![0.5_f32; 1000], vec![]]);
    through.carry(&[Bytes::new(), Bytes::from(vec![3; 70_000])]);
    through.carry(&[None, Some(()), None]);
    through.carry(&[None, Some(None), Some(Some(7))]);
    let map = BTreeMap::from([(-1, vec![0.25]), (7, vec![])]);
    let tuple = Kind::Tuple(3, Some("a".to_owned()));
    through.carry(&[Kind::Unit, tuple, Kind::Struct { map }]);
}

/// Sizes around each threshold.
const SIZES: [usize; 23] = [
    0,
    1,
    7,
    8,
    9,
    4095,
    4096,
    32_768,
    65_519,
    65_520,
    65_528,
    65_535,
    65_536,
    65_537,
    212_992,
    262_143,
    262_144,
    262_145,
    425_984,
    (2 << 20) - 1,
    2 << 20,
    (2 << 20) + 1,
    5 << 20,
];

pub(crate) fn values_of_every_size(through: &impl Carry) {
    let bytes = SIZES.map(|size| (0..size).map(|at| at as u8).collect::<Vec<u8>>());
    through.carry(&bytes);
    let numbers = bytes.clone().map(|bytes| {
        let numbers = bytes.into_iter().map(u64::from);
        numbers.collect::<Vec<_>>()
    });
    through.carry(&numbers);
    through.carry(&bytes.map(|bytes| Some("ä".repeat(bytes.len() / 2))));
}

/// A value that can be created from any byte, and that cannot always be written or read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picky(pub(crate) u8);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            1 => Err(serde::ser::Error::custom("one is not written")),
            number => number.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            2 => Err(serde::de::Error::custom("two is not read")),
            number => Ok(Self(number)),
        }
    }
}

thread_local! {
    /// How many values of `Unread` this thread has decoded.
    static DECODED: Cell<usize> = const { Cell::new(0) };
}

/// Counts how often it is decoded, and differs afterwards.
#[derive(Debug, PartialEq)]
pub(crate) struct Unread {
    pub(crate) number: u64,
    /// Not sent.
    pub(crate) kept: bool,
}

impl Unread {
    pub(crate) fn new(number: u64) -> Self {
        let kept = true;
        Self { number, kept }
    }

    pub(crate) fn decoded() -> usize {
        DECODED.get()
    }
}

impl Serialize for Unread {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.number.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.set(DECODED.get() + 1);
        let number = u64::deserialize(deserializer)?;
        let kept = false;
        Ok(Self { number, kept })
    }
}

/// Whether a buffer that was returned is the same memory.
pub(crate) fn is_same(address: *const u8, bytes: &[u8]) -> bool {
    address == bytes.as_ptr()
}
