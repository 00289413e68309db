//! What travels between the parent and its workers, and nothing that acts on it. Reading order:
//!
//! - `chain`: bytes on their way out, and bytes that came in;
//! - [`codec`]: values to bytes and back;
//! - [`descriptors`]: what travels beside the bytes;
//! - `event`: what a task has written to its log;
//! - [`frame`]: bytes cut into frames;
//! - [`message`]: what each frame says;
//! - [`outcomes`]: what a worker tells of the items that it has ended;
//! - [`mark`]: which task writes what is printed;
//! - [`process_setup`]: what a process that runs one function is told, and what it leaves;
//! - [`forkserver`]: what the process that forks others is asked, and answers;
//! - [`claim`]: who may run what, exactly; [`page`]: the memory that a worker shares with its parent;
//! - [`ring`]: large bytes through that memory; [`bulk`]: which those are; [`spare`]: where they go.

pub(crate) mod bulk;
mod chain;
pub(crate) mod claim;
pub(crate) mod codec;
pub(crate) mod descriptors;
#[cfg(feature = "tracing")]
pub(crate) mod event;
pub(crate) mod forkserver;
pub(crate) mod frame;
pub(crate) mod mark;
pub(crate) mod message;
pub(crate) mod outcomes;
pub(crate) mod page;
#[cfg_attr(
    not(feature = "multiprocessing"),
    allow(dead_code, reason = "a parent that sends one is in `multiprocessing`")
)]
pub(crate) mod process_setup;
pub(crate) mod ring;
pub(crate) mod spare;

pub(crate) use chain::{Chain, Payload, Reader};
pub(crate) use codec::CodecError;

/// What stands for a function in a message: its distance in bytes from a fixed one, which
/// [`function`](crate::function) measures and follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FunctionOffset(pub(crate) i64);

/// What [`claim`] is made of; a test puts something else in its place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

/// A job has fewer items than this: their number has 24 bits in the shared page.
pub(crate) const MOST_ITEMS: u32 = 1 << 24;
