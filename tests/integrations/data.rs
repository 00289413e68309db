//! Values that can be sent to a worker and back, and values that cannot. Also that whatever a task does to its standard
//! streams does not affect the protocol.

#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use concurrent_futures::multiprocessing::{Queue, pipe};
use concurrent_futures::{Executor as _, ExecutorExt as _, ProcessPoolExecutor};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use self::common::within;

concurrent_futures::init_before_main!();

const MIB: usize = 1024 * 1024;

fn processes(workers: usize) -> ProcessPoolExecutor {
    ProcessPoolExecutor::with_workers(workers).expect("a pool")
}

fn same<T>(value: T) -> T {
    value
}

/// Sends a value to a worker and back.
async fn trip<T>(pool: &ProcessPoolExecutor, value: T) -> T
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    within(pool.submit(same::<T>, value))
        .await
        .expect("it survives")
}

/// The value survives the round trip, as it survives serde_json.
async fn survives<T>(pool: &ProcessPoolExecutor, value: T)
where
    T: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + 'static,
{
    let text = serde_json::to_string(&value).expect("serde_json writes it");
    let by_json: T = serde_json::from_str(&text).expect("serde_json reads it");
    assert_eq!(by_json, value, "serde_json is the measure");
    assert_eq!(trip(pool, value.clone()).await, value);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Address {
    ip: IpAddr,
    port: u16,
}

fn address() -> Address {
    Address {
        ip: Ipv4Addr::LOCALHOST.into(),
        port: 80,
    }
}

#[tokio::test]
async fn flattened_fields_survive() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle(u8),
        Square { side: u8 },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Flat {
        name: String,
        #[serde(flatten)]
        address: Address,
        #[serde(flatten)]
        shape: Shape,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    let pool = processes(1);
    for shape in [Shape::Point, Shape::Circle(3), Shape::Square { side: 4 }] {
        let flat = Flat {
            name: "x".to_owned(),
            address: address(),
            shape,
            rest: BTreeMap::from([("more".to_owned(), json!({ "a": [1, null] }))]),
        };
        survives(&pool, flat).await;
    }
}

#[tokio::test]
async fn untagged_and_tagged_enums_survive() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Ip(IpAddr),
        Unsigned(u64),
        Signed(i64),
        Float(f64),
        Text(String),
        Many(Vec<Untagged>),
        Pair { a: u8, b: Option<String> },
        Nothing,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Internal {
        Empty,
        Address(Address),
        Fields { letter: char, raw: Bytes, unit: () },
        Inner { inner: Untagged },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind", content = "content")]
    enum Adjacent {
        Empty,
        Ip(IpAddr),
        Pair(u8, String),
        Wide(i128),
    }
    let pool = processes(1);
    let untagged = vec![
        Untagged::Ip(Ipv6Addr::LOCALHOST.into()),
        Untagged::Unsigned(u64::MAX),
        Untagged::Signed(i64::MIN),
        Untagged::Float(0.5),
        Untagged::Text("text".to_owned()),
        Untagged::Many(vec![Untagged::Nothing]),
        Untagged::Pair { a: 1, b: None },
        Untagged::Nothing,
    ];
    survives(&pool, untagged.clone()).await;
    survives(&pool, Internal::Empty).await;
    survives(&pool, Internal::Address(address())).await;
    let fields = Internal::Fields {
        letter: 'ß',
        raw: Bytes::from_static(b"\x00\xff"),
        unit: (),
    };
    survives(&pool, fields).await;
    for inner in untagged {
        survives(&pool, Internal::Inner { inner }).await;
    }
    survives(&pool, Adjacent::Empty).await;
    survives(&pool, Adjacent::Ip(Ipv4Addr::BROADCAST.into())).await;
    survives(&pool, Adjacent::Pair(1, String::new())).await;
    survives(&pool, Adjacent::Wide(i128::MIN)).await;
}

#[tokio::test]
async fn nested_enums_of_every_shape_survive() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf,
        Number(i32),
        Pair(Box<Tree>, Box<Tree>),
        Named { children: Vec<Tree>, label: String },
    }
    let tree = Tree::Pair(
        Box::new(Tree::Leaf),
        Box::new(Tree::Named {
            children: vec![Tree::Number(-1), Tree::Leaf],
            label: "\0 \u{1f600}".to_owned(),
        }),
    );
    let pool = processes(1);
    survives(&pool, tree.clone()).await;
    survives(&pool, vec![Ok::<Tree, String>(tree), Err("no".to_owned())]).await;
}

