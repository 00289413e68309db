//! Queues between processes: each accepted item is delivered once. A process that is killed at any point blocks no
//! other.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "../common/again.rs"]
mod again;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../common/alone.rs"]
mod alone;
mod basics;
#[path = "../common/mod.rs"]
mod common;
mod ends;
mod joinable;
mod objects;
mod unsent;
#[path = "../common/values.rs"]
mod values;
mod waits;

use std::time::Duration;

use concurrent_futures::ProcessPoolExecutor;
use rustix::process::{Pid, Signal, kill_process};

concurrent_futures::init_before_main!();

/// How long a blocking method may wait for an item that is certain to arrive.
const TIME_LIMIT: Duration = Duration::from_secs(30);

fn pool(workers: usize) -> ProcessPoolExecutor {
    ProcessPoolExecutor::with_workers(workers).expect("the settings are valid")
}

/// Sends a signal to a process that this test started. It may have ended by itself.
fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a process id");
    let _ = kill_process(pid, signal);
}
