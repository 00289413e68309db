//! Starts a process and makes it ready. Reading order:
//!
//! - this file: how workers are started; [`recipe`]: with what;
//! - [`exec`]: the executable of this process is started again;
//! - [`forkserver`]: or a fork server forks it, asked through its [`forkserver_process`];
//! - [`surroundings`]: the environment and the directory of either;
//! - [`connection`]: the first messages; [`child`]: the process; [`error`]: the errors of a start.

mod child;
mod connection;
mod error;
mod exec;
mod forkserver;
mod forkserver_process;
mod recipe;
mod surroundings;

use std::sync::Arc;

pub(super) use self::child::Child;
pub(super) use self::connection::ChildConnection;
pub(super) use self::error::StartError;
pub(super) use self::forkserver::ForkServer;
pub(crate) use self::forkserver::ServeForked;
pub(crate) use self::recipe::Opening;
pub(super) use self::recipe::Recipe;
pub(crate) use self::surroundings::Surroundings;
use super::output::Pipes;
use crate::sys::{self, OwnedFd};
use crate::wire::descriptors::Descriptor;
use crate::wire::message::Role;

/// The maximal number of fork servers that may die in one start.
pub(super) const MOST_FORK_SERVERS: usize = 2;

/// How workers are created.
#[derive(Debug)]
pub(super) enum Starter {
    /// Each is executed.
    Spawn,
    /// Each is forked.
    Fork(ForkServer),
}

/// A process that was started and is not a worker yet. It has all its instructions.
pub(super) struct NewWorker {
    pub(super) child: Child,
    pub(super) connection: ChildConnection,
    pub(super) pipes: Pipes,
    /// The kernel's count of kills for lack of memory, before the process did anything.
    pub(super) oom_kills: u64,
}

impl Starter {
    /// Starts a process that shares a page of memory with this one, and answers through a pipe.
    pub(super) async fn start(
        &self,
        recipe: &Arc<Recipe>,
        worker_id: u64,
        own: [OwnedFd; 2],
    ) -> Result<NewWorker, StartError> {
        let failed = StartError::system;
        let outlets = recipe.outlets.open();
        let (ends, pipes) = outlets.map_err(failed("open a stdout and a stderr for a worker"))?;
        let own = own.map(Descriptor::from);
        let pair = || sys::socket_pair().map_err(failed("make a socket pair"));
        let captured = recipe.outlets.captured(&pipes);
        let begin =
            |ours| ChildConnection::begin(ours, recipe.setup(worker_id, captured, own.to_vec()));
        let (child, connection) = match self {
            Self::Spawn => {
                let (ours, theirs) = pair()?;
                let fds = [theirs, ends.stdout, ends.stderr];
                let process = recipe.execute(Role::Worker, fds).await?;
                // Not before there is a pidfd: a process that ended by then could not be watched.
                let connection = begin(ours)?;
                (Child::from(process), connection)
            }
            Self::Fork(server) => {
                let output = [ends.stdout, ends.stderr].map(Descriptor::from);
                let mut attempts = 0..MOST_FORK_SERVERS;
                loop {
                    attempts.next().ok_or(StartError::Gone)?;
                    let (ours, theirs) = pair()?;
                    let mut fds = vec![Descriptor::from(theirs)];
                    fds.extend_from_slice(&output);
                    // These messages are sent while the worker is being forked.
                    let (child, connection) =
                        tokio::join!(server.fork(recipe, fds), async { begin(ours) });
                    if let Some(child) = child? {
                        break (child, connection?);
                    }
                }
            }
        };
        Ok(NewWorker {
            child,
            connection,
            pipes,
            oom_kills: sys::oom_kills(), // Read during the start of the process, which takes longer.
        })
    }

    /// Ends the fork server, if there is one, and waits until it has ended.
    pub(super) async fn close(&self) {
        match self {
            Self::Spawn => {}
            Self::Fork(server) => server.close().await,
        }
    }
}
