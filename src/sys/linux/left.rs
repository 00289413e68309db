//! Processes that this process started before it executed its present program. The exec closed their sockets, so they
//! end. The present program does not know of them, so nothing else takes their exit statuses.

use std::ffi::{CStr, CString, OsStr};
use std::fs;

use rustix::process::{Pid, Signal};

use super::process::end_child;

/// The start of the name of a fork server. Its process id follows, so its name and that of its forks differ from all
/// other processes. With the program's own name, it would look like any other fork of the program.
const FORK_SERVER: &str = "cf-fork-";
/// The name of an executed worker. Its environment, which contains its role, cannot be read any more.
const WORKER: &str = "cf-worker";
/// The name of any other process that this crate executed: the last part of `/proc/self/exe`.
const EXECUTED: &str = "exe";

/// Gives this process, which was executed in this role, a name of its own if it serves its parent.
pub(super) fn name_child(role: &OsStr) {
    let name = match role.to_str() {
        Some("worker") => WORKER.to_owned(),
        Some("fork-server") => name_of_fork_server(std::process::id()),
        _ => return,
    };
    let _ = CString::new(name).map(|name| rustix::thread::set_name(&name));
}

pub(super) fn name_of_fork_server(pid: u32) -> String {
    format!("{FORK_SERVER}{pid}")
}

/// Gives this fork server a name of its own. Its forks also have it, until each gets the name that this returns.
pub(crate) fn name_fork_server() -> Option<CString> {
    let before = rustix::thread::name().ok()?;
    let name = CString::new(name_of_fork_server(std::process::id())).ok()?;
    if before == name {
        return CString::new(EXECUTED).ok(); // This process was executed, and already has the name.
    }
    rustix::thread::set_name(&name).ok()?;
    Some(before)
}

/// Names this process, whichever thread calls this.
pub(crate) fn name_process(name: &CStr) {
    let main = rustix::process::getpid();
    if rustix::thread::gettid() == main {
        let _ = rustix::thread::set_name(name);
    } else {
        let file = format!("/proc/self/task/{}/comm", main.as_raw_nonzero());
        let _ = fs::write(file, name.to_bytes());
    }
}

/// Ends the children of this process that an earlier program in it has left: fork servers and workers. Takes their exit
/// statuses, and those of other processes of this crate that have ended.
pub(crate) fn reap_left_children(marker: &str) {
    // If there is no such file, zombies may remain.
    let Ok(children) = fs::read_to_string("/proc/thread-self/children") else {
        return;
    };
    let children = children.split_ascii_whitespace();
    let left: Vec<_> = children
        .filter_map(|pid| LeftChild::find(pid, marker))
        .collect();
    // A pidfd is closed on exec. So if this process has one, these may be children of another copy of this crate, which
    // still needs their exit statuses.
    if left.is_empty() || has_pidfds() {
        return;
    }
    for child in left {
        match child.serves {
            true => child.stat.end(),
            false => end_child(child.stat.id()),
        }
    }
}

/// A child of this process that leads its process group, as each child of this crate does.
pub(super) struct ChildStat {
    pid: Pid,
    pub(super) name: String,
    has_ended: bool,
}

impl ChildStat {
    pub(super) fn read(pid: &str) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        // state parent group ...
        let mut rest = rest.split(' ');
        let has_ended = rest.next()? == "Z";
        if rest.nth(1)? != pid {
            return None;
        }
        Some(Self {
            pid: Pid::from_raw(pid.parse().ok()?)?,
            name: name.to_owned(),
            has_ended,
        })
    }

    fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Kills the child and its process group, and takes its exit status.
    pub(super) fn end(&self) {
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        end_child(self.id());
    }
}

struct LeftChild {
    stat: ChildStat,
    /// Whether it serves this process, or did.
    serves: bool,
}

impl LeftChild {
    /// The child with this id, if this crate started it, and it has ended or serves only this process.
    fn find(pid: &str, marker: &str) -> Option<Self> {
        let stat = ChildStat::read(pid)?;
        let serves = match &*stat.name {
            WORKER => true,
            name if name.starts_with(FORK_SERVER) => true,
            EXECUTED if stat.has_ended => false,
            // A child that has not set its name yet.
            EXECUTED => ["worker", "fork-server"].iter().any(|role| {
                let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let variable = format!("{marker}={role}");
                environ
                    .split(|byte| *byte == 0)
                    .any(|found| found == variable.as_bytes())
            }),
            _ => return None,
        };
        (serves || stat.has_ended).then_some(Self { stat, serves })
    }
}

fn has_pidfds() -> bool {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else {
        return true; // The system does not say.
    };
    let mut targets = descriptors
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok());
    targets.any(|target| target.to_string_lossy().contains("pidfd"))
}
