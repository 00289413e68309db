use proptest::prelude::*;

use super::*;

fn value() -> impl Strategy<Value = FieldValue> {
    prop_oneof![
        any::<i64>().prop_map(FieldValue::Signed),
        any::<u64>().prop_map(FieldValue::Unsigned),
        (-1e9..1e9).prop_map(FieldValue::Float),
        any::<bool>().prop_map(FieldValue::Bool),
        any::<String>().prop_map(FieldValue::Text),
        any::<String>().prop_map(FieldValue::Debug),
    ]
}

proptest! {
    #[test]
    fn an_event_survives_the_trip(
        (level, name, target) in (prop::sample::select(&LEVELS), ".{0,9}", ".{0,9}"),
        (module, file, line) in any::<(Option<String>, Option<String>, Option<u32>)>(),
        values in prop::collection::vec((".{0,9}", prop::option::of(value())), 0..6),
    ) {
        let (fields, values) = values.into_iter().unzip();
        let place = CallsitePlace { level, name, target, module, file, line, fields };
        let event = LogEvent { place, values };
        let mut out = Chain::new();
        put(&mut out, &event);
        prop_assert_eq!(get(&mut out.into_reader()), Some(event));
    }

    #[test]
    fn garbage_is_no_event_and_no_panic(bytes: Vec<u8>) {
        let _ = get(&mut Reader::from(bytes));
    }
}
