use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Names with many characters that have a meaning in a subject.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![".*", "[a-c.*>%$ ~]{0,12}", "[%][0-9A-Fa-f]{0,4}"]
}

fn queue() -> impl Strategy<Value = QueueNames> {
    "[A-Za-z0-9_-]{1,32}".prop_map(|queue| QueueNames::new(&queue).expect("a valid name"))
}

/// What a server accepts from a publisher: no empty token, no wildcard, no character that ends a line or a word.
fn is_publishable(subject: &str) -> bool {
    subject.split('.').all(|token| {
        !token.is_empty()
            && token.bytes().all(|byte| byte.is_ascii_graphic())
            && !token.contains(['*', '>'])
    })
}

proptest! {
    #![proptest_config(crate::common::cases(2000))]

    #[test]
    fn any_name_makes_a_subject_without_wildcards_and_survives_the_trip(
        names in queue(), function in name(), client in name(), number: u64, lane in 0..LANES,
    ) {
        let task = names.task(lane, &function);
        prop_assert!(is_publishable(&task), "{task}");
        prop_assert_eq!(names.parse_task(&task), Some((lane, function)));

        let expected = Some(ReplyTo { client: client.as_str().into(), number });
        let record = names.record(&client, number);
        prop_assert!(is_publishable(&record), "{record}");
        prop_assert_eq!(record.split('.').count(), 5, "{}", record);
        prop_assert_eq!(names.parse_record(&record), expected.clone());
        let tail = record.strip_prefix(&format!("cf.{}.o.", names.queue())).expect("its own");
        let stored = format!("cf.{}.r.{tail}", names.queue());
        prop_assert_eq!(names.parse_stored_record(&stored), expected.clone());
        prop_assert_eq!(names.parse_progress(&names.progress(&client, number)), expected);
    }

    #[test]
    fn a_worker_receives_only_its_own_requests(
        names in queue(), worker in name(), other in name(), verb in name(),
    ) {
        let subject = names.worker(&worker, &verb);
        prop_assert!(is_publishable(&subject), "{subject}");
        prop_assert_eq!(names.parse_worker(&worker, &subject), Some(verb.clone()));
        if other != worker {
            prop_assert_eq!(names.parse_worker(&other, &subject), None);
        }
    }

    #[test]
    fn two_names_never_make_one_subject(names in queue(), one in name(), other in name()) {
        prop_assume!(one != other);
        prop_assert_ne!(names.task(1, &one), names.task(1, &other));
        prop_assert_ne!(names.record(&one, 1), names.record(&other, 1));
    }

    /// Only a subject that the crate would write in exactly this way is read.
    #[test]
    fn a_foreign_subject_is_refused(names in queue(), kind in "[tor]", tail in name()) {
        let subject = format!("cf.{}.{kind}.{tail}", names.queue());
        if let Some((lane, function)) = names.parse_task(&subject) {
            prop_assert_eq!(names.task(lane, &function), subject.clone());
        }
        if let Some(record) = names.parse_record(&subject) {
            prop_assert_eq!(names.record(&record.client, record.number), subject.clone());
        }
        prop_assert_eq!(names.parse_task(&tail), None);
        prop_assert_eq!(names.parse_record(&tail), None);
    }

    #[test]
    fn a_queue_has_a_plain_name_or_none(name in name()) {
        let is_plain = (1..=32).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        prop_assert_eq!(QueueNames::new(&name).is_ok(), is_plain);
    }

    #[test]
    fn no_stream_belongs_to_two_queues(one in queue(), other in queue()) {
        let streams = |names: &QueueNames| [names.tasks_stream(), names.records_stream(), names.payloads_stream()];
        let mut all: HashSet<String> = streams(&one).into();
        prop_assert_eq!(all.len(), 3);
        if one != other {
            all.extend(streams(&other));
            prop_assert_eq!(all.len(), 6);
        }
    }
}

#[test]
fn the_names_in_a_configuration_never_change() {
    let names = QueueNames::new("primes").expect("a valid name");
    assert_eq!(
        names.task(1, "images.thumbnail"),
        "cf.primes.t.1.images.thumbnail"
    );
    assert_eq!(names.task(0, "u64::pow"), "cf.primes.t.0.u64::pow");
    assert_eq!(
        names.task(2, "parse::<u32>"),
        "cf.primes.t.2.parse::%3Cu32%3E"
    );
    assert_eq!(names.task(1, ".a..b."), "cf.primes.t.1.%2Ea%2E%2Eb%2E");
    assert_eq!(names.task(1, ""), "cf.primes.t.1.%");
    assert_eq!(names.record("é.", 7), "cf.primes.o.%C3%A9%2E.7");
    assert_eq!(names.lane(0), "cf.primes.t.0.>");
    assert_eq!(names.stored_records_of("me"), "cf.primes.r.me.*");
}

#[test]
fn ids_are_tokens_and_differ() {
    let ids: HashSet<String> = (0..10_000).map(|_| unique_id()).collect();
    assert_eq!(ids.len(), 10_000);
    assert!(ids.iter().all(|id| id.len() == 22 && token(id) == *id));
}
