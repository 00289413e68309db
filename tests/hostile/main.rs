//! Tasks that take over their worker: each finds the memory and the descriptors that the worker shares with its
//! parent, and writes what it likes. It loses its own outcome, and harms no other task.
//!
//! - [`inside`]: what such a task finds of its worker;
//! - [`trial`]: a pool with honest tasks, and what must be true at the end;
//! - the others have the trials, by theme: [`claims`], [`objects`], [`outcome`].

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "../common/again.rs"]
mod again;
mod claims;
#[path = "../common/mod.rs"]
mod common;
mod inside;
#[path = "../common/methods.rs"]
mod methods;
#[cfg(feature = "multiprocessing")]
mod objects;
#[cfg(feature = "multiprocessing")]
mod outcome;
mod trial;

concurrent_futures::init_before_main!();
