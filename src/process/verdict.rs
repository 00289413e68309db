//! The errors for the end of a process and for an item without a value.

use crate::executor::error::{Cause, Death};
use crate::sys::{self, Exit};
use crate::wire::outcomes::ItemFailure;

/// The end of a process. `oom_kills` is the kernel's count of kills for lack of memory at its start.
pub(super) fn death(pid: u32, exit: Exit, stderr_tail: String, oom_kills: u64) -> Death {
    const SIGKILL: i32 = 9;
    const SIGABRT: i32 = 6;
    let gave_up = exit.signal == Some(SIGABRT) && stderr_tail.contains("memory allocation of ");
    let was_chosen = exit.signal == Some(SIGKILL) && sys::oom_kills() > oom_kills;
    Death {
        pid,
        exit_code: exit.code,
        signal: exit.signal,
        exit_discarded: exit.is_discarded,
        stderr_tail,
        out_of_memory: gave_up || was_chosen,
        runs: 0,
        protocol: None,
    }
}

/// The cause of an item without a value.
pub(super) fn cause(failure: ItemFailure) -> Cause {
    Cause::Codec(match failure {
        ItemFailure::Panicked(report) => return Cause::Panic(report),
        ItemFailure::Undecodable(reason) => {
            format!("was not run: its arguments cannot be decoded: {reason}").into()
        }
        ItemFailure::Unencodable(reason) => {
            format!("ran, but its result cannot be sent: {reason}").into()
        }
        ItemFailure::Invalid => "ended with an invalid report".into(),
    })
}
