use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::common::{changes, memory_of};
use crate::executor::error::{Cause, Death};
use crate::executor::options::TaskName;
use crate::panic::PanicReport;
use crate::wire::outcomes::{OutcomeEntry, OutcomeReader, begin_value, put_call};

/// The outcome of an item: its value, or the number of a cause.
type ItemOutcome = Result<Vec<u8>, u8>;

fn error(number: u8) -> TaskError {
    let cause = match number % 4 {
        0 => Cause::Cancelled,
        1 => Cause::Panic(PanicReport {
            message: "out of cheese".to_owned(),
            location: None,
            backtrace: None,
        }),
        2 => Cause::WorkerLost(Death {
            pid: 7,
            ..Death::default()
        }),
        _ => Cause::TimedOut {
            limit: Duration::from_secs(3),
        },
    };
    TaskError::new(TaskName::Function("f"), true, cause)
}

fn run_of_values(first: u32, values: &[Vec<u8>]) -> Values {
    let mut out = Chain::new();
    put_call(out.tail(), 5, first);
    for value in values {
        begin_value(&mut out);
        codec::put(value.clone(), &mut out).expect("bytes");
    }
    let mut frame = Reader::from(out.into_bytes());
    let mut reader = OutcomeReader::default();
    let Some(Ok(OutcomeEntry::Call)) = reader.next(&mut frame, u32::MAX) else {
        panic!("a call comes first");
    };
    match reader.next(&mut frame, u32::MAX) {
        Some(Ok(OutcomeEntry::Values(values))) => values,
        other => panic!("they are values, not {other:?}"),
    }
}

fn runs_of(outcomes: &[ItemOutcome]) -> ItemRuns {
    let mut runs = Vec::new();
    let mut item = 0;
    for run in outcomes.chunk_by(|a, b| a.is_ok() && b.is_ok()) {
        runs.push(match &run[0] {
            Err(number) => ItemRun::Failed {
                first: item,
                count: 1,
                error: error(*number),
            },
            Ok(_) => {
                let values: Vec<_> = run.iter().flatten().cloned().collect();
                ItemRun::Values(run_of_values(item, &values))
            }
        });
        item += run.len() as u32;
    }
    ItemRuns {
        nanos: 9,
        progress: Some((3, 4)),
        runs,
    }
}

fn outcomes_of(runs: ItemRuns) -> Vec<(u32, Result<Vec<u8>, String>)> {
    let mut outcomes = Vec::new();
    for run in runs.runs {
        match run {
            ItemRun::Failed {
                first,
                count,
                error,
            } => {
                outcomes.extend((first..first + count).map(|item| (item, Err(error.to_string()))));
            }
            ItemRun::Values(values) => {
                let mut item = values.first;
                values.read(|value| {
                    outcomes.push((item, Ok(codec::get(value).expect("bytes"))));
                    item += 1;
                });
            }
        }
    }
    outcomes
}

fn expected(outcomes: &[ItemOutcome]) -> Vec<(u32, Result<Vec<u8>, String>)> {
    let outcomes = (0..).zip(outcomes.iter().cloned());
    outcomes
        .map(|(item, outcome)| (item, outcome.map_err(|number| error(number).to_string())))
        .collect()
}

fn worker() -> WorkerId {
    WorkerId {
        name: Some("books".to_owned()),
        ..WorkerId::example("w1")
    }
}

fn outcomes() -> impl Strategy<Value = Vec<ItemOutcome>> {
    let value = prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..9),
        1 => Just(vec![7; 20_000]),
    ];
    prop::collection::vec(
        prop_oneof![3 => value.prop_map(Ok), 1 => any::<u8>().prop_map(Err)],
        0..20,
    )
}

fn records() -> impl Strategy<Value = Record> {
    prop_oneof![
        (any::<u32>(), any::<u64>(), any::<bool>()).prop_map(|(attempt, serial, again)| {
            Record::Claim(ClaimRecord {
                by: worker(),
                attempt,
                serial,
                answer_to: again.then(|| "$JS.ACK.CF_q.lane1.1.2.3.4.5".to_owned()),
            })
        }),
        any::<u32>().prop_map(|attempt| Record::Released { attempt }),
        outcomes().prop_map(|outcomes| Record::Outcome(OutcomeRecord {
            by: worker(),
            attempt: 2,
            body: OutcomeBody::Inline(runs_of(&outcomes)),
        })),
        any::<u64>().prop_map(|size| Record::Outcome(OutcomeRecord {
            by: worker(),
            attempt: 1,
            body: OutcomeBody::Object {
                name: "o".to_owned(),
                size
            },
        })),
        prop_oneof![Just(CancelReason::Cancel), Just(CancelReason::QueueTimeout)].prop_map(
            |reason| Record::Cancelled(CancelRecord {
                by: "c".to_owned(),
                reason
            })
        ),
    ]
}

