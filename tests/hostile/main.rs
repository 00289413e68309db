//! Hostile tasks: each finds the memory and the descriptors that its worker shares with the parent, and writes
//! arbitrary data. It loses its own outcome, and affects no other task.
//!
//! - [`inside`]: how such a task finds its worker's resources;
//! - [`trial`]: a pool with honest tasks, and the checks at the end;
//! - the others have the trials, by theme: [`ahead`], [`announcements`], [`before_ready`], [`claims`], [`clocks`],
//!   [`floods`]; [`forkserver`]: a preload that answers for its fork server; [`memory`]: the memory of other processes;
//!   [`objects`]: shared objects; [`outcome`]: a `Process`.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "../common/again.rs"]
mod again;
mod ahead;
#[path = "../common/alone.rs"]
mod alone;
mod announcements;
mod before_ready;
mod claims;
mod clocks;
#[path = "../common/mod.rs"]
mod common;
mod floods;
mod forkserver;
mod inside;
mod memory;
#[path = "../common/methods.rs"]
mod methods;
#[path = "../common/nobody.rs"]
mod nobody;
mod objects;
mod outcome;
mod trial;

concurrent_futures::init_before_main!();
