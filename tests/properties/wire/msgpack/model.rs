//! Values of each kind of serde's data model, nested in each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Wrapper(pub(super) Box<Model>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pair(Box<Model>, Box<Model>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    first: Box<Model>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    second: Option<Box<Model>>,
    third: Option<Option<u8>>,
}

/// A number in a newtype, which can also be in a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Id(u32);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Model {
    Nothing,
    Unit(()),
    UnitStruct(Unit),
    Bool(bool),
    Signed(i8, i16, i32, i64),
    Unsigned(u8, u16, u32, u64),
    Wide(i128, u128),
    Floats(f32, f64),
    Char(char),
    Text(String),
    Bytes(Bytes),
    Maybe(Option<Box<Model>>),
    Somes(Option<Option<Option<()>>>),
    Wrapper(Wrapper),
    Pair(Pair),
    Tuple((Box<Model>, bool)),
    Record(Record),
    Fields { one: Box<Model>, two: Vec<Model> },
    List(Vec<Model>),
    Map(BTreeMap<String, Model>),
    Keyed(BTreeMap<(i16, Option<char>), Model>),
    Array([u8; 20]),
    U8s(Vec<u8>),
    U16s(Vec<u16>),
    U32s(Vec<u32>),
    U64s(Vec<u64>),
    U128s(Vec<u128>),
    I8s(Vec<i8>),
    I16s(Vec<i16>),
    I32s(Vec<i32>),
    I64s(Vec<i64>),
    I128s(Vec<i128>),
    F32s(Vec<f32>),
    F64s(Vec<f64>),
    Sizes(Vec<usize>, Vec<isize>),
    Ids(Vec<Id>),
    Maybes(Vec<Option<u8>>),
    Bools(Vec<bool>),
    Chars(Vec<char>),
}

/// Long enough for a block, most of the time.
fn many<T: Arbitrary>() -> impl Strategy<Value = Vec<T>> {
    vec(any::<T>(), 0..40)
}

/// Values that JSON supports: no bytes, no number over 64 bits, only text as keys.
pub(super) fn for_json() -> BoxedStrategy<Model> {
    let leaf = prop_oneof![
        Just(Model::Nothing),
        Just(Model::Unit(())),
        Just(Model::UnitStruct(Unit)),
        any::<bool>().prop_map(Model::Bool),
        any::<(i8, i16, i32, i64)>().prop_map(|(a, b, c, d)| Model::Signed(a, b, c, d)),
        any::<(u8, u16, u32, u64)>().prop_map(|(a, b, c, d)| Model::Unsigned(a, b, c, d)),
        any::<(i64, u64)>().prop_map(|(a, b)| Model::Wide(a.into(), b.into())),
        any::<(f32, f64)>().prop_map(|(a, b)| Model::Floats(a, b)),
        any::<char>().prop_map(Model::Char),
        any::<String>().prop_map(Model::Text),
        any::<Option<Option<Option<()>>>>().prop_map(Model::Somes),
        any::<[u8; 20]>().prop_map(Model::Array),
        prop_oneof![
            many().prop_map(Model::U8s),
            many().prop_map(Model::U16s),
            many().prop_map(Model::U32s),
            many().prop_map(Model::U64s),
            many().prop_map(Model::I8s),
            many().prop_map(Model::I16s),
            many().prop_map(Model::I32s),
            many().prop_map(Model::I64s),
            many().prop_map(Model::F32s),
            many().prop_map(Model::F64s),
        ],
        (many(), many()).prop_map(|(a, b)| Model::Sizes(a, b)),
        many().prop_map(|ids| Model::Ids(ids.into_iter().map(Id).collect())),
        many().prop_map(Model::Maybes),
        many().prop_map(Model::Bools),
        many().prop_map(Model::Chars),
    ];
    nested(leaf.boxed())
}

/// All values.
pub(super) fn all() -> BoxedStrategy<Model> {
    let more = prop_oneof![
        any::<(i128, u128)>().prop_map(|(a, b)| Model::Wide(a, b)),
        many().prop_map(|bytes| Model::Bytes(Bytes::from(bytes))),
        many().prop_map(Model::U128s),
        many().prop_map(Model::I128s),
    ];
    let keyed = btree_map(any::<(i16, Option<char>)>(), for_json(), 0..4);
    let leaf = prop_oneof![3 => for_json(), 2 => more, 1 => keyed.prop_map(Model::Keyed)];
    nested(leaf.boxed())
}

fn nested(leaf: BoxedStrategy<Model>) -> BoxedStrategy<Model> {
    let nested = leaf.prop_recursive(4, 24, 6, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            prop::option::of(boxed()).prop_map(Model::Maybe),
            boxed().prop_map(|inner| Model::Wrapper(Wrapper(inner))),
            (boxed(), boxed()).prop_map(|(a, b)| Model::Pair(Pair(a, b))),
            (boxed(), any::<bool>()).prop_map(Model::Tuple),
            (
                boxed(),
                prop::option::of(boxed()),
                any::<Option<Option<u8>>>()
            )
                .prop_map(|(first, second, third)| Model::Record(Record {
                    first,
                    second,
                    third
                })),
            (boxed(), vec(inner.clone(), 0..20)).prop_map(|(one, two)| Model::Fields { one, two }),
            vec(inner.clone(), 0..20).prop_map(Model::List),
            btree_map(any::<String>(), inner, 0..20).prop_map(Model::Map),
        ]
    });
    nested.boxed()
}
