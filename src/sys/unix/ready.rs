//! Waiting for one descriptor: in a runtime, or by blocking.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits until a descriptor can be read, has hung up, or stands for a process that has ended. Nothing is
/// changed about it: others may wait for it too.
pub(crate) async fn readable(watched: BorrowedFd<'_>) -> io::Result<()> {
    let watched = watched.try_clone_to_owned()?;
    // SAFETY: the descriptor is owned by what watches it, which nobody else has.
    let watched = unsafe { AsyncFd::register_with_interest(watched, Interest::READABLE) };
    let watched = watched.map_err(|error| error.into_parts().1)?;
    watched.readable().await.map(drop)
}

/// As `readable`, by blocking. False if that took too long.
pub(crate) fn readable_within(
    watched: BorrowedFd<'_>,
    limit: Option<Duration>,
) -> io::Result<bool> {
    // A limit that no clock can tell is none.
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut polled = [PollFd::from_borrowed_fd(watched, PollFlags::IN)];
        match rustix::event::poll(&mut polled, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}
