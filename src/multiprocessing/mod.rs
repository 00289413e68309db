//! Processes of one's own, and objects that processes share: what Python's `multiprocessing` has, for async
//! code and for workers.
//!
//! - [`Process`] runs one function in a process of its own, which ends when the function returns.
//!   [`active_children`] tells which of this program's are running, [`join_all`] waits for them.
//! - [`Queue`] and [`JoinableQueue`]: items from many processes to many;
//! - [`pipe`]: two connected ends, each a [`Connection`];
//! - [`Lock`], [`RLock`], [`Condition`], [`Event`], [`Semaphore`], [`BoundedSemaphore`], [`Barrier`];
//! - [`SharedMemory`]: bytes; [`Value`] and [`Array`]: plain data with its lock.
//!
//! Each has async methods for the service, and `blocking_` twins for threads and for tasks in worker
//! processes. Each can be an argument of a task, an initializer or a [`Process`], an item of a [`Queue`], and
//! sent by a [`Connection`]; serializing it for anything else is an error that says so.
//!
//! ```no_run
//! use concurrent_futures::multiprocessing::{Lock, Queue};
//! use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
//!
//! fn square(queue: Queue<u64>, lock: Lock, x: u64) {
//!     let _printing = lock.blocking_lock(); // One process at a time, also if another is killed here.
//!     println!("squaring {x}");
//!     queue.blocking_put(x * x).expect("there is memory");
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = ProcessPoolExecutor::new()?;
//! let (queue, lock) = (Queue::unbounded()?, Lock::new()?);
//! pool.submit(square, (queue.clone(), lock, 12)).await?;
//! assert_eq!(queue.get().await?, 144);
//! # Ok(()) }
//! ```
//!
//! Nothing here has a helper or a server, nor a name, unless asked for: an object is memory and a few
//! descriptors, which travel with it and which the kernel counts. When the last process that has them has
//! gone, however it went, so has the object. No process that is killed keeps a lock, a permit or a place:
//! who waits watches who holds.

// Reading order: `word` (who holds a lock, and whether somebody waits), `bell` (what wakes who waits),
// `waiter` (waiting for it, or for the end of a process), `wait` (looking in between), `changes` (whether
// there is something new to look at), `robust` (a lock in shared memory that no killed process keeps, and
// waiting for what it guards), `shared` (memory and bell as they travel); `lock`, `rlock`, `condition`,
// `event`; `slot` and `permits` (permits that no killed process keeps), `semaphore`, `bounded_semaphore`;
// `meeting` (who has come to a barrier), `barrier`; `item` (encoded, on its way), `linger` (a short wait
// before a long one), `queue`, `pipe`; `shared_memory`, `locked` (memory with a lock), `value`, `array`;
// `process`.

mod array;
mod barrier;
mod bell;
mod bounded_semaphore;
mod changes;
mod condition;
mod event;
mod item;
mod linger;
mod lock;
mod locked;
mod meeting;
mod permits;
mod pipe;
mod process;
mod queue;
mod rlock;
mod robust;
mod semaphore;
mod shared;
mod shared_memory;
mod slot;
mod value;
mod wait;
mod waiter;
mod word;

pub use self::array::{Array, ArrayGuard};
pub use self::barrier::{Barrier, BarrierWaitResult, BrokenBarrier};
pub use self::bounded_semaphore::BoundedSemaphore;
pub use self::condition::Condition;
pub use self::event::Event;
pub use self::lock::{Lock, LockGuard};
pub use self::pipe::{Connection, ConnectionError, SendError, pipe};
pub use self::process::{
    ActiveChild, Process, ProcessBuilder, SpawnError, Stdio, active_children, blocking_join_all,
    join_all,
};
pub use self::queue::{JoinableQueue, PutError, Queue, QueueError};
pub use self::rlock::{RLock, RLockGuard};
pub use self::semaphore::{Semaphore, SemaphorePermit};
pub use self::shared_memory::SharedMemory;
pub use self::value::{Value, ValueGuard};

/// What the words are made of; a test puts something else in its place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}
