//! A function in a process of its own: its result, its surroundings, how it ends, and what remains.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

mod active;
#[path = "../common/again.rs"]
mod again;
#[path = "../common/alone.rs"]
mod alone;
mod around;
#[path = "../common/mod.rs"]
mod common;
mod ends;
mod inside;
mod joins;
#[path = "../common/methods.rs"]
mod methods;
mod objects;
mod outcomes;
mod preloads;
mod reaping;
mod refused;
mod starts;

use std::fs;

use concurrent_futures::StartMethod;
use concurrent_futures::multiprocessing::{Process, ProcessBuilder};
use rustix::process::{Pid, Signal, kill_process};

use self::alone::{children, descriptors};
use self::common::Key;
use self::methods::test_of;

concurrent_futures::init_before_main!();

fn builder(method: StartMethod) -> ProcessBuilder {
    Process::builder().start_method(method)
}

/// The name of the test of a promise in that module of this file.
fn test_in(module: &str, method: StartMethod, promise: &str) -> String {
    format!("{module}::{}", test_of(method, promise))
}

fn wait_at(gate: Key) {
    gate.wait();
}

fn pass_two(first: Key, second: Key) {
    first.wait();
    second.wait();
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid");
    kill_process(pid, signal).expect("it is there");
}

/// Whether the process exists, perhaps as a zombie.
fn is_there(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).expect("/proc")
}

/// Runs `work` on a thread that may block.
fn in_a_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(work).join().expect("no panic"))
}

/// How many processes and descriptors there are besides a fork server.
fn left() -> (usize, usize) {
    (children().len(), descriptors().len())
}

/// Whether the process exists and has not ended.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}
