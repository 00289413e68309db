//! The error for the end of a process.

use crate::executor::error::Death;
use crate::sys::{self, Exit};

/// Describes the end of a process. `oom_kills` is the kernel's count of kills for lack of memory at the start of the
/// process.
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