#[tokio::test]
async fn skipped_renamed_and_defaulted_fields_survive() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Sparse {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        first: Option<u8>,
        #[serde(rename = "type")]
        second: u8,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        third: Vec<u8>,
        #[serde(skip)]
        fourth: u8,
    }
    let pool = processes(1);
    for (first, third) in [(None, vec![]), (Some(1), vec![]), (None, vec![2])] {
        let sparse = Sparse {
            first,
            second: 7,
            third,
            fourth: 0,
        };
        survives(&pool, sparse).await;
    }
}

#[tokio::test]
async fn maps_with_any_key_survive() {
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Color {
        Red,
        Blue,
    }
    let pool = processes(1);
    survives(
        &pool,
        HashMap::from([(1, "a".to_owned()), (-7, "b".to_owned())]),
    )
    .await;
    survives(&pool, BTreeMap::from([(u64::MAX, 1.5)])).await;
    survives(&pool, BTreeMap::from([(i128::MIN, ())])).await;
    survives(&pool, BTreeMap::from([('c', 1)])).await;
    survives(&pool, BTreeMap::from([(true, 1)])).await;
    survives(&pool, BTreeMap::from([(Color::Blue, 1), (Color::Red, 2)])).await;
    survives(
        &pool,
        BTreeMap::from([(address().ip, BTreeSet::from([1, 2]))]),
    )
    .await;
    // More than serde_json supports: keys that are not strings.
    let pairs = BTreeMap::from([(vec![(1, 'a')], 1), (vec![], 2)]);
    assert_eq!(trip(&pool, pairs.clone()).await, pairs);
}

#[tokio::test]
async fn a_map_of_a_hundred_thousand_entries_survives() {
    let pool = processes(1);
    let map: HashMap<u32, String> = (0..100_000).map(|n| (n, n.to_string())).collect();
    assert!(trip(&pool, map.clone()).await == map);
}

#[tokio::test]
async fn json_values_survive() {
    let pool = processes(1);
    let value = json!({
        "numbers": [u64::MAX, i64::MIN, 0.1, -0.0, f64::MAX, 1e-300],
        "": { "null": null, "bool": true, "nested": [[], {}, [[{}]]] },
        "text": "\u{0}\"\\\u{10ffff}",
    });
    survives(&pool, value.clone()).await;
    survives(&pool, vec![value, Value::Null]).await;
}

#[tokio::test]
async fn numbers_of_every_width_survive() {
    let pool = processes(1);
    survives(&pool, (u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX)).await;
    survives(&pool, (i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN)).await;
    survives(&pool, vec![0_i128, -1, i128::MAX]).await;
    survives(&pool, (f32::MIN_POSITIVE, f64::MAX, 0.1_f32, 0.1_f64)).await;
    let nan = trip(&pool, vec![Some(f64::NAN), Some(f64::NEG_INFINITY)]).await;
    assert!(nan[0].is_some_and(f64::is_nan) && nan[1] == Some(f64::NEG_INFINITY));
}

#[tokio::test]
async fn bulk_types_survive_at_the_top_and_within() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        bytes: Bytes,
        vector: Vec<u8>,
        maybe: Option<Bytes>,
        numbers: Vec<f32>,
    }
    let pool = processes(1);
    for size in [0, 1, 15, 16, 127, 128, 70_000] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| n as u8).collect();
        survives(&pool, Bytes::from(bytes.clone())).await;
        survives(&pool, "é".repeat(bytes.len())).await;
        survives(
            &pool,
            bytes.iter().map(|n| f32::from(*n)).collect::<Vec<_>>(),
        )
        .await;
        survives(
            &pool,
            bytes.iter().map(|n| -i64::from(*n)).collect::<Vec<_>>(),
        )
        .await;
        survives(
            &pool,
            bytes.iter().map(|n| u16::from(*n)).collect::<Vec<_>>(),
        )
        .await;
        let holder = Holder {
            bytes: Bytes::from(bytes.clone()),
            vector: bytes.clone(),
            maybe: (size > 1).then(Bytes::new),
            numbers: vec![f32::MIN; bytes.len()],
        };
        survives(&pool, holder).await;
        survives(&pool, bytes).await;
    }
    fn of_both(bytes: Vec<u8>, numbers: Vec<f64>, text: String, rest: Option<u8>) -> usize {
        bytes.len() + numbers.len() + text.len() + usize::from(rest.unwrap_or(0))
    }
    let args = (vec![1; 1000], vec![1.0; 100], "text".to_owned(), Some(7));
    assert_eq!(
        within(pool.submit(of_both, args)).await.expect("it ran"),
        1111
    );
}

