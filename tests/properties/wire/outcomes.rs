use proptest::prelude::*;

use super::*;
use crate::panic::Location;

/// The call, the item, and its value as a number.
type ItemOutcome = (u32, u32, Option<u64>);

fn read_all(reader: &mut OutcomeReader, entries: &[u8], most: u32) -> Vec<ItemOutcome> {
    let mut frame = Reader::from(entries.to_vec());
    let mut outcomes = Vec::new();
    while let Some(next) = reader.next(&mut frame, most) {
        match next.expect("it makes sense") {
            OutcomeEntry::Call | OutcomeEntry::Time { .. } => {}
            OutcomeEntry::Values(values) => {
                let (seq, first) = (values.seq, values.first);
                assert!((1..=most).contains(&values.count));
                let mut numbers = Vec::new();
                values.read(|value| numbers.push(codec::get::<u64>(value).ok()));
                let items = (first..).zip(numbers);
                outcomes.extend(items.map(|(item, number)| (seq, item, number)));
            }
            OutcomeEntry::Failure { seq, item, failure } => {
                assert!(matches!(failure, ItemFailure::Unencodable(reason) if reason == "why"));
                outcomes.push((seq, item, None));
            }
        }
    }
    outcomes
}

/// Entries about items of calls, and the outcomes in them.
fn entries(calls: &[(u32, u32, Vec<Option<u64>>)]) -> (Vec<Chain>, Vec<ItemOutcome>) {
    let mut pieces = Vec::new();
    let mut expected = Vec::new();
    for (seq, first, outcomes) in calls {
        let mut out = Chain::new();
        put_call(out.tail(), *seq, *first);
        put_time(out.tail(), 7);
        pieces.push(out);
        for (item, outcome) in (*first..).zip(outcomes) {
            let mut out = Chain::new();
            match outcome {
                Some(value) => {
                    begin_value(&mut out);
                    codec::put(*value, &mut out).expect("a number");
                }
                None => {
                    put_failure(&mut out, ItemFailure::Unencodable("why".to_owned()));
                }
            }
            pieces.push(out);
            expected.push((*seq, item, *outcome));
        }
    }
    (pieces, expected)
}

fn read_failure(failure: Chain) -> Option<ItemFailure> {
    let mut frame = Reader::from(failure.into_bytes().to_vec());
    match OutcomeReader::default().next(&mut frame, 1) {
        Some(Ok(OutcomeEntry::Failure { failure, .. })) => Some(failure),
        Some(Err(InvalidEntry)) => None,
        other => panic!("it is a failure, not {other:?}"),
    }
}

#[test]
fn a_failure_has_the_length_of_its_texts_at_most() {
    let long = "é".repeat(1 << 20);
    let mut sent = Chain::new();
    let report = PanicReport {
        message: long.clone(),
        location: Some(Location::new(long.clone(), u32::MAX, u32::MAX)),
        backtrace: Some(long),
    };
    put_failure(&mut sent, ItemFailure::Panicked(report));
    let received = read_failure(sent).expect("the longest that is sent");
    assert!(matches!(received, ItemFailure::Panicked(_)));
    let mut longer = Chain::new();
    longer.tail().put_u8(FAILURE);
    let failure = ItemFailure::Undecodable("x".repeat(MOST_FAILURE));
    codec::put_encoded(&failure, &mut longer).expect("text");
    assert!(read_failure(longer).is_none(), "no honest process sends it");
}

