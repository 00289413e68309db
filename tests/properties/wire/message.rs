use std::fmt::Debug;

use proptest::prelude::*;
use proptest::strategy::LazyJust;

use super::super::event::{CallsitePlace, FieldValue};
use super::super::surroundings::SystemText;
use super::*;
use crate::panic::Location;

fn only_frame(out: Chain) -> Reader {
    let bytes = out.into_bytes();
    let mut input = &bytes[..];
    let frame = frame::Frames::new(frame::LARGEST).next(&mut input);
    assert!(input.is_empty());
    Reader::from(frame.expect("a whole frame").expect("a frame"))
}

fn frame_of<M: Serialize>(message: &M) -> Reader {
    let mut out = Chain::new();
    put(&mut out, message);
    only_frame(out)
}

fn parts() -> impl Strategy<Value = Vec<PayloadPart>> {
    let part = (any::<u32>(), bulk::LARGE as u32..);
    prop::collection::vec(part.prop_map(|(at, len)| PayloadPart { at, len }), 0..9)
}

fn to_worker() -> impl Strategy<Value = ToWorker> {
    prop_oneof![
        parts().prop_map(ToWorker::Bulk),
        any::<u32>().prop_map(ToWorker::Descriptors),
        any::<String>().prop_map(ToWorker::Trace),
        any::<u32>().prop_map(ToWorker::Attempt),
        LazyJust::new(|| ToWorker::Rest),
        LazyJust::new(|| ToWorker::Exit),
        LazyJust::new(|| ToWorker::Probe),
    ]
}

fn reports() -> impl Strategy<Value = PanicReport> {
    let location = any::<(String, u32, u32)>();
    let location = location.prop_map(|(file, line, column)| Location::new(file, line, column));
    let texts = any::<(String, Option<String>)>();
    (texts, prop::option::of(location)).prop_map(|((message, backtrace), location)| PanicReport {
        message,
        location,
        backtrace,
    })
}

fn levels() -> impl Strategy<Value = EventLevel> {
    prop::sample::select(&[
        EventLevel::Error,
        EventLevel::Warn,
        EventLevel::Info,
        EventLevel::Debug,
        EventLevel::Trace,
    ])
}

fn events() -> impl Strategy<Value = LogEvent> {
    let value = prop_oneof![
        any::<i64>().prop_map(FieldValue::Signed),
        any::<u64>().prop_map(FieldValue::Unsigned),
        any::<f64>().prop_map(FieldValue::Float),
        any::<bool>().prop_map(FieldValue::Bool),
        any::<String>().prop_map(FieldValue::Text),
        any::<String>().prop_map(FieldValue::Debug),
    ];
    let fields = prop::collection::vec((".{0,9}", prop::option::of(value)), 0..6);
    let texts = any::<(String, String, Option<String>, Option<String>, Option<u32>)>();
    (levels(), texts, fields).prop_map(|(level, (name, target, module, file, line), fields)| {
        let (fields, values) = fields.into_iter().unzip();
        let place = CallsitePlace {
            level,
            name,
            target,
            module,
            file,
            line,
            fields,
        };
        LogEvent { place, values }
    })
}

pub(crate) fn of_worker() -> impl Strategy<Value = FromWorker> {
    prop_oneof![
        LazyJust::new(|| FromWorker::Ready),
        any::<String>().prop_map(|reason| FromWorker::Failed(Ok(reason))),
        reports().prop_map(|report| FromWorker::Failed(Err(report))),
        any::<u32>().prop_map(FromWorker::Progress),
        parts().prop_map(FromWorker::Bulk),
        (any::<Option<u32>>(), events())
            .prop_map(|(call, event)| FromWorker::Event { call, event }),
        any::<u32>().prop_map(FromWorker::Taken),
        LazyJust::new(|| FromWorker::Moved),
        LazyJust::new(|| FromWorker::Alive),
    ]
}

fn confinements() -> impl Strategy<Value = Confinement> {
    let texts = || {
        let text = any::<Vec<u8>>().prop_map(|bytes| SystemText(crate::sys::os_string(bytes)));
        prop::collection::vec(text, 0..3)
    };
    let ports = || prop::collection::vec(any::<u16>(), 0..3);
    let words = any::<(u32, bool, Option<(u32, u32)>, bool)>();
    (words, ports(), ports(), texts(), texts(), texts()).prop_map(
        |(words, connect, bind, read, write, execute)| Confinement {
            parent: words.0,
            is_best_effort: words.1,
            user: words.2,
            shares_network: words.3,
            connect,
            bind,
            read,
            write,
            execute,
        },
    )
}

