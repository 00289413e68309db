//! How a task is published.

use super::*;
use crate::cluster::client::in_flight::MessagePlace;
use crate::cluster::publish_answer::{DUPLICATE_IN_PROCESS, STORE_FAILED};
use crate::executor::error::Rejection;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn unanswered_publishes_are_limited_by_the_window() {
    let mut test = TestTable::new();
    let numbers: Vec<u64> = (0..5000).map(|_| test.submit(once())).collect();
    assert_eq!(test.published(), numbers[..4096]);
    assert!(test.published().is_empty() && !test.table.has_actions());
    test.answer(numbers[0], 1);
    assert!(test.table.has_actions());
    assert_eq!(test.published(), [numbers[4096]]);
}

#[test]
fn a_stream_that_is_full_refuses_the_task() {
    let mut test = TestTable::new();
    let number = test.sent(once());
    test.refuse(number, STORE_FAILED);
    let ends = test.ends();
    let is_full =
        |end: &End| matches!(end, End::Refused(Cause::Rejected(Rejection::StreamFull(_))));
    assert!(matches!(&ends[..], [end] if is_full(end)), "{ends:?}");
}

#[test]
fn an_unknown_refusal_is_the_error_of_the_task() {
    let mut test = TestTable::new();
    let number = test.sent(once());
    test.refuse(number, 4711);
    assert!(matches!(test.ends()[..], [End::Refused(_)]));
}

#[test]
fn a_stream_that_is_busy_gets_the_task_again_after_a_pause() {
    let mut test = TestTable::new();
    let number = test.sent(once());
    test.refuse(number, DUPLICATE_IN_PROCESS);
    assert!(test.published().is_empty());
    test.wait(SECOND);
    assert_eq!(test.published(), [number]);
}

#[test]
fn a_stream_that_does_not_exist_is_an_error_after_some_time() {
    let mut test = TestTable::new();
    let number = test.sent(once());
    test.table.terms.duplicate_window = SECOND; // Shorter than the wait.
    for _ in 0..10 {
        test.table.no_stream(number, test.now);
        test.wait(SECOND);
        assert_eq!(test.published(), [number]);
    }
    test.table.no_stream(number, test.now);
    assert!(matches!(test.ends()[..], [End::Refused(_)]));
}

#[test]
fn a_refused_permission_fails_the_tasks_of_its_function_and_lane_alone() {
    let mut test = TestTable::new();
    let above = test.sent(once().priority(1));
    let normal = test.sent(once());
    test.table.forbidden(0, "other", "no");
    assert!(test.ends().is_empty());
    test.table.forbidden(0, "root", "no");
    assert!(matches!(test.ends()[..], [End::Refused(_)]));
    assert!(test.table.get(above).is_none() && test.table.get(normal).is_some());
    assert_eq!(test.table.unanswered, 1);
}

#[test]
fn a_publish_without_an_answer_is_repeated() {
    let mut test = TestTable::new();
    let number = test.sent(once());
    test.wait(7 * SECOND);
    assert_eq!(test.published(), [number]);
    test.table.reconnected(test.now);
    assert_eq!(test.published(), [number]);
}

#[test]
fn a_client_that_was_away_for_longer_than_the_window_searches_before_it_publishes_again() {
    for found in [Some(8), None] {
        let mut test = TestTable::new();
        let number = test.sent(once());
        test.now += TERMS.duplicate_window;
        test.table.reconnected(test.now);
        assert!(test.published().is_empty());
        assert_eq!(
            test.actions(),
            [Action::ReadRecords(vec![(number, reply(number))])]
        );
        test.no_record(number);
        let reply = reply(number);
        assert_eq!(test.actions(), [Action::FindMessage { number, reply }]);
        test.found(number, found);
        assert!(test.published().is_empty());
        if found.is_none() {
            test.wait(SECOND); // A publish from the buffer of the connection may arrive only now.
            assert!(matches!(test.actions()[..], [Action::ReadRecords(_)]));
            test.found(number, None);
            assert_eq!(test.published(), [number]);
        }
    }
}

#[test]
fn a_task_that_was_cancelled_before_the_stream_answered_is_deleted_when_it_does() {
    let mut test = TestTable::new();
    let number = test.sent(once());
    test.table.abort(number >> PART_BITS, test.now);
    test.actions();
    test.swapped(number, 9);
    assert!(matches!(test.ends()[..], [End::Cancelled]));
    assert!(test.actions().is_empty()); // The stream may still store its message.
    test.answer(number, 5);
    let is_at_5 = |record: &RecordRetirement| record.place == MessagePlace::At(5);
    assert!(matches!(&test.actions()[..], [Action::RetireRecord(record)] if is_at_5(record)));
    assert!(test.table.orphans.is_empty() && test.table.unanswered == 0);
}

#[test]
fn a_large_payload_goes_first_and_is_deleted_if_the_task_does_not_run() {
    let mut test = TestTable::new();
    let (number, task) = task(once(), None);
    test.table.insert(number, task, true, None, test.now);
    assert_eq!(test.actions(), [Action::UploadPayload(number)]);
    assert!(test.published().is_empty());
    assert!(test.table.uploaded(number, Ok(("big".to_owned(), 7))));
    assert_eq!(test.published(), [number]);
    test.answer(number, 5);
    test.table.abort(number >> PART_BITS, test.now);
    test.actions();
    test.swapped(number, 9);
    let object = "big".to_owned();
    let actions = test.actions();
    assert!(actions.contains(&Action::DeletePayload { object }));
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::RetireRecord(_)))
    );
    assert!(!test.table.uploaded(number, Ok(("late".to_owned(), 7))));
}

#[test]
fn the_payload_of_a_task_that_another_program_has_submitted_is_deleted() {
    let mut test = TestTable::new();
    let shared = ReplyTo {
        client: "~id".into(),
        number: 0,
    };
    let (number, task) = task(once(), Some(shared.clone()));
    test.table.insert(number, task, true, None, test.now);
    test.actions();
    test.table.uploaded(number, Ok(("big".to_owned(), 7)));
    test.published();
    let answer = PublishAnswer::Stored {
        seq: 5,
        is_duplicate: true,
    };
    test.table.answered(number, answer, test.now);
    let object = "big".to_owned();
    let read = Action::ReadRecords(vec![(number, shared)]);
    assert_eq!(test.actions(), [Action::DeletePayload { object }, read]);
}
