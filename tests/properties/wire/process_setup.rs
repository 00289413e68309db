use proptest::prelude::*;

use super::super::frame::{Frames, LARGEST};
use super::super::message;
use super::super::outcomes::put_failure;
use super::*;

fn setups() -> impl Strategy<Value = ProcessSetup> {
    let limits = prop::collection::vec((Just(Limit::CpuTime), any::<i64>()), 0..3);
    let flags = any::<(bool, bool, bool, i64)>();
    (flags, limits).prop_map(|(flags, limits)| {
        let (is_daemon, has_stdin, is_dumpable, offset) = flags;
        ProcessSetup {
            is_daemon,
            has_stdin,
            is_dumpable,
            limits,
            confinement: None,
            function: FunctionOffset(offset),
            descriptors: 0,
        }
    })
}

proptest! {
    #[test]
    fn a_process_setup_survives_the_trip(process_setup in setups(), args: Vec<u8>) {
        let mut chain = Chain::new();
        chain.put_bytes(args.clone().into());
        let mut out = Chain::new();
        message::put_with(&mut out, &process_setup, &chain);
        let bytes = out.into_bytes();
        let frame = Frames::new(LARGEST).next(&mut &bytes[..]).expect("a frame");
        let parsed = message::get_with(Reader::from(frame.expect("a frame")));
        let (parsed, rest): (ProcessSetup, Reader) = parsed.expect("a process setup");
        prop_assert_eq!(parsed, process_setup);
        prop_assert_eq!(&rest.into_bytes()[..], &args[..]);
    }

    #[test]
    fn garbage_is_no_setup_and_no_panic(bytes: Vec<u8>) {
        let head = [2, (bytes.len().min(63) as u8) << 1];
        let _ = message::get_with::<ProcessSetup>(Reader::from([&head, &bytes[..]].concat()));
    }
}

fn outcome(reason: &str) -> Chain {
    let mut outcome = Chain::new();
    put_failure(&mut outcome, ItemFailure::Unencodable(reason.to_owned()));
    outcome
}

#[test]
fn an_outcome_is_found_once_it_is_complete() {
    let outcome_file = OutcomeFile::create().expect("memory");
    assert!(
        outcome_file.read().expect("a file").is_none(),
        "nothing was left"
    );
    let theirs = OutcomeFile::from(outcome_file.share().expect("a file"));
    let cut_off = [io::IoSlice::new(b"cut o")];
    sys::write_at(&theirs.file, &cut_off, HEAD).expect("memory");
    assert!(
        outcome_file.read().expect("a file").is_none(),
        "a part was left"
    );
    theirs.leave(outcome("whole")).expect("memory");
    let outcome = outcome_file.read().expect("a file").expect("an outcome");
    assert!(matches!(outcome, Err(ItemFailure::Unencodable(reason)) if reason == "whole"));
}

#[test]
fn a_huge_length_never_allocates() {
    let outcome_file = OutcomeFile::create().expect("memory");
    let length = u64::MAX.to_le_bytes();
    sys::write_at(&outcome_file.file, &[io::IoSlice::new(&length)], 0).expect("memory");
    outcome_file
        .read()
        .expect_err("there is no more than the length");
}
