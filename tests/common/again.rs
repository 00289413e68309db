//! Runs one test in its own process: an executable of tests, started again for that test only.

use std::path::Path;
use std::process::Command;

/// The environment variable that names the test of a process.
pub(crate) const ALONE: &str = "CONCURRENT_FUTURES_TEST_ALONE";

/// Whether this process was started for that test.
pub(crate) fn is_alone(test: &str) -> bool {
    std::env::var_os(ALONE).is_some_and(|alone| alone == test)
}

/// Starts an executable of tests for one test.
#[allow(dead_code, reason = "one test starts a command of its own")]
pub(crate) fn start(executable: &Path, test: &str) {
    run(&mut Command::new(executable), test);
}

/// Runs one test by a command that starts an executable of tests.
pub(crate) fn run(command: &mut Command, test: &str) {
    let command = command.args(["--exact", test, "--nocapture"]);
    let output = command.env(ALONE, test).output().expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // If a fork returned to the test, the test would be reported once more.
    let passed = output.status.success() && stdout.matches("1 passed").count() == 1;
    assert!(passed, "{}\n{stdout}\n{stderr}", output.status);
}
