//! Locks, events, queues and timers for the tasks of one process: the counterparts of Python's `threading` and
//! `queue`. Types that tokio already has are re-exported; the others are built on tokio's primitives.
//!
//! | here | in Python | what it is |
//! |---|---|---|
//! | [`Lock`] | `Lock` | tokio's mutex, with deadlock detection |
//! | [`RLock`] | `RLock` | a lock that its task can take again |
//! | [`Condition`] | `Condition` | waits for a change of the value that a lock protects |
//! | [`Semaphore`] | `Semaphore` | tokio's semaphore; a dropped permit is released |
//! | [`BoundedSemaphore`] | `BoundedSemaphore` | a semaphore that never has more permits than at first |
//! | [`Event`] | `Event` | a flag that tasks wait for |
//! | [`Timer`] | `Timer` | runs a future after a delay |
//! | [`Barrier`] | `Barrier` | lets tasks pass once a number of them have arrived |
//! | [`Queue`] | `queue.Queue` | many producers, many consumers, bounded or not, with `task_done` and `join` |
//! | [`LifoQueue`] | `queue.LifoQueue` | a queue whose newest item is next |
//! | [`PriorityQueue`] | `queue.PriorityQueue` | a queue whose smallest item is next |
//!
//! All of them serve waiting tasks in the order of arrival. Async methods take part in tokio's
//! [budget](tokio::task::coop), so a loop over them lets other tasks run. In debug builds, [`deadlock`] reports tasks
//! that wait for each other's locks.
//!
//! Only methods whose names begin with `blocking_` block their thread. On a thread that drives async code they panic,
//! even if they need not wait. A method with a timeout first tries without waiting, even with a timeout of zero.
//!
//! # Platform
//!
//! Every platform that tokio supports.

mod barrier;
mod block;
mod bounded_semaphore;
mod condition;
pub mod deadlock;
mod event;
mod lock;
mod owner;
mod queue;
mod rlock;
mod timer;

pub use barrier::{Barrier, BarrierWaitResult, BrokenBarrier};
pub use bounded_semaphore::{BoundedPermit, BoundedSemaphore, TooManyPermits};
pub use condition::{Condition, WaitTimeoutResult};
pub use event::Event;
pub use lock::{Lock, LockGuard, OwnedLockGuard, TryLockError};
pub use queue::{
    Fifo, GetError, Lifo, LifoQueue, Order, OrderedQueue, PriorityQueue, PutError, Queue,
    SmallestFirst,
};
pub use rlock::{RLock, RLockGuard};
pub use timer::Timer;
pub use tokio::sync::{
    AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError,
};
