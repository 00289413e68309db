//! Requests, answers and notifications that are lost, or that come late. `tests/properties/cluster/table` found most of
//! these orders.

use super::*;
use crate::cluster::client::in_flight::MessagePlace;
use crate::cluster::client::questions::Questions;
use crate::cluster::publish_answer::{STORE_FAILED, WRONG_LAST_SEQUENCE};

const SECOND: Duration = Duration::from_secs(1);

/// A refusal of a server that has no memory left. It precedes the search for a duplicate.
const NO_MEMORY: u64 = 10023;

/// The only task that ended, and how.
fn only_end(test: &mut TestTable) -> (TaskInFlight, End) {
    let mut ended = test.table.take_completions().ended;
    assert_eq!(ended.len(), 1);
    ended.remove(0)
}

fn abort(test: &mut TestTable, number: u64) {
    test.table.abort(number >> PART_BITS, test.now);
}

/// Publishes a task once more, after the connection broke.
fn repeated(test: &mut TestTable) -> u64 {
    let number = test.sent(once());
    test.now += SECOND;
    test.table.reconnected(test.now);
    assert_eq!(test.published(), [number]);
    number
}

#[test]
fn a_task_that_ran_in_an_earlier_attempt_is_not_cancelled_as_if_it_had_never_started() {
    for (attempt, has_started) in [(1, false), (2, true)] {
        let mut test = TestTable::new();
        let number = test.stored(once().retries(1));
        test.record(number, 11, Record::Released { attempt });
        abort(&mut test, number);
        test.swapped(number, 12);
        let (task, end) = only_end(&mut test);
        assert!(matches!(end, End::Cancelled));
        assert_eq!(end.has_started(&task), has_started);
    }
}

#[test]
fn a_task_that_is_given_up_or_not_found_may_have_started() {
    let mut test = TestTable::new();
    test.stored(once());
    test.table.abandon(test.now);
    let (task, end) = only_end(&mut test);
    assert!(matches!(end, End::Abandoned) && end.has_started(&task));
    assert!(End::NotFound.has_started(&task));
}

#[test]
fn a_refusal_of_a_repeated_publish_is_believed_once_the_stream_was_searched() {
    for code in [STORE_FAILED, NO_MEMORY] {
        let mut test = TestTable::new();
        let number = repeated(&mut test);
        test.refuse(number, code);
        assert!(test.ends().is_empty()); // The first publish may be stored.
        assert!(matches!(test.actions()[..], [Action::ReadRecords(_)]));
        test.no_record(number);
        assert!(matches!(test.actions()[..], [Action::FindMessage { .. }]));
        test.found(number, None);
        test.found(number, None);
        assert_eq!(test.published(), [number]);
        test.refuse(number, code);
        assert!(matches!(test.ends()[..], [End::Refused(_)]));
    }
}

#[test]
fn a_repeated_publish_that_no_stream_takes_or_no_permission_allows_counts_as_started() {
    let mut test = TestTable::new();
    let number = repeated(&mut test);
    test.table.no_stream(number, test.now);
    test.now += TERMS.no_stream;
    test.wait(SECOND);
    assert_eq!(test.published(), [number]);
    test.table.no_stream(number, test.now);
    assert!(matches!(test.ends()[..], [End::Undecided(_)]));
    repeated(&mut test);
    test.table.forbidden(1, "root", "no");
    assert!(matches!(test.ends()[..], [End::Undecided(_)]));
}

#[test]
fn a_publish_that_waited_for_longer_than_the_window_is_not_repeated_unchecked() {
    let mut test = TestTable::new();
    let number = test.sent(once());
    test.table.reconnected(test.now);
    test.now += TERMS.duplicate_window; // The publisher waited for the connection.
    assert!(test.published().is_empty());
    assert_eq!(
        test.actions(),
        [Action::ReadRecords(vec![(number, reply(number))])]
    );
}

#[test]
fn nothing_is_published_again_without_a_connection() {
    let mut test = TestTable::new();
    let number = test.sent(once());
    test.table.reconnected(test.now);
    let without = test.table.take_unsent(usize::MAX, test.now, false);
    assert!(without.is_empty());
    assert!(test.published().is_empty());
    test.table.reconnected(test.now);
    assert_eq!(test.published(), [number]);
}

#[test]
fn a_cancelled_task_whose_publish_is_never_answered_is_searched_for_and_its_record_ends() {
    let mut test = TestTable::new();
    let number = test.sent(once());
    abort(&mut test, number);
    test.swapped(number, 9);
    test.actions();
    assert!(test.table.is_empty() && test.table.is_retiring());
    test.wait(2 * SECOND);
    assert!(test.actions().is_empty()); // Its answer may be on the way.
    test.wait(3 * SECOND);
    let actions = test.actions();
    let is_unknown = |record: &RecordRetirement| record.place == MessagePlace::Unknown;
    assert!(
        matches!(&actions[..], [Action::RetireRecord(record)] if is_unknown(record)),
        "{actions:?}"
    );
    assert!(test.table.orphans.is_empty() && test.table.next_due().is_none());
    assert_eq!(test.table.unanswered, 0);
}

#[test]
fn a_cancelled_task_whose_repeated_publish_is_refused_is_searched_for() {
    let mut test = TestTable::new();
    let number = repeated(&mut test);
    abort(&mut test, number);
    test.swapped(number, 9);
    test.actions();
    test.refuse(number, NO_MEMORY);
    let is_unknown = |record: &RecordRetirement| record.place == MessagePlace::Unknown;
    assert!(matches!(&test.actions()[..], [Action::RetireRecord(record)] if is_unknown(record)));
}

