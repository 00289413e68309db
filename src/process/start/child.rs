//! A process that was started, by any start method.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

#[cfg(feature = "multiprocessing")]
use super::exit_pipe::ExitPipe;
use super::forkserver_process::ForkServerProcess;
use crate::home::{Watched, timeout};
use crate::sys::{ChildProcess, Direction, Exit, OwnedFd};

/// The time within which a fork server must report how a process ended. A stopped fork server never reports it.
const ANSWER: Duration = Duration::from_secs(5);

/// A started process. Dropping it kills the process.
pub(in crate::process) struct Child {
    // Dropped first: the drop of the next fields requests the exit status of a killed process.
    process: ChildProcess,
    /// Becomes readable when the process ends.
    end: Watched<Arc<OwnedFd>>,
    reaper: ChildReaper,
}

/// The process that takes a child's exit status.
enum ChildReaper {
    /// This process.
    Own,
    /// The fork server that forked it, when this process requests it.
    ForkServer(UnreapedChild),
    /// The fork server that forked it, without a request. It is held while the process starts.
    #[cfg(feature = "multiprocessing")]
    Unasked(
        ExitPipe,
        #[expect(dead_code, reason = "held")] Arc<ForkServerProcess>,
    ),
}

/// A child whose exit status its fork server must take. Dropping this requests that without waiting.
struct UnreapedChild {
    fork_server: Option<Arc<ForkServerProcess>>,
    pid: u32,
    pidfd: Arc<OwnedFd>,
}

impl Child {
    /// A worker that a fork server has forked.
    pub(super) fn forked(process: ChildProcess, fork_server: Arc<ForkServerProcess>) -> Self {
        let unreaped = UnreapedChild {
            fork_server: Some(fork_server),
            pid: process.id(),
            pidfd: process.pidfd().clone(),
        };
        Self::new(process, ChildReaper::ForkServer(unreaped))
    }

    /// A process that a fork server has forked. The fork server reports the exit status without a request.
    #[cfg(feature = "multiprocessing")]
    pub(super) fn reported(
        process: ChildProcess,
        pipe: ExitPipe,
        fork_server: Arc<ForkServerProcess>,
    ) -> Self {
        Self::new(process, ChildReaper::Unasked(pipe, fork_server))
    }

    fn new(process: ChildProcess, reaper: ChildReaper) -> Self {
        Self {
            end: Watched::new(process.pidfd().clone(), Direction::In),
            process,
            reaper,
        }
    }

    pub(in crate::process) fn id(&self) -> u32 {
        self.process.id()
    }

    #[cfg(all(test, target_os = "linux", not(properties)))]
    pub(super) fn pidfd(&self) -> &Arc<OwnedFd> {
        self.process.pidfd()
    }

    /// Kills the process and its process group.
    pub(in crate::process) fn kill(&self) {
        self.process.kill();
    }

    /// Asks the process and its process group to end.
    pub(in crate::process) fn terminate(&self) {
        self.process.terminate();
    }

    /// Waits until the process has ended.
    pub(in crate::process) async fn ended(&mut self) {
        poll_fn(|cx| self.poll_ended(cx)).await;
    }

    /// Ready once the process has ended.
    pub(in crate::process) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end.poll_ready(cx)
    }

    /// Waits until the process has ended, and returns how. Kills the rest of its process group.
    pub(in crate::process) async fn exit(&mut self) -> Exit {
        self.ended().await;
        let exit = match &mut self.reaper {
            ChildReaper::Own => return self.process.reap(),
            ChildReaper::ForkServer(unreaped) => {
                self.process.kill_without_reaping();
                unreaped.exit().await
            }
            #[cfg(feature = "multiprocessing")]
            ChildReaper::Unasked(pipe, _) => timeout(ANSWER, pipe.read()).await,
        };
        // Without an answer, the exit status is unknown. The drop then requests the reaping once more.
        let exit = exit.filter(Exit::is_known);
        exit.or_else(|| self.process.reap_orphan())
            .unwrap_or_default()
    }

    /// Lets the process run by itself: dropping this, or the end of the process, does not end the others in its process
    /// group. Returns the process, with the pipe for its exit status if a fork server reports that.
    #[cfg(feature = "multiprocessing")]
    pub(in crate::process) fn set_free(self) -> (ChildProcess, Option<ExitPipe>) {
        let mut process = self.process;
        process.set_free();
        match self.reaper {
            ChildReaper::Unasked(pipe, _) => (process, Some(pipe)),
            ChildReaper::Own | ChildReaper::ForkServer(_) => (process, None),
        }
    }
}

/// A process that this one has executed or forked.
impl From<ChildProcess> for Child {
    fn from(process: ChildProcess) -> Self {
        Self::new(process, ChildReaper::Own)
    }
}

impl UnreapedChild {
    async fn exit(&mut self) -> Option<Exit> {
        let fork_server = self.fork_server.as_ref()?;
        let exit = timeout(ANSWER, fork_server.exit_of(self.pid))
            .await
            .flatten()?;
        self.fork_server = None;
        Some(exit)
    }
}

impl Drop for UnreapedChild {
    fn drop(&mut self) {
        if let Some(fork_server) = &self.fork_server {
            fork_server.forget(self.pid, self.pidfd.clone());
        }
    }
}
