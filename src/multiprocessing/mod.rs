//! Objects that processes share. Reading order:
//!
//! - [`word`]: who holds a lock, and whether somebody waits; [`bell`]: what wakes who waits;
//!   [`vigil`]: waiting for it, or for the end of a process; [`wait`]: looking in between;
//! - [`robust`]: a lock in shared memory that no killed process keeps, and waiting for what it guards;
//!   [`shared`]: memory and bell as they travel;
//! - [`lock`], [`rlock`], [`condition`], [`event`]: what users hold;
//! - [`slot`], [`permits`]: permits that no killed process keeps; [`semaphore`], [`bounded_semaphore`];
//! - [`meeting`]: who has come to a barrier; [`barrier`];
//! - [`queue`]: [`Queue`] and [`JoinableQueue`];
//! - [`shared_memory`]: bytes; [`locked`]: memory with a lock; [`value`] and [`array`]: values in it.
//!
//! Nothing here has a name, unless asked for, a helper or a server: an object is memory and a few
//! descriptors, which travel with it and which the kernel counts. When the last process that has them has
//! gone, however it went, so has the object.

mod array;
mod barrier;
mod bell;
mod bounded_semaphore;
mod condition;
mod event;
mod lock;
mod locked;
mod meeting;
mod permits;
mod queue;
mod rlock;
mod robust;
mod semaphore;
mod shared;
mod shared_memory;
mod slot;
mod value;
mod vigil;
mod wait;
mod word;

pub use self::array::{Array, ArrayGuard};
pub use self::barrier::{Barrier, BarrierWaitResult, BrokenBarrier};
pub use self::bounded_semaphore::BoundedSemaphore;
pub use self::condition::Condition;
pub use self::event::Event;
pub use self::lock::{Lock, LockGuard};
pub use self::queue::{JoinableQueue, PutError, Queue, QueueError};
pub use self::rlock::{RLock, RLockGuard};
pub use self::semaphore::{Semaphore, SemaphorePermit};
pub use self::shared_memory::SharedMemory;
pub use self::value::{Value, ValueGuard};

/// What the words are made of; a test puts something else in its place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}