#[test]
fn a_message_that_is_stored_after_its_task_has_ended_is_deleted() {
    let mut test = TestTable::new();
    let number = test.sent(once());
    test.record(number, 9, outcome());
    test.answer(number, 10);
    assert_eq!(test.actions(), [Action::DeleteMessage { seq: 10 }]);
}

#[test]
fn a_read_of_several_handles_of_one_task_tells_each_that_there_is_no_record() {
    let mut questions = Questions::default();
    let now = Instant::now();
    questions.read(1, vec![(1, reply(7)), (2, reply(7)), (3, reply(8))], now);
    questions.record(1, &reply(8));
    let mut missing = questions.end_read(1);
    missing.sort_unstable();
    assert_eq!(missing, [(1, now), (2, now)]);
}

#[test]
fn the_late_answer_of_an_earlier_search_says_nothing_about_a_new_message() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    test.table.found(number, None, test.now);
    assert!(test.actions().is_empty());
    assert_eq!(
        test.table.tasks[&number].stage,
        SendStage::Stored { seq: Some(5) }
    );
}

#[test]
fn one_search_is_on_its_way_at_a_time() {
    let mut test = TestTable::new();
    let number = test.sent(once());
    test.now += TERMS.duplicate_window;
    test.table.reconnected(test.now);
    test.actions();
    test.no_record(number);
    test.no_record(number);
    assert!(matches!(test.actions()[..], [Action::FindMessage { .. }]));
}

#[test]
fn a_read_that_was_asked_before_the_claim_or_the_loss_says_nothing() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    let asked = test.now;
    test.now += SECOND;
    test.record(number, 10, claim("w1", 1));
    for _ in 0..3 {
        test.table.no_record(number, asked);
    }
    assert_eq!(test.table.running(), 1);
    let number = test.stored(once());
    test.found(number, None);
    test.no_record(number);
    for _ in 0..3 {
        test.no_record(number); // No replica has caught up since.
    }
    assert!(test.ends().is_empty());
}

#[test]
fn a_silent_worker_without_a_claim_is_not_remembered() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    test.table
        .worker_absent(number, &WorkerId::example("w1"), test.now);
    test.table.worker_silent(&WorkerId::example("w2"), test.now);
    assert!(test.table.silent.is_empty());
}

#[test]
fn a_cancel_whose_answer_is_lost_is_repeated_over_a_claim_that_was_given_back() {
    let mut test = TestTable::new();
    let number = test.claimed(once());
    test.record(number, 11, Record::Released { attempt: 1 });
    abort(&mut test, number);
    assert!(matches!(
        test.actions()[..],
        [Action::WriteCancel { expected: 11, .. }]
    ));
    test.table.reconnected(test.now); // The answer is lost.
    test.actions();
    test.record(number, 11, Record::Released { attempt: 1 });
    assert!(matches!(
        test.actions()[..],
        [Action::WriteCancel { expected: 11, .. }]
    ));
}

#[test]
fn a_task_that_was_given_back_and_left_the_stream_is_an_error() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    test.record(number, 11, Record::Released { attempt: 1 });
    test.never_found(number);
    test.record(number, 11, Record::Released { attempt: 1 });
    assert!(matches!(test.ends()[..], [End::NotFound]));
}

#[test]
fn a_worker_is_informed_again_of_a_cancel_while_it_has_the_task() {
    let mut test = TestTable::new();
    let number = test.claimed(once());
    abort(&mut test, number);
    assert!(matches!(
        test.actions()[..],
        [Action::CancelAtWorker { .. }]
    ));
    test.wait(4 * SECOND);
    test.actions();
    test.record(number, 10, claim("w1", 1));
    assert!(matches!(
        test.actions()[..],
        [Action::CancelAtWorker { .. }]
    ));
}

#[test]
fn a_cancel_is_not_forgotten_when_a_lost_worker_had_given_the_task_back() {
    let mut test = TestTable::new();
    let number = test.claimed(once());
    abort(&mut test, number);
    test.actions();
    test.table.worker_lost("w1");
    assert!(matches!(test.actions()[..], [Action::WriteLoss(_)]));
    test.table.loss_not_written(number);
    test.actions();
    test.record(number, 11, Record::Released { attempt: 1 });
    assert!(matches!(
        test.actions()[..],
        [Action::WriteCancel { expected: 11, .. }]
    ));
    let answer = PublishAnswer::Refused {
        code: WRONG_LAST_SEQUENCE,
        description: String::new(),
    };
    test.table.swapped(number, &answer);
    assert!(test.ends().is_empty());
}

#[test]
fn an_outcome_whose_notification_is_lost_is_read_before_it_expires() {
    for ttl in [SECOND, 30 * SECOND, 600 * SECOND] {
        for pause in [Duration::ZERO, 60 * SECOND] {
            let mut test = TestTable::new();
            test.table.terms.result_ttl = ttl;
            let number = test.stored(once());
            // A task that is found again by its key starts with the long pause.
            test.table.tasks.get_mut(&number).expect("it is open").pause = pause;
            let mut read_at = test.now;
            for _ in 0..20 {
                let due = test.table.next_due().expect("the next check");
                test.wait(due.saturating_duration_since(test.now));
                let actions = test.actions();
                assert!(
                    matches!(&actions[..], [Action::ReadRecords(tasks)] if tasks[0].0 == number)
                );
                assert!(test.now - read_at < ttl / 2, "{:?}", test.now - read_at);
                read_at = test.now;
            }
        }
    }
}
