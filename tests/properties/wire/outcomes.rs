use proptest::prelude::*;

use super::*;

/// The reported outcome of an item, with its value as a number.
type ToldItem = (u32, u32, Option<u64>);

fn tell(listener: &mut OutcomeReader, entries: &[u8]) -> Vec<ToldItem> {
    let mut frame = Reader::from(entries.to_vec());
    let mut told = Vec::new();
    while let Some(next) = listener.next(&mut frame) {
        match next.expect("it makes sense") {
            OutcomeEntry::Time { .. } => {}
            OutcomeEntry::Values(values) => {
                let (seq, first) = (values.seq, values.first);
                let mut numbers = Vec::new();
                values.read(|value| numbers.push(codec::get::<u64>(value).ok()));
                let items = (first..).zip(numbers);
                told.extend(items.map(|(item, number)| (seq, item, number)));
            }
            OutcomeEntry::Failure { seq, item, .. } => told.push((seq, item, None)),
        }
    }
    told
}

/// Entries about items of calls, and what they are to tell.
fn entries(calls: &[(u32, u32, Vec<Option<u64>>)]) -> (Vec<Chain>, Vec<ToldItem>) {
    let mut pieces = Vec::new();
    let mut told = Vec::new();
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
            told.push((*seq, item, *outcome));
        }
    }
    (pieces, told)
}

proptest! {
    #[test]
    fn what_is_told_is_the_same_however_it_is_cut_into_frames(
        calls in prop::collection::vec(
            (any::<u32>(), 0_u32..1000, prop::collection::vec(any::<Option<u64>>(), 0..9)), 0..9),
        cuts in prop::collection::vec(any::<bool>(), 100),
    ) {
        let (pieces, expected) = entries(&calls);
        let mut listener = OutcomeReader::default();
        let mut told = Vec::new();
        let mut frame = Vec::new();
        for (mut piece, cut) in pieces.into_iter().zip(cuts) {
            piece.write_with(|slices| std::io::Write::write_vectored(&mut frame, slices)).expect("memory");
            if cut {
                told.extend(tell(&mut listener, &std::mem::take(&mut frame)));
            }
        }
        told.extend(tell(&mut listener, &frame));
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn values_can_be_taken_in_parts(numbers in prop::collection::vec(any::<u64>(), 1..20), at in 0_u32..20) {
        let (pieces, _) = entries(&[(5, 3, numbers.iter().copied().map(Some).collect())]);
        let mut frame = Vec::new();
        for mut piece in pieces {
            piece.write_with(|slices| std::io::Write::write_vectored(&mut frame, slices)).expect("memory");
        }
        let mut frame = Reader::from(frame);
        let mut listener = OutcomeReader::default();
        let Some(Ok(OutcomeEntry::Time { seq: 5, nanos: 7 })) = listener.next(&mut frame) else {
            return Err(TestCaseError::fail("no time"));
        };
        let Some(Ok(OutcomeEntry::Values(mut rest))) = listener.next(&mut frame) else {
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
    fn garbage_tells_nothing_and_is_no_panic(bytes: Vec<u8>) {
        let mut frame = Reader::from(bytes);
        let mut listener = OutcomeReader::default();
        while let Some(Ok(told)) = listener.next(&mut frame) {
            if let OutcomeEntry::Values(values) = told {
                values.read(|value| drop(codec::get::<String>(value)));
            }
        }
    }
}
