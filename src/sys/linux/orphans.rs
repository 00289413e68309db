//! Reaps the processes that a dead fork server leaves to this process, if this is process 1 of a container or a
//! subreaper.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use super::edges::{await_readable, is_readable};
use super::left::{ChildStat, name_of_fork_server};
use super::process::{reap_in_thread, reap_now};

/// Takes the exit statuses of processes that another one has forked, once that process has ended: of those that the
/// system has passed to this process. All of them were killed. Also ends those that this process does not know.
pub(crate) fn reap_orphans_of(pid: u32, forker: Arc<OwnedFd>, orphans: Vec<Arc<OwnedFd>>) {
    let have_ended = [&forker].into_iter().chain(&orphans).all(is_readable);
    let wait = move || {
        await_readable(&forker, None);
        for orphan in &orphans {
            await_readable(orphan, None);
            let _ = reap_now(orphan.as_fd());
        }
        if inherits_orphans() {
            end_unknown_orphans_of(pid);
        }
    };
    if have_ended {
        wait();
    } else {
        reap_in_thread(wait);
    }
}

/// Whether the system passes the children of a dead fork server to this process.
pub(crate) fn inherits_orphans() -> bool {
    let is_subreaper = rustix::process::child_subreaper();
    std::process::id() == 1 || is_subreaper.is_ok_and(|subreaper| subreaper.is_some())
}

/// Ends the processes that a dead fork server has left to this one, and takes their exit statuses. This process knows
/// none of them: the fork server has not reported that it forked them, and they still have its name.
fn end_unknown_orphans_of(fork_server: u32) {
    let name = name_of_fork_server(fork_server);
    let threads = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let children =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    for children in children {
        let children = children
            .split_ascii_whitespace()
            .filter_map(ChildStat::read);
        for child in children.filter(|child| child.name == name) {
            child.end();
        }
    }
}
