//! A child process that is never mistaken for another: it is killed and waited for while its
//! process id is still its own.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Two connected sockets, closed on exec.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// A child in a process group of its own.
///
/// Dropping it kills it; a thread that lives no longer than that takes its exit status, so that
/// no zombie is left.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    /// There until the exit status has been taken.
    child: Option<Child>,
    pidfd: OwnedFd,
    pid: Pid,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
}

impl ChildProcess {
    /// Starts `command` in a process group of its own, so that a Ctrl-C at the terminal does not
    /// reach it and a kill reaches its own children too. std uses `posix_spawn` for this, which
    /// costs the same however large the parent is.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.process_group(0).spawn()?;
        let pid = Pid::from_child(&child);
        // Nobody else waits for the child, so its id is its own until we do.
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self {
                child: Some(child),
                pidfd,
                pid,
            }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }

    /// Lets tokio tell when the child ends: then it becomes readable.
    pub(crate) fn watch(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is owned by the child's `pidfd`, which is private to this file, and
        // neither replaced nor closed before the child is dropped.
        let watched = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        watched.map_err(|error| error.into_parts().1)
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Kills the child and all of its process group. While the exit status has not been taken,
    /// the system gives neither id to anyone else.
    pub(crate) fn kill(&self) {
        if self.child.is_some() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// Asks the child and all of its process group to end.
    pub(crate) fn terminate(&self) {
        if self.child.is_some() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::TERM);
        }
    }

    /// Takes the exit status of a child that has ended. What is left of its process group is killed.
    pub(crate) fn reap(&mut self) -> Exit {
        self.kill();
        let Some(mut child) = self.child.take() else {
            return Exit::default();
        };
        match child.wait() {
            Ok(status) => Exit {
                code: status.code(),
                signal: status.signal(),
            },
            Err(_) => Exit::default(), // Somebody else has taken it: nothing is known.
        }
    }
}

impl AsRawFd for ChildProcess {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
        if let Some(mut child) = self.child.take()
            && !matches!(child.try_wait(), Ok(Some(_)))
        {
            let waiting = std::thread::Builder::new().name("concurrent-futures-reaper".into());
            let _ = waiting.spawn(move || child.wait());
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

/// The system's monotonic clock, which is the same in all processes, in nanoseconds.
pub(crate) fn monotonic_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// How often the kernel has killed a process for the memory it used, since it was booted.
pub(crate) fn oom_kills() -> u64 {
    let counters = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let count = counters
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The name of a signal, as `kill -l` has it with its prefix.
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