fn setups() -> impl Strategy<Value = Setup> {
    let limits = prop::sample::select(&[
        Limit::AddressSpace,
        Limit::CpuTime,
        Limit::OpenFiles,
        Limit::CoreSize,
        Limit::Nice,
    ]);
    let limits = prop::collection::vec((limits, any::<i64>()), 0..6);
    let captured = any::<(u128, bool, bool)>().prop_map(|(token, stdout, stderr)| Captured {
        token: Token(token),
        stdout,
        stderr,
    });
    let numbers = any::<(u64, u64, Option<i64>, u32)>();
    (
        numbers,
        limits,
        prop::option::of(captured),
        prop::option::of(levels()),
        prop::option::of(confinements()),
    )
        .prop_map(|(numbers, limits, captured, events, confinement)| {
            let (worker_id, max_frame, initializer, descriptors) = numbers;
            Setup {
                identity: ChildIdentity {
                    name: max_frame.to_string(),
                    parent: worker_id,
                    is_daemon: worker_id.is_multiple_of(2),
                },
                worker_id,
                max_frame,
                is_dumpable: max_frame.is_multiple_of(2),
                limits,
                confinement,
                captured,
                initializer: initializer.map(FunctionOffset),
                descriptors,
                events,
            }
        })
}

/// Everything that a message contains: a report's `Debug` leaves out the backtrace.
fn words_of(message: &FromWorker) -> String {
    match message {
        FromWorker::Failed(Err(report)) => {
            let PanicReport {
                message,
                location,
                backtrace,
            } = report;
            format!("{message:?} {location:?} {backtrace:?}")
        }
        other => format!("{other:?}"),
    }
}

/// Reads a frame as each kind of message. The result must be an error or a message.
fn read_as_anything(frame: &[u8]) {
    fn read<T: Debug>(frame: &[u8], parse: fn(Reader) -> Option<T>) {
        let _ = parse(Reader::from(frame.to_vec()));
    }
    read(frame, ParentFrame::parse);
    read(frame, WorkerFrame::parse);
    read(frame, get_with::<Setup>);
    read(frame, get::<FromWorker>);
    read(frame, get::<ToWorker>);
}