#[tokio::test]
async fn tuples_and_types_of_the_standard_library_survive() {
    let pool = processes(1);
    survives(&pool, ()).await;
    survives(&pool, (1_u8, "x".to_owned(), (2.5_f32,))).await;
    survives(&pool, [[1_u8; 4]; 3]).await;
    survives(&pool, Duration::new(5, 7)).await;
    survives(&pool, std::path::PathBuf::from("/a/b")).await;
    survives(&pool, SocketAddr::from((Ipv6Addr::LOCALHOST, 1))).await;
    survives(&pool, Cow::<'static, str>::Owned("cow".to_owned())).await;
    survives(&pool, (1..5, 2..=6, std::num::NonZeroU8::MIN)).await;
    survives(&pool, Some(Box::<str>::from("box"))).await;
    survives(&pool, '\u{10ffff}').await;
}

#[tokio::test]
async fn a_some_around_nothing_arrives_as_it_is() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        unit: Option<()>,
        inner: Option<Option<u8>>,
        list: Vec<Option<Option<Unit>>>,
    }
    let pool = processes(1);
    assert_eq!(trip(&pool, Some(())).await, Some(()));
    assert_eq!(trip(&pool, Some(Unit)).await, Some(Unit));
    assert_eq!(trip(&pool, Some(None::<u8>)).await, Some(None));
    assert_eq!(trip(&pool, None::<Option<u8>>).await, None);
    assert_eq!(trip(&pool, Some(Value::Null)).await, Some(Value::Null));
    let queue = Queue::unbounded().expect("a queue");
    let (ours, theirs) = pipe::<Holder, Holder>().expect("a pipe");
    for unit in [None, Some(())] {
        for inner in [None, Some(None), Some(Some(1))] {
            let list = vec![None, Some(None), Some(Some(Unit))];
            let holder = Holder { unit, inner, list };
            assert_eq!(trip(&pool, holder.clone()).await, holder);
            queue.try_put(holder.clone()).expect("there is room");
            assert_eq!(queue.try_get().expect("it is there"), holder);
            within(ours.send(holder.clone())).await.expect("it is read");
            assert_eq!(within(theirs.recv()).await.expect("it comes"), holder);
        }
    }
}

/// The exception that the documentation of `Data` names; serde_json distinguishes these.
#[tokio::test]
async fn an_untagged_enum_confuses_bytes_with_text_and_nothing_else() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Text(String),
        Raw(Bytes),
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum WithUnit {
        Unit(Unit),
        Many(Vec<u8>),
        Text(String),
    }
    let pool = processes(1);
    survives(&pool, Untagged::Text("text".to_owned())).await;
    survives(&pool, Untagged::Raw(Bytes::from_static(b"\xff"))).await;
    let text = Untagged::Raw(Bytes::from_static(b"text"));
    assert_eq!(trip(&pool, text).await, Untagged::Text("text".to_owned()));
    survives(&pool, WithUnit::Unit(Unit)).await;
    survives(&pool, WithUnit::Text("text".to_owned())).await;
    for len in [0, 1, 15, 16, 5000] {
        survives(&pool, WithUnit::Many(vec![b'x'; len])).await;
    }
}

