//! A process that runs one function, and is nobody's worker. Once it is ready it needs nobody: what it
//! prints goes where it goes, its outcome waits in a file in memory, and it ends when it likes. Nobody
//! drives it here either: whoever wants to know looks at what stands for it in the system, from whatever
//! runtime, or none.
//!
//! Who takes its exit status depends on who has made it. Of one that this process has started, or forked,
//! it is this process; of one that the fork server has forked, that server, which then writes it to the
//! process's own socket.
//!
//! Reading order: [`order`], how it is started; this file, how its end is waited for; [`word`], how the
//! fork server tells of it; [`outcome`], what it has left.

mod order;
mod outcome;
mod word;

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

pub(crate) use self::order::{Order, Refusal};
pub(crate) use self::outcome::Outcome;
use self::word::Word;
use super::verdict::death;
use crate::executor::error::Death;
use crate::sys::{self, ChildProcess, Exit};
use crate::wire::errand::Legacy;

/// How long one that has hung up may take to end, and the fork server to say how one has ended.
const GRACE: Duration = Duration::from_secs(5);
/// After so long something is tried again that the system has refused.
const AGAIN: Duration = Duration::from_millis(10);

/// A process that has begun to run its function. The drop of this leaves it alone.
#[derive(Debug)]
pub(crate) struct Runner {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    legacy: Arc<Legacy>,
    state: Mutex<State>,
    /// It was forked from this process, which must have no other thread when it forks another.
    is_fork: bool,
}

#[derive(Debug)]
struct State {
    process: ChildProcess,
    /// Where the one that has forked it says how it ended.
    word: Option<Word>,
    /// How often the kernel had killed for memory before it did anything.
    oom_kills: u64,
    /// How it ended, once that is known, or known to remain unknown.
    end: Option<Death>,
}

impl Runner {
    pub(crate) fn id(&self) -> u32 {
        self.pid
    }

    /// What stands for the process.
    pub(crate) fn pidfd(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// Asks it and its process group to end, if it has not.
    pub(crate) fn terminate(&self) {
        let state = self.lock();
        if !state.process.has_ended() {
            state.process.terminate();
        }
    }

    /// Kills it and its process group, if it has not ended.
    pub(crate) fn kill(&self) {
        let state = self.lock();
        if !state.process.has_ended() {
            state.process.kill();
        }
    }

    /// How it ended, if it has and that is known.
    pub(crate) fn try_end(&self) -> Option<Death> {
        let mut state = self.lock();
        if state.end.is_none() && state.process.has_ended() {
            let exit = match &mut state.word {
                None => state.process.reap(),
                Some(word) => word.take()?,
            };
            state.settle(exit);
        }
        state.end.clone()
    }

    /// Waits until it has ended, and says how.
    pub(crate) async fn ended(&self) -> Death {
        self.gone().await;
        if let Some(socket) = self.word() {
            let word = async {
                while self.try_end().is_none() {
                    readable(&socket).await;
                }
            };
            let _ = tokio::time::timeout(GRACE, word).await;
        }
        self.end()
    }

    /// As `ended`, by blocking. Nothing if it takes longer than `limit`.
    pub(crate) fn blocking_ended(&self, limit: Option<Duration>) -> Option<Death> {
        if !blocking_readable(&self.pidfd, limit) {
            return None;
        }
        if let Some(socket) = self.word() {
            let begun = Instant::now();
            while self.try_end().is_none() && begun.elapsed() < GRACE {
                blocking_readable(&socket, Some(GRACE.saturating_sub(begun.elapsed())));
            }
        }
        Some(self.end())
    }

    /// What it has left, now that it has ended.
    pub(crate) fn outcome(&self, death: Death) -> Outcome {
        // Where there is but one thread, another would be in the way of the next fork.
        Outcome::new(self.legacy.clone(), death, !self.is_fork)
    }

    /// Waits until it has ended.
    async fn gone(&self) {
        while !self.lock().process.has_ended() {
            readable(&self.pidfd).await;
        }
    }

    /// Where it is told how it ended, if not by the system.
    fn word(&self) -> Option<Arc<OwnedFd>> {
        let state = self.lock();
        state.word.as_ref().map(|word| word.socket.clone())
    }

    /// How it ended, as far as that is known by now.
    fn end(&self) -> Death {
        self.try_end().unwrap_or_else(|| {
            let mut state = self.lock();
            state.settle(Exit::default()).clone()
        })
    }

    /// Nobody waits for it any more: sees to it that its exit status is taken, and calls `then`. If there is
    /// no runtime, or that ends first, a thread takes it when this is dropped.
    pub(crate) fn see_out(self: Arc<Self>, then: impl FnOnce(&Self) + Send + 'static) {
        if self.try_end().is_some() {
            return then(&self);
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                self.ended().await;
                then(&self);
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until it can be read.
pub(crate) async fn readable(fd: &OwnedFd) {
    if sys::readable(fd.as_fd()).await.is_err() {
        tokio::time::sleep(AGAIN).await; // There may be no descriptor left to wait with.
    }
}

/// As `readable`, by blocking. False if it takes longer than `limit`.
pub(crate) fn blocking_readable(fd: &OwnedFd, limit: Option<Duration>) -> bool {
    loop {
        match sys::readable_within(fd.as_fd(), limit) {
            Ok(readable) => return readable,
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
}

impl State {
    fn settle(&mut self, exit: Exit) -> &Death {
        let pid = self.process.id();
        let oom_kills = self.oom_kills;
        self.end
            .get_or_insert_with(|| death(pid, exit, String::new(), oom_kills))
    }
}
