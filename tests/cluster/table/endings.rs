//! How a task ends without an outcome: cancels, time limits, lost workers and shutdowns.

use super::*;
use crate::cluster::client::in_flight::{EndRequest, MessagePlace};
use crate::cluster::publish_answer::WRONG_LAST_SEQUENCE;
use crate::cluster::record::CancelReason;

const SECOND: Duration = Duration::from_secs(1);

/// The write that cancels a task whose record has this sequence.
fn cancel(number: u64, expected: u64, reason: CancelReason) -> Action {
    let by = "me".to_owned();
    Action::WriteCancel {
        number,
        reply: reply(number),
        expected,
        by: CancelRecord { by, reason },
    }
}

fn lost_swap(test: &mut TestTable, number: u64) {
    let answer = PublishAnswer::Refused {
        code: WRONG_LAST_SEQUENCE,
        description: String::new(),
    };
    test.table.swapped(number, &answer);
}

#[test]
fn a_task_that_was_never_sent_is_cancelled_at_once() {
    let mut test = TestTable::new();
    let number = test.submit(once());
    assert!(test.table.abort(number >> PART_BITS, test.now));
    assert!(matches!(test.ends()[..], [End::Cancelled]));
    assert!(test.published().is_empty() && test.actions().is_empty());
    assert!(!test.table.abort(number >> PART_BITS, test.now));
}

#[test]
fn a_task_in_the_queue_is_cancelled_by_its_record_which_expires_after_the_message() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    test.table.abort(number >> PART_BITS, test.now);
    assert_eq!(test.actions(), [cancel(number, 0, CancelReason::Cancel)]);
    assert!(test.ends().is_empty());
    test.swapped(number, 9);
    assert!(matches!(test.ends()[..], [End::Cancelled]));
    let retirement = RecordRetirement {
        reply: reply(number),
        place: MessagePlace::At(5),
        record: 9,
        cancelled: CancelRecord {
            by: "me".to_owned(),
            reason: CancelReason::Cancel,
        },
    };
    assert_eq!(test.actions(), [Action::RetireRecord(retirement)]);
    assert!(test.table.is_retiring());
    test.table.retired();
    assert!(!test.table.is_retiring());
}

#[test]
fn a_cancel_that_loses_against_a_claim_informs_the_worker() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    test.table.abort(number >> PART_BITS, test.now);
    test.actions();
    lost_swap(&mut test, number);
    assert_eq!(
        test.actions(),
        [Action::ReadRecords(vec![(number, reply(number))])]
    );
    test.record(number, 10, claim("w1", 1));
    let (worker, reply) = (Arc::new(WorkerId::example("w1")), reply(number));
    assert_eq!(test.actions(), [Action::CancelAtWorker { worker, reply }]);
    test.record(number, 11, outcome());
    assert!(matches!(test.ends()[..], [End::Outcome(_)]));
}

#[test]
fn a_claim_that_arrives_before_the_answer_of_the_cancel_is_enough() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    test.table.abort(number >> PART_BITS, test.now);
    test.actions();
    test.record(number, 10, claim("w1", 1));
    assert!(test.actions().is_empty()); // The answer of the write has not arrived.
    lost_swap(&mut test, number);
    assert!(matches!(
        test.actions()[..],
        [Action::CancelAtWorker { .. }]
    ));
}

#[test]
fn a_cancelled_task_that_its_worker_gives_back_is_cancelled_then() {
    let mut test = TestTable::new();
    let number = test.claimed(once());
    test.table.abort(number >> PART_BITS, test.now);
    test.actions();
    test.record(number, 11, Record::Released { attempt: 1 });
    assert_eq!(test.actions(), [cancel(number, 11, CancelReason::Cancel)]);
}

#[test]
fn the_caller_of_a_cancel_waits_a_second_for_the_server() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    test.table.abort(number >> PART_BITS, test.now);
    test.wait(SECOND - Duration::from_millis(1));
    assert!(test.table.take_completions().undecided.is_empty());
    test.wait(Duration::from_millis(1));
    assert_eq!(test.table.take_completions().undecided.len(), 1);
    assert!(test.table.get(number).is_some()); // The write has no answer yet.
}

#[test]
fn a_queue_timeout_ends_a_task_that_waits_and_no_other() {
    let options = once().queue_timeout(SECOND);
    let mut test = TestTable::new();
    test.submit(options.clone());
    test.wait(SECOND);
    assert!(matches!(test.ends()[..], [End::Expired { limit: SECOND }]));
    let number = test.stored(options.clone());
    test.wait(SECOND);
    let expire = cancel(number, 0, CancelReason::QueueTimeout);
    assert_eq!(test.actions(), [expire]);
    test.swapped(number, 9);
    assert!(matches!(test.ends()[..], [End::Expired { limit: SECOND }]));
    test.actions();
    let number = test.claimed(options);
    test.wait(SECOND);
    assert!(test.actions().is_empty() && test.table.get(number).is_some());
}

