use proptest::prelude::*;

use super::*;
use crate::common::memory_of;

fn text(most: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z:_<>, %]{1,20}",
        prop::collection::vec(any::<char>(), 1..20).prop_map(|chars| chars.into_iter().collect()),
        Just("x".repeat(most)),
    ]
}

fn tasks() -> impl Strategy<Value = TaskMessage> {
    let limit = || any::<u64>().prop_map(Duration::from_nanos);
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(|bytes| TaskPayload::Inline(bytes.into())),
        (text(MOST_OBJECT), any::<u64>())
            .prop_map(|(name, size)| TaskPayload::Object { name, size }),
    ];
    let names = (
        text(MOST_NAME),
        text(MOST_SHAPE),
        prop::option::of(text(MOST_NAME)),
    );
    let reply = (text(MOST_CLIENT), any::<u64>());
    let times = (prop::option::of(limit()), limit());
    let trace = prop::option::of(text(MOST_TRACEPARENT));
    let numbers = (1..=MOST_MESSAGE_ITEMS, any::<u64>(), any::<u32>());
    (names, reply, times, trace, numbers, payload).prop_map(
        |(
            (function, shape, name),
            reply,
            (timeout, grace_period),
            traceparent,
            numbers,
            payload,
        )| {
            TaskMessage {
                function,
                shape,
                items: numbers.0,
                reply: ReplyTo {
                    client: reply.0.into(),
                    number: reply.1,
                },
                id: numbers.1,
                name,
                timeout,
                grace_period,
                retries: numbers.2,
                first_attempt: numbers.0,
                traceparent,
                payload,
            }
        },
    )
}

fn read(headers: &[(&'static str, String)], body: Bytes) -> Result<TaskMessage, Malformed> {
    let find = |name| headers.iter().find(|header| header.0 == name);
    TaskMessage::read(|name| find(name).map(|header| &*header.1), body)
}

fn task() -> TaskMessage {
    TaskMessage {
        function: "is_prime".to_owned(),
        shape: "u64>bool".to_owned(),
        items: 1,
        reply: ReplyTo {
            client: "abc".into(),
            number: 7,
        },
        id: 9,
        name: None,
        timeout: None,
        grace_period: Duration::ZERO,
        retries: 0,
        first_attempt: 1,
        traceparent: None,
        payload: TaskPayload::Inline(Bytes::from_static(&[1, 2])),
    }
}

#[test]
fn the_headers_of_a_plain_task_are_five() {
    let headers = task().headers();
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let expected = [
        ("Cf-V", "1"),
        ("Cf-Fn", "is_prime"),
        ("Cf-Shape", "u64>bool"),
        ("Cf-Reply", "abc.7"),
        ("Cf-Id", "9"),
    ];
    assert_eq!(headers, expected);
}

#[test]
fn a_task_of_another_version_is_refused_with_both_versions() {
    let mut headers = task().headers();
    headers[0].1 = "7".to_owned();
    let error = read(&headers, Bytes::new()).expect_err("another version");
    assert!(matches!(&error, Malformed::Version { theirs } if theirs == "7"));
    assert!(error.to_string().contains("version \"7\"") && error.to_string().contains("version 1"));
}

proptest! {
    #![proptest_config(crate::common::cases(2000))]

    #[test]
    fn a_task_is_the_same_after_its_trip(task in tasks()) {
        let headers = task.headers();
        for (name, value) in &headers {
            prop_assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{}: {}", name, value);
        }
        prop_assert_eq!(read(&headers, task.body()), Ok(task));
    }

    #[test]
    fn a_changed_header_is_an_error_or_another_task_and_takes_no_more_memory_than_it_has(
        task in tasks(),
        at in any::<prop::sample::Index>(),
        value in prop_oneof!["\\PC{0,40}", "[0-9]{0,25}", "(%[0-9a-fA-F]{2}){0,9}%?", Just("9".repeat(100_000))],
    ) {
        let mut headers = task.headers();
        let at = at.index(headers.len());
        headers[at].1 = value;
        let size: usize = headers.iter().map(|header| header.1.len()).sum();
        let (_, memory) = memory_of(|| read(&headers, task.body()));
        prop_assert!(memory <= 4 * size + 4096, "{} bytes for {}", memory, size);
    }

    #[test]
    fn a_missing_header_is_named(task in tasks(), at in 0_usize..5) {
        let mut headers = task.headers();
        let (name, _) = headers.remove(at);
        prop_assert_eq!(read(&headers, task.body()), Err(Malformed::Missing { field: name }));
    }
}
