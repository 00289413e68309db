//! [`Starter`]: the ways to create a process. Each returns the process, and the parent's end of its socket with the
//! first messages in it.

use std::sync::Arc;

use super::child::Child;
use super::connection::ChildConnection;
use super::error::StartError;
#[cfg(feature = "multiprocessing")]
use super::fork_here::ForkHere;
use super::forkserver::ForkServer;
use super::new_process::{CreatedProcess, NewProcess, socket_pair};
#[cfg(feature = "multiprocessing")]
use crate::sys;
use crate::wire::descriptors::Descriptor;
#[cfg(feature = "multiprocessing")]
use crate::wire::message::Role;

/// The maximal number of fork servers that may die in one start.
const MOST_FORK_SERVERS: usize = 2;

/// How processes are created.
#[derive(Debug)]
pub(in crate::process) enum Starter {
    /// This executable is started again.
    Spawn,
    /// A fork server forks.
    Fork(Arc<ForkServer>),
    /// This process forks.
    #[cfg(feature = "multiprocessing")]
    ForkHere(ForkHere),
}

impl Starter {
    pub(super) async fn create(&self, new: NewProcess<'_>) -> Result<CreatedProcess, StartError> {
        match self {
            Self::Spawn => execute(new).await,
            Self::Fork(server) => fork_at(server, new).await,
            #[cfg(feature = "multiprocessing")]
            Self::ForkHere(here) => here.fork(new),
        }
    }

    /// Ends the fork server of a pool, if there is one, and waits until it has ended.
    pub(in crate::process) async fn close(&self) {
        if let Self::Fork(server) = self {
            server.close().await;
        }
    }
}

async fn execute(new: NewProcess<'_>) -> Result<CreatedProcess, StartError> {
    let (ours, theirs) = socket_pair()?;
    let [stdout, stderr] = new.output;
    let process = new.recipe.execute(new.role, [theirs, stdout, stderr]);
    let child = Child::from(process.await?);
    // Not before there is a pidfd: a process that ended before that could not be watched.
    let connection = ChildConnection::begin(ours, (new.setup)())?;
    Ok((child, connection))
}

async fn fork_at(
    server: &Arc<ForkServer>,
    new: NewProcess<'_>,
) -> Result<CreatedProcess, StartError> {
    let NewProcess {
        recipe,
        role,
        surroundings,
        output,
        setup,
    } = new;
    let output = output.map(Descriptor::from);
    for _ in 0..MOST_FORK_SERVERS {
        let (ours, theirs) = socket_pair()?;
        let mut fds = vec![Descriptor::from(theirs)];
        fds.extend_from_slice(&output);
        match role {
            #[cfg(feature = "multiprocessing")]
            Role::Runner => {
                let pipe = sys::pipe_from_child().map_err(StartError::system("make a pipe"));
                let (exit_pipe, theirs) = pipe?;
                fds.push(theirs.into());
                if let Some((process, server)) = server.run(recipe, surroundings, fds).await? {
                    let child = Child::reported(process, exit_pipe.into(), server);
                    // Sent once this process has the pidfd. If the start is dropped before that, the new process finds
                    // a closed socket and exits.
                    return Ok((child, ChildConnection::begin(ours, setup())?));
                }
            }
            _ => {
                let forked = server.fork(recipe, surroundings, fds);
                // These messages are sent while the worker is being forked.
                let begin = async { ChildConnection::begin(ours, setup()) };
                let (child, connection) = tokio::join!(forked, begin);
                if let Some(child) = child? {
                    return Ok((child, connection?));
                }
            }
        }
    }
    Err(StartError::Ended)
}
