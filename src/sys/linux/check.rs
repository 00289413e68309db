//! Checks the system's features that this crate cannot do without, before anything starts. Otherwise each start would
//! fail with an error that says little about the cause.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::MemfdFlags;
use rustix::io::Errno;

use super::call::{Call as _, errno_of, is_denied};
use super::growing::memory_file;
use super::process::pidfd_of;

/// Fails with the kind `Unsupported` if this crate cannot start processes. The error says what is missing and what to
/// do.
///
/// A feature that exists remains until the program gives it up. After that, the start that needs it reports the error.
pub(crate) fn check_processes() -> io::Result<()> {
    static PASSED: AtomicBool = AtomicBool::new(false);
    if PASSED.load(Ordering::Relaxed) {
        return Ok(());
    }
    check()?;
    PASSED.store(true, Ordering::Relaxed);
    Ok(())
}

fn check() -> io::Result<()> {
    check_call("pidfd_open", || {
        pidfd_of(rustix::process::getpid()).of_call("pidfd_open")
    })?;
    check_call("memfd_create", || memory_file(MemfdFlags::ALLOW_SEALING))?;
    match rustix::fs::readlink("/proc/self/exe", Vec::new()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Err(without(
            "processes need /proc, and /proc/self/exe is missing; mount it with `mount -t proc proc /proc`",
        )),
        _ => Ok(()),
    }
}

/// A lack of descriptors or memory is no reason to refuse: it may be over when a process starts.
fn check_call<T>(call: &str, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<()> {
    match attempt() {
        Err(error) if errno_of(&error).is_some_and(|errno| is_denied(call, errno)) => {
            Err(without(&format!("processes need {error}")))
        }
        _ => Ok(()),
    }
}

fn without(what: &str) -> io::Error {
    let text = format!("{what}; or use ThreadPoolExecutor, which needs no processes");
    io::Error::new(io::ErrorKind::Unsupported, text)
}
