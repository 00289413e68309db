use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn texts() -> impl Strategy<Value = OsString> {
    vec(1_u8.., 0..4).prop_map(sys::os_string)
}

fn environments() -> impl Strategy<Value = BTreeMap<OsString, OsString>> {
    btree_map(texts(), texts(), 0..6)
}

proptest! {
    #![proptest_config(crate::common::cases(3000))]

    #[test]
    fn changes_turn_one_environment_into_the_other(old in environments(), new in environments()) {
        let mut changed = old.clone();
        if let Some(changes) = VariableChanges::between(&old, &new) {
            let file = changes.to_file().expect("a file");
            let read = VariableChanges::from_file(&file).expect("they are there");
            prop_assert_eq!(&read, &changes);
            for name in read.removed {
                prop_assert!(changed.remove(&name.0).is_some());
            }
            changed.extend(read.set.into_iter().map(|(name, value)| (name.0, value.0)));
        }
        prop_assert_eq!(changed, new);
    }

    #[test]
    fn garbage_is_no_change_and_no_panic(bytes: Vec<u8>) {
        let _ = VariableChanges::parse(Reader::from(bytes.clone()));
        let head = [(bytes.len().min(63) as u8) << 1];
        let _ = VariableChanges::parse(Reader::from([&head, &bytes[..]].concat()));
    }
}