proptest! {
    #![proptest_config(crate::common::cases(1500))]

    #[test]
    fn a_call_survives_the_trip(
        (seq, base, first, end) in any::<(u32, u32, u32, u32)>(),
        (task_id, timeout, offset) in any::<(u64, u64, i64)>(),
        bytes in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let head = CallHead { seq, base, first, end, task_id, timeout, function: FunctionOffset(offset) };
        let mut payload = Chain::new();
        payload.put_bytes(bytes.clone().into());
        let mut out = Chain::new();
        put_call(&mut out, &head, &payload.finish());
        let Some(ParentFrame::Call(parsed, rest)) = ParentFrame::parse(only_frame(out)) else {
            return Err(TestCaseError::fail("not a call"));
        };
        prop_assert_eq!(parsed, head);
        prop_assert_eq!(&rest.into_bytes()[..], &bytes[..]);
    }

    #[test]
    fn a_message_to_a_worker_survives_the_trip(message in to_worker()) {
        let Some(ParentFrame::Message(parsed)) = ParentFrame::parse(frame_of(&message)) else {
            return Err(TestCaseError::fail("not a message"));
        };
        prop_assert_eq!(parsed, message);
    }

    #[test]
    fn a_message_of_a_worker_survives_the_trip(message in of_worker()) {
        let Some(WorkerFrame::Message(parsed)) = WorkerFrame::parse(frame_of(&message)) else {
            return Err(TestCaseError::fail("not a message"));
        };
        prop_assert_eq!(words_of(&parsed), words_of(&message));
    }

    #[test]
    fn a_setup_survives_the_trip(setup in setups(), args: Vec<u8>) {
        let mut payload = Chain::new();
        payload.put_bytes(args.clone().into());
        let mut out = Chain::new();
        put_with(&mut out, &setup, &payload);
        let (parsed, rest) = get_with::<Setup>(only_frame(out)).expect("a setup");
        prop_assert_eq!(parsed, setup);
        prop_assert_eq!(&rest.into_bytes()[..], &args[..]);
    }

    #[test]
    fn the_head_of_outcomes_is_that_of_a_frame(entries: Vec<u8>) {
        let mut out = Chain::new();
        out.put_bytes(outcomes_head(entries.len()).to_vec().into());
        out.put_bytes(entries.clone().into());
        let Some(WorkerFrame::Outcomes(rest)) = WorkerFrame::parse(only_frame(out)) else {
            return Err(TestCaseError::fail("no outcomes"));
        };
        prop_assert_eq!(&rest.into_bytes()[..], &entries[..]);
    }

    #[test]
    fn garbage_is_no_message_and_no_panic(bytes: Vec<u8>) {
        read_as_anything(&bytes);
        read_as_anything(&[&[tag::MESSAGE], &bytes[..]].concat());
    }

    #[test]
    fn a_message_with_a_few_bytes_changed_is_no_panic(
        frame in prop_oneof![
            of_worker().prop_map(|message| frame_of(&message)),
            setups().prop_map(|setup| frame_of(&setup)),
        ],
        changes in prop::collection::vec(any::<(usize, u8)>(), 1..4),
    ) {
        let mut bytes = frame.front.to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        read_as_anything(&bytes);
    }

    #[test]
    fn a_message_that_is_cut_off_or_has_bytes_after_it_is_none(message in of_worker(), cut: usize) {
        let frame = frame_of(&message).front;
        let torn = frame.slice(..cut % frame.len());
        prop_assert!(WorkerFrame::parse(Reader::from(torn)).is_none());
        let longer = [&frame[..], &[0xc0]].concat();
        prop_assert!(WorkerFrame::parse(Reader::from(longer)).is_none());
    }

    #[test]
    fn no_text_makes_a_message_too_long(reason in "\u{1}{0,3}", times in 0_usize..200_000) {
        let text = format!("{reason}ä").repeat(times);
        let location = Some(Location::new(text.clone(), 1, 2));
        let report = PanicReport { message: text.clone(), location, backtrace: Some(text) };
        let frame = frame_of(&FromWorker::failed(Err(report)));
        prop_assert!(frame.len() <= LONGEST);
        let parsed = WorkerFrame::parse(frame);
        let is_whole = matches!(parsed, Some(WorkerFrame::Message(FromWorker::Failed(Err(_)))));
        prop_assert!(is_whole);
    }
}

/// Only their sum limits their number.
#[test]
fn parts_that_are_too_small_are_refused() {
    let len = bulk::LARGE as u32 - 1;
    let message = FromWorker::Bulk(vec![PayloadPart { at: 0, len }]);
    assert!(WorkerFrame::parse(frame_of(&message)).is_none());
}

#[test]
fn an_event_with_more_fields_than_values_is_refused() {
    let place = CallsitePlace {
        level: EventLevel::Info,
        name: "name".to_owned(),
        target: "target".to_owned(),
        module: None,
        file: None,
        line: None,
        fields: vec!["message".to_owned()],
    };
    let values = Vec::new();
    let event = LogEvent { place, values };
    let message = FromWorker::Event { call: None, event };
    assert!(WorkerFrame::parse(frame_of(&message)).is_none());
}

/// A short text of MessagePack may decode to much more memory.
#[test]
fn a_long_message_is_refused_unread() {
    let part = PayloadPart {
        at: 0,
        len: bulk::LARGE as u32,
    }; // The length takes five bytes.
    let parts = vec![part; LONGEST / 5];
    let frame = frame_of(&FromWorker::Bulk(parts));
    assert!(frame.len() > LONGEST);
    assert!(WorkerFrame::parse(frame).is_none());
}

/// Lists of the longest length, without bytes after it.
#[test]
fn a_length_of_gigabytes_takes_no_memory() {
    let lists = [
        &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
    ];
    let texts = [
        &[0xdb, 0xff, 0xff, 0xff, 0xff][..],
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
    ];
    for length in lists.iter().chain(&texts) {
        for number in 0..8 {
            // The pair of a variant's number and its fields: a list of one field, which has that length.
            let message = [&[0x92, number, 0x91], *length].concat();
            let head = [tag::MESSAGE, (message.len() as u8) << 1];
            read_as_anything(&[&head[..], &message].concat());
        }
    }
}
