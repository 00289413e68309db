//! Other processes, which cannot be started on this platform, and facts about this one.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::handles::{OwnedFd, RawFd};
use super::unsupported;
use crate::sys::limit::Limit;

/// A child process.
#[derive(Debug)]
pub(crate) struct ChildProcess(Infallible);

impl ChildProcess {
    pub(crate) fn spawn(_: &mut Command) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn own(_: u32) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn of_another(_: u32, _: u32, _: OwnedFd) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn has_ended(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn pidfd(&self) -> &Arc<OwnedFd> {
        match self.0 {}
    }

    pub(crate) fn set_free(&mut self) {
        match self.0 {}
    }

    pub(crate) fn id(&self) -> u32 {
        match self.0 {}
    }

    pub(crate) fn kill(&self) {
        match self.0 {}
    }

    pub(crate) fn terminate(&self) {
        match self.0 {}
    }

    pub(crate) fn reap(&mut self) -> Exit {
        match self.0 {}
    }

    pub(crate) fn kill_without_reaping(&mut self) {
        match self.0 {}
    }

    pub(crate) fn reap_orphan(&self) -> Option<Exit> {
        match self.0 {}
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) is_discarded: bool,
}

impl Exit {
    /// Whether the exit code or the signal is known.
    pub(crate) fn is_known(&self) -> bool {
        self.code.is_some() || self.signal.is_some()
    }
}

/// Which of the two processes that return from a fork this is.
#[derive(Debug)]
#[expect(dead_code, reason = "no fork returns here")]
pub(crate) enum Forked {
    Parent(u32),
    Child,
}

/// No process is forked here.
#[derive(Debug)]
pub(crate) struct OneWay(());

pub(crate) fn end_after(work: impl FnOnce(&OneWay) -> i32) -> ! {
    std::process::exit(work(&OneWay(())))
}

pub(crate) fn fork_for(_: impl FnOnce(&OneWay) -> i32) -> io::Result<u32> {
    Err(unsupported())
}

pub(crate) fn fork(_: &OneWay) -> io::Result<Forked> {
    Err(unsupported())
}

/// This process is no fork of another.
pub(crate) fn thread_count() -> Option<usize> {
    None
}

pub(crate) fn generation() -> u32 {
    0
}

pub(crate) fn lasting_threads() -> io::Result<Vec<String>> {
    Err(unsupported())
}

#[expect(unsafe_code, reason = "on Linux the caller must keep a promise")]
pub(crate) unsafe fn abandon(_: &[RawFd]) {}

pub(crate) fn exit_forked(code: i32) -> ! {
    std::process::exit(code)
}

pub(crate) fn reap_if_ended(_: u32) -> io::Result<Option<Exit>> {
    Err(unsupported())
}

pub(crate) fn reap_orphans_of(_: u32, _: Arc<OwnedFd>, _: Vec<Arc<OwnedFd>>) {}

pub(crate) fn end_child(_: u32) {}

pub(crate) fn open_child(_: u32) -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn kill_own_group() -> ! {
    std::process::abort()
}

pub(crate) fn own_executable() -> io::Result<Command> {
    Err(unsupported())
}

pub(crate) fn write_profile() {}

pub(crate) fn go_on_in_another_thread(_: impl FnOnce() + Send + 'static) -> ! {
    std::process::abort()
}

pub(crate) fn reap_left_children(_: &str) {}

pub(crate) fn name_fork_server() -> Option<std::ffi::CString> {
    None
}

pub(crate) fn name_process(_: &std::ffi::CStr) {}

pub(crate) fn inherits_orphans() -> bool {
    false
}

/// A process. As a number it is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessIdentity(u64);

impl ProcessIdentity {
    pub(crate) fn own() -> Self {
        Self(std::process::id().into())
    }

    pub(crate) fn from_word(word: u64) -> Option<Self> {
        (word != 0).then_some(Self(word))
    }

    pub(crate) fn to_word(self) -> u64 {
        self.0
    }

    pub(crate) fn pid(self) -> u32 {
        self.0 as u32
    }

    /// The platform does not report it, so the process counts as running.
    pub(crate) fn has_ended(self) -> bool {
        false
    }

    pub(crate) fn watch(self) -> io::Result<Option<OwnedFd>> {
        Err(unsupported())
    }
}

/// Identities mean the same in all processes.
pub(crate) fn home() -> u64 {
    1
}

/// No function can be called in another process, so none has an offset.
pub(crate) fn in_executable(_: usize) -> bool {
    false
}

pub(crate) fn library_of(_: usize) -> Option<std::path::PathBuf> {
    None
}

pub(crate) fn build_identity() -> Vec<u8> {
    Vec::new()
}

impl Limit {
    pub(crate) fn set(self, _: i64) -> io::Result<()> {
        Err(unsupported())
    }
}

pub(crate) fn restore_signals() {}

pub(crate) fn reset_signals() {}

/// A monotonic clock in nanoseconds, which starts when it is first read.
pub(crate) fn monotonic_nanos() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn oom_kills() -> u64 {
    0
}

/// There is no such setting on this platform.
pub(crate) fn set_dumpable(_: bool) {}

pub(crate) fn note_silent_thread() {}

pub(crate) fn ask_once(_: bool) {}

pub(crate) fn memory_meter() -> io::Result<File> {
    Err(unsupported())
}

pub(crate) fn resident_memory(_: &File) -> Option<u64> {
    None
}

pub(crate) fn signal_name(_: i32) -> Option<&'static str> {
    None
}
