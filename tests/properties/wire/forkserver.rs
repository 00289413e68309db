use proptest::prelude::*;

use super::*;
use crate::wire::chain::{Chain, Reader};
use crate::wire::frame::{Frames, LARGEST};
use crate::wire::message;

fn only_frame(out: Chain) -> Reader {
    let bytes = out.into_bytes();
    let mut input = &bytes[..];
    let frame = Frames::new(LARGEST).next(&mut input).expect("a frame");
    assert!(input.is_empty());
    Reader::from(frame.expect("a frame"))
}

fn requests() -> impl Strategy<Value = ToForkServer> {
    prop_oneof![
        (
            any::<u64>(),
            prop_oneof![Just(Role::Worker), Just(Role::Runner)],
            any::<(bool, bool)>(),
        )
            .prop_map(|(request, role, (changes_variables, changes_folder))| {
                ToForkServer::Fork {
                    request,
                    role,
                    changes_variables,
                    changes_folder,
                }
            }),
        any::<u32>().prop_map(|pid| ToForkServer::Reap { pid }),
    ]
}

fn answers() -> impl Strategy<Value = FromForkServer> {
    prop_oneof![
        any::<(u64, u32)>().prop_map(|(request, pid)| FromForkServer::Forked { request, pid }),
        any::<(u64, String)>()
            .prop_map(|(request, reason)| FromForkServer::Refused { request, reason }),
        any::<(u32, Option<i32>, Option<i32>)>()
            .prop_map(|(pid, code, signal)| FromForkServer::Exited { pid, code, signal }),
    ]
}

proptest! {
    #![proptest_config(crate::common::cases(4000))]

    #[test]
    fn a_request_survives_the_trip(request in requests()) {
        let mut out = Chain::new();
        message::put(&mut out, &request);
        prop_assert_eq!(message::get(only_frame(out)), Some(request));
    }

    #[test]
    fn an_answer_survives_the_trip(answer in answers()) {
        let mut out = Chain::new();
        message::put(&mut out, &answer);
        prop_assert!(out.len() <= LONGEST);
        prop_assert_eq!(message::get(only_frame(out)), Some(answer));
    }

    #[test]
    fn garbage_is_no_message_and_no_panic(bytes: Vec<u8>) {
        let _ = message::get::<ToForkServer>(Reader::from(bytes.clone()));
        let _ = message::get::<FromForkServer>(Reader::from(bytes));
    }
}

/// The pipe for the exit status of one process is read once.
#[test]
fn an_exit_status_is_short() {
    let answer = FromForkServer::Exited {
        pid: u32::MAX,
        code: Some(i32::MIN),
        signal: Some(i32::MIN),
    };
    let mut out = Chain::new();
    message::put(&mut out, &answer);
    assert!(out.len() <= MOST_EXITED, "{}", out.len());
}
