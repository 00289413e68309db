//! What the client does with the record of a task, and without one.

use super::*;

#[test]
fn a_claim_makes_the_task_run_and_frees_its_place_in_the_queue() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    assert_eq!((test.table.waiting(), test.table.running()), (1, 0));
    test.record(number, 10, claim("w1", 1));
    assert_eq!((test.table.waiting(), test.table.running()), (0, 1));
    assert_eq!(test.table.take_completions().rooms.len(), 1);
    assert!(test.table.is_running(number >> PART_BITS));
}

#[test]
fn a_claim_that_was_given_back_makes_the_task_wait_again() {
    let mut test = TestTable::new();
    let number = test.claimed(once());
    test.record(number, 11, Record::Released { attempt: 1 });
    assert_eq!((test.table.waiting(), test.table.running()), (1, 0));
}

#[test]
fn an_older_record_changes_nothing() {
    let mut test = TestTable::new();
    let number = test.claimed(once());
    test.record(number, 9, Record::Released { attempt: 1 });
    test.record(number, 10, outcome());
    test.table.malformed(&reply(number), 10, &Malformed::Torn);
    assert!(test.ends().is_empty());
    assert_eq!(test.table.running(), 1);
}

#[test]
fn an_outcome_ends_the_task_in_each_stage() {
    let submit: [fn(&mut TestTable) -> u64; 4] = [
        |test| test.submit(once()),
        |test| test.sent(once()),
        |test| test.stored(once()),
        |test| test.claimed(once()),
    ];
    for submit in submit {
        let mut test = TestTable::new();
        let number = submit(&mut test);
        test.record(number, 11, outcome());
        assert!(matches!(test.ends()[..], [End::Outcome(_)]));
        assert!(test.table.is_empty() && test.table.running() == 0);
    }
}

#[test]
fn a_malformed_record_ends_the_task() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    test.table.malformed(&reply(number), 10, &Malformed::Torn);
    assert!(matches!(
        test.ends()[..],
        [End::Unreadable(Malformed::Torn)]
    ));
}

#[test]
fn a_cancel_by_another_program_ends_the_task() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    let by = "another".to_owned();
    let reason = crate::cluster::record::CancelReason::Cancel;
    test.record(number, 10, Record::Cancelled(CancelRecord { by, reason }));
    assert!(matches!(test.ends()[..], [End::Cancelled]));
    assert_eq!(test.actions(), [Action::DeleteMessage { seq: 5 }]);
}

#[test]
fn one_record_ends_all_handles_of_a_task() {
    let mut test = TestTable::new();
    let shared = ReplyTo {
        client: "~id".into(),
        number: 0,
    };
    for _ in 0..3 {
        let (number, task) = task(once(), Some(shared.clone()));
        test.table.insert(number, task, false, None, test.now);
    }
    test.table.record(&shared, 10, outcome(), test.now);
    assert_eq!(test.ends().len(), 3);
    assert!(test.table.shared.is_empty());
}

#[test]
fn a_claim_that_two_reads_do_not_find_is_lost() {
    let mut test = TestTable::new();
    let number = test.claimed(once());
    test.no_record(number);
    assert_eq!(test.table.running(), 1); // The claim may be newer than the read.
    test.no_record(number);
    assert_eq!(test.table.running(), 0);
}

#[test]
fn a_task_that_has_neither_message_nor_record_for_seconds_is_an_error() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    let read = || Action::ReadRecords(vec![(number, reply(number))]);
    let start = test.now;
    test.found(number, None);
    // Replicas may be behind.
    for pause in [200, 400, 800, 1600, 3200] {
        assert!(test.actions().is_empty() && test.ends().is_empty());
        test.wait(Duration::from_millis(pause));
        let actions = test.actions();
        assert!(
            matches!(actions[..], [Action::ReadRecords(_)]),
            "{actions:?}"
        );
        test.no_record(number);
        assert_eq!(test.actions(), [Action::CheckMessage { number, seq: 5 }]);
        test.found(number, None);
    }
    assert_eq!(test.actions(), [read()]);
    assert!(test.ends().is_empty() && test.now - start > Duration::from_secs(6));
    test.no_record(number);
    assert!(matches!(test.ends()[..], [End::NotFound]));
}

#[test]
fn a_task_that_a_later_search_finds_is_not_given_up() {
    let mut test = TestTable::new();
    let number = test.stored(once());
    for _ in 0..20 {
        test.found(number, None);
        test.found(number, Some(5));
    }
    test.no_record(number);
    assert!(test.ends().is_empty());
    assert_eq!(test.table.waiting(), 1);
}

#[test]
fn a_waiting_task_is_checked_less_and_less_often_and_a_running_one_every_four_seconds() {
    let looks = |number: u64, test: &mut TestTable| {
        let mut looks = 0;
        for _ in 0..300 {
            test.wait(Duration::from_secs(1));
            let actions = test.actions();
            let is_look = |action: &Action| matches!(action, Action::ReadRecords(tasks) if tasks[0].0 == number);
            looks += usize::from(actions.iter().any(is_look));
        }
        looks
    };
    let mut test = TestTable::new();
    let number = test.stored(once());
    let looks_at_quiet = looks(number, &mut test);
    assert!((6..=10).contains(&looks_at_quiet), "{looks_at_quiet}");
    test.record(number, 10, claim("w1", 1));
    let looks_at_running = looks(number, &mut test);
    assert!((70..=80).contains(&looks_at_running), "{looks_at_running}");
}

#[test]
fn the_latest_report_of_progress_is_remembered_so_that_its_outcome_repeats_no_report() {
    let mut test = TestTable::new();
    let number = test.claimed(once());
    for report in [(1, 3), (2, 3)] {
        assert_eq!(test.table.reported(&reply(number), report).len(), 1);
    }
    assert_eq!(test.table.tasks[&number].reported, Some((2, 3)));
    test.record(number, 11, outcome());
    assert!(test.table.reported(&reply(number), (3, 3)).is_empty());
}
