//! Locks and permits that survive the death of their holder. Reading order:
//!
//! - [`word`]: the word of a lock; [`slot`]: the word of a permit; [`readers`]: the words of a read-write lock. Each
//!   file draws the steps of its word;
//! - [`lock`]: a lock in shared memory; [`wait_until`]: waiting for a change of what it guards;
//! - [`shared`]: memory and bell of one object, as they travel to another process;
//! - [`permits`]: a semaphore's permits; [`collect`]: several of them at once;
//! - [`rw`]: a read-write lock, with its gate and its waits.
//!
//! Two rules hold for everything in shared memory:
//!
//! - **Ring first.** A process that changes more than one word takes the lock, rings, changes, and commits by one
//!   atomic store. The waiters take the lock before they check. So a process that is killed anywhere leaves the old
//!   state or the new one, and every waiter checks it.
//! - **A word names its owner.** A holder writes its process identity (process id and start time) into the word. A
//!   release changes the word only if it holds the caller's own identity. So a forked child, which finds its parent's
//!   guards in its memory, releases nothing.

pub(crate) mod collect;
pub(crate) mod lock;
pub(crate) mod permits;
pub(crate) mod readers;
pub(crate) mod rw;
pub(crate) mod shared;
pub(crate) mod slot;
mod two;
pub(crate) mod wait_until;
pub(crate) mod word;

use super::atomic;
use super::waiting::mark;
