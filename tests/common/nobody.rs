//! For a test whose process must not be root's.

use std::future::Future;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::again::run;
use super::alone::alone;

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

/// As `alone`, in a process that is not root's.
pub(crate) fn alone_as_nobody<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    if !rustix::process::geteuid().is_root() {
        return alone(test, body);
    }
    // Not by its path, which may lead through directories of root's.
    let mut command = Command::new("/proc/self/exe");
    run(command.uid(NOBODY).gid(NOBODY), test);
}
