//! Runs a test alone in its process, because it counts the process's resources, or changes state that all
//! threads share.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};

use super::again::{is_alone, start};

/// Runs `body`, the rest of the test called `test`, in its own process: this executable, started again for
/// that test only.
pub(crate) fn alone<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    let executable = std::env::current_exe().expect("this executable");
    alone_as(&executable, test, body);
}

/// As `alone`, with another file that has the same content as this executable.
pub(crate) fn alone_as<F: Future<Output = ()>>(
    executable: &Path,
    test: &str,
    body: impl FnOnce() -> F,
) {
    if !is_alone(test) {
        return start(executable, test);
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async { body().await });
}

/// The children of this process that it has not reaped, including zombies.
pub(crate) fn children() -> Vec<u32> {
    let own = std::process::id().to_string();
    let is_child = |entry: &fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // pid (name) state parent ...
        let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest);
        after_name.and_then(|rest| rest.split(' ').nth(1)) == Some(&own)
    };
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let children = processes.filter(is_child);
    children
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The descriptors of this process, with their targets.
pub(crate) fn descriptors() -> Vec<(i32, PathBuf)> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc").flatten();
    let described = entries.filter_map(|entry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        Some((fd, fs::read_link(entry.path()).ok()?))
    });
    // The list contains the directory that was just read, which is closed now.
    described
        .filter(|(_, target)| !target.starts_with("/proc"))
        .collect()
}
