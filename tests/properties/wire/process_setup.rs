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
            identity: ChildIdentity {
                name: offset.to_string(),
                parent: offset.unsigned_abs(),
                is_daemon,
            },
            has_stdin,
            is_dumpable,
            limits,
            max_result: offset.unsigned_abs(),
            confinement: None,
            function: FunctionOffset(offset),
            descriptors: 0,
        }
    })
}

proptest! {
    #![proptest_config(crate::common::cases(3000))]

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

const MOST: u64 = 1 << 30;

#[test]
fn an_outcome_is_found_once_it_is_complete() {
    let outcome_file = OutcomeFile::create().expect("memory");
    let theirs = OutcomeFile::from(outcome_file.share().expect("a file"));
    let cut_off = [io::IoSlice::new(b"cut o")];
    sys::write_at(&theirs.file, &cut_off, HEAD).expect("memory");
    assert_eq!(outcome_file.len(), None, "a part was left");
    theirs.leave(outcome("whole")).expect("memory");
    let len = outcome_file.settle(1).expect("it is final");
    let outcome = outcome_file.read(len.expect("it is there"));
    let outcome = outcome.expect("it can be read");
    assert!(matches!(outcome, Err(ItemFailure::Unencodable(reason)) if reason == "whole"));
}

#[test]
fn nothing_is_the_outcome_of_a_process_that_leaves_nothing() {
    let outcome_file = OutcomeFile::create().expect("memory");
    assert_eq!(outcome_file.settle(MOST).expect("a file"), None);
}

#[test]
fn an_outcome_that_is_final_changes_no_more() {
    let outcome_file = OutcomeFile::create().expect("memory");
    let theirs = OutcomeFile::from(outcome_file.share().expect("a file"));
    theirs.leave(outcome("first")).expect("memory");
    assert!(outcome_file.settle(MOST).expect("it is final").is_some());
    theirs.leave(outcome("later")).expect_err("it is final");
    sys::give_back(&theirs.file, 0, 4096);
    let len = outcome_file.settle(MOST).expect("it is final");
    let outcome = outcome_file.read(len.expect("it is there"));
    let outcome = outcome.expect("it can be read");
    assert!(matches!(outcome, Err(ItemFailure::Unencodable(reason)) if reason == "first"));
}

/// A file that claims an outcome of `len` bytes, and is `file_len` bytes long.
fn claimed(len: u64, file_len: u64) -> io::Result<Option<u64>> {
    let outcome_file = OutcomeFile::create().expect("memory");
    sys::lengthen(&outcome_file.file, file_len).expect("it grows");
    let length = len.to_le_bytes();
    sys::write_at(&outcome_file.file, &[io::IoSlice::new(&length)], 0).expect("memory");
    outcome_file.settle(MOST)
}

#[test]
fn an_outcome_without_memory_behind_it_or_over_its_limit_is_refused() {
    claimed(u64::MAX, 0).expect_err("there is no more than the length");
    claimed(1 << 29, 0).expect_err("there is no more than the length");
    claimed(1 << 29, 1 << 30).expect_err("it is a hole");
    let error = claimed(MOST + 2, 1 << 31).expect_err("it is longer than it may be");
    assert!(error.to_string().contains("max_result_length"), "{error}");
    let whole = claimed(ROOM, 0).expect_err("it has room for less");
    assert_eq!(whole.kind(), io::ErrorKind::InvalidData);
}

proptest! {
    #![proptest_config(crate::common::cases(3000))]

    #[test]
    fn no_outcome_file_makes_its_reader_panic(head: u64, small in 0..200_u64, is_small: bool, bytes: Vec<u8>) {
        let outcome_file = OutcomeFile::create().expect("memory");
        let length = if is_small { small } else { head };
        sys::write_at(&outcome_file.file, &[io::IoSlice::new(&length.to_le_bytes())], 0).expect("memory");
        sys::write_at(&outcome_file.file, &[io::IoSlice::new(&bytes)], HEAD).expect("memory");
        if let Ok(Some(len)) = outcome_file.settle(MOST) {
            prop_assert!(len <= ROOM.max(HEAD + bytes.len() as u64) - HEAD);
            let _ = outcome_file.read(len);
        }
    }
}
