//! What a process gives up for good. Reading order: [`privilege`]: its privileges, its user and its network, which each
//! thread has of its own; [`access`]: files and ports, by Landlock; [`calls`]: system calls, by seccomp.

mod access;
mod calls;
mod privilege;

use std::io;
use std::time::{Duration, Instant};

pub(crate) use access::AccessRules;
pub(crate) use calls::deny_calls;
pub(crate) use privilege::{
    change_user, check_change_of_user, drop_capabilities, forbid_new_privileges, forbid_tracing,
    leave_network,
};

use super::fork::{copied_thread, names_of_threads_except, thread_count};

/// How long a thread that has ended may still be listed.
const LISTED: Duration = Duration::from_millis(100);

/// What this system lacks for a complete isolation, as far as that can be seen beforehand. With `limits_ports`, the
/// ports of TCP are limited too.
pub(crate) fn missing_for_isolation(limits_ports: bool) -> Vec<&'static str> {
    let mut missing = Vec::new();
    missing.extend(access::missing(limits_ports));
    missing.extend(calls::missing());
    missing
}

/// An error if there is a thread beside the calling one and the copied one, which waits. It names the threads.
pub(crate) fn check_no_other_thread() -> io::Result<()> {
    let others = other_threads()?;
    if others.is_empty() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        format!("other threads run ({})", others.join(", ")),
    ))
}

/// The names of the threads beside the calling one and the copied one, once that is settled.
fn other_threads() -> io::Result<Vec<String>> {
    let own: Vec<_> = [rustix::thread::gettid()]
        .into_iter()
        .chain(copied_thread())
        .collect();
    let begun = Instant::now();
    loop {
        let Some(count) = thread_count() else {
            return Err(io::Error::other(
                "/proc/self/task cannot be read, so the threads of the process are unknown; mount /proc",
            ));
        };
        if count <= own.len() {
            return Ok(Vec::new());
        }
        if begun.elapsed() >= LISTED {
            return names_of_threads_except(&own);
        }
        std::thread::yield_now();
    }
}
