//! Starts a process and makes it ready: a worker, or a process that runs one function. Reading order:
//!
//! - [`newborn`]: from nothing to a process that is ready, or to the reason why it is not;
//! - [`new_process`]: what to create; [`create`]: the ways to do that. [`exec`]: the executable of this process is
//!   started again; [`forkserver`]: a fork server forks, on request of its [`forkserver_process`]; [`fork_here`]: this
//!   process forks;
//! - [`recipe`]: what the workers of a pool are started with; [`surroundings`]: the environment and the directory;
//! - [`connection`]: the first messages; [`child`]: the process; [`exit_pipe`]: how it ended, if its fork server
//!   reports that without a request;
//! - [`error`]: the errors of a start; [`failure`]: what a failed start means for the next one.

mod child;
mod connection;
mod create;
mod error;
mod exec;
#[cfg(feature = "multiprocessing")]
mod exit_pipe;
mod failure;
#[cfg(feature = "multiprocessing")]
mod fork_here;
mod forkserver;
mod forkserver_process;
mod new_process;
mod newborn;
mod recipe;
mod surroundings;

pub(super) use self::child::Child;
pub(super) use self::create::Starter;
pub(super) use self::error::StartError;
#[cfg(feature = "multiprocessing")]
pub(super) use self::exit_pipe::ExitPipe;
pub(super) use self::failure::{FailureKind, StartFailure};
#[cfg(feature = "multiprocessing")]
pub(super) use self::fork_here::ForkHere;
pub(super) use self::forkserver::ForkServer;
pub(crate) use self::forkserver::ServeForked;
pub(super) use self::new_process::NewProcess;
pub(super) use self::newborn::Newborn;
pub(crate) use self::recipe::Opening;
pub(super) use self::recipe::Recipe;
pub(crate) use self::surroundings::Surroundings;
