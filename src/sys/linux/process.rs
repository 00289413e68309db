//! A child process that is never mistaken for another: it is killed and reaped while no other process can have its
//! process id.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions,
};

use super::call::Call as _;
use super::edges::{await_readable, is_readable};
use super::pidfd::{PidfdProcess, listed_pid, status_of_reaped};
use super::reach::out_of_reach;
use super::signal::ignores_children;
use super::socket::raised;
use crate::sys::lock_soon::lock_soon;

/// A worker, a fork server, or a process that runs one function, in a process group of its own.
///
/// Dropping this kills it, unless it was set free. If it is a child of this process, a thread then takes its exit
/// status, so that no zombie is left. The thread ends after that.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    pidfd: Arc<OwnedFd>,
    pid: Pid,
    /// Which process takes its exit status.
    reaper: Reaper,
    /// Whether it runs by itself, and is not killed on drop.
    is_free: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaper {
    /// This process.
    Own,
    /// The process that forked it.
    Other,
    /// It was reaped.
    Done,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// Whether both are unknown because this program ignores SIGCHLD: the system then discards the exit statuses of its
    /// children.
    pub(crate) is_discarded: bool,
}

impl Exit {
    /// Whether the exit code or the signal is known.
    pub(crate) fn is_known(&self) -> bool {
        self.code.is_some() || self.signal.is_some()
    }

    /// The end of a process whose exit status another process, or the system itself, has taken.
    fn of_reaped(pidfd: BorrowedFd<'_>) -> Self {
        // SAFETY: this file passes only descriptors that the system has returned as pidfds.
        let Some(status) = (unsafe { status_of_reaped(pidfd) }) else {
            return Self {
                is_discarded: ignores_children(),
                ..Self::default()
            };
        };
        Self {
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
            is_discarded: false,
        }
    }
}

