//! Locks, events, queues and timers for the tasks of one process: the counterparts of Python's `threading` and
//! `queue`. Types that tokio already has are re-exported; the others are built on tokio's primitives.
//!
//! | here | in Python | what it is |
//! |---|---|---|
//! | [`Lock`] | `Lock` | tokio's mutex, with deadlock detection |
//! | [`RLock`] | `RLock` | a lock that its task can take again |
//! | [`Condition`] | `Condition` | waits for a change of the value that a lock protects |
//! | [`Semaphore`] | `Semaphore`, `BoundedSemaphore` | tokio's semaphore; a dropped permit is released |
//! | [`Event`] | `Event` | a flag that tasks wait for |
//! | [`Timer`] | `Timer` | runs a future after a delay |
//! | [`Barrier`] | `Barrier` | tokio's barrier: a number of tasks wait for each other |
//! | [`Queue`] | `queue.Queue` | many producers, many consumers, bounded or not, with `task_done` and `join` |
//!
//! All of them serve waiting tasks in the order of arrival. No method blocks its thread unless its name begins
//! with `blocking_`. In debug builds, [`deadlock`] reports locks that wait for each other.
//!
//! # Platform
//!
//! Every platform that tokio supports.

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
