//! Forking a process that has one thread.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::call::Call as _;
use super::coverage::{begin_profile, write_profile};
use super::generation::generation;
use super::limits::OwnLimit;
use super::signal::{block_signals, note_own};

use crate::sys::PANICKED;

/// Threads that do not prevent a fork, by name: an allocator starts them, stops them during a fork, and handles their
/// absence in the fork (by `pthread_atfork`).
const READY_FOR_FORKS: [&str; 1] = ["jemalloc_bg_thd"];

/// How long a thread may take to get its name, or, once it has been joined, to disappear from the list.
const LISTED: Duration = Duration::from_millis(100);

/// As `other_threads`, once the list does not change any more.
pub(crate) fn lasting_threads() -> io::Result<Vec<String>> {
    let begun = Instant::now();
    loop {
        let others = other_threads()?;
        if others.is_empty() || begun.elapsed() >= LISTED {
            return Ok(others);
        }
        thread::yield_now();
    }
}

const THREADS: &str = "/proc/self/task";

/// The number of threads of this process, if the system reports it.
pub(crate) fn thread_count() -> Option<usize> {
    // The directory has one link for each thread, besides the two of every directory. Reading the directory takes
    // several times as long.
    let folder = rustix::fs::stat(THREADS).ok()?;
    let links = usize::try_from(folder.st_nlink).ok()?;
    links.checked_sub(2)
}

/// The other threads of this process that prevent a fork, by name.
pub(crate) fn other_threads() -> io::Result<Vec<String>> {
    if thread_count() == Some(1) {
        return Ok(Vec::new());
    }
    let mut names = names_of_threads_except(&[rustix::thread::gettid()])?;
    names.retain(|name| !READY_FOR_FORKS.contains(&name.as_str()));
    Ok(names)
}

/// The names of the threads of this process, except for these.
pub(super) fn names_of_threads_except(known: &[Pid]) -> io::Result<Vec<String>> {
    let known: Vec<_> = known
        .iter()
        .map(|id| id.as_raw_nonzero().to_string())
        .collect();
    let mut names = Vec::new();
    for thread in fs::read_dir(THREADS).of_call("open")? {
        let thread = thread.of_call("getdents64")?;
        if !known.iter().any(|id| thread.file_name() == id.as_str()) {
            // A thread without a name has just ended.
            let name = fs::read_to_string(thread.path().join("comm"));
            names.extend(name.map(|name| name.trim().to_owned()));
        }
    }
    Ok(names)
}

/// Which of the two processes after a fork this is.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The parent, with the id of the child, which it must reap.
    Parent(u32),
    Child,
}

/// Proves that this process never returns to the code that called [`end_after`], the only function that creates this.
/// The same holds for each fork of that process.
#[derive(Debug)]
pub(crate) struct OneWay(());

/// Runs `work` and ends this process with its exit code. Neither a return nor a panic leads back to the caller, whose
/// functions, in a fork, belong to another process.
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

/// Forks this process, which must have no other thread. Returns the id of the child, which runs `work` and nothing
/// else.
pub(crate) fn fork_for(work: impl FnOnce(&OneWay) -> i32) -> io::Result<u32> {
    match fork_anywhere()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => end_after(work),
    }
}

/// Forks a process that never returns to its caller's code, so neither does the child. Otherwise like `fork_for`.
pub(crate) fn fork(_: &OneWay) -> io::Result<Forked> {
    fork_anywhere()
}

/// Flushes standard output first, so that its buffer is not written by both processes. The child leads a process group
/// of its own. Fails with the kind `ResourceBusy` if there are other threads.
fn fork_anywhere() -> io::Result<Forked> {
    let others = lasting_threads()?;
    if !others.is_empty() {
        let text = format!(
            "a process with other threads cannot be forked safely, and this one has: {}",
            others.join(", ")
        );
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
    }
    flush_all();
    generation(); // So that the child counts this process.
    // SAFETY: there is no other thread, so nothing (a lock, memory in the middle of a change) is in a state that only
    // another thread could end. (See `READY_FOR_FORKS`.)
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).of_call("fork"),
        0 => {
            note_own();
            begin_profile();
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

/// A call for the copied thread to run.
type CopiedThreadCall = Box<dyn FnOnce() + Send>;

/// The channel to the copied thread, if there is one.
static COPIED_THREAD: OnceLock<mpsc::Sender<CopiedThreadCall>> = OnceLock::new();

/// The thread that `go_on_in_another_thread` has left, if there is one.
#[cfg_attr(
    not(feature = "isolation"),
    allow(dead_code, reason = "only an isolation uses it")
)]
pub(super) fn copied_thread() -> Option<Pid> {
    COPIED_THREAD.get().map(|_| rustix::process::getpid())
}

