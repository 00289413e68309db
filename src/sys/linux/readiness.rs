//! Waits on a thread until a descriptor is readable or writable. Does not read: a woken thread tries to, and may find
//! that another one was faster.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// Waits on this thread until one of the two is ready, or until `end`. Returns false at `end`.
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
            _ => {} // Interrupted, or `end` has not come.
        }
    }
}

/// The longest wait of the system's older calls.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::os::fd::{AsFd as _, OwnedFd};

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
}
