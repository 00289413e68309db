//! Processes that run one function, and objects that processes share: the counterpart of Python's
//! `multiprocessing`, for async code and for worker processes.
//!
//! - [`Process`] runs one function in a process of its own, which ends when the function returns. A [`ProcessBuilder`]
//!   configures it, and its streams by [`Stdio`]; a [`SpawnError`] says why it does not start.
//! - [`active_children`] lists the running processes of this program, each an [`ActiveChild`]; [`join_all`] and
//!   [`blocking_join_all`] wait for them. Inside, [`current_process`] and [`parent_process`] say which process this is,
//!   and which has started it: a [`CurrentProcess`] and a [`ParentProcess`].
//! - [`Queue`] and [`JoinableQueue`] carry items from many processes to many. A queue split into [`Putter`] and
//!   [`Getter`] ends with its last putter. A [`Receipt`] names a taken item. The errors are [`QueueError`] and
//!   [`PutError`].
//! - [`pipe()`] creates two connected ends, each a [`Connection`]. The errors are [`ConnectionError`] and
//!   [`SendError`].
//! - [`Unsent`] returns a value that was not sent: it is the type of [`PutError`] and [`SendError`].
//! - [`Fd`] sends an open file to another process.
//! - [`Listener`] and [`Client`] connect unrelated programs of the same user, by a path and a key. A
//!   [`ListenerBuilder`] configures a listener; a [`ConnectError`] says why there is no connection.
//! - [`Lock`], [`RLock`], [`RwLock`], [`Condition`], [`Event`], [`Semaphore`], [`BoundedSemaphore`] and [`Barrier`]
//!   synchronize. Their guards are [`LockGuard`], [`RLockGuard`], [`RwLockReadGuard`], [`RwLockWriteGuard`] and
//!   [`SemaphorePermit`]. A wait for a condition returns a [`WaitTimeoutResult`], and one at a barrier a
//!   [`BarrierWaitResult`] or [`BrokenBarrier`].
//! - [`SharedMemory`] shares bytes.
//! - [`Value`] and [`Array`] share [`PlainData`] with a lock, which a [`ValueGuard`] or an [`ArrayGuard`] holds.
//! - [`Atomic`] shares an [`AtomicNumber`] without a lock: [`AtomicI8`], [`AtomicI16`], [`AtomicI32`], [`AtomicI64`],
//!   [`AtomicIsize`], [`AtomicU8`], [`AtomicU16`], [`AtomicU32`], [`AtomicU64`] and [`AtomicUsize`]. [`AtomicBool`]
//!   shares a flag.
//!
//! Each has async methods, and `blocking_` twins for threads and for tasks in worker processes. Each can be an
//! argument of a task, an initializer or a [`Process`], an item of a [`Queue`], and a value sent through a
//! [`Connection`]. Serializing one for anything else is an error.
//!
//! ```no_run
//! use concurrent_futures::multiprocessing::{Lock, Queue};
//! use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
//!
//! fn square(queue: Queue<u64>, lock: Lock, x: u64) {
//!     let _printing = lock.blocking_lock(); // One process at a time, even if another is killed here.
//!     println!("squaring {x}");
//!     queue.blocking_put(x * x).expect("the queue accepts it");
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
//! There is no helper process, no server and, unless you choose one, no name. An object is memory and a few
//! descriptors, which travel with it and which the kernel counts. A process that receives an object again has one more
//! handle to the same object, and no more descriptors. The object is freed when the last process that has it drops it
//! or ends. A killed process never keeps a lock, a permit or a place: the waiters watch the holders.
//!
//! # Turns
//! Tasks of one runtime that wait for the same lock, permit or item take turns, first come first served. So do the
//! threads of one process. Between runtimes and between processes, the first that finds the object free takes it.
//!
//! A `blocking_` method panics on a thread that drives async code, even if it need not wait. A task in a worker process
//! runs on a thread that may block.
//!
//! One task of a runtime may listen for all tasks that wait for the same object. So poll a future that has started to
//! wait, or drop it: as with tokio's `Mutex`, a future that is kept and not polled may hold up the others of its
//! runtime.
//!
//! # Forks
//! A process that is forked by other means than this crate has its parent's handles. It can use them by the `blocking_`
//! methods and by those that never wait. It does not hold what its parent holds: its copies of guards, permits and
//! futures release and write nothing when they are dropped. It must not use a copied [`ArrayGuard`].
//!
//! # Hostile processes
//! An object trusts every process that has it. A process that was taken over can keep a lock for as long as it lives,
//! release what others hold, wake waiters needlessly, change values, lose or invent items, and end queues. It cannot
//! do more to the others:
//!
//! - Only methods whose names begin with `blocking_` block a thread. A task that waits lets other tasks run. A method
//!   with a timeout returns.
//! - No access to an object raises a signal: memory is mapped only if no process can shorten it.
//! - A received item has at most 1 GiB, and takes memory in proportion to what its sender has spent on it.
//! - A received object is checked: the kind of each descriptor, and the seals, the size and the memory of each file.
//!   Anything else in its place is an error of the receive.
//!
//! What is left to a hostile process:
//!
//! - It can write to an [`Array`] while another process holds the lock, which is undefined behaviour there. A [`Value`]
//!   and a [`SharedMemory`] are copied and do not have this problem.
//! - It can fill an [`Event`] between two steps of another process's `set`, which then blocks. By asynchronous I/O of
//!   the kernel it can fill an eventfd so far that a wake-up blocks.
//! - It can free pages of shared memory. The next access allocates them again, which fails like any lack of memory.
//! - Closing a descriptor that it sent may block, as with a socket that lingers.
//!
//! # Platform
//! Linux.

// Reading order: `known` (recognises an object that arrives again), `waiting` (wakes and waits across processes),
// `robust` (locks and permits that survive the death of their holder), `handle` (what every handle has), `locks`,
// `error` (why a value was not transferred), `item` (an encoded item in transit), `queue`, `pipe`, `listener` (pipes by
// a path), `fd` (open files), `memory`, `process`. Each folder's `mod.rs` has its rules. A folder imports only folders
// before it.

mod error;
#[cfg(unix)]
mod fd;
mod handle;
mod item;
mod known;
mod listener;
mod locks;
mod memory;
mod pipe;
mod process;
mod queue;
mod robust;
mod waiting;

pub use self::error::Unsent;
#[cfg(unix)]
pub use self::fd::Fd;
pub use self::listener::{Client, ConnectError, Listener, ListenerBuilder};
pub use self::locks::{
    Barrier, BarrierWaitResult, BoundedSemaphore, BrokenBarrier, Condition, Event, Lock, LockGuard,
    RLock, RLockGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, SemaphorePermit,
    WaitTimeoutResult,
};
pub use self::memory::{
    Array, ArrayGuard, Atomic, AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize,
    AtomicNumber, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, PlainData, SharedMemory,
    Value, ValueGuard,
};
pub use self::pipe::{Connection, ConnectionError, SendError, pipe};
pub use self::process::{
    ActiveChild, CurrentProcess, ParentProcess, Process, ProcessBuilder, SpawnError, Stdio,
    active_children, blocking_join_all, current_process, join_all, parent_process,
};
pub use self::queue::{Getter, JoinableQueue, PutError, Putter, Queue, QueueError, Receipt};

/// The atomics of the shared words; a loom test replaces them.
mod atomic {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
}

#[cfg(all(test, target_os = "linux", properties))]
#[path = "../../tests/properties/multiprocessing/objects.rs"]
mod properties;
