//! Runs a test in a process of an ordinary user, not of root.

use std::future::Future;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::again::run;
use super::alone::alone;

/// The id of the user `nobody`.
const NOBODY: u32 = 65_534;

/// As `alone`, in a process of an ordinary user.
pub(crate) fn alone_as_nobody<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    if !rustix::process::geteuid().is_root() {
        return alone(test, body);
    }
    // Not by its path, because the user may not be able to enter all of its directories.
    let mut command = Command::new("/proc/self/exe");
    run(command.uid(NOBODY).gid(NOBODY), test);
}
