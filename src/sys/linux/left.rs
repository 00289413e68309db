//! Processes that this process started before it executed its present program. The exec closed their sockets, so they
//! end. The present program does not know them, so nothing else takes their exit statuses.

use std::ffi::{CStr, CString, OsStr};
use std::fs;

use rustix::process::{Pid, Signal};

use super::process::end_child;

/// The name of a process that forks others. A program's own name would not tell it from other forks of the program.
const FORK_SERVER: &str = "cf-fork-server";
/// The name of an executed worker. Its environment, which says the same, cannot be read any more.
const WORKER: &str = "cf-worker";
/// The name of any other process that this crate executed: the last part of `/proc/self/exe`.
const EXECUTED: &str = "exe";

/// Gives this process, which was executed in this role, a name of its own if it serves its parent.
pub(super) fn name_child(role: &OsStr) {
    let name = match role.to_str() {
        Some("worker") => WORKER,
        Some("fork-server") => FORK_SERVER,
        _ => return,
    };
    let _ = CString::new(name).map(|name| rustix::thread::set_name(&name));
}

/// Gives this process, which forks others, a name of its own. Returns the name of those that it forks.
pub(crate) fn name_fork_server() -> Option<CString> {
    let before = rustix::thread::name().ok()?;
    if before.as_bytes() == FORK_SERVER.as_bytes() {
        return CString::new(EXECUTED).ok(); // It was executed, and has the name already.
    }
    let name = CString::new(FORK_SERVER).ok()?;
    rustix::thread::set_name(&name).ok()?;
    Some(before)
}

/// Gives a forked process a name other than its fork server's.
pub(crate) fn restore_name(name: &CStr) {
    let _ = rustix::thread::set_name(name);
}

/// Ends the children of this process that an earlier program in it has left: fork servers and workers. Takes the exit
/// status of those and of other processes of this crate that have ended.
pub(crate) fn reap_left_children(marker: &str) {
    // Where there is no such file, there may be zombies.
    let Ok(children) = fs::read_to_string("/proc/thread-self/children") else {
        return;
    };
    let children = children.split_ascii_whitespace();
    let left: Vec<_> = children
        .filter_map(|pid| LeftChild::find(pid, marker))
        .collect();
    // A pidfd is closed on exec. So where there is one, these may be the children of another copy of this crate, which
    // still needs their exit status.
    if left.is_empty() || has_pidfds() {
        return;
    }
    for child in left {
        if child.serves {
            let _ = rustix::process::kill_process_group(child.pid, Signal::KILL);
        }
        end_child(child.pid.as_raw_nonzero().get().unsigned_abs());
    }
}

struct LeftChild {
    pid: Pid,
    /// It serves this process, or did.
    serves: bool,
}

impl LeftChild {
    /// The child with this id, if this crate started it, and it has ended or serves none but this process.
    fn find(pid: &str, marker: &str) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        // state parent group ...
        let mut rest = rest.split(' ');
        let has_ended = rest.next()? == "Z";
        if rest.nth(1)? != pid {
            return None; // Each of ours leads its group.
        }
        let serves = match name {
            FORK_SERVER | WORKER => true,
            EXECUTED if has_ended => false,
            // It has not begun.
            EXECUTED => ["worker", "fork-server"].iter().any(|role| {
                let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let variable = format!("{marker}={role}");
                environ
                    .split(|byte| *byte == 0)
                    .any(|found| found == variable.as_bytes())
            }),
            _ => return None,
        };
        let pid = Pid::from_raw(pid.parse().ok()?)?;
        (serves || has_ended).then_some(Self { pid, serves })
    }
}

fn has_pidfds() -> bool {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else {
        return true; // Nothing is known.
    };
    let mut targets = descriptors
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok());
    targets.any(|target| target.to_string_lossy().contains("pidfd"))
}