impl ChildProcess {
    /// Starts `command` in a process group of its own, so that a Ctrl-C at the terminal does not
    /// reach it and a kill reaches its own children too. std uses `posix_spawn` for this, which
    /// costs the same however large the parent is.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        reap_left(); // Each of them counts towards the user's limit of processes.
        // Dropping std's child has no effect on the process, which is used by its pidfd from here on.
        Self::own(
            command
                .process_group(0)
                .spawn()
                .of_call("posix_spawn")?
                .id(),
        )
    }

    /// A process that this one has just started or forked, and that waits for a message from this one. No other process
    /// has its id while it lives. That does not hold if this program ignores SIGCHLD or reaps every child.
    pub(crate) fn own(pid: u32) -> io::Result<Self> {
        let pid = to_pid(pid)?;
        match pidfd_of(pid) {
            Ok(pidfd) => Ok(Self {
                pidfd: Arc::new(pidfd),
                pid,
                reaper: Reaper::Own,
                is_free: false,
            }),
            // Another process may have that id now.
            Err(Errno::SRCH) => Err(io::Error::other(
                "it ended at once, and the system reaped it",
            )),
            Err(error) => {
                end_child(pid.as_raw_nonzero().get().unsigned_abs());
                Err(error).of_call("pidfd_open")
            }
        }
    }

    /// A process that `forker`, another process, claims to have forked as `pid`. The forker takes its exit status.
    ///
    /// # Errors
    /// `InvalidData` if the system says otherwise: it may then be any process, and is not touched.
    pub(crate) fn of_another(forker: u32, pid: u32, pidfd: OwnedFd) -> io::Result<Self> {
        let process = PidfdProcess::of(pidfd.as_fd())?;
        // SAFETY: it only returns a number. Rust's wrapper does not accept 0, which occurs in a container.
        let own_group = unsafe { libc::getpgrp() };
        let is_own = process.pid == rustix::process::getpid()
            || process.pid.as_raw_nonzero().get() == own_group;
        let forker = to_pid(forker)?;
        if process.pid.is_init()
            || is_own
            || process.parent != Some(forker)
            || process.pid != to_pid(pid)?
        {
            let text = format!("{process:?} is no process {pid} that {forker:?} has forked");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Self {
            pidfd: Arc::new(pidfd),
            pid: process.pid,
            reaper: Reaper::Other,
            is_free: false,
        })
    }

    /// Whether the child has ended.
    pub(crate) fn has_ended(&self) -> bool {
        is_readable(&self.pidfd)
    }

    /// The child's pidfd, which may outlive this.
    pub(crate) fn pidfd(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// Lets the child run by itself: neither dropping this nor the child's end ends the other processes in its process
    /// group.
    pub(crate) fn set_free(&mut self) {
        self.is_free = true;
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Kills the child and all of its process group.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Asks the child and all of its process group to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        if self.reaper == Reaper::Done {
            return;
        }
        // The child may have been reaped without a notice to this process: by another reaper if its own has died, or by
        // the system if this program ignores SIGCHLD. So another process may have its id.
        let group = self.signal_group_by_pidfd(signal);
        if let Err(Errno::NOSYS | Errno::PERM) = group {
            self.signal_by_id(signal);
        } else if signal == Signal::KILL || group.is_err() {
            // The child may have left its group.
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// Signals the process and its group by number, if signals by pidfd are denied.
    ///
    /// The number belongs to this process until it is reaped. This process reaps its own children only in `reap`, which
    /// borrows `self` mutably. A fork server reaps a worker on request, which follows the change to `Done`. Three
    /// reapers act without a request: a fork server, for a process that runs one function; the system, for a program
    /// that ignores SIGCHLD; and the parent of a dead fork server's orphans. They reap only processes that have ended,
    /// so the check is made right before the signal. In between, such a process would have to end and be reaped, and
    /// the system would have to use all other numbers once.
    fn signal_by_id(&self, signal: Signal) {
        if self.has_its_id() {
            let _ = rustix::process::kill_process_group(self.pid, signal);
            let _ = rustix::process::kill_process(self.pid, signal); // The process may have left its group.
        }
    }

    /// Whether the number still belongs to this process: it runs, or it is a zombie.
    fn has_its_id(&self) -> bool {
        !self.has_ended() || listed_pid(self.pidfd.as_fd()).is_ok_and(|pid| pid == self.pid)
    }

    /// Signals the process group without using its number, on Linux 6.9 and later. Before, the pidfd shows whether the
    /// process exists right before its group is signalled by number.
    fn signal_group_by_pidfd(&self, signal: Signal) -> rustix::io::Result<()> {
        const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
        // SAFETY: the kernel reads only the four values: without an info (the null) it creates one itself.
        let outcome = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal.as_raw(),
                std::ptr::null::<libc::siginfo_t>(),
                PIDFD_SIGNAL_PROCESS_GROUP,
            )
        };
        match io::Error::last_os_error().raw_os_error() {
            _ if outcome == 0 => Ok(()),
            Some(libc::ESRCH) => Err(Errno::SRCH),
            _ => {
                rustix::process::pidfd_send_signal(&self.pidfd, signal)?;
                rustix::process::kill_process_group(self.pid, signal)
            }
        }
    }

    /// Takes the exit status of a child of this process, and waits for its end if necessary. Kills the rest of its
    /// process group, unless it was set free.
    pub(crate) fn reap(&mut self) -> Exit {
        if !self.is_free {
            self.kill();
        }
        if self.reaper != Reaper::Own {
            return Exit::default();
        }
        self.reaper = Reaper::Done;
        wait_for(self.pidfd.as_fd(), self.pid)
    }

    /// Kills the child. The process that forked it takes its exit status now, so another process may soon have its id.
    pub(crate) fn kill_without_reaping(&mut self) {
        self.kill();
        self.reaper = Reaper::Done;
    }

    /// Takes the exit status of an ended child whose reaper has died, if the system has passed the child to this
    /// process, which is process 1 of a container or a subreaper. Otherwise the exit status is unknown.
    pub(crate) fn reap_orphan(&self) -> Option<Exit> {
        reap_now(self.pidfd.as_fd()).ok().flatten()
    }
}

fn to_pid(pid: u32) -> io::Result<Pid> {
    let pid = pid.try_into().ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no process can have this id"))
}

/// A pidfd of a process. Its number is not that of a standard stream, to which a program may print.
pub(super) fn pidfd_of(pid: Pid) -> rustix::io::Result<OwnedFd> {
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).map(raised)
}

/// Waits for the end of a child of this process, which has not been reaped, and takes its exit status.
fn wait_for(pidfd: BorrowedFd<'_>, pid: Pid) -> Exit {
    let exit = match wait_by_pidfd(pidfd, WaitIdOptions::EXITED) {
        Err(Errno::NOSYS | Errno::PERM) => wait_by_id(pid, WaitOptions::empty()), // The call is denied.
        exit => exit,
    };
    exit.ok()
        .flatten()
        .unwrap_or_else(|| Exit::of_reaped(pidfd))
}

