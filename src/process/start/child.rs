//! A worker process, whoever has started it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::zygote::Zygote;
use crate::sys::{AsyncFd, ChildProcess, Exit};

/// How long a zygote may take to say how a worker has ended. One that is stopped never does.
const ANSWER: Duration = Duration::from_secs(5);

/// Dropping it kills it.
pub(in crate::process) struct Child {
    process: AsyncFd<ChildProcess>,
    /// The process that forked it, and takes its exit status.
    zygote: Option<Arc<Zygote>>,
}

impl Child {
    /// Of a process that this one has started, unless a `zygote` has forked it.
    pub(super) fn new(process: ChildProcess, zygote: Option<Arc<Zygote>>) -> io::Result<Self> {
        Ok(Self {
            process: process.watch()?,
            zygote,
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

    /// Waits until it has ended, and says how. What is left of its process group is killed.
    pub(in crate::process) async fn exit(&mut self) -> Exit {
        self.ended().await;
        match &self.zygote {
            None => self.process.get_mut().reap(),
            Some(zygote) => {
                self.process.get_mut().let_go();
                let exit = tokio::time::timeout(ANSWER, zygote.exit_of(self.id())).await;
                let Ok(Some(exit)) = exit else {
                    return Exit::default(); // Nothing is known. The drop asks once more to have it reaped.
                };
                self.zygote = None;
                exit
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(zygote) = &self.zygote {
            self.process.get_mut().let_go();
            zygote.forget(self.id());
        }
    }
}
