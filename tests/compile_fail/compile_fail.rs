//! What the compiler says to a call that cannot work. The messages differ from one compiler to
//! the next, so they are compared only on the version they were recorded with; that the correct
//! calls compile is checked on all.
//!
//! To record them anew: set `RECORDED_WITH`, and run with `TRYBUILD=overwrite`.

use std::process::Command;

const RECORDED_WITH: &str = "rustc 1.95.";

#[test]
fn a_wrong_call_is_told_what_is_wrong() {
    let cases = trybuild::TestCases::new();
    // A case that passes also makes trybuild build the others rather than only check them: what
    // a closure captures is known no earlier.
    cases.pass("cases/correct_calls.rs");
    if compiler().starts_with(RECORDED_WITH) {
        cases.compile_fail("cases/wrong_*.rs");
    }
}

fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("--version")
        .output()
        .expect("the compiler that built this test is there");
    String::from_utf8(output.stdout).expect("a version is text")
}
