//! Forking a process that has one thread, and what the new process has to settle before it can be
//! a worker.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, WaitOptions};

use super::process::{Exit, kill_own_group, to_pid};
use super::stdio::Bell;

/// How long a thread that has been joined may go on being listed.
const LISTED: Duration = Duration::from_millis(100);

/// How many forks lie between the process that was executed and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Changes in a process that was forked: what it finds in memory may belong to its parent.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// The other threads of this process, by name.
pub(crate) fn other_threads() -> io::Result<Vec<String>> {
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut names = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let thread = thread?;
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

/// Forks this process, which must have no other thread. What its standard output holds back is
/// written first, lest both write it. The child leads a process group of its own.
pub(crate) fn fork() -> io::Result<Forked> {
    let others = other_threads()?;
    if !others.is_empty() {
        return Err(io::Error::other(format!(
            "a process with other threads cannot be forked safely, and this one has: {}",
            others.join(", ")
        )));
    }
    flush_output();
    // SAFETY: there is no other thread, so nothing (a lock, memory in the middle of a change) is
    // left behind in a state that only another thread could have ended.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            GENERATION.fetch_add(1, Ordering::Relaxed);
            let _ = rustix::process::setpgid(None, None);
            Ok(Forked::Child)
        }
        pid => {
            let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
            // Whoever of the two comes first: nobody may signal a group that is not there yet.
            let _ = rustix::process::setpgid(Some(pid), Some(pid));
            Ok(Forked::Parent(pid.as_raw_nonzero().get().unsigned_abs()))
        }
    }
}

/// Writes what the buffers of Rust's and C's standard output hold.
fn flush_output() {
    let _ = io::stdout().flush();
    // SAFETY: a null pointer stands for all streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// Ends a forked process: what it printed is written, but what the program has registered to be done
/// at its exit is the program's own, and not done.
pub(crate) fn exit_forked(code: i32) -> ! {
    flush_output();
    // SAFETY: it only ends the process.
    unsafe { libc::_exit(code) }
}

/// In a forked process: handlers and blocked signals are those of the process it was forked from, and
/// may write to what that has open. They are as in a new process, but for faults, whose handlers tell
/// of a stack overflow, and for what is ignored.
pub(crate) fn reset_signals() {
    const KEPT: [libc::c_int; 6] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGKILL,
        libc::SIGSTOP,
    ];
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| !KEPT.contains(signal)) {
        // SAFETY: the default action is no function that could be missing.
        let before = unsafe { libc::signal(signal, libc::SIG_DFL) };
        if before == libc::SIG_IGN {
            // SAFETY: neither is ignoring.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
    let mut none = std::mem::MaybeUninit::uninit();
    // SAFETY: it fills the set that it is given.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set was filled above; the null says that the old mask is not wanted.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
}

/// Makes the two descriptors this process's standard output and standard error.
pub(crate) fn set_output(stdout: OwnedFd, stderr: OwnedFd) -> io::Result<()> {
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)?;
    Ok(())
}

/// Runs `work`; should the parent end meanwhile, ends this process and what it has started. `work` must
/// not panic. Afterwards the thread that watches for that is gone.
pub(crate) fn watched<R>(
    socket: &UnixStream,
    parent: Option<&OwnedFd>,
    work: impl FnOnce() -> R,
) -> io::Result<R> {
    let bell = Bell::new()?;
    let outcome = std::thread::scope(|scope| {
        let watch = || {
            let watched = [
                Some(bell.as_fd()),
                Some(socket.as_fd()),
                parent.map(AsFd::as_fd),
            ];
            match wait_readable(watched.into_iter().flatten()) {
                Ok(ready) if !ready[0] => kill_own_group(),
                _ => {}
            }
        };
        let thread = std::thread::Builder::new().stack_size(64 * 1024);
        thread.spawn_scoped(scope, watch)?;
        let outcome = work();
        bell.ring();
        Ok::<_, io::Error>(outcome)
    })?;
    // A thread that was joined may still be listed for a moment.
    let begun = Instant::now();
    while !other_threads()?.is_empty() && begun.elapsed() < LISTED {
        std::thread::yield_now();
    }
    Ok(outcome)
}

/// The process that started this one.
pub(crate) fn parent() -> Option<OwnedFd> {
    let parent = rustix::process::getppid()?;
    rustix::process::pidfd_open(parent, PidfdFlags::empty()).ok()
}

/// Takes the exit status of a child of this process, if it has ended.
pub(crate) fn reap_if_ended(pid: u32) -> io::Result<Option<Exit>> {
    let waited = rustix::process::waitpid(Some(to_pid(pid)?), WaitOptions::NOHANG)?;
    Ok(waited.map(|(_, status)| Exit {
        code: status.exit_status(),
        signal: status.terminating_signal(),
    }))
}

/// What stands for a child of this process that has not been reaped.
pub(crate) fn open_child(pid: u32) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(
        to_pid(pid)?,
        PidfdFlags::empty(),
    )?)
}

/// Waits until one of the descriptors can be read, has hung up, or stands for a process that has
/// ended. Says which.
pub(crate) fn wait_readable<'a>(
    watched: impl Iterator<Item = BorrowedFd<'a>>,
) -> io::Result<Vec<bool>> {
    let watched: Vec<_> = watched.collect();
    let interest = PollFlags::IN | PollFlags::RDHUP;
    let mut polled: Vec<_> = watched
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), interest))
        .collect();
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
    Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect())
}
