//! What a child process does before any user code runs: it moves the socket away from stdin, closes what it inherited
//! by mistake, and sets up signals as Rust programs have them.

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
use super::left::name_child;
use super::print::{empty_input, own_stream};
use super::process::set_dumpable;
use super::scrub::clear_environment;
use super::signal::{note_parent, reset_signals, settle_signals};

/// Makes this process a child of the crate's if its environment has `marker`, and returns the marker's value. Removes
/// the marker, denies other processes access to its memory, moves the socket from stdin to a descriptor of its own, and
/// empties stdin. Closes all other descriptors that came through exec, except stdout and stderr.
///
/// `is_late` means that the program has started, so its threads may do anything. Otherwise any other threads are of a
/// library that started them before `main`.
pub(crate) fn become_child(
    marker: &str,
    is_late: bool,
) -> Option<io::Result<(OsString, UnixStream)>> {
    let role = std::env::var_os(marker)?;
    name_child(&role);
    set_dumpable(false);
    Some(prepare(marker, is_late).map(|socket| (role, socket)))
}

fn is_main_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// Whether a worker that reaches this call would be refused, because this program calls `init` too late. A worker runs
/// the same program up to the same call.
pub(crate) fn init_is_late(in_runtime: bool) -> bool {
    (in_runtime || !is_main_thread()) && other_threads().is_ok_and(|others| !others.is_empty())
}

fn prepare(marker: &str, is_late: bool) -> io::Result<UnixStream> {
    settle_signals(); // First: until then, even printing an error may fail.
    let others = other_threads()?;
    if !others.is_empty() && (is_late || !is_main_thread()) {
        return Err(io::Error::other(format!(
            "other threads run already ({}); call concurrent_futures::init() first in main",
            others.join(", ")
        )));
    }
    // SAFETY: no thread of the program runs. A thread that a library started before `main` may read the environment by
    // C's `getenv`. The removal moves pointers within the array and frees nothing, so that thread reads valid memory.
    unsafe { std::env::remove_var(marker) };
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).of_call("fcntl")?;
    empty_stdin()?;
    if others.is_empty() {
        close_inherited()?; // A thread of a library may use one of these.
    }
    Ok(UnixStream::from(socket))
}

/// Sets up the streams, signals, environment and folder of a fork server that was forked, not executed.
pub(crate) fn settle_forked(
    clear: bool,
    variables: &[(OsString, OsString)],
    folder: Option<&Path>,
) -> io::Result<()> {
    note_parent();
    reset_signals();
    let stderr = own_stream(&io::stderr())?; // First: an ordinary user's process that is not dumpable opens no stream.
    set_dumpable(false);
    empty_stdin()?;
    rustix::stdio::dup2_stdout(&stderr).of_call("dup2")?;
    rustix::stdio::dup2_stderr(stderr).of_call("dup2")?;
    if clear {
        clear_environment();
    }
    let set = variables.iter().map(|(name, value)| (name, value));
    change_variables(std::iter::empty::<&OsStr>(), set)?;
    let folder = folder.map_or(Ok(()), std::env::set_current_dir);
    folder.of_call("chdir")
}

/// Changes the environment of a process that was forked and has one thread.
pub(crate) fn change_variables(
    removed: impl Iterator<Item = impl AsRef<OsStr>>,
    set: impl Iterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
) -> io::Result<()> {
    for name in removed.filter(|name| is_variable(name.as_ref())) {
        // SAFETY: there is no other thread that could use the environment.
        unsafe { std::env::remove_var(name) };
    }
    for (name, value) in set {
        let (name, value) = (name.as_ref(), value.as_ref());
        if !is_variable(name) {
            continue;
        }
        if value.as_bytes().contains(&0) {
            let what = format!(
                "the value of the environment variable {} contains a NUL",
                name.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
    Ok(())
}

/// Whether this can be the name of a variable. An environment may contain other names.
pub(crate) fn is_variable(name: &OsStr) -> bool {
    !name.is_empty() && !name.as_bytes().iter().any(|byte| b"=\0".contains(byte))
}

/// Makes stdin empty.
fn empty_stdin() -> io::Result<()> {
    rustix::stdio::dup2_stdin(empty_input()?).of_call("dup2")
}

/// Closes the descriptors from 3 on that are not marked to be closed on exec. Std marks all that it opens.
fn close_inherited() -> io::Result<()> {
    let mut inherited = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty()).of_call("open")?;
    for entry in rustix::fs::Dir::read_from(&folder).of_call("open")? {
        let entry = entry.of_call("getdents64")?;
        if let Some(fd) = parse_fd(entry.file_name()).filter(|fd| *fd > 2)
            && rustix::io::fcntl_getfd(borrow(fd))
                .is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC))
        {
            inherited.push(fd);
        }
    }
    for fd in inherited {
        // SAFETY: the descriptor came through exec, and no code in this process uses it: the program is still in the
        // first line of `main`, or before it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    Ok(())
}

fn parse_fd(name: &CStr) -> Option<RawFd> {
    name.to_str().ok()?.parse().ok()
}

fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the descriptor was just listed as open, and this only reads its flags. If a thread from before `main` has
    // closed it since then, the read fails.
    unsafe { BorrowedFd::borrow_raw(fd) }
}
