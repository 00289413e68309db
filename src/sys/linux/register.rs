//! Registers a descriptor with the current tokio runtime, which then reports when it is ready.

use std::fmt::Debug;
use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::call::named;
use super::readiness::Direction;

/// What owns a descriptor, and neither replaces nor closes it before it is dropped. Only this file implements it.
pub(crate) trait StableFd: AsRawFd + Debug + Send + Sync + 'static {}

impl StableFd for PipeReader {}
impl StableFd for OwnedFd {}
impl StableFd for Arc<OwnedFd> {}
impl StableFd for UnixStream {}
impl StableFd for Arc<UnixStream> {}

/// Registers it with the current runtime, for one direction. A failure returns it.
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
    registered.map_err(|error| {
        let (fd, error) = error.into_parts();
        (fd, named("epoll_ctl", error))
    })
}

/// Registers some descriptor with the current runtime, for an instant.
///
/// # Panics
/// Outside of a tokio runtime, or in one without an I/O driver.
pub(crate) fn probe_events() {
    if let Ok(fd) = super::eventfd() {
        let _ = register(fd, Direction::In);
    }
}
