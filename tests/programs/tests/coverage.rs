//! Coverage of code that runs in workers.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// Builds the program `covered` so that it writes profiles, in a separate target directory.
fn build() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("coverage");
    let mut command = Command::new(env!("CARGO"));
    command
        .args([
            "rustc",
            "--offline",
            "--quiet",
            "--package",
            "programs",
            "--bin",
            "covered",
        ])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
            "--target-dir",
        ])
        .arg(&target)
        .args(["--", "-C", "instrument-coverage"])
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    let output = command.output().expect("cargo");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("debug/covered")
}

/// The ids of the processes that have left a profile, and those that the program has printed.
fn profiles_and_ids(program: &PathBuf, name: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).expect("it is not there");
    let pattern = folder.join("%p.profraw");
    // Its output ends when the last process that has it open ends.
    let output = Command::new(program)
        .env("LLVM_PROFILE_FILE", pattern)
        .output();
    let output = output.expect("it starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let ids = String::from_utf8_lossy(&output.stdout);
    let files = std::fs::read_dir(&folder)
        .expect("it is there")
        .map(|file| {
            let file = file.expect("a file");
            assert!(file.metadata().expect("a file").len() > 0, "{file:?}");
            let name = file.file_name().into_string().expect("a number");
            name.strip_suffix(".profraw").expect("a profile").to_owned()
        });
    (files.collect(), ids.lines().map(str::to_owned).collect())
}

#[test]
fn each_process_that_ends_in_an_orderly_way_leaves_a_profile_of_its_own() {
    let program = build();
    let (profiles, ids) = profiles_and_ids(&program, "profiles");
    assert_eq!(
        ids.len(),
        7,
        "a program, and a worker and a process by each method: {ids:?}"
    );
    let missing: Vec<_> = ids.difference(&profiles).collect();
    assert!(
        missing.is_empty(),
        "{missing:?} of {ids:?} left no profile, but {profiles:?} did"
    );
    // In addition, the three fork servers: of two pools, and of the program.
    assert_eq!(
        profiles.len(),
        ids.len() + 3,
        "{profiles:?}, of which known: {ids:?}"
    );
}
