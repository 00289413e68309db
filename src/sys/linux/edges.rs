//! Waits for a descriptor to become readable again, although no process reads it. So one write to an eventfd wakes
//! every listener, and no listener can consume the event.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::call::Call as _;
use super::generation::generation;
use super::print::above_standard_streams;
use super::readiness::{Direction, LONGEST, timespec, wait_ready};

/// A counter of the system, 0 at first, which is readable when it is not 0.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    eventfd_of(0)
}

/// An eventfd for rings: it is always readable, and is never read.
pub(crate) fn bell() -> io::Result<OwnedFd> {
    eventfd_of(1)
}

fn eventfd_of(count: u32) -> io::Result<OwnedFd> {
    generation(); // From now on, a process that has an object can detect a fork.
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    above_standard_streams(rustix::event::eventfd(count, flags).of_call("eventfd2")?)
}

/// Occupies the numbers of the standard streams that this process has closed, until the result is dropped. So files
/// that a library opens meanwhile get other numbers.
pub(crate) fn standard_numbers() -> Vec<OwnedFd> {
    let numbers = std::iter::from_fn(|| rustix::event::eventfd(0, EventfdFlags::CLOEXEC).ok());
    numbers.take_while(|fd| fd.as_raw_fd() <= 2).collect()
}

/// Wakes every listener of a bell.
pub(crate) fn ring(bell: impl AsFd) {
    // Adds 0, so there is always room for it. Otherwise a process that fills the eventfd and makes its writers block
    // would block this one.
    let _ = rustix::io::write(bell, &0_u64.to_ne_bytes());
}

/// Makes an eventfd readable, which wakes every listener.
pub(crate) fn signal(eventfd: impl AsFd) {
    // A readable eventfd was already signalled. It may be full: see `ring`.
    if !is_readable(&eventfd) {
        let _ = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
    }
}

/// Sets an eventfd back to 0.
pub(crate) fn silence(eventfd: impl AsFd) {
    let (mut count, here) = ([0; 8], u64::MAX); // The current position, not an offset.
    let mut slices = [io::IoSliceMut::new(&mut count)];
    let read = rustix::io::preadv2(&eventfd, &mut slices, here, ReadWriteFlags::NOWAIT);
    // Linux before 5.8 does not support this call for an eventfd.
    if matches!(read, Err(Errno::OPNOTSUPP | Errno::NOSYS)) && is_readable(&eventfd) {
        let _ = rustix::io::read(eventfd, &mut count);
    }
}

/// Whether the descriptor is readable. A pidfd is readable once its process has ended.
pub(crate) fn is_readable(fd: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&fd, PollFlags::IN)];
    rustix::event::poll(&mut polled, Some(&Timespec::default())) == Ok(1)
}

/// Whether every copy of the socket's other end is closed.
pub(crate) fn is_hung_up(socket: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&socket, PollFlags::empty())];
    let polled_now = rustix::event::poll(&mut polled, Some(&Timespec::default()));
    polled_now.is_ok() && polled[0].revents().contains(PollFlags::HUP)
}

/// Waits until the descriptor is readable, or until `end`. Returns whether it is readable.
pub(crate) fn await_readable(fd: impl AsFd, end: Option<Instant>) -> bool {
    wait_ready(fd.as_fd(), Direction::In, None, end)
}

/// A descriptor that tokio watches for this process.
#[derive(Debug)]
pub(crate) struct Edges {
    /// `Some` until the drop.
    watched: Option<AsyncFd<OwnedFd>>,
    generation: u32,
}