#[tokio::test]
async fn a_value_that_nests_too_deep_is_refused_where_it_is_sent() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Nested {
        End,
        List(Vec<Nested>),
        Variant(Box<Nested>),
        Field { inner: Option<Box<Nested>> },
    }
    fn list(inner: Nested) -> Nested {
        Nested::List(vec![inner])
    }
    fn variant(inner: Nested) -> Nested {
        Nested::Variant(Box::new(inner))
    }
    fn field(inner: Nested) -> Nested {
        let inner = Some(Box::new(inner));
        Nested::Field { inner }
    }
    type Wrap = fn(Nested) -> Nested;
    fn nested(levels: usize, wrap: Wrap) -> Nested {
        (0..levels).fold(Nested::End, |inner, _| wrap(inner))
    }
    fn refused(error: impl std::fmt::Display) {
        assert!(error.to_string().contains("128 levels"), "{error}");
    }
    let pool = processes(1);
    let queue = Queue::unbounded().expect("a queue");
    let (ours, theirs) = pipe::<Nested, Nested>().expect("a pipe");
    // A list or a struct in a variant is two levels.
    let wraps: [(Wrap, usize); 3] = [(list, 64), (variant, 128), (field, 64)];
    for (wrap, most) in wraps {
        assert_eq!(trip(&pool, nested(most, wrap)).await, nested(most, wrap));
        for levels in [most + 1, 1000, 5000] {
            let error = within(pool.submit(same::<Nested>, nested(levels, wrap))).await;
            let error = error.expect_err("too deep");
            assert!(error.is_codec() && !error.was_started(), "{error}");
            refused(error);
            refused(queue.try_put(nested(levels, wrap)).expect_err("too deep"));
            let sent = within(ours.send(nested(levels, wrap))).await;
            refused(sent.expect_err("too deep"));
        }
        assert!(queue.is_empty());
        within(ours.send(nested(most, wrap)))
            .await
            .expect("it is read");
        assert_eq!(
            within(theirs.recv()).await.expect("it comes"),
            nested(most, wrap)
        );
    }
    fn deep(levels: usize) -> Nested {
        nested(levels, variant)
    }
    let error = within(pool.submit(deep, 5000)).await.expect_err("too deep");
    assert!(error.is_codec() && error.was_started(), "{error}");
    refused(error);
    assert_eq!(pool.stats().restarts, Default::default());
}

/// For every kind that has a length, between parts that would be misread if the length were truncated.
#[cfg(target_pointer_width = "64")]
#[tokio::test]
async fn a_part_over_4_gib_is_refused_before_anything_is_sent() {
    const LEN: usize = (4 << 30) + 5;

    #[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
    enum Long {
        Bytes,
        List,
        Map,
    }

    impl Serialize for Long {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::{SerializeMap as _, SerializeSeq as _};
            match self {
                // The memory is never touched, so it is not allocated.
                Self::Bytes => serializer.serialize_bytes(&vec![0; LEN]),
                Self::List => {
                    let mut list = serializer.serialize_seq(Some(LEN))?;
                    (0..5).try_for_each(|_| list.serialize_element("a"))?;
                    list.end()
                }
                Self::Map => {
                    let mut map = serializer.serialize_map(Some(LEN))?;
                    (0..5).try_for_each(|key| map.serialize_entry(&key, "a"))?;
                    map.end()
                }
            }
        }
    }

    fn long(which: u8) -> (u32, Long, u32) {
        let kinds = [Long::Bytes, Long::List, Long::Map];
        (7, kinds[usize::from(which)], 8)
    }
    fn refused(error: impl std::fmt::Display) {
        assert!(error.to_string().contains(&LEN.to_string()), "{error}");
    }
    let pool = processes(1);
    let queue = Queue::unbounded().expect("a queue");
    let (ours, _theirs) = pipe::<(u32, Long, u32), u8>().expect("a pipe");
    for which in 0..3 {
        let error =
            within(pool.submit(|_: u8, _: (u32, Long, u32)| (), (which, long(which)))).await;
        let error = error.expect_err("too long");
        assert!(error.is_codec() && !error.was_started(), "{error}");
        refused(error);
        let error = within(pool.submit(long, which))
            .await
            .expect_err("too long");
        assert!(error.is_codec() && error.was_started(), "{error}");
        refused(error);
        refused(queue.try_put(long(which)).expect_err("too long"));
        refused(within(queue.put(long(which))).await.expect_err("too long"));
        refused(within(ours.send(long(which))).await.expect_err("too long"));
    }
    assert!(queue.is_empty());
    assert_eq!(pool.stats().restarts, Default::default());
}

