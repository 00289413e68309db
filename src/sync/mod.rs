//! Locks, events, queues and timers for the tasks of one process: what Python's `threading` and `queue` are to its
//! threads. What tokio has is tokio's; the rest is built on its primitives.
//!
//! | here | in Python | what |
//! |---|---|---|
//! | [`Lock`] | `Lock` | tokio's mutex, and deadlocks are told |
//! | [`RLock`] | `RLock` | a lock that its task can take again |
//! | [`Condition`] | `Condition` | waits for a change of what a lock protects |
//! | [`Semaphore`] | `Semaphore`, `BoundedSemaphore` | tokio's: as many at a time as there are permits, which come back by themselves |
//! | [`Event`] | `Event` | a flag to wait for |
//! | [`Timer`] | `Timer` | runs a future after a delay |
//! | [`Barrier`] | `Barrier` | tokio's: so many wait for each other |
//! | [`Queue`] | `queue.Queue` | many put and many get, with a bound or without, with `task_done` and `join` |
//!
//! All serve waiting tasks in the order they came, and none blocks a thread unless its name begins with
//! `blocking_`. [`deadlock`] tells of locks that wait for each other, in debug builds.
//!
//! # Platforms
//!
//! All that tokio runs on.

mod block;
mod condition;
pub mod deadlock;
mod event;
mod lock;
mod owner;
mod queue;
mod rlock;
mod timer;

pub use condition::Condition;
pub use event::Event;
pub use lock::{Lock, LockGuard, OwnedLockGuard, TryLockError};
pub use queue::{GetError, PutError, Queue};
pub use rlock::{RLock, RLockGuard};
pub use timer::Timer;
pub use tokio::sync::{
    AcquireError, Barrier, BarrierWaitResult, OwnedSemaphorePermit, Semaphore, SemaphorePermit,
    TryAcquireError,
};
