//! Where the background tasks of an executor run. While one runtime of tokio uses the executor, they run there:
//! a wake-up then crosses no thread. Once a second runtime uses it, or code outside of any runtime, or the runtime
//! ends, or its clock does not tell the real time, they move to a runtime of the crate's own. That one runs no
//! code of the user that may block: callbacks of `on_done` run on another thread, and a pool with `Output::lines`
//! has a runtime of its own.
//!
//! Reading order:
//!
//! - [`place`]: [`Home`], the runtime that an executor's tasks run on, and the move to the other one;
//! - [`movable`]: a task that goes on elsewhere, even if its old runtime is blocked; [`current`]: the runner that polls
//!   it;
//! - [`own`]: the crate's own runtime: one thread, while a moved executor exists;
//! - [`handover`]: a thread that is started with a value;
//! - [`probe`]: whether a runtime can drive such a task;
//! - [`clock`]: the real time, even if a runtime's clock is paused; [`alarm`]: an action at a later time;
//! - [`anywhere`]: a future that runs on either runtime, for a caller without an executor;
//! - [`watched`]: a descriptor that registers itself with the runtime that polls it.

mod alarm;
#[cfg(feature = "multiprocessing")]
mod anywhere;
mod clock;
mod current;
mod handover;
mod movable;
mod own;
mod place;
mod probe;
#[cfg(feature = "process")]
mod watched;

/// What `movable` is made of. `tests/races` compiles it on other primitives.
mod primitives {
    pub(super) use std::sync::atomic::AtomicU64;
    pub(super) use std::sync::{Mutex, MutexGuard};

    pub(super) use tokio::runtime::Handle;
    pub(super) use tokio::task::AbortHandle;
}

pub(crate) use self::alarm::{Alarm, within};
#[cfg(feature = "multiprocessing")]
pub(crate) use self::anywhere::anywhere;
pub(crate) use self::clock::is_real as has_real_clock;
#[cfg(feature = "process")]
pub(crate) use self::clock::{DeadlineTimer, sleep, timeout};
pub(crate) use self::handover::start_thread;
#[cfg(feature = "multiprocessing")]
pub(crate) use self::own::build_runtime;
pub(crate) use self::own::call_back;
#[cfg(feature = "process")]
pub(crate) use self::own::unblock;
pub(crate) use self::place::Home;
#[cfg(feature = "process")]
pub(crate) use self::watched::Watched;
#[cfg(feature = "multiprocessing")]
pub(crate) use self::watched::readable;