#[test]
fn a_worker_with_an_id_that_is_no_part_of_a_subject_is_refused() {
    for id in ["", "a.b", "*", ">", "a b", &"x".repeat(65)] {
        let by = WorkerId {
            name: Some("books".to_owned()),
            ..WorkerId::example(id)
        };
        let claim = Record::Claim(ClaimRecord {
            by,
            attempt: 1,
            serial: 0,
            answer_to: None,
        });
        assert!(Record::decode(&claim.encode()).is_err(), "{id:?}");
    }
}

proptest! {
    #![proptest_config(crate::common::cases(1000))]

    #[test]
    fn a_record_is_the_same_after_its_trip(record in records()) {
        let before = format!("{record:?}");
        let bytes = record.encode();
        let again = Record::decode(&bytes).expect("it was written here");
        if !matches!(again, Record::Outcome(_)) {
            prop_assert_eq!(format!("{again:?}"), before);
        }
        prop_assert_eq!(again.encode(), bytes);
    }

    #[test]
    fn each_item_has_its_outcome_after_the_trip_in_a_record_and_in_an_object(outcomes in outcomes()) {
        let body = OutcomeBody::Inline(runs_of(&outcomes));
        let record = Record::Outcome(OutcomeRecord { by: worker(), attempt: 2, body });
        let Ok(Record::Outcome(OutcomeRecord { body: OutcomeBody::Inline(runs), attempt: 2, by })) =
            Record::decode(&record.encode())
        else {
            panic!("it is an outcome");
        };
        prop_assert_eq!(by, worker());
        prop_assert_eq!(outcomes_of(runs), expected(&outcomes));
        let object = runs_of(&outcomes).encode();
        let runs = ItemRuns::decode(&object).expect("it was written here");
        prop_assert_eq!(runs.nanos, 9);
        prop_assert_eq!(outcomes_of(runs), expected(&outcomes));
    }

    #[test]
    fn a_changed_record_is_an_error_or_another_and_takes_memory_in_proportion_to_its_size(
        record in records(),
        change in changes(),
        more in changes(),
    ) {
        let bytes = Bytes::from(more.make(change.make(record.encode().to_vec())));
        let (read, memory) = memory_of(|| Record::decode(&bytes));
        prop_assert!(memory <= 200 * bytes.len() + 8192, "{} bytes for {}", memory, bytes.len());
        if let Ok(Record::Outcome(OutcomeRecord { body: OutcomeBody::Inline(runs), .. })) = read {
            for run in runs.runs {
                if let ItemRun::Values(values) = run {
                    prop_assert!(values.items().end <= MOST_MESSAGE_ITEMS);
                    values.read(|value| drop(codec::skip(value)));
                }
            }
        }
        let (_, memory) = memory_of(|| ItemRuns::decode(&bytes));
        prop_assert!(memory <= 200 * bytes.len() + 8192, "{} bytes for {}", memory, bytes.len());
    }

    #[test]
    fn any_bytes_are_an_error_or_a_record(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from([&[WIRE_VERSION], &bytes[..]].concat());
        let (_, memory) = memory_of(|| (Record::decode(&bytes), ItemRuns::decode(&bytes)));
        prop_assert!(memory <= 200 * bytes.len() + 8192, "{} bytes for {}", memory, bytes.len());
    }
}

#[test]
fn a_record_of_another_version_is_refused_with_both_versions() {
    let error = Record::decode(&Bytes::from_static(&[9, 1, 2])).expect_err("another version");
    assert_eq!(
        error,
        Malformed::Version {
            theirs: "9".to_owned()
        }
    );
    assert_eq!(
        Record::decode(&Bytes::new()).expect_err("nothing"),
        Malformed::Torn
    );
}
