//! What Python's `multiprocessing` is to Python: processes of one's own, and what they share.
//!
//! - [`Process`] runs one function in a process of its own, which ends when the function returns.
//!   [`active_children`] tells which of this program's are running, [`join_all`] waits for them.
//!
//! All of it is this executable, started again or forked, so [`init`](crate::init) has to be the first line of
//! `main`. What waits is an `async fn`; its twin that begins with `blocking_` is for synchronous code, such
//! as that of a task in a worker process.
//!
//! # Platform
//! Linux.

// Reading order: `process`.
mod process;

pub use self::process::{
    ActiveChild, Process, ProcessBuilder, SpawnError, Stdio, active_children, blocking_join_all,
    join_all,
};
