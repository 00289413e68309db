use std::fmt::Debug;

use proptest::prelude::*;

use super::*;
use crate::common::{Change, changes, memory_of};

fn travels<M: ControlMessage + PartialEq + Debug>(message: &M, change: &Change) {
    let bytes = message.encode();
    assert_eq!(M::decode(&bytes).as_ref(), Ok(message));
    let changed = Bytes::from(change.make(bytes.to_vec()));
    let (_, memory) = memory_of(|| M::decode(&changed));
    assert!(
        memory <= 200 * changed.len() + 8192,
        "{memory} bytes for {}",
        changed.len()
    );
}

proptest! {
    #![proptest_config(crate::common::cases(1000))]

    #[test]
    fn a_message_is_the_same_after_its_trip_and_a_changed_one_does_no_harm(
        number in any::<u64>(),
        names in prop::collection::vec("[a-z:]{1,20}", 0..9),
        is_draining in any::<bool>(),
        change in changes(),
    ) {
        let reply = ReplyTo { client: "a.b c".into(), number };
        travels(&Cancel::new(&reply), &change);
        travels(&Ask::new(&reply), &change);
        travels(&Who::Workers, &change);
        for asked in [AskAnswer::Running, AskAnswer::Unknown] {
            travels(&asked, &change);
        }
        travels(&ProgressNote { done: number, total: 7 }, &change);
        let by = WorkerId { name: Some("books".to_owned()), ..WorkerId::example("w1") };
        let functions = names.into_iter().map(|name| ServedFunction { name, shape: "u64>u64".to_owned() });
        let presence = Presence {
            by,
            functions: functions.collect(),
            build: "1.0".to_owned(),
            slots: 4,
            running: 2,
            is_draining,
        };
        travels(&presence, &change);
    }

    #[test]
    fn any_bytes_are_an_error_or_a_message(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from([&[WIRE_VERSION], &bytes[..]].concat());
        let read = || {
            drop(Cancel::decode(&bytes));
            drop(Ask::decode(&bytes));
            drop(Presence::decode(&bytes));
            drop((AskAnswer::decode(&bytes), Who::decode(&bytes), ProgressNote::decode(&bytes)));
        };
        let ((), memory) = memory_of(read);
        prop_assert!(memory <= 200 * bytes.len() + 8192, "{} bytes for {}", memory, bytes.len());
    }
}
