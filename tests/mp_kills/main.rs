//! Locks, permits, events, conditions, barriers and memory under load, in several processes and several tasks
//! of the service, while one process after the other is killed at some point: nobody else hangs, nobody
//! has what another has, what the dead had comes back, and nothing is left of any of it.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "../common/again.rs"]
mod again;
#[path = "../common/alone.rs"]
mod alone;
mod barrier;
mod board;
#[path = "../common/mod.rs"]
mod common;
mod crew;
mod exclusion;
mod memory;
mod permits;
mod waits;

concurrent_futures::init_before_main!();
