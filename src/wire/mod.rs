//! The data that a parent and its child processes exchange. No code here acts on it. Reading order:
//!
//! - `chain`: outgoing bytes in pieces, and incoming bytes;
//! - [`codec`]: values to bytes and back; [`msgpack`]: values that are not plain bytes;
//! - `shape`: how the codec writes a type, as a name;
//! - [`descriptors`]: file descriptors beside the bytes; [`kept`]: what a worker decodes once;
//! - [`frame`]: bytes cut into frames; [`frame_buffer`]: frames of a process that is not trusted;
//! - [`identity`]: the first message in each direction, which is the same in every build;
//! - `declare`: how a type becomes a message;
//! - [`message`]: the messages of parent and worker; [`text`]: how long a text in one may be;
//! - [`outcomes`]: how a worker reports the outcomes of items;
//! - `event`: an event that a task logs; [`level`]: how important it is;
//! - [`mark`]: which task writes to a worker's stdout or stderr;
//! - [`process_setup`]: what a process that runs one function receives, and its outcome;
//! - [`confinement`]: the rights that a process gives up;
//! - [`forkserver`]: the requests to a fork server, and its answers; [`surroundings`]: the environment of the processes
//!   that it forks;
//! - [`claim`]: which process may run which item; [`page`]: the memory that a worker shares with its parent;
//! - [`ring`]: large payloads through that memory; [`bulk`]: which pieces those are; [`spare`]: their buffer.

pub(crate) mod bulk;
mod chain;
pub(crate) mod claim;
pub(crate) mod codec;
pub(crate) mod confinement;
pub(crate) mod declare;
pub(crate) mod descriptors;
#[cfg(feature = "tracing")]
pub(crate) mod event;
pub(crate) mod forkserver;
pub(crate) mod frame;
pub(crate) mod frame_buffer;
pub(crate) mod identity;
pub(crate) mod kept;
pub(crate) mod level;
pub(crate) mod mark;
pub(crate) mod message;
mod msgpack;
pub(crate) mod outcomes;
pub(crate) mod page;
#[cfg_attr(
    not(feature = "multiprocessing"),
    allow(dead_code, reason = "a parent that sends one is in `multiprocessing`")
)]
pub(crate) mod process_setup;
pub(crate) mod ring;
#[cfg(feature = "cluster")]
pub(crate) mod shape;
pub(crate) mod spare;
pub(crate) mod surroundings;
pub(crate) mod text;

pub(crate) use chain::{Chain, Payload, Reader};
pub(crate) use codec::CodecError;
use declare::message;

message! {
    /// A function in a message: its distance in bytes from the anchor. [`function`](crate::function)
    /// computes and resolves it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct FunctionOffset(pub(crate) i64);
}

/// The atomics of [`claim`]. A test that explores the orders of steps replaces them.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

/// A job has fewer items than this: the shared page stores an item's number in 24 bits.
pub(crate) const MOST_ITEMS: u32 = 1 << 24;
