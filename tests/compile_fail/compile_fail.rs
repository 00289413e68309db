//! What the compiler reports for a call that cannot work. Each version of the compiler has its own messages, so the
//! test compares them with one version only. It checks with every version that the correct calls compile.
//!
//! To record the messages again, set `RECORDED_WITH`, and run the test with `TRYBUILD=overwrite`.

#[path = "../common/again.rs"]
mod again;

use std::env;
use std::process::Command;

const RECORDED_WITH: &str = "rustc 1.95.";

#[test]
fn a_wrong_call_fails_to_compile_with_a_clear_message() {
    // The cases are a separate build, which needs no debug information.
    let test = "a_wrong_call_fails_to_compile_with_a_clear_message";
    if !again::is_alone(test) {
        let mut command = Command::new(env::current_exe().expect("this executable"));
        return again::run(command.env("CARGO_PROFILE_DEV_DEBUG", "0"), test);
    }
    let cases = trybuild::TestCases::new();
    // A case that passes also makes trybuild build the others rather than only check them: only a build finds what a
    // closure captures.
    cases.pass("cases/correct_calls.rs");
    if compiler().starts_with(RECORDED_WITH) {
        cases.compile_fail("cases/wrong_*.rs");
    }
}

fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("--version")
        .output()
        .expect("the compiler that built this test is there");
    String::from_utf8(output.stdout).expect("a version is text")
}
