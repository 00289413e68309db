//! A stress test on every start method: runs the example `soak` for a short while.
//!
//! `CHAOS_SEED` sets the seed, `CHAOS_SECONDS` the duration.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::process::Command;

#[test]
fn whatever_is_killed_each_task_has_one_outcome_and_runs_as_often_as_it_may() {
    let seconds = std::env::var("CHAOS_SECONDS").unwrap_or_else(|_| "8".to_owned());
    let mut soak = Command::new(example("soak"));
    soak.args(["--seconds", &seconds])
        .env("RUST_BACKTRACE", "0");
    if let Ok(seed) = std::env::var("CHAOS_SEED") {
        soak.args(["--seed", &seed]);
    }
    let output = soak.output().expect("`cargo build --examples` builds it");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    println!("{stdout}");
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for method in ["Spawn", "ForkServer", "Fork"] {
        assert!(stdout.contains(&format!("{method}: ")), "{stdout}");
    }
    assert!(stdout.contains("all as promised"), "{stdout}");
}

/// Cargo puts tests into `deps`, and examples into a folder beside it.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it lies");
    let profile = test.ancestors().nth(2).expect("it lies in `deps`");
    profile.join("examples").join(name)
}