fn wait_by_pidfd(
    pidfd: BorrowedFd<'_>,
    options: WaitIdOptions,
) -> rustix::io::Result<Option<Exit>> {
    let wait = || rustix::process::waitid(WaitId::PidFd(pidfd), options);
    let waited = rustix::io::retry_on_intr(wait)?;
    Ok(waited.map(|status| Exit {
        code: status.exit_status(),
        signal: status.terminating_signal(),
        is_discarded: false,
    }))
}

fn wait_by_id(pid: Pid, options: WaitOptions) -> rustix::io::Result<Option<Exit>> {
    let waited = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), options))?;
    Ok(waited.map(|(_, status)| Exit {
        code: status.exit_status(),
        signal: status.terminating_signal(),
        is_discarded: false,
    }))
}

/// Takes the exit status of a child, if it has ended. Fails if it is not a child of this process, or if that cannot be
/// determined: its number may then be another child's.
pub(super) fn reap_now(pidfd: BorrowedFd<'_>) -> rustix::io::Result<Option<Exit>> {
    wait_by_pidfd(pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
}

/// Starts a thread that calls `wait`. Returns false if the system refuses a thread.
pub(super) fn reap_in_thread(wait: impl FnOnce() + Send + 'static) -> bool {
    let waiting = std::thread::Builder::new().name("concurrent-futures-reaper".into());
    waiting.stack_size(64 * 1024).spawn(wait).is_ok()
}

/// How long a drop waits for the end of a killed process if the system refuses a thread.
const SOON: Duration = Duration::from_millis(100);

/// Children of this process that still ran when they were dropped, while the system refused a thread.
type LeftChildren = Vec<(Arc<OwnedFd>, Pid)>;

/// Those children. `None` in a process that was forked while another thread used this: its children then stay zombies.
fn left() -> Option<MutexGuard<'static, LeftChildren>> {
    static LEFT: Mutex<LeftChildren> = Mutex::new(Vec::new());
    lock_soon(&LEFT)
}

/// Takes the exit statuses of those that have ended since then.
fn reap_left() {
    if let Some(mut left) = left() {
        left.retain(|(pidfd, pid)| !reap_child_now(pidfd, *pid));
    }
}

/// Takes the exit status of a child of this process if it has ended. Returns false if it still runs.
fn reap_child_now(pidfd: &OwnedFd, pid: Pid) -> bool {
    let reaped = match reap_now(pidfd.as_fd()) {
        Err(Errno::NOSYS | Errno::PERM) => wait_by_id(pid, WaitOptions::NOHANG), // As in `wait_for`.
        reaped => reaped,
    };
    !matches!(reaped, Ok(None))
}

/// Takes the exit status of a child of this process, if it has ended.
pub(crate) fn reap_if_ended(pid: u32) -> io::Result<Option<Exit>> {
    wait_by_id(to_pid(pid)?, WaitOptions::NOHANG).of_call("waitpid")
}

/// Kills a child of this process that has not been reaped, and takes its exit status.
pub(crate) fn end_child(pid: u32) {
    if let Ok(pid) = to_pid(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        let _ = wait_by_id(pid, WaitOptions::empty());
    }
}

/// A pidfd of a child of this process that has not been reaped.
pub(crate) fn open_child(pid: u32) -> io::Result<OwnedFd> {
    pidfd_of(to_pid(pid)?).of_call("pidfd_open")
}

impl AsRawFd for ChildProcess {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if !self.is_free {
            self.kill();
        }
        if self.reaper == Reaper::Done {
            return;
        }
        reap_left();
        let (pidfd, pid) = (self.pidfd.clone(), self.pid);
        let is_running = match self.reaper {
            Reaper::Own => !reap_child_now(&pidfd, pid),
            // Not a child of this process, unless its reaper has died and this process has become its parent.
            _ => matches!(reap_now(pidfd.as_fd()), Ok(None)),
        };
        if !is_running {
            return;
        }
        let waiting = pidfd.clone();
        if reap_in_thread(move || _ = wait_for(waiting.as_fd(), pid)) {
            return;
        }
        // Without a thread: a killed process ends soon.
        if !self.is_free && await_readable(&pidfd, Some(Instant::now() + SOON)) {
            wait_for(pidfd.as_fd(), pid);
        } else if let Some(mut left) = left() {
            left.push((pidfd, pid));
        }
    }
}

