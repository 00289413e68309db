//! A process that runs one function, outside any pool. Once it is ready it needs nothing from its parent: its output
//! goes to its streams, its outcome to a file in memory, and it exits by itself. The parent does not drive it either: a
//! join waits for its pidfd, from any runtime or none.
//!
//! The process that created it takes its exit status: this process if it executed or forked it, or the fork server,
//! which then writes the status to a pipe.
//!
//! Reading order: [`order`], what to run and how it starts; [`shared`], the fork server that all of these processes
//! share; this file, how its end is awaited; [`outcome`], its result.

mod order;
mod outcome;
mod shared;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

pub(crate) use self::order::{Refusal, StartOrder, StartedProcess};
use self::outcome::LeftOutcome;
pub(crate) use self::outcome::ProcessOutcome;
pub(crate) use super::start::Opening;
use super::start::{ExitPipe, Newborn};
use super::verdict::death;
use crate::executor::error::Death;
use crate::home::{self, Home, sleep, timeout};
use crate::sys::{self, AsFd, BorrowedFd, ChildProcess, Exit, OwnedFd};

/// The time within which the fork server must report how a process ended.
const GRACE: Duration = Duration::from_secs(5);
/// The interval of retries after the system refused something.
const AGAIN: Duration = Duration::from_millis(10);

/// A process that has started to run its function. Dropping this does not end the process.
#[derive(Debug)]
pub(crate) struct RunningProcess {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    left: Arc<LeftOutcome>,
    /// The pipe through which the fork server reports how the process ended, if a fork server forked it.
    exit_pipe: Option<ExitPipe>,
    state: Mutex<ProcessState>,
    /// Whether it was forked from this process, which must have no other thread when it forks again.
    is_fork: bool,
}

#[derive(Debug)]
struct ProcessState {
    process: ChildProcess,
    /// The kernel's count of kills for lack of memory, before the process did anything.
    oom_kills: u64,
    /// Since when it is known to have ended without a known exit status.
    gone: Option<Instant>,
    /// How it ended, once that is known, or is known to remain unknown.
    end: Option<Death>,
}

impl RunningProcess {
    /// Takes over a process that is ready and runs by itself.
    fn from_newborn(newborn: Newborn, left: LeftOutcome, is_fork: bool) -> Self {
        let oom_kills = newborn.oom_kills;
        let (process, exit_pipe) = newborn.child.set_free();
        Self {
            pid: process.id(),
            pidfd: process.pidfd().clone(),
            left: Arc::new(left),
            exit_pipe,
            state: Mutex::new(ProcessState {
                process,
                oom_kills,
                gone: None,
                end: None,
            }),
            is_fork,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid
    }

    /// The pidfd of the process.
    pub(crate) fn pidfd(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// Asks the process and its process group to end, if it has not ended.
    pub(crate) fn terminate(&self) {
        let state = self.lock();
        if !state.process.has_ended() {
            state.process.terminate();
        }
    }

    /// Kills the process and its process group, if it has not ended.
    pub(crate) fn kill(&self) {
        let state = self.lock();
        if !state.process.has_ended() {
            state.process.kill();
        }
    }

    /// How the process ended, if it has and that is known.
    pub(crate) fn try_end(&self) -> Option<Death> {
        let mut state = self.lock();
        if state.end.is_none() && state.process.has_ended() {
            let exit = match &self.exit_pipe {
                None => state.process.reap(),
                Some(pipe) => {
                    let gone = *state.gone.get_or_insert_with(Instant::now);
                    let overdue = || (gone.elapsed() >= GRACE).then(Exit::default);
                    let exit = pipe.try_read().or_else(overdue)?;
                    match exit.is_known() {
                        true => exit,
                        // Its fork server ended first.
                        false => state.process.reap_orphan().unwrap_or_default(),
                    }
                }
            };
            let pid = self.pid;
            state.end = Some(death(pid, exit, String::new(), state.oom_kills));
        }
        state.end.clone()
    }

    /// Waits until the process has ended, and returns how.
    pub(crate) async fn ended(&self) -> Death {
        loop {
            if let Some(end) = self.try_end() {
                return end;
            }
            match self.next_sign() {
                (sign, None) => readable(sign).await,
                (sign, Some(limit)) => {
                    timeout(limit, readable(sign)).await;
                }
            }
        }
    }

    /// Like `ended`, on a thread. `None` if the process has not ended by `limit`.
    pub(crate) fn blocking_ended(&self, limit: Option<Instant>) -> Option<Death> {
        loop {
            if let Some(end) = self.try_end() {
                return Some(end);
            }
            let (sign, signal_after) = self.next_sign();
            let signal_after = signal_after.map(|signal_after| Instant::now() + signal_after);
            let until = [limit, signal_after].into_iter().flatten().min();
            if !sys::await_readable(sign, until) && until == limit {
                return None;
            }
        }
    }

    /// The descriptor that becomes readable when more is known about its end, and how long to wait for that.
    fn next_sign(&self) -> (BorrowedFd<'_>, Option<Duration>) {
        match (&self.exit_pipe, self.lock().gone) {
            (Some(pipe), Some(gone)) => (pipe.as_fd(), Some(GRACE.saturating_sub(gone.elapsed()))),
            _ => (self.pidfd.as_fd(), None),
        }
    }

    /// The outcome of the ended process.
    pub(crate) fn outcome(&self, death: Death) -> ProcessOutcome {
        // In a program with one thread, another thread would prevent the next fork.
        ProcessOutcome::new(self.left.clone(), death, !self.is_fork)
    }

    /// Called when no caller waits for the process any more: ensures that its exit status is taken, and calls `then`.
    /// Without a runtime, or if the runtime ends first, a thread takes the status when this is dropped.
    pub(crate) fn reap_in_background(self: Arc<Self>, then: impl FnOnce(&Self) + Send + 'static) {
        if self.try_end().is_some() {
            return then(&self);
        }
        // In a fork, this thread still seems to be in its parent's runtime, which does not run there.
        if sys::generation() == 0 && Handle::try_current().is_ok() {
            Home::new().spawn(async move {
                self.ended().await;
                then(&self);
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, ProcessState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until `fd` is readable.
pub(crate) async fn readable(fd: impl AsFd) {
    if home::readable(fd).await.is_err() {
        sleep(AGAIN).await; // There may be no descriptor left for the runtime to wait with.
    }
}
