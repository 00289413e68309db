//! Registers a descriptor with the current tokio runtime, which then reports when it is ready.

use std::fmt::Debug;
use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::readiness::{Direction, wait_ready};

/// An owner of a descriptor that neither replaces nor closes it before it is dropped. Only this file implements it.
pub(crate) trait StableFd: AsRawFd + Debug + Send + Sync + 'static {}

impl StableFd for PipeReader {}
impl StableFd for OwnedFd {}
impl StableFd for Arc<OwnedFd> {}
impl StableFd for UnixStream {}
impl StableFd for Arc<UnixStream> {}

/// Whether the descriptor is ready now.
pub(crate) fn is_ready<T: StableFd>(fd: &T, way: Direction) -> bool {
    // SAFETY: a `StableFd` keeps its descriptor open while it lives.
    let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
    wait_ready(fd, way, None, Some(Instant::now()))
}

/// Registers the descriptor with the current runtime, for one direction. A failure returns it. The error has a system
/// error code if the system refused it, and none if the runtime has ended.
///
/// # Panics
/// Outside of a tokio runtime, or in one without an I/O driver.
pub(crate) fn register<T: StableFd>(fd: T, way: Direction) -> Result<AsyncFd<T>, (T, io::Error)> {
    let interest = match way {
        Direction::In => Interest::READABLE,
        Direction::Out => Interest::WRITABLE,
    };
    // SAFETY: a `StableFd` keeps its descriptor open and the same until it is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
    registered.map_err(|error| error.into_parts())
}

/// Registers some descriptor with the current runtime, and removes it again.
///
/// # Panics
/// Outside of a tokio runtime, or in one without an I/O driver.
pub(crate) fn probe_events() {
    if let Ok(fd) = super::eventfd() {
        let _ = register(fd, Direction::In);
    }
}
