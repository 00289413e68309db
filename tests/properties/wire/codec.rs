use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Nested = BTreeMap<String, Vec<(Option<u64>, String)>>;

/// Reads bytes as values of many shapes. The result must be an error or a value.
fn read_as_anything(bytes: &[u8]) {
    fn read_as<T: DeserializeOwned + 'static>(bytes: &[u8]) {
        let _ = get::<T>(&mut Reader::from(Bytes::copy_from_slice(bytes)));
        let _ = [false, true].map(|plain| get_bare::<T>(plain, &mut bytes.to_vec()));
        let _ = [false, true].map(|plain| get_from::<T>(plain, bytes));
        for plain in [0, 1] {
            let mut value = Vec::new();
            put_varint(&mut value, (bytes.len() as u64) << 1 | plain);
            value.put_slice(bytes);
            let _ = get::<T>(&mut Reader::from(value));
        }
    }
    read_as::<String>(bytes);
    read_as::<Bytes>(bytes);
    read_as::<Vec<f64>>(bytes);
    read_as::<Vec<usize>>(bytes);
    read_as::<Vec<u128>>(bytes);
    read_as::<u64>(bytes);
    read_as::<Vec<Vec<u8>>>(bytes);
    read_as::<(u8, char, Option<i128>)>(bytes);
    read_as::<Result<Nested, ()>>(bytes);
    read_as::<serde_json::Value>(bytes);
}

fn nested() -> impl Strategy<Value = Nested> {
    let entries = prop::collection::vec((any::<Option<u64>>(), ".{0,9}"), 0..4);
    prop::collection::btree_map(".{0,9}", entries, 0..4)
}

proptest! {
    #![proptest_config(crate::common::cases(1000))]

    #[test]
    fn garbage_is_no_value_and_no_panic(bytes: Vec<u8>) {
        read_as_anything(&bytes);
    }

    #[test]
    fn a_value_whose_head_was_taken_off_is_the_same(
        nested in nested(), text: String, bytes: Vec<u8>, numbers: Vec<u32>, number: i16, sizes: Vec<usize>,
        wide: Vec<i128>, widest: u128,
    ) {
        fn same<T: PartialEq + Clone + Serialize + DeserializeOwned + 'static>(value: &T) -> bool {
            let mut out = Chain::new();
            put(value.clone(), &mut out).expect("it can be encoded");
            let out = out.into_bytes();
            let head = value_head(&out).expect("it has one");
            let mut bare = out[head.own_len..].to_vec();
            assert_eq!(bare.len(), head.len);
            let copied = get_from::<T>(head.is_plain, &bare).is_ok_and(|read| read == *value);
            copied && get_bare::<T>(head.is_plain, &mut bare).is_ok_and(|read| read == *value)
        }
        prop_assert!(same(&nested) && same(&text) && same(&bytes) && same(&numbers));
        prop_assert!(same(&sizes) && same(&wide) && same(&widest));
        prop_assert!(same(&number) && same(&Bytes::from(bytes)) && same(&(number, text)));
    }

    #[test]
    fn a_value_with_a_few_bytes_changed_or_cut_off_is_no_panic(
        value in nested(), changes in prop::collection::vec(any::<(usize, u8)>(), 0..4), cut: usize,
    ) {
        let mut out = Chain::new();
        put(value.clone(), &mut out).expect("it can be encoded");
        let mut bytes = out.into_bytes().to_vec();
        let whole = get::<Nested>(&mut Reader::from(bytes.clone())).expect("it was just encoded");
        prop_assert_eq!(whole, value);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        read_as_anything(&bytes);
        read_as_anything(&bytes[..cut % bytes.len()]);
    }
}

/// Lengths without the bytes that should follow.
#[test]
fn a_length_of_gigabytes_takes_no_memory() {
    for head in [
        &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xdb, 0xff, 0xff, 0xff, 0xff],
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
    ] {
        read_as_anything(head);
    }
}
