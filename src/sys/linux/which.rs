//! Identifies the eventfd or socket of a descriptor. Until its last descriptor is closed, no other has the same number.

use std::os::fd::{AsFd, AsRawFd as _};

use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt;

/// The number of an eventfd. `None` for anything else, and if `/proc` cannot be read.
pub(crate) fn eventfd_identity(fd: impl AsFd) -> Option<u64> {
    // All eventfds have the same inode, so only this file distinguishes them.
    let path = format!("/proc/thread-self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; 512]; // Twice the size of the content.
    let read = rustix::io::read(file, &mut text).ok()?;
    let mut lines = str::from_utf8(&text[..read]).ok()?.lines();
    let number = lines.find_map(|line| line.strip_prefix("eventfd-id:"))?;
    number.trim().parse().ok()
}

/// The number of a socket. `None` for anything else.
pub(crate) fn socket_identity(socket: impl AsFd) -> Option<u64> {
    sockopt::socket_cookie(socket).ok()
}
