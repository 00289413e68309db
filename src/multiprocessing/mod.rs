//! Objects that processes share. Reading order:
//!
//! - [`word`]: who holds a lock, and whether somebody waits; [`bell`]: what wakes who waits;
//!   [`vigil`]: waiting for it, or for the end of a process;
//! - [`robust`]: a lock in shared memory that no killed process keeps, and waiting for what it guards;
//! - [`queue`]: [`Queue`] and [`JoinableQueue`].
//! - [`shared_memory`]: bytes; [`locked`]: memory with a lock; [`value`] and [`array`]: values in it.
//!
//! Nothing here has a name, unless asked for, a helper or a server: an object is memory and a few
//! descriptors, which travel with it and which the kernel counts. When the last process that has them has
//! gone, however it went, so has the object.

mod array;
mod bell;
mod locked;
mod queue;
mod robust;
mod shared_memory;
mod value;
mod vigil;
mod word;

pub use self::array::{Array, ArrayGuard};
pub use self::queue::{JoinableQueue, PutError, Queue, QueueError};
pub use self::shared_memory::SharedMemory;
pub use self::value::{Value, ValueGuard};

/// What the words of a lock are made of; a test puts something else in its place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}
