//! A worker process, however it was started.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::forkserver_process::ForkServerProcess;
use crate::home::{Watched, timeout};
use crate::sys::{ChildProcess, Direction, Exit, OwnedFd};

/// The time within which a fork server must report how a worker ended. A stopped one never does.
const ANSWER: Duration = Duration::from_secs(5);

/// Dropping it kills it.
pub(in crate::process) struct Child {
    process: ChildProcess,
    /// Becomes readable when the process ends.
    end: Watched<Arc<OwnedFd>>,
    /// The process that forked it, and takes its exit status.
    fork_server: Option<Arc<ForkServerProcess>>,
}

impl Child {
    /// A process that a fork server has forked.
    pub(super) fn forked(process: ChildProcess, fork_server: Arc<ForkServerProcess>) -> Self {
        let mut child = Self::from(process);
        child.fork_server = Some(fork_server);
        child
    }

    pub(in crate::process) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it and its process group.
    pub(in crate::process) fn kill(&self) {
        self.process.kill();
    }

    /// Asks it and its process group to end.
    pub(in crate::process) fn terminate(&self) {
        self.process.terminate();
    }

    /// Waits until it has ended.
    pub(in crate::process) async fn ended(&mut self) {
        poll_fn(|cx| self.poll_ended(cx)).await;
    }

    /// Ready once it has ended.
    pub(in crate::process) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end.poll_ready(cx)
    }

    /// Waits until it has ended, and returns how. Kills the rest of its process group.
    pub(in crate::process) async fn exit(&mut self) -> Exit {
        self.ended().await;
        match &self.fork_server {
            None => self.process.reap(),
            Some(fork_server) => {
                self.process.kill_without_reaping();
                let exit = timeout(ANSWER, fork_server.exit_of(self.id())).await;
                let exit = exit.flatten();
                let Some(exit) = exit.or_else(|| self.process.reap_orphan()) else {
                    return Exit::default(); // Nothing is known. The drop asks once more to have it reaped.
                };
                self.fork_server = None;
                exit
            }
        }
    }
}

/// A process that this one has started.
impl From<ChildProcess> for Child {
    fn from(process: ChildProcess) -> Self {
        Self {
            end: Watched::new(process.pidfd().clone(), Direction::In),
            process,
            fork_server: None,
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(fork_server) = &self.fork_server {
            self.process.kill_without_reaping();
            fork_server.forget(self.process.id(), self.process.pidfd().clone());
        }
    }
}
