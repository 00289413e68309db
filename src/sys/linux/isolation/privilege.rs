//! Privileges, the user and the network. They belong to a thread and to the threads that it starts later.

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, capabilities, set_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid, unshare_unsafe,
};

use super::super::call::Call as _;
use super::super::process::set_dumpable;

/// From now on, no program that is executed has more rights than this process.
pub(crate) fn forbid_new_privileges() -> io::Result<()> {
    set_no_new_privs(true).of_call("prctl")
}

/// Fails if this process may not run a child as another user, or may not kill such a child.
pub(crate) fn check_change_of_user() -> io::Result<()> {
    let needed = [
        (CapabilitySet::SETUID, "CAP_SETUID"),
        (CapabilitySet::SETGID, "CAP_SETGID"),
        (CapabilitySet::KILL, "CAP_KILL"),
    ];
    let own = capabilities(None).of_call("capget")?.effective;
    let missing = needed.iter().filter(|(needed, _)| !own.contains(*needed));
    let missing: Vec<_> = missing.map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("this process lacks {}", missing.join(", ")),
    ))
}

/// Becomes this user and group, without other groups.
pub(crate) fn change_user(user: u32, group: u32) -> io::Result<()> {
    let (user, group) = (
        rustix::process::Uid::from_raw(user),
        rustix::process::Gid::from_raw(group),
    );
    set_thread_groups(&[]).of_call("setgroups")?;
    set_thread_res_gid(group, group, group).of_call("setresgid")?;
    set_thread_res_uid(user, user, user).of_call("setresuid")
}

/// Gives up every privilege that root has besides the access to its own files.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets).of_call("capset")
}

/// Moves into a new network namespace, which has no connection to any other. With `as_root`, only if the system lets
/// this process do that directly. Otherwise as an ordinary user, in a user namespace of its own.
pub(crate) fn leave_network(as_root: bool) -> io::Result<()> {
    if as_root {
        return unshare(UnshareFlags::NEWNET).of_call("unshare");
    }
    let user = rustix::process::getuid().as_raw();
    let group = rustix::process::getgid().as_raw();
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET).of_call("unshare")?;
    // The files below belong to root while this process is not dumpable.
    set_dumpable(true);
    // In its user namespace this process keeps its ids. Otherwise it could create no file.
    let kept = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{user} {user} 1")),
        ("gid_map", format!("{group} {group} 1")),
    ];
    let kept = kept
        .iter()
        .try_for_each(|(file, ids)| fs::write(format!("/proc/self/{file}"), ids).of_call("open"));
    set_dumpable(false);
    kept
}

fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: neither flag unshares the table of descriptors, on which I/O safety depends.
    unsafe { unshare_unsafe(flags) }
}
