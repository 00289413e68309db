//! What a client of a cluster promises, with workers in this program and a real server.

mod calls;
mod cancel;
mod common;
mod end;
mod faults;
#[allow(dead_code, reason = "the tests of the worker use the rest")]
#[path = "../program/mod.rs"]
mod program;
mod reattach;
mod records;
mod refusals;

concurrent_futures::init_before_main!();

/// The worker program of a test.
#[test]
fn worker_program() {
    program::serve();
}
