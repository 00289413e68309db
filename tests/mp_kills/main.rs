//! Locks, permits, events, conditions, barriers, memory, queues and pipes under load, in several processes and several
//! tasks of the service, while one process after another is killed at any point. No other process hangs, no two hold
//! the same thing, a dead process's share is released, and nothing is left.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "../common/again.rs"]
mod again;
#[path = "../common/alone.rs"]
mod alone;
mod barrier;
mod board;
mod carriers;
mod carrying;
#[path = "../common/mod.rs"]
mod common;
mod crew;
mod exclusion;
mod memory;
mod permits;
mod reading;
mod waits;

concurrent_futures::init_before_main!();
