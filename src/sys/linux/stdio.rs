//! What a process does to itself before any user code runs: it takes the socket away from stdin,
//! drops what it inherited by mistake, and leaves signals as Rust programs have them.

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;

use super::call::Call as _;
use super::fork::other_threads;
use super::print::{nowhere, own_stream};
use super::signal::{note_parent, reset_signals, settle_signals};

/// Makes a worker, or what else a process may be, of this one if `marker` is in its environment: takes that
/// out, moves the socket that is stdin to a descriptor of its own, and closes every other descriptor but
/// stdout and stderr that came through exec, for none was meant for it. Then stdin is empty. Gives what
/// the marker says.
pub(crate) fn become_child(marker: &str) -> Option<io::Result<(OsString, UnixStream)>> {
    let role = std::env::var_os(marker)?;
    Some(prepare(marker).map(|socket| (role, socket)))
}

fn prepare(marker: &str) -> io::Result<UnixStream> {
    settle_signals(); // First: even an error could not be printed everywhere.
    if !other_threads()?.is_empty() {
        return Err(io::Error::other(
            "other threads run already; call concurrent_futures::init() first in main",
        ));
    }
    // SAFETY: there is no other thread that could use the environment.
    unsafe { std::env::remove_var(marker) };
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).of_call("fcntl")?;
    empty_stdin()?;
    close_inherited()?;
    Ok(UnixStream::from(socket))
}

/// What a process settles that was forked, rather than executed, to fork workers: its streams, its
/// signals, its environment and its folder.
pub(crate) fn settle_forked(
    clear: bool,
    variables: &[(OsString, OsString)],
    folder: Option<&Path>,
) -> io::Result<()> {
    note_parent();
    reset_signals();
    empty_stdin()?;
    rustix::stdio::dup2_stdout(own_stream(&io::stderr())?).of_call("dup2")?;
    settle_surroundings(clear, variables, folder)
}

/// Changes the environment and the folder of a process that was forked, and has one thread.
pub(crate) fn settle_surroundings(
    clear: bool,
    variables: &[(OsString, OsString)],
    folder: Option<&Path>,
) -> io::Result<()> {
    let unwanted = std::env::vars_os().filter(|(name, _)| clear && is_variable(name));
    for (name, _) in unwanted {
        // SAFETY: there is no other thread that could use the environment.
        unsafe { std::env::remove_var(name) };
    }
    for (name, value) in variables.iter().filter(|(name, _)| is_variable(name)) {
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
    folder
        .map_or(Ok(()), std::env::set_current_dir)
        .of_call("chdir")
}

/// Whether a variable can have that name. Others may still be found in an environment.
pub(crate) fn is_variable(name: &OsStr) -> bool {
    !name.is_empty() && !name.as_bytes().iter().any(|byte| b"=\0".contains(byte))
}

/// From here on stdin is empty.
fn empty_stdin() -> io::Result<()> {
    rustix::stdio::dup2_stdin(nowhere()?).of_call("dup2")
}

/// Closes the descriptors from 3 on that are not marked to be closed on exec. What this process
/// opened itself is so marked: std, and all that is careful, always does that.
fn close_inherited() -> io::Result<()> {
    let mut inherited = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty()).of_call("open")?;
    for entry in rustix::fs::Dir::read_from(&folder).of_call("open")? {
        let entry = entry.of_call("getdents64")?;
        if let Some(fd) = parse_fd(entry.file_name()).filter(|fd| *fd > 2)
            && !rustix::io::fcntl_getfd(borrow(fd))
                .of_call("fcntl")?
                .contains(FdFlags::CLOEXEC)
        {
            inherited.push(fd);
        }
    }
    for fd in inherited {
        // SAFETY: it came through exec, and nothing in this process uses it: its one thread
        // is still in the first line of `main`, or before it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    Ok(())
}

fn parse_fd(name: &CStr) -> Option<RawFd> {
    name.to_str().ok()?.parse().ok()
}

fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the descriptor was just listed as open, and nothing else runs in this process yet.
    unsafe { BorrowedFd::borrow_raw(fd) }
}
