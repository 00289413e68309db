//! From nothing to a process that is ready. Reading order:
//!
//! - this file: what is started, and with what;
//! - [`exec`]: the executable of this process is started again;
//! - [`forkserver`]: or a zygote forks it, asked over its [`zygote`] end;
//! - [`connection`]: the first words; [`child`]: the process; [`error`]: why there is none.

mod child;
mod connection;
mod error;
mod exec;
mod forkserver;
mod zygote;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::child::Child;
pub(super) use self::connection::Connection;
pub(super) use self::error::StartError;
pub(crate) use self::exec::Surroundings;
pub(super) use self::forkserver::ForkServer;
pub(super) use self::zygote::Zygote;
use super::ServeForked;
use super::output::{Ends, Outlets, Pipes};
use crate::function::FunctionOffset;
use crate::observe;
use crate::sys::{self, ChildProcess, Forked, Limit};
use crate::wire::Chain;
use crate::wire::message::{self, Captured, Role, Setup};

/// So many zygotes may die of one start.
const MOST_ZYGOTES: usize = 2;

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

/// How processes come to be.
#[derive(Debug)]
pub(super) enum Starter {
    /// Each is executed.
    Spawn,
    /// Each is forked from a zygote.
    Fork(Arc<ForkServer>),
    /// Each is forked from this process.
    ForkHere(ForkHere),
}

/// What a fork of this process is to do.
#[derive(Debug)]
pub(super) struct ForkHere {
    pub(super) serve: ServeForked,
    /// What it must not have open: our ends of its own pipes, of which it would never see the end.
    pub(super) not_theirs: Vec<RawFd>,
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
    /// Starts a worker.
    pub(super) async fn start(&self, recipe: &Arc<Recipe>) -> Result<Newborn, StartError> {
        let failed = StartError::system;
        let outlets = recipe.outlets.open();
        let (ends, pipes) = outlets.map_err(failed("open a stdout and a stderr for a worker"))?;
        let (process, zygote, socket) = self.bring_forth(recipe, Role::Worker, ends).await?;
        let child = Child::new(process, zygote).map_err(failed("watch a process"))?;
        Ok(Newborn {
            child,
            socket,
            pipes,
            oom_kills: sys::oom_kills(), // Read while the process gets on its feet: that takes longer.
        })
    }

    /// Starts a process. Gives what has forked it, unless this one has, and our end of its socket.
    pub(super) async fn bring_forth(
        &self,
        recipe: &Arc<Recipe>,
        role: Role,
        ends: Ends,
    ) -> Result<(ChildProcess, Option<Arc<Zygote>>, OwnedFd), StartError> {
        let failed = StartError::system;
        match self {
            Self::Spawn => {
                let (process, socket) = recipe.execute(role, ends).await?;
                Ok((process, None, socket))
            }
            Self::Fork(server) => {
                for _ in 0..MOST_ZYGOTES {
                    let (ours, theirs) =
                        sys::socket_pair().map_err(failed("make a socket pair"))?;
                    let fds = [theirs.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()];
                    if let Some((process, zygote)) = server.fork(recipe, role, &fds).await? {
                        return Ok((process, Some(zygote), ours));
                    }
                }
                Err(StartError::Gone)
            }
            Self::ForkHere(how) => {
                let forked = how.fork(role, ends);
                let (process, socket) = forked.map_err(failed("fork this process"))?;
                Ok((process, None, socket))
            }
        }
    }

    /// Ends what there is besides the workers, and waits until it is gone.
    pub(super) async fn close(&self) {
        match self {
            Self::Spawn | Self::ForkHere(_) => {}
            Self::Fork(server) => server.close().await,
        }
    }
}

impl ForkHere {
    /// Forks this process as it is now. The other never comes back from here.
    fn fork(&self, role: Role, ends: Ends) -> io::Result<(ChildProcess, OwnedFd)> {
        let (ours, theirs) = sys::socket_pair()?;
        let theirs = sys::out_of_the_way(theirs)?;
        let parent = sys::out_of_the_way(sys::open_child(std::process::id())?)?;
        match sys::fork()? {
            Forked::Parent(pid) => Ok((ChildProcess::own(pid)?, ours)),
            Forked::Child => {
                drop(ours);
                sys::abandon(&self.not_theirs);
                let settled = sys::settle_forked(false, &[], None)
                    .and_then(|()| sys::set_output(ends.stdout, ends.stderr));
                (self.serve)(role, settled.map(|()| theirs.into()), Some(parent))
            }
        }
    }
}

impl Recipe {
    /// Executes a process in the given role.
    async fn execute(
        self: &Arc<Self>,
        role: Role,
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
