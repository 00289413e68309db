//! Waits until a descriptor can be read or written, for any number of tasks and threads. Nothing is read
//! here: a woken task tries, and may find that another one was quicker.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::call::Call as _;
use super::identity::ProcessIdentity;

/// What a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// A descriptor that a runtime of tokio's watches.
///
/// A process that was forked, by whomever, shares the runtime's epoll instance with its parent. If it removed a
/// descriptor there, the parent's tasks would never wake. So it only closes its copy of the descriptor.
#[derive(Debug)]
pub(crate) struct Readiness {
    fd: ManuallyDrop<AsyncFd<OwnedFd>>,
    interest: Interest,
    /// The process whose runtime watches it.
    watcher: ProcessIdentity,
}

impl Readiness {
    /// Watched by this runtime from now on.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver.
    pub(crate) fn of(fd: OwnedFd, way: Direction) -> io::Result<Self> {
        let interest = match way {
            Direction::In => Interest::READABLE,
            Direction::Out => Interest::WRITABLE,
        };
        // SAFETY: an `OwnedFd` is open as long as it lives, and nothing can replace
        // this one: the field is private, and nothing in this file changes it.
        let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
        let fd = watched.map_err(|error| error.into_parts().1);
        let fd = fd.of_call("epoll_ctl")?;
        Ok(Self {
            fd: ManuallyDrop::new(fd),
            interest,
            watcher: ProcessIdentity::own(),
        })
    }

    /// Whether a runtime of this process watches it.
    pub(crate) fn is_ours(&self) -> bool {
        self.watcher == ProcessIdentity::own()
    }

    /// Calls `look` whenever the descriptor is ready, until it returns something. An error if the runtime
    /// has ended.
    ///
    /// # Cancel safety
    /// Cancel safe: a value of `look` is returned at once.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> io::Result<T> {
        loop {
            let mut ready = self.fd.ready(self.interest).await?;
            if let Some(found) = look() {
                return Ok(found);
            }
            ready.clear_ready();
        }
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        let fd = self.fd.get_ref().as_raw_fd();
        if self.is_ours() {
            // SAFETY: the field is not used any more.
            unsafe { ManuallyDrop::drop(&mut self.fd) }
        } else {
            // SAFETY: the descriptor is open, and its owner, which is never dropped in this process, is not used any more.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

/// Waits in this thread until one of the two is ready, or until `end`. False if `end` has come.
pub(crate) fn wait_ready(
    fd: BorrowedFd<'_>,
    way: Direction,
    other: Option<BorrowedFd<'_>>,
    end: Option<Instant>,
) -> bool {
    let flags = match way {
        Direction::In => PollFlags::IN,
        Direction::Out => PollFlags::OUT,
    };
    let first = PollFd::from_borrowed_fd(fd, flags);
    let mut polled = [first.clone(), first];
    let mut count = 1;
    if let Some(other) = other {
        polled[1] = PollFd::from_borrowed_fd(other, PollFlags::IN);
        count = 2;
    }
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| timespec(left.min(LONGEST)));
        match rustix::event::poll(&mut polled[..count], timeout.as_ref()) {
            Ok(1..) => return true,
            _ if left.is_some_and(|left| left.is_zero()) => return false,
            _ => {} // Interrupted, or it is not time yet.
        }
    }
}

/// What the system's older calls can wait for at once.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::sys::{eventfd, packet_pair, send_packet, signal, silence};

    #[test]
    fn a_thread_waits_for_either_of_two() {
        let (to, from) = packet_pair().expect("sockets");
        let other = eventfd().expect("an eventfd");
        let wait = |end| wait_ready(from.as_fd(), Direction::In, Some(other.as_fd()), end);
        let soon = Instant::now() + Duration::from_millis(3);
        assert!(!wait(Some(soon)) && Instant::now() >= soon);
        signal(&other);
        assert!(wait(None));
        silence(&other);
        assert!(send_packet(&to, 1, &[]).expect("it is open"));
        assert!(wait(None));
        let is_ready = |fd: &OwnedFd, way| wait_ready(fd.as_fd(), way, None, Some(Instant::now()));
        assert!(is_ready(&from, Direction::In) && is_ready(&from, Direction::Out));
        while send_packet(&to, 1, &[]).expect("it is open") {}
        assert!(!is_ready(&to, Direction::Out));
    }

    #[tokio::test]
    async fn every_task_that_waits_is_woken_and_looks() {
        let (to, from) = packet_pair().expect("sockets");
        let ready = std::sync::Arc::new(Readiness::of(from, Direction::In).expect("it is watched"));
        let tasks = [(); 3].map(|()| {
            let ready = ready.clone();
            tokio::spawn(async move { ready.until(|| Some(())).await })
        });
        tokio::task::yield_now().await;
        assert!(send_packet(&to, 1, &[]).expect("it is open"));
        for task in tasks {
            task.await.expect("it ends").expect("the runtime lives");
        }
    }
}
