//! A worker process, however it was started.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::forkserver_process::ForkServerProcess;
use crate::sys::{AsyncFd, ChildProcess, Exit};

/// The time within which a fork server must report how a worker ended. A stopped one never does.
const ANSWER: Duration = Duration::from_secs(5);

/// Dropping it kills it.
pub(in crate::process) struct Child {
    process: AsyncFd<ChildProcess>,
    /// The process that forked it, and takes its exit status.
    fork_server: Option<Arc<ForkServerProcess>>,
}

impl Child {
    /// A process that this one has started, or that a fork server has forked.
    pub(super) fn new(
        process: ChildProcess,
        fork_server: Option<Arc<ForkServerProcess>>,
    ) -> io::Result<Self> {
        Ok(Self {
            process: process.watch()?,
            fork_server,
        })
    }

    pub(in crate::process) fn id(&self) -> u32 {
        self.process.get_ref().id()
    }

    /// Kills it and its process group.
    pub(in crate::process) fn kill(&self) {
        self.process.get_ref().kill();
    }

    /// Asks it and its process group to end.
    pub(in crate::process) fn terminate(&self) {
        self.process.get_ref().terminate();
    }

    /// Waits until it has ended.
    pub(in crate::process) async fn ended(&self) {
        let _ = self.process.readable().await;
    }

    /// Waits until it has ended, and returns how. Kills the rest of its process group.
    pub(in crate::process) async fn exit(&mut self) -> Exit {
        self.ended().await;
        match &self.fork_server {
            None => self.process.get_mut().reap(),
            Some(fork_server) => {
                self.process.get_mut().kill_without_reaping();
                let exit = tokio::time::timeout(ANSWER, fork_server.exit_of(self.id())).await;
                let exit = exit.ok().flatten();
                let Some(exit) = exit.or_else(|| self.process.get_ref().reap_orphan()) else {
                    return Exit::default(); // Nothing is known. The drop asks once more to have it reaped.
                };
                self.fork_server = None;
                exit
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(fork_server) = &self.fork_server {
            self.process.get_mut().kill_without_reaping();
            let process = self.process.get_ref();
            fork_server.forget(process.id(), process.pidfd().clone());
        }
    }
}
