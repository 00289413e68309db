//! The errors for the end of a process, a failed start, and an item without a value.

use super::start::StartError;
use crate::executor::error::{Cause, Death, InitFailure};
use crate::sys::{self, Exit};
use crate::wire::outcomes::ItemFailure;

/// The failure of a start; `death` is the end of the process, if it ended by itself.
pub(super) fn init_failure(error: StartError, death: Option<Death>) -> InitFailure {
    InitFailure {
        reason: error.to_string(),
        death: match error {
            StartError::ForkServerDied {
                pid,
                exit,
                ref stderr_tail,
                ..
            } => Some(self::death(pid, exit, stderr_tail.clone(), u64::MAX)),
            StartError::Mute | StartError::Gone => death,
            _ => None,
        },
        panic: match error {
            StartError::UserCode(_, Err(report)) => Some(report),
            _ => None,
        },
        broken: false,
        shortfall: None,
    }
}

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
