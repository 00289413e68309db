//! From nothing to a process that is ready. Reading order:
//!
//! - this file: what is started, and with what;
//! - [`exec`]: the executable of this process is started again;
//! - [`forkserver`]: or a fork server forks it, asked over its [`forkserver_process`] end;
//! - [`connection`]: the first words; [`child`]: the process; [`error`]: why there is none.

mod child;
mod connection;
mod error;
mod exec;
mod forkserver;
mod forkserver_process;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::child::Child;
pub(super) use self::connection::ChildConnection;
pub(super) use self::error::StartError;
pub(crate) use self::exec::Surroundings;
pub(super) use self::forkserver::ForkServer;
use super::output::{Outlets, Pipes};
use crate::function::FunctionOffset;
use crate::observe;
use crate::sys::{self, ChildProcess, Limit};
use crate::wire::Chain;
use crate::wire::descriptors::Descriptor;
use crate::wire::message::{self, Captured, Role, Setup};

/// So many fork servers may die of one start.
pub(super) const MOST_FORK_SERVERS: usize = 2;

/// A function and its encoded arguments, to be called once in a new process.
pub(crate) type Opening = (FunctionOffset, Chain);

/// What every worker of a pool is started with.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) surroundings: Surroundings,
    pub(super) preload: Option<Opening>,
    pub(super) initializer: Option<Opening>,
    pub(super) limits: Vec<(Limit, i64)>,
    pub(super) outlets: Outlets,
    pub(super) max_frame_length: usize,
    pub(super) spawn_timeout: Duration,
}

/// How workers come to be.
#[derive(Debug)]
pub(super) enum Starter {
    /// Each is executed.
    Spawn,
    /// Each is forked.
    Fork(ForkServer),
}

/// A process that was started and is yet to become a worker. It has been told all that it is to be.
pub(super) struct NewWorker {
    pub(super) child: Child,
    pub(super) connection: ChildConnection,
    pub(super) pipes: Pipes,
    /// How often the kernel had killed for memory before it did anything.
    pub(super) oom_kills: u64,
}

impl Starter {
    /// Starts a process that shares a page of memory with this one, and answers by a pipe.
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
                let connection = begin(ours)?;
                let fds = [theirs, ends.stdout, ends.stderr];
                let process = recipe.execute(Role::Worker, fds).await?;
                let child = Child::new(process, None).map_err(failed("watch a process"))?;
                (child, connection)
            }
            Self::Fork(server) => {
                let output = [ends.stdout, ends.stderr].map(Descriptor::from);
                let mut attempts = 0..MOST_FORK_SERVERS;
                loop {
                    attempts.next().ok_or(StartError::Gone)?;
                    let (ours, theirs) = pair()?;
                    let mut fds = vec![Descriptor::from(theirs)];
                    fds.extend_from_slice(&output);
                    // The words are said while the worker is forked.
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
            oom_kills: sys::oom_kills(), // Read while the process gets on its feet: that takes longer.
        })
    }

    /// Ends what there is besides the workers, and waits until it is gone.
    pub(super) async fn close(&self) {
        match self {
            Self::Spawn => {}
            Self::Fork(server) => server.close().await,
        }
    }
}

impl Recipe {
    /// Executes a process in the given role, with these as its stdin, stdout and stderr.
    pub(super) async fn execute(
        self: &Arc<Self>,
        role: Role,
        fds: [OwnedFd; 3],
    ) -> Result<ChildProcess, StartError> {
        let recipe = self.clone();
        let executed = tokio::task::spawn_blocking(move || recipe.surroundings.execute(role, fds));
        // The task fails only if the runtime is ending.
        executed.await.map_err(|_| StartError::Closed)?
    }

    /// What a worker is told to be. Its own descriptors go before what its initializer is to have.
    fn setup(&self, worker_id: u64, captured: Option<Captured>, own: Vec<Descriptor>) -> Chain {
        let setup = Setup {
            worker_id,
            limits: self.limits.clone(),
            captured,
            events: observe::level_of_events(),
            ..Setup::default()
        };
        self.put_setup(own, setup, self.initializer.as_ref())
    }

    /// What a fork server is told to be.
    fn fork_server_setup(&self) -> Chain {
        self.put_setup(Vec::new(), Setup::default(), self.preload.as_ref())
    }

    fn put_setup(&self, own: Vec<Descriptor>, setup: Setup, opening: Option<&Opening>) -> Chain {
        let setup = Setup {
            max_frame: self.max_frame_length as u64,
            initializer: opening.map(|(function, _)| *function),
            descriptors: opening.map_or(0, |(_, args)| args.descriptors().len() as u32),
            ..setup
        };
        let (mut out, none) = (Chain::new(), Chain::new());
        out.attach(own);
        message::put_setup(&mut out, &setup, opening.map_or(&none, |(_, args)| args));
        out
    }
}
