//! A cluster with broken connections, stopped or killed programs, full streams, other builds, wrong clocks and hostile
//! clients. Each task has one outcome, nothing hangs, and the servers keep nothing longer than its time to live.

mod builds;
mod clocks;
mod common;
mod cuts;
mod full;
mod hostile;
mod killed;
mod permissions;
#[allow(dead_code, reason = "the tests of the worker use the rest")]
#[path = "../program/mod.rs"]
mod program;

concurrent_futures::init_before_main!();

/// The worker program of a test.
#[test]
fn worker_program() {
    program::serve();
}

/// The client program of a test.
#[test]
fn client_program() {
    killed::submit();
}