/// Ends this process and its group, at once.
pub(crate) fn kill_own_group() -> ! {
    let own = rustix::process::getpid();
    if rustix::process::getpgrp() == own {
        let _ = rustix::process::kill_process_group(own, Signal::KILL);
    }
    let _ = rustix::process::kill_process(own, Signal::KILL);
    std::process::abort();
}

/// Allows other processes of the same user to trace this one and read its memory, and allows the system to dump its
/// memory when it crashes; or denies both. A program that this process executes later is not affected.
pub(crate) fn set_dumpable(is_dumpable: bool) {
    let behavior = match is_dumpable {
        true => DumpableBehavior::Dumpable,
        false => DumpableBehavior::NotDumpable,
    };
    // Every system that has worker processes supports this.
    let _ = rustix::process::set_dumpable_behavior(behavior);
}

/// The file that [`resident_memory`] reads.
pub(crate) fn memory_meter() -> io::Result<File> {
    let meter = File::open("/proc/self/statm").of_call("open")?;
    Ok(out_of_reach(meter.into()).into())
}

/// The resident memory of this process in bytes, shared pages included.
pub(crate) fn resident_memory(meter: &File) -> Option<u64> {
    let mut statm = [0; 256];
    let len = meter.read_at(&mut statm, 0).ok()?;
    let statm = std::str::from_utf8(&statm[..len]).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The system's monotonic clock, which is the same in all processes, in nanoseconds.
pub(crate) fn monotonic_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// How often the kernel has killed a process for its memory use since the boot.
pub(crate) fn oom_kills() -> u64 {
    read_oom_kills().unwrap_or(0)
}

fn read_oom_kills() -> Option<u64> {
    let mut file = File::open("/proc/vmstat").ok()?;
    let mut counters = [0; 16 * 1024];
    let mut len = 0;
    // The kernel computes the counters again for each piece that is read, so nothing after the line is read.
    loop {
        let read = file.read(&mut counters[len..]).ok()?;
        len += read;
        let lines = std::str::from_utf8(&counters[..len]).ok()?;
        let mut whole = lines
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'));
        let count = whole.find_map(|line| line.strip_prefix("oom_kill "));
        if count.is_some() || read == 0 {
            return count?.parse().ok();
        }
    }
}

/// The name of a signal, as `kill -l` shows it, with the prefix `SIG`.
pub(crate) fn signal_name(signal: i32) -> Option<&'static str> {
    const NAMES: [(Signal, &str); 18] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::SYS, "SIGSYS"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| known.as_raw() == signal)
        .map(|(_, name)| *name)
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn the_kills_are_those_that_the_system_counts() {
        let listed = |name: &str| {
            let counters = std::fs::read_to_string("/proc/vmstat").expect("the system counts");
            counters.lines().any(|line| line == name)
        };
        let kills = read_oom_kills().expect("the system counts kills");
        assert_eq!(kills, oom_kills());
        assert!(listed(&format!("oom_kill {kills}")));
    }

    #[test]
    fn a_process_has_its_id_until_it_is_reaped_whoever_does_that() {
        let (stdin, _open) = io::pipe().expect("a pipe");
        let mut command = Command::new("cat");
        command.stdin(stdin);
        let child = ChildProcess::spawn(&mut command).expect("it runs");
        assert!(child.has_its_id());
        child.signal_by_id(Signal::KILL);
        assert!(await_readable(child.pidfd(), None));
        assert!(child.has_its_id(), "a zombie keeps its id");
        wait_by_id(child.pid, WaitOptions::empty()).expect("it is a child");
        assert!(!child.has_its_id());
    }

    #[test]
    fn an_exit_status_is_the_same_by_pidfd_and_by_id() {
        let start = || {
            let child = ChildProcess::spawn(&mut Command::new("false")).expect("it starts");
            assert!(await_readable(child.pidfd(), None));
            child
        };
        let (mut one, mut other) = (start(), start());
        let by_id = wait_by_id(other.pid, WaitOptions::NOHANG).expect("it is a child");
        other.reaper = Reaper::Done;
        assert_eq!(by_id, Some(one.reap()));
        assert_eq!(by_id.and_then(|exit| exit.code), Some(1));
    }
}