proptest! {
    #![proptest_config(crate::common::cases(4000))]

    #[test]
    fn outcomes_are_the_same_however_they_are_cut_into_frames(
        calls in prop::collection::vec(
            (any::<u32>(), 0_u32..1000, prop::collection::vec(any::<Option<u64>>(), 0..9)), 0..9),
        cuts in prop::collection::vec(any::<bool>(), 100),
        most in prop_oneof![1_u32..5, Just(u32::MAX)],
    ) {
        let (pieces, expected) = entries(&calls);
        let mut reader = OutcomeReader::default();
        let mut outcomes = Vec::new();
        let mut frame = Vec::new();
        for (mut piece, cut) in pieces.into_iter().zip(cuts) {
            piece.write_with(|slices| std::io::Write::write_vectored(&mut frame, slices)).expect("memory");
            if cut {
                outcomes.extend(read_all(&mut reader, &std::mem::take(&mut frame), most));
            }
        }
        outcomes.extend(read_all(&mut reader, &frame, most));
        prop_assert_eq!(outcomes, expected);
    }

    #[test]
    fn values_can_be_taken_in_parts(numbers in prop::collection::vec(any::<u64>(), 1..20), at in 0_u32..20) {
        let (pieces, _) = entries(&[(5, 3, numbers.iter().copied().map(Some).collect())]);
        let mut frame = Vec::new();
        for mut piece in pieces {
            piece.write_with(|slices| std::io::Write::write_vectored(&mut frame, slices)).expect("memory");
        }
        let mut frame = Reader::from(frame);
        let mut reader = OutcomeReader::default();
        let Some(Ok(OutcomeEntry::Call)) = reader.next(&mut frame, u32::MAX) else {
            return Err(TestCaseError::fail("no call"));
        };
        let Some(Ok(OutcomeEntry::Time { seq: 5, nanos: 7 })) = reader.next(&mut frame, u32::MAX) else {
            return Err(TestCaseError::fail("no time"));
        };
        let Some(Ok(OutcomeEntry::Values(mut rest))) = reader.next(&mut frame, u32::MAX) else {
            return Err(TestCaseError::fail("no values"));
        };
        let start = rest.take(at);
        prop_assert_eq!(start.first, 3);
        prop_assert_eq!(rest.first, 3 + start.count);
        prop_assert_eq!((start.count + rest.count) as usize, numbers.len());
        let mut read = Vec::new();
        start.read(|value| read.push(codec::get::<u64>(value).expect("a number")));
        rest.read(|value| read.push(codec::get::<u64>(value).expect("a number")));
        prop_assert_eq!(read, numbers);
    }

    #[test]
    fn garbage_is_no_outcome_and_no_panic(bytes: Vec<u8>) {
        let mut frame = Reader::from(bytes);
        let mut reader = OutcomeReader::default();
        while let Some(Ok(entry)) = reader.next(&mut frame, u32::MAX) {
            if let OutcomeEntry::Values(values) = entry {
                values.read(|value| drop(codec::get::<String>(value)));
            }
        }
    }
}

fn failure_of(entry: Vec<u8>) -> ItemFailure {
    let outcome = get_single(Reader::from(entry)).expect("a complete entry");
    outcome.expect_err("a failure")
}

/// Only one task then has a wrong report, and all others keep their outcomes.
#[test]
fn a_failure_that_cannot_be_decoded_is_the_failure_of_its_item_alone() {
    let mut frame = Vec::new();
    put_call(&mut frame, 1, 0);
    frame.extend([FAILURE, 2 << 1, 0x92, 77]); // Half of a list.
    frame.extend([VALUE, 8 << 1 | 1]);
    frame.extend(7_u64.to_le_bytes());
    let mut frame = Reader::from(frame);
    let mut reader = OutcomeReader::default();
    let mut next = || {
        let next = reader.next(&mut frame, u32::MAX);
        next.expect("an entry").expect("valid")
    };
    assert!(matches!(next(), OutcomeEntry::Call));
    let first = next();
    let OutcomeEntry::Failure {
        item: 0, failure, ..
    } = first
    else {
        panic!("not a failure: {first:?}");
    };
    assert!(matches!(failure, ItemFailure::Invalid));
    let second = next();
    let OutcomeEntry::Values(values) = second else {
        panic!("not a value: {second:?}");
    };
    assert_eq!(values.items(), 1..2);
    values.read(|value| assert_eq!(codec::get::<u64>(value).ok(), Some(7)));
}

#[test]
fn a_failure_survives_the_trip_and_its_texts_are_cut() {
    let mut out = Chain::new();
    put_failure(&mut out, ItemFailure::Undecodable("ä".repeat(50_000)));
    let ItemFailure::Undecodable(reason) = failure_of(out.into_bytes().to_vec()) else {
        panic!("another failure");
    };
    assert_eq!(reason.len(), 64 * 1024);
    let report = PanicReport {
        message: "why".to_owned(),
        location: None,
        backtrace: Some("where".to_owned()),
    };
    let mut out = Chain::new();
    put_failure(&mut out, ItemFailure::Panicked(report));
    let ItemFailure::Panicked(report) = failure_of(out.into_bytes().to_vec()) else {
        panic!("another failure");
    };
    assert_eq!(
        (&report.message[..], report.backtrace.as_deref()),
        ("why", Some("where"))
    );
}