/// Runs `call` on the thread that `go_on_in_another_thread` has left, and waits for it. `None` if there is no such
/// thread.
#[cfg_attr(
    not(feature = "isolation"),
    allow(dead_code, reason = "only an isolation uses it")
)]
pub(super) fn on_copied_thread<R: Send + 'static>(
    call: impl FnOnce() -> R + Send + 'static,
) -> Option<R> {
    let (done, outcome) = mpsc::channel();
    let call = move || {
        let _ = done.send(call());
    };
    COPIED_THREAD.get()?.send(Box::new(call)).ok()?;
    outcome.recv().ok()
}

/// Runs `work`, which ends this process, on a new thread. State that belongs to this thread, such as that of its random
/// number generators, stays with it. Signals reach the new thread, as they would reach an only thread.
pub(crate) fn go_on_in_another_thread(work: impl FnOnce() + Send + 'static) -> ! {
    let (calls, next) = mpsc::channel::<CopiedThreadCall>();
    let _ = COPIED_THREAD.set(calls);
    let limit = OwnLimit::Stack.get().unwrap_or(u64::MAX);
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    // The name that Rust gives to the main thread, also in messages of a panic.
    let new = thread::Builder::new().name("main".to_owned());
    let new = new.stack_size(size.min(LARGEST_STACK)).spawn(work);
    if let Err(error) = new.of_call("pthread_create") {
        eprintln!(
            "concurrent-futures: a worker process exits, because it can start no thread: {error}"
        );
        exit_forked(1);
    }
    block_signals();
    note_silent_thread();
    for call in next {
        call();
    }
    unreachable!("the sender is never dropped")
}

/// The most memory that a new thread reserves for its stack, if the system sets no limit.
const LARGEST_STACK: usize = 256 << 20;

/// Writes the buffers of Rust's standard output and of all streams of C's library. Blocks while another thread holds
/// one of the streams.
fn flush_all() {
    let _ = io::stdout().flush();
    // SAFETY: a null pointer stands for all streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// Closes descriptors that code of the parent's copy owns.
///
/// # Safety
/// This process was just forked, and never returns to or uses the code that owns them.
pub(crate) unsafe fn abandon(fds: &[RawFd]) {
    for fd in fds {
        // SAFETY: as the caller promises, no code uses it any more.
        drop(unsafe { OwnedFd::from_raw_fd(*fd) });
    }
}

/// How long a thread that holds a stream may delay the end of its process.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Threads that never hold a stream: the copied one, and those that `note_silent_thread` has counted.
static SILENT_THREADS: AtomicUsize = AtomicUsize::new(0);

/// Called by a process that starts a thread which never prints.
pub(crate) fn note_silent_thread() {
    SILENT_THREADS.fetch_add(1, Ordering::Relaxed);
}

/// Ends a forked process. Writes what the process printed, but runs no exit handlers, which belong to the program.
pub(crate) fn exit_forked(code: i32) -> ! {
    // A worker may be denied reading more than the number of its threads.
    let silent = 1 + SILENT_THREADS.load(Ordering::Relaxed);
    if thread_count().is_some_and(|count| count <= silent) {
        flush_all();
    } else {
        // One of the threads may hold a stream forever.
        let (done, flushed) = mpsc::channel();
        let flush = move || {
            flush_all();
            let _ = done.send(());
        };
        if thread::Builder::new().spawn(flush).is_ok() {
            let _ = flushed.recv_timeout(FLUSH_LIMIT);
        }
    }
    write_profile();
    // SAFETY: it only ends the process.
    unsafe { libc::_exit(code) }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use rustix::process::{WaitOptions, waitpid};

    use super::*;
    use crate::sys::again;

    /// A panic payload whose drop panics.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a payload's drop panics");
        }
    }

    /// Runs in a process of its own, because the test forks and prints.
    #[test]
    fn no_panic_leads_a_fork_back_to_its_parents_code() {
        const NAME: &str =
            "sys::linux::fork::tests::no_panic_leads_a_fork_back_to_its_parents_code";
        if !again::is_alone(NAME) {
            return again::start(
                &std::env::current_exe().expect("the test's executable exists"),
                NAME,
            );
        }
        let panics: [fn() -> i32; 3] = [
            || panic!("in a fork"),
            || panic::panic_any(Bomb),
            || 101, // Without a panic.
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