#[test]
fn a_server_that_permits_no_cancel_ends_the_wait_for_it() {
    let mut test = TestTable::new();
    let number = test.stored(once().queue_timeout(SECOND));
    test.table.unwritable(&reply(number), "no");
    assert!(test.ends().is_empty()); // No write of a record was refused.
    test.wait(SECOND);
    test.table.unwritable(&reply(number), "no");
    let ends = test.ends();
    assert!(
        matches!(&ends[..], [End::Undecided(why)] if why.contains("may run")),
        "{ends:?}"
    );
}

#[test]
fn a_worker_without_a_subscription_is_lost_after_two_seconds_and_the_loss_is_written() {
    let mut test = TestTable::new();
    let number = test.claimed(once());
    let by = WorkerId::example("w1");
    test.table.worker_absent(number, &by, test.now);
    assert!(test.actions().is_empty());
    test.now += 2 * SECOND;
    test.table.worker_absent(number, &by, test.now);
    let actions = test.actions();
    let is_loss = |loss: &LossToWrite| loss.expected == 10 && loss.place == MessagePlace::At(5);
    assert!(
        matches!(&actions[..], [Action::WriteLoss(loss)] if is_loss(loss)),
        "{actions:?}"
    );
    test.table.loss_written(number);
    assert!(matches!(test.ends()[..], [End::Lost { attempt: 1, .. }]));
    assert!(test.table.silent.is_empty());
}

#[test]
fn a_worker_that_answers_meanwhile_is_not_lost() {
    let mut test = TestTable::new();
    let number = test.claimed(once());
    let by = WorkerId::example("w1");
    test.table.worker_silent(&by, test.now);
    test.table.worker_answered("w1");
    test.now += TERMS.lost_after;
    test.table.worker_silent(&by, test.now);
    assert!(test.actions().is_empty());
    test.now += TERMS.lost_after;
    test.table.worker_silent(&by, test.now);
    assert!(matches!(test.actions()[..], [Action::WriteLoss(_)]));
    test.record(number, 12, claim("w2", 2)); // Another worker has claimed it first.
    test.table.loss_not_written(number);
    assert!(test.ends().is_empty());
}

#[test]
fn a_task_that_may_run_again_is_delivered_to_another_worker_which_decides() {
    let mut test = TestTable::new();
    let number = test.claimed(once().retries(1));
    test.table.worker_lost("w1");
    let answer_to = "answer.w1".to_owned();
    let again = Action::Redeliver { answer_to };
    let check = Action::CheckMessage { number, seq: 5 };
    assert_eq!(test.actions(), [again, check]);
    assert!(test.ends().is_empty());
}

#[test]
fn a_task_that_may_run_again_but_left_the_stream_is_lost() {
    let mut test = TestTable::new();
    let number = test.claimed(once().retries(1));
    test.never_found(number);
    test.actions();
    test.table.worker_lost("w1");
    assert!(matches!(test.actions()[..], [Action::WriteLoss(_)]));
}

#[test]
fn a_worker_that_denies_its_claim_twice_is_lost() {
    let mut test = TestTable::new();
    let number = test.claimed(once());
    test.table.not_running(number);
    assert!(matches!(test.actions()[..], [Action::ReadRecords(_)]));
    test.table.not_running(number);
    assert!(matches!(test.actions()[..], [Action::WriteLoss(_)]));
}

#[test]
fn a_shutdown_ends_running_tasks_and_tells_their_worker() {
    let mut test = TestTable::new();
    let running = test.claimed(once());
    test.submit(once());
    test.table.cancel_waiting(test.now);
    assert!(matches!(test.ends()[..], [End::Cancelled]));
    test.table.abandon(test.now);
    let (worker, reply) = (Arc::new(WorkerId::example("w1")), reply(running));
    assert_eq!(test.actions(), [Action::CancelAtWorker { worker, reply }]);
    assert!(matches!(test.ends()[..], [End::Abandoned]));
    assert!(test.table.is_empty() && test.table.next_due().is_none());
}

#[test]
fn an_end_request_that_comes_too_late_is_dropped() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    test.table.cancel_waiting(test.now);
    test.actions();
    test.record(number, 10, claim("w1", 1));
    lost_swap(&mut test, number);
    assert!(!matches!(
        test.table.tasks[&number].end_request,
        Some(EndRequest::Shutdown)
    ));
    assert!(test.actions().is_empty() && test.ends().is_empty());
}
