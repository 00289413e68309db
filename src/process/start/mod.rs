//! From nothing to a worker that is ready. Reading order:
//!
//! - this file: what is started, and with what;
//! - [`exec`]: the executable of this process is started again;
//! - [`forkserver`]: or a zygote forks the worker, asked over its [`zygote`] end;
//! - [`connection`]: the first words; [`child`]: the process; [`error`]: why there is none.

mod child;
mod connection;
mod error;
mod exec;
mod forkserver;
mod zygote;

use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::child::Child;
pub(super) use self::connection::Connection;
pub(super) use self::error::StartError;
pub(super) use self::exec::Surroundings;
pub(super) use self::forkserver::ForkServer;
use super::output::{Ends, Outlets, Pipes};
use crate::function::FunctionOffset;
use crate::observe;
use crate::sys::{self, ChildProcess, Limit};
use crate::wire::Chain;
use crate::wire::message::{self, Captured, Setup};

/// So many zygotes may die of one start.
const MOST_ZYGOTES: usize = 2;

/// A function and its encoded arguments, to be called once in a new process.
pub(super) type Opening = (FunctionOffset, Chain);

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

/// A process that was started and is yet to become a worker.
pub(super) struct Newborn {
    pub(super) child: Child,
    pub(super) socket: OwnedFd,
    pub(super) pipes: Pipes,
    /// How often the kernel had killed for memory before it did anything.
    pub(super) oom_kills: u64,
}

impl Starter {
    /// Starts a process.
    pub(super) async fn start(&self, recipe: &Arc<Recipe>) -> Result<Newborn, StartError> {
        let failed = StartError::system;
        let outlets = recipe.outlets.open();
        let (ends, pipes) = outlets.map_err(failed("open a stdout and a stderr for a worker"))?;
        let (child, socket) = match self {
            Self::Spawn => {
                let (process, socket) = recipe.execute(message::WORKER, ends).await?;
                let child = Child::new(process, None).map_err(failed("watch a process"))?;
                (child, socket)
            }
            Self::Fork(server) => {
                let mut attempts = 0..MOST_ZYGOTES;
                loop {
                    attempts.next().ok_or(StartError::Gone)?;
                    let (ours, theirs) =
                        sys::socket_pair().map_err(failed("make a socket pair"))?;
                    let fds = [theirs.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()];
                    if let Some(child) = server.fork(recipe, &fds).await? {
                        break (child, ours);
                    }
                }
            }
        };
        Ok(Newborn {
            child,
            socket,
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
    /// Executes a process in the given role.
    async fn execute(
        self: &Arc<Self>,
        role: &'static str,
        ends: Ends,
    ) -> Result<(ChildProcess, OwnedFd), StartError> {
        let recipe = self.clone();
        let executed = tokio::task::spawn_blocking(move || {
            let output = [ends.stdout, ends.stderr].map(Stdio::from);
            recipe.surroundings.execute(role, output)
        });
        // The task fails only if the runtime is ending.
        executed.await.map_err(|_| StartError::Closed)?
    }

    /// What a worker is told to be.
    pub(super) fn setup(&self, worker_id: u64, captured: Option<Captured>) -> Chain {
        let setup = Setup {
            worker_id,
            limits: self.limits.clone(),
            captured,
            events: observe::level_of_events(),
            ..Setup::default()
        };
        self.put_setup(setup, self.initializer.as_ref())
    }

    /// What a zygote is told to be.
    fn zygote_setup(&self) -> Chain {
        self.put_setup(Setup::default(), self.preload.as_ref())
    }

    fn put_setup(&self, setup: Setup, opening: Option<&Opening>) -> Chain {
        let setup = Setup {
            max_frame: self.max_frame_length as u64,
            initializer: opening.map(|(function, _)| *function),
            descriptors: opening.map_or(0, |(_, args)| args.descriptors().len() as u32),
            ..setup
        };
        let mut out = Chain::new();
        let none = Chain::new();
        message::put_setup(&mut out, &setup, opening.map_or(&none, |(_, args)| args));
        out
    }
}
