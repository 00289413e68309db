//! What a process that is forked without this crate may do with its parent's shared objects.

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
fn a_wait_that_a_fork_drops_still_wakes_its_parent() {
    try_it("waits");
}

#[test]
fn a_fork_is_not_behind_the_waiting_tasks_of_its_parent() {
    try_it("turns");
}

#[test]
fn a_fork_waits_for_no_lock_that_another_thread_of_its_parent_held() {
    try_it("threads");
}

#[test]
fn a_copied_guard_does_not_release_a_lock_that_the_fork_took_itself() {
    try_it("later");
}
