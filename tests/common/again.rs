//! A test in a process of its own: an executable of tests, started again for it only.

use std::path::Path;
use std::process::Command;

/// Tells the process that it is the one.
const ALONE: &str = "CONCURRENT_FUTURES_TEST_ALONE";

/// Whether this process was started for that test.
pub(crate) fn is_alone(test: &str) -> bool {
    std::env::var_os(ALONE).is_some_and(|alone| alone == test)
}

/// Starts an executable of tests for one of them.
#[allow(dead_code, reason = "one test starts a command of its own")]
pub(crate) fn start(executable: &Path, test: &str) {
    run(&mut Command::new(executable), test);
}

/// Lets a command that starts an executable of tests run one of them.
pub(crate) fn run(command: &mut Command, test: &str) {
    let command = command.args(["--exact", test, "--nocapture"]);
    let output = command.env(ALONE, test).output().expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let passed = output.status.success() && stdout.contains("1 passed");
    assert!(passed, "{}\n{stdout}\n{stderr}", output.status);
}
