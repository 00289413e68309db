//! Where the background tasks of an executor run. While one runtime of tokio uses the executor, they run in it, so that
//! a wake-up crosses no thread. They move to a runtime of the crate's own once a second runtime uses the executor, or
//! code outside any runtime, or once the runtime ends or its clock does not show the real time. The crate's runtime
//! runs no user code that may block: callbacks of `on_done` run on another thread, and a pool with `Output::lines` has
//! a runtime of its own.
//!
//! Reading order:
//!
//! - [`place`]: [`Home`], the runtime that an executor's tasks run on, and the move to the other one;
//! - [`movable`]: a task that can continue in another runtime, even if its old runtime is blocked; [`current`]: the
//!   runner that polls it;
//! - [`own`]: the crate's own runtime: one thread, while a moved executor exists;
//! - [`handover`]: a thread that is started with a value;
//! - [`probe`]: whether a runtime can drive such a task;
//! - [`clock`]: the real time, even if a runtime's clock is paused; [`alarm`]: an action at a later time;
//! - [`anywhere`]: a future that runs in either runtime, for a caller without an executor;
//! - [`background`]: a runtime for the tasks of one object;
//! - [`watched`]: a descriptor that registers itself with the runtime that polls it.

mod alarm;
#[cfg(feature = "multiprocessing")]
mod anywhere;
#[cfg(feature = "cluster")]
mod background;
mod clock;
mod current;
mod handover;
mod movable;
mod own;
mod place;
mod probe;
#[cfg(feature = "process")]
mod watched;

/// The primitives that `movable` uses. `tests/races` compiles it with others.
mod primitives {
    pub(super) use std::sync::atomic::AtomicU64;
    pub(super) use std::sync::{Mutex, MutexGuard};

    pub(super) use tokio::runtime::Handle;
    pub(super) use tokio::task::AbortHandle;
}

pub(crate) use self::alarm::{Alarm, within};
#[cfg(feature = "multiprocessing")]
pub(crate) use self::anywhere::anywhere;
#[cfg(feature = "cluster")]
pub(crate) use self::background::{Background, OwnedTask};
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