impl Edges {
    /// Listens from now on. If the descriptor is already readable, that counts as one edge.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without an I/O driver.
    pub(crate) fn of(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` is open as long as it lives, and nothing can replace this one: the field is private, and
        // no code in this file changes it.
        let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        let watched = watched.map_err(|error| error.into_parts().1);
        Ok(Self {
            watched: Some(watched.of_call("epoll_ctl")?),
            generation: generation(),
        })
    }

    fn watched(&self) -> &AsyncFd<OwnedFd> {
        self.watched.as_ref().expect("only the drop takes it")
    }

    /// Waits for an edge that no call has returned yet. Only one task may poll it.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ready = ready!(self.watched().poll_read_ready(context))?;
        ready.clear_ready();
        Poll::Ready(Ok(()))
    }

    /// Waits until `is_over` returns true. Checks after each edge, including the first. Any number of tasks may wait.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn check_at_each(&self, is_over: impl Fn() -> bool) -> io::Result<()> {
        loop {
            let mut ready = self.watched().readable().await?;
            if is_over() {
                return Ok(());
            }
            // An edge after that check is kept: it makes the descriptor ready again.
            ready.clear_ready();
        }
    }
}

impl Drop for Edges {
    fn drop(&mut self) {
        // A forked process shares the epoll instance of its parent's runtime. Ending the watch here would end it there.
        if self.generation != generation() {
            std::mem::forget(self.watched.take());
        }
    }
}

impl AsFd for Edges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watched().get_ref().as_fd()
    }
}

/// As [`Edges`], for several descriptors and a thread that waits.
#[derive(Debug)]
pub(crate) struct BlockingEdges(OwnedFd);

impl BlockingEdges {
    pub(crate) fn new() -> io::Result<Self> {
        let created = epoll::create(epoll::CreateFlags::CLOEXEC);
        let created = created.of_call("epoll_create1")?;
        Ok(Self(above_standard_streams(created)?))
    }

    /// Listens to `fd` from now on, until it is closed, for edges of this kind: a bit. If the descriptor is already
    /// readable, that counts as one edge.
    pub(crate) fn add(&self, fd: impl AsFd, kind: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        let kind = epoll::EventData::new_u64(kind);
        epoll::add(&self.0, fd, kind, flags).of_call("epoll_ctl")
    }

    /// Waits for an edge that no call has returned yet, until `end` at the latest. Returns the kinds of all
    /// edges that it takes. May return early, without any.
    pub(crate) fn next(&self, end: Option<Instant>) -> io::Result<u64> {
        // Several edges are one reason to check. The others are returned by the next call.
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 8];
        // Rounded up: otherwise the last part of a millisecond would be a busy loop.
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.map(|left| timespec((left + Duration::from_micros(999)).min(LONGEST)));
        match epoll::wait(&self.0, &mut events[..], left.as_ref()) {
            Ok((events, _)) => Ok(events
                .iter()
                .fold(0, |kinds, event| kinds | event.data.u64())),
            Err(rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(error).of_call("epoll_wait"),
        }
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn dup(fd: &OwnedFd) -> OwnedFd {
        fd.try_clone().expect("a descriptor")
    }

    #[test]
    fn each_signal_is_an_edge_for_every_thread_that_listens() {
        let bell = bell().expect("an eventfd");
        let ears = [(); 3].map(|()| BlockingEdges::new().expect("an epoll"));
        for ear in &ears {
            ear.add(&bell, 1).expect("it can be listened to");
        }
        let heard = |ear: &BlockingEdges| {
            let mut events = [const { std::mem::MaybeUninit::uninit() }; 8];
            let now = Timespec::default();
            let (heard, _) = epoll::wait(&ear.0, &mut events[..], Some(&now)).expect("events");
            heard.len()
        };
        assert_eq!(ears.each_ref().map(heard), [1; 3], "it can be read");
        assert_eq!(ears.each_ref().map(heard), [0; 3]);
        for _ in 0..3 {
            ring(&bell);
            assert_eq!(ears.each_ref().map(heard), [1; 3]);
            assert_eq!(ears.each_ref().map(heard), [0; 3]);
        }
        let soon = Instant::now() + Duration::from_millis(3);
        ears[0].next(Some(soon)).expect("it waits");
        assert!(Instant::now() >= soon);
    }

    #[tokio::test]
    async fn each_signal_is_an_edge_for_every_task_that_listens() {
        let bell = bell().expect("an eventfd");
        let ears = [(); 3].map(|()| Edges::of(dup(&bell)).expect("it can be listened to"));
        for rings in 0..3 {
            if rings > 0 {
                ring(&bell); // A new listener counts this as one edge.
            }
            for ear in &ears {
                poll_fn(|context| ear.poll_next(context))
                    .await
                    .expect("it rang");
                let again = poll_fn(|context| Poll::Ready(ear.poll_next(context).is_ready()));
                assert!(!again.await);
            }
        }
    }

    /// The state that a hostile process can leave: a full counter whose writers and readers block.
    fn made_hostile(fd: &OwnedFd, count: u64) {
        let add = count.to_ne_bytes();
        rustix::io::write(fd, &add).expect("there is room");
        let flags = rustix::fs::fcntl_getfl(fd).expect("it is open");
        let blocking = flags - rustix::fs::OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(fd, blocking).expect("it is open");
    }

    #[test]
    fn an_eventfd_that_is_full_and_blocks_is_rung_all_the_same() {
        let bell = bell().expect("an eventfd");
        let ear = BlockingEdges::new().expect("an epoll");
        ear.add(&bell, 1).expect("it can be listened to");
        made_hostile(&bell, u64::MAX - 2);
        assert_eq!(ear.next(None).expect("it waits"), 1);
        ring(&bell);
        assert_eq!(ear.next(None).expect("it waits"), 1);
    }

    #[test]
    fn an_eventfd_that_blocks_is_set_when_it_is_full_and_cleared_when_it_is_not_set() {
        let fd = eventfd().expect("an eventfd");
        made_hostile(&fd, u64::MAX - 1);
        signal(&fd);
        assert!(is_readable(&fd));
        silence(&fd);
        assert!(!is_readable(&fd));
        silence(&fd);
        signal(&fd);
        assert!(is_readable(&fd));
    }
}
