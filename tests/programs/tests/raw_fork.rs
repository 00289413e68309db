//! What a process that is forked without this crate may do with the shared objects of its parent.

#![cfg(target_os = "linux")]

use std::process::Command;

fn try_it(what: &str) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_raw_fork"));
    let output = program.arg(what).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
}

#[test]
fn guards_that_a_fork_has_copied_release_and_write_nothing() {
    try_it("guards");
}

#[test]
fn a_fork_waits_for_its_parent_with_and_without_a_timeout() {
    try_it("timeouts");
}

#[test]
fn what_a_fork_drops_still_wakes_its_parent() {
    try_it("waits");
}

#[test]
fn a_fork_is_not_behind_the_waiting_tasks_of_its_parent() {
    try_it("turns");
}

#[test]
fn a_fork_uses_a_queue_that_another_thread_of_its_parent_was_using() {
    try_it("threads");
}

#[test]
fn what_a_fork_takes_itself_is_not_released_by_a_guard_that_it_has_copied() {
    try_it("later");
}
