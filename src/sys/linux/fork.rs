//! Forking a process that has one thread.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::Pid;

use super::call::Call as _;

use crate::sys::PANICKED;

/// How many forks lie between the process that was executed and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Changes in a process that was forked: what it finds in memory may belong to its parent.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// The other threads of this process, by name.
pub(crate) fn other_threads() -> io::Result<Vec<String>> {
    const FOLDER: &str = "/proc/self/task";
    // The folder counts one link for each thread, beside the two of every folder. To read it takes
    // several times as long.
    if rustix::fs::stat(FOLDER).is_ok_and(|folder| folder.st_nlink == 3) {
        return Ok(Vec::new());
    }
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut names = Vec::new();
    for thread in fs::read_dir(FOLDER).of_call("open")? {
        let thread = thread.of_call("getdents64")?;
        if thread.file_name() != own.as_str() {
            // One without a name has just ended.
            names.extend(
                fs::read_to_string(thread.path().join("comm")).map(|name| name.trim().to_owned()),
            );
        }
    }
    Ok(names)
}

/// Which of the two processes that come back from a fork this is.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The parent, with the id of the child, which it has to wait for.
    Parent(u32),
    Child,
}

/// Only [`end_after`] makes one. Whatever has it is in a process that never goes back to what called `end_after`,
/// and so is each fork of that process.
#[derive(Debug)]
pub(crate) struct OneWay(());

/// Runs `work` and ends this process with its exit code. Neither a return nor a panic leads back to the caller,
/// whose functions, in a fork, are those of another process.
pub(crate) fn end_after(work: impl FnOnce(&OneWay) -> i32) -> ! {
    /// Ends this process where a panic would leave `end_after`.
    struct Barrier;
    impl Drop for Barrier {
        fn drop(&mut self) {
            // SAFETY: it only ends the process.
            unsafe { libc::_exit(PANICKED) }
        }
    }
    let _barrier = Barrier;
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| work(&OneWay(()))));
    exit_forked(outcome.unwrap_or_else(|payload| {
        std::mem::forget(payload); // Its panic has been printed. Its drop is user code.
        PANICKED
    }))
}

/// Forks this process, which must have no other thread. Returns the id of the child, which does `work` and
/// nothing else.
pub(crate) fn fork_for(work: impl FnOnce(&OneWay) -> i32) -> io::Result<u32> {
    match fork_anywhere()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => end_after(work),
    }
}

/// Forks a process that never goes back to its caller's, so neither does the child. Otherwise like `fork_for`.
pub(crate) fn fork(_: &OneWay) -> io::Result<Forked> {
    fork_anywhere()
}

/// Flushes standard output first, so that not both processes write its buffer. The child leads a process group
/// of its own.
fn fork_anywhere() -> io::Result<Forked> {
    let others = other_threads()?;
    if !others.is_empty() {
        return Err(io::Error::other(format!(
            "a process with other threads cannot be forked safely, and this one has: {}",
            others.join(", ")
        )));
    }
    flush_all();
    // SAFETY: there is no other thread, so nothing (a lock, memory in the middle of a change) is
    // left behind in a state that only another thread could have ended.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).of_call("fork"),
        0 => {
            GENERATION.fetch_add(1, Ordering::Relaxed);
            let _ = rustix::process::setpgid(None, None);
            Ok(Forked::Child)
        }
        pid => {
            let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
            // Parent and child both do this: no process may signal a group that does not exist yet.
            let _ = rustix::process::setpgid(Some(pid), Some(pid));
            Ok(Forked::Parent(pid.as_raw_nonzero().get().unsigned_abs()))
        }
    }
}

/// Writes what Rust's standard output and all streams of C's library hold back. Another thread that has one
/// of them holds it up.
fn flush_all() {
    let _ = io::stdout().flush();
    // SAFETY: a null pointer stands for all streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// In a process that was just forked, and never goes back to what owns these descriptors: closes them.
pub(crate) fn abandon(fds: &[RawFd]) {
    for fd in fds {
        // SAFETY: the caller guarantees that nothing uses it any more.
        drop(unsafe { OwnedFd::from_raw_fd(*fd) });
    }
}

/// How long a thread that has a stream may hold up the end of its process.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends a forked process: what it printed is written, but what the program has registered to be done
/// at its exit is the program's own, and not done.
pub(crate) fn exit_forked(code: i32) -> ! {
    if other_threads().is_ok_and(|others| others.is_empty()) {
        flush_all();
    } else {
        // One of them may have a stream and never let go of it.
        let (done, flushed) = mpsc::channel();
        let flush = move || {
            flush_all();
            let _ = done.send(());
        };
        if thread::Builder::new().spawn(flush).is_ok() {
            let _ = flushed.recv_timeout(PATIENCE);
        }
    }
    // SAFETY: it only ends the process.
    unsafe { libc::_exit(code) }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::process::Command;

    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    /// A panic payload whose drop panics.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a payload's drop panics");
        }
    }

    /// Runs in a process of its own, because it forks, and prints.
    #[test]
    fn no_panic_leads_a_fork_back_to_its_parents_code() {
        const NAME: &str =
            "sys::linux::fork::tests::no_panic_leads_a_fork_back_to_its_parents_code";
        if !std::env::args().any(|argument| argument == "--exact") {
            let executable = std::env::current_exe().expect("this executable");
            let output = Command::new(executable).args([NAME, "--exact"]).output();
            let output = output.expect("this executable starts");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && text.matches("1 passed").count() == 1,
                "{text}"
            );
            return;
        }
        let panics: [fn() -> i32; 3] = [
            || panic!("in a fork"),
            || panic::panic_any(Bomb),
            || 101, // No panic at all.
        ];
        for work in panics {
            // SAFETY: the other thread of this process waits, and holds no lock that the child needs.
            let pid = match unsafe { libc::fork() } {
                0 => end_after(|_| work()),
                pid => Pid::from_raw(pid).expect("it was forked"),
            };
            let (_, status) = waitpid(Some(pid), WaitOptions::empty())
                .expect("it is a child")
                .expect("it has ended");
            assert_eq!(status.exit_status(), Some(101));
        }
    }
}