#[tokio::test]
async fn any_json_value_survives() {
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }
    let pool = processes(1);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..100 {
        let value = values().new_tree(&mut runner).expect("a value").current();
        survives(&pool, value).await;
    }
}

/// Fails to be written, or to be read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stubborn {
    Unwritable,
    Panicking,
    Unreadable,
}

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unwritable => Err(serde::ser::Error::custom("it will not be written")),
            Self::Panicking => panic!("it panics when it is written"),
            Self::Unreadable => serializer.serialize_u8(0),
        }
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?;
        Err(serde::de::Error::custom("it will not be read"))
    }
}

const STUBBORN: [(Stubborn, &str); 3] = [
    (Stubborn::Unwritable, "it will not be written"),
    (Stubborn::Panicking, "it panics when it is written"),
    (Stubborn::Unreadable, "it will not be read"),
];

#[tokio::test]
async fn an_argument_that_cannot_be_encoded_fails_its_task_only() {
    let pool = processes(1);
    let pid = within(pool.submit(std::process::id, ())).await;
    for (argument, reason) in STUBBORN {
        let bad = pool.submit(|_: u8, _: Stubborn| (), (1, argument));
        let good = pool.submit(same, 1);
        let error = within(bad).await.expect_err("it cannot travel");
        assert!(error.is_codec() && !error.was_started(), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(within(good).await.expect("it ran"), 1);
    }
    let after = within(pool.submit(std::process::id, ())).await;
    assert_eq!(pid.expect("a pid"), after.expect("the same worker"));
}

#[tokio::test]
async fn a_result_that_cannot_be_encoded_fails_its_task_only() {
    fn stubborn(which: usize) -> Stubborn {
        STUBBORN[which].0
    }
    let pool = processes(1);
    let pid = within(pool.submit(std::process::id, ())).await;
    for (which, (_, reason)) in STUBBORN.into_iter().enumerate() {
        let bad = pool.submit(stubborn, which);
        let good = pool.submit(same, 1);
        let error = within(bad).await.expect_err("it cannot travel");
        assert!(error.is_codec() && error.was_started(), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(within(good).await.expect("it ran"), 1);
    }
    let after = within(pool.submit(std::process::id, ())).await;
    assert_eq!(pid.expect("a pid"), after.expect("the same worker"));
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_with_both_sizes() {
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let pool = builder.max_frame_length(64 * 1024).build().expect("a pool");
    let pid = within(pool.submit(std::process::id, ())).await;
    let large = within(pool.submit(|bytes: Vec<u8>| bytes.len(), vec![0; MIB])).await;
    let error = large.expect_err("too large");
    assert!(error.is_codec() && !error.was_started(), "{error}");
    assert!(has_size_near(&error.to_string(), MIB), "{error}");
    assert!(has_size_near(&error.to_string(), 64 * 1024), "{error}");
    let large = within(pool.submit(|size: usize| vec![0_u8; size], MIB)).await;
    let error = large.expect_err("too large");
    assert!(error.is_codec() && error.was_started(), "{error}");
    assert!(has_size_near(&error.to_string(), MIB), "{error}");
    assert!(has_size_near(&error.to_string(), 64 * 1024), "{error}");
    let fits = within(pool.submit(same, vec![7_u8; 60 * 1024])).await;
    assert_eq!(fits.expect("it fits").len(), 60 * 1024);
    let after = within(pool.submit(std::process::id, ())).await;
    assert_eq!(pid.expect("a pid"), after.expect("the same worker"));
}

/// Whether a number in the text is `size`, plus or minus the overhead of a frame.
fn has_size_near(text: &str, size: usize) -> bool {
    text.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse::<usize>().ok())
        .any(|number| number.abs_diff(size) <= 256)
}

#[tokio::test]
async fn large_arguments_and_results_both_ways_at_once_never_deadlock() {
    for workers in [1, 2] {
        let pool = processes(workers);
        let echoes: Vec<_> = (0..6)
            .map(|n| pool.submit(same, vec![n as u8; 16 * MIB]))
            .collect();
        for (n, echo) in (0..).zip(echoes) {
            let bytes = within(echo).await.expect("it came back");
            assert!(bytes.len() == 16 * MIB && bytes.iter().all(|byte| *byte == n));
        }
    }
}

/// Runs `meddle` in a worker, and then checks that the worker still works.
async fn leaves_the_protocol_intact(meddle: fn(&ProcessPoolExecutor) -> Meddling) {
    let pool = processes(1);
    let before = within(pool.submit(std::process::id, ())).await;
    for _ in 0..3 {
        within(meddle(&pool)).await.expect("it ran");
        let text = "x".repeat(100_000);
        assert_eq!(trip(&pool, text.clone()).await, text);
    }
    let after = within(pool.submit(std::process::id, ())).await;
    assert_eq!(before.expect("a pid"), after.expect("the same worker"));
}

type Meddling = concurrent_futures::JoinHandle<()>;

#[tokio::test]
async fn prints_of_a_task_leave_the_protocol_intact() {
    fn print() {
        println!("a line for stdout");
        print!("half a line");
        eprintln!("a line for stderr");
    }
    leaves_the_protocol_intact(|pool| pool.submit(print, ())).await;
}

#[tokio::test]
async fn raw_writes_of_a_task_leave_the_protocol_intact() {
    fn write() {
        let frame = [0, 0, 0, 4, 1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff];
        rustix::io::write(rustix::stdio::stdout(), &frame).expect("stdout is there");
        rustix::io::write(rustix::stdio::stderr(), b"\n").expect("stderr is there");
    }
    leaves_the_protocol_intact(|pool| pool.submit(write, ())).await;
}

#[tokio::test]
async fn a_task_that_reads_stdin_finds_its_end() {
    fn read() {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line).expect("stdin");
        assert_eq!((read, line.as_str()), (0, ""));
        let read = rustix::io::read(rustix::stdio::stdin(), &mut [0; 8]);
        assert_eq!(read.expect("stdin"), 0);
    }
    leaves_the_protocol_intact(|pool| pool.submit(read, ())).await;
}

#[tokio::test]
#[expect(unsafe_code, reason = "closes descriptors that others own")]
async fn closing_the_standard_streams_leaves_the_protocol_intact() {
    fn close() {
        for fd in 0..3 {
            // SAFETY: nothing in a worker relies on these three being open.
            unsafe { libc::close(fd) };
        }
        println!("to nowhere");
        eprintln!("to nowhere");
        let file = std::fs::File::open("/dev/zero").expect("it takes the place of stdin");
        std::mem::forget(file);
    }
    leaves_the_protocol_intact(|pool| pool.submit(close, ())).await;
}

#[tokio::test]
async fn a_task_may_put_other_files_in_place_of_the_standard_streams() {
    fn replace() {
        let file = std::fs::File::options().write(true).open("/dev/full");
        rustix::stdio::dup2_stdout(file.expect("/dev/full")).expect("dup2");
        let file = std::fs::File::open("/dev/zero");
        rustix::stdio::dup2_stdin(file.expect("/dev/zero")).expect("dup2");
        let _ = rustix::io::write(rustix::stdio::stdout(), b"no room");
    }
    leaves_the_protocol_intact(|pool| pool.submit(replace, ())).await;
}

/// Among values of other kinds, so that a value that is read wrongly corrupts the next one.
#[tokio::test]
async fn a_value_of_json_goes_through_a_queue_and_a_pipe() {
    let value = json!({"a": [1, null, "b"], "c": {"d": 0.5}});
    let values = [value.clone(), json!(null), json!([[], {}]), value];
    let queue = Queue::unbounded().expect("a queue");
    let (ours, theirs) = pipe::<Value, Value>().expect("a pipe");
    for value in &values {
        within(queue.put(value.clone()))
            .await
            .expect("there is room");
        queue.try_put(value.clone()).expect("there is room");
        within(ours.send(value.clone())).await.expect("it is read");
        within(theirs.send(value.clone()))
            .await
            .expect("it is read");
    }
    for value in &values {
        assert_eq!(queue.try_get().expect("it is there"), *value);
        let got = tokio::task::spawn_blocking({
            let queue = queue.clone();
            move || queue.blocking_get()
        });
        let got = within(got).await.expect("no panic");
        assert_eq!(got.expect("it is there"), *value);
        assert_eq!(within(ours.recv()).await.expect("it comes"), *value);
        assert_eq!(within(theirs.recv()).await.expect("it comes"), *value);
    }
}
