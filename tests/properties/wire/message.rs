use proptest::prelude::*;

use super::*;

fn only_frame(out: &mut Chain) -> Reader {
    let mut bytes = Vec::new();
    out.write_with(|slices| std::io::Write::write_vectored(&mut bytes, slices))
        .expect("memory takes all");
    let frame = frame::Frames::new(frame::LARGEST).next(&mut &bytes[..]);
    Reader::from(frame.expect("a whole frame").expect("a frame"))
}

proptest! {
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
        let Some(ToWorker::Call(parsed, rest)) = ToWorker::parse(only_frame(&mut out)) else {
            return Err(TestCaseError::fail("not a call"));
        };
        prop_assert_eq!(parsed, head);
        prop_assert_eq!(&rest.into_bytes()[..], &bytes[..]);
    }

    #[test]
    fn what_is_said_of_descriptors_survives_the_trip(number: u32) {
        let mut out = Chain::new();
        put_taken(&mut out, number);
        let parsed = FromWorker::parse(only_frame(&mut out));
        prop_assert!(matches!(parsed, Some(FromWorker::Taken(taken)) if taken == number));
    }

    #[test]
    fn a_panic_report_survives_the_trip(message: String) {
        let report = PanicReport { message, location: Some(Location::new("a.rs", 1, 2)), backtrace: None };
        let mut out = Chain::new();
        put_panic(&mut out, &report);
        let parsed = get_panic(&mut out.into_reader()).expect("a report");
        prop_assert_eq!((parsed.message, parsed.location), (report.message, report.location));
    }

    #[test]
    fn the_head_of_outcomes_is_that_of_a_frame(entries: Vec<u8>) {
        let mut out = Chain::new();
        out.put_bytes(outcomes_head(entries.len()).to_vec().into());
        out.put_bytes(entries.clone().into());
        let Some(FromWorker::Outcomes(rest)) = FromWorker::parse(only_frame(&mut out)) else {
            return Err(TestCaseError::fail("no outcomes"));
        };
        prop_assert_eq!(&rest.into_bytes()[..], &entries[..]);
    }

    #[test]
    fn garbage_is_no_message_and_no_panic(bytes: Vec<u8>) {
        let _ = ToWorker::parse(Reader::from(bytes.clone()));
        let _ = FromWorker::parse(Reader::from(bytes));
    }
}

#[test]
fn a_setup_survives_the_trip() {
    let limits = [
        (Limit::AddressSpace, i64::MAX),
        (Limit::CpuTime, 1),
        (Limit::OpenFiles, 2),
        (Limit::CoreSize, 0),
        (Limit::Nice, -5),
    ];
    let setup = Setup {
        worker_id: 7,
        max_frame: 8,
        limits: limits.to_vec(),
        captured: Some(Captured {
            token: Token(u128::MAX - 7),
            stdout: false,
            stderr: true,
        }),
        initializer: Some(FunctionOffset(-9)),
        descriptors: 0,
        events: 4,
    };
    let mut args = Chain::new();
    args.put_bytes(b"args".to_vec().into());
    let mut out = Chain::new();
    put_setup(&mut out, &setup, &args);
    let Some(ToWorker::Setup(parsed, rest)) = ToWorker::parse(only_frame(&mut out)) else {
        panic!("not a setup");
    };
    assert_eq!(parsed, setup);
    assert_eq!(&rest.into_bytes()[..], b"args");
}

#[test]
fn who_speaks_survives_the_trip() {
    let identity = BuildIdentity {
        version: 7,
        build: vec![1, 2, 3],
    };
    let mut out = Chain::new();
    put_greeting(&mut out, &identity);
    assert!(
        matches!(FromWorker::parse(only_frame(&mut out)), Some(FromWorker::Greeting(got)) if got == identity)
    );
    put_hello(&mut out, &identity);
    assert!(matches!(
        ToWorker::parse(only_frame(&mut out)),
        Some(ToWorker::Hello(parsed)) if parsed == identity
    ));
}
