//! A descriptor that a movable task waits for. It registers with the runtime that polls it. If the system refuses that
//! (it limits how many descriptors a user watches), the task checks the descriptor from time to time.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::clock::DeadlineTimer;
use super::current::{current_runner, leave_runtime};
use crate::sys::{self, AsyncFd, Direction, StableFd};

/// How often a descriptor is checked that the system refuses to watch.
const CHECK_PAUSE: Duration = Duration::from_millis(10);

/// A watched descriptor. It needs no runtime until it is polled.
#[derive(Debug)]
pub(crate) struct Watched<T: StableFd> {
    fd: Option<WatchedFd<T>>,
    way: Direction,
    /// When to check next, while the system refuses to watch it.
    next_check: Option<Box<(Instant, DeadlineTimer)>>,
}

#[derive(Debug)]
enum WatchedFd<T: StableFd> {
    Free(T),
    /// Registered, by the runner whose runtime watches it.
    Registered(AsyncFd<T>, u64),
}

impl<T: StableFd> Watched<T> {
    pub(crate) fn new(fd: T, way: Direction) -> Self {
        Self {
            fd: Some(WatchedFd::Free(fd)),
            way,
            next_check: None,
        }
    }

    pub(crate) fn get_ref(&self) -> &T {
        match self.fd() {
            WatchedFd::Free(fd) => fd,
            WatchedFd::Registered(fd, _) => fd.get_ref(),
        }
    }

    pub(crate) fn into_inner(mut self) -> T {
        self.release()
    }

    fn fd(&self) -> &WatchedFd<T> {
        self.fd.as_ref().expect("only a registration takes it")
    }

    fn release(&mut self) -> T {
        match self.fd.take().expect("only a registration takes it") {
            WatchedFd::Free(fd) => fd,
            WatchedFd::Registered(fd, _) => fd.into_inner(),
        }
    }

    /// Waits for this direction from now on. An epoll instance accepts a descriptor only once, so only one direction at
    /// a time.
    pub(crate) fn turn(&mut self, way: Direction) {
        if self.way != way {
            self.way = way;
            let fd = self.release();
            self.fd = Some(WatchedFd::Free(fd));
        }
    }

    /// Ensures that the runtime that polls it watches it.
    fn register(&mut self) -> io::Result<()> {
        let runner = current_runner();
        if matches!(self.fd(), WatchedFd::Registered(_, of) if *of == runner) {
            return Ok(());
        }
        let fd = self.release();
        let (fd, outcome) = match sys::register(fd, self.way) {
            Ok(fd) => (WatchedFd::Registered(fd, runner), Ok(())),
            Err((fd, error)) => (WatchedFd::Free(fd), Err(error)),
        };
        self.fd = Some(fd);
        outcome
    }

    /// Calls `operation` whenever the descriptor is ready, until `operation` does not fail with `WouldBlock`.
    pub(crate) fn poll_io<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_some(cx, |fd| match operation(fd) {
            Ok(done) => Ok((done, true)),
            Err(error) => Err(error),
        })
    }

    /// As `poll_io`. The operation also returns whether more may be ready already; if not, the next call waits for
    /// an event first.
    pub(crate) fn poll_some<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&T) -> io::Result<(R, bool)>,
    ) -> Poll<io::Result<R>> {
        let way = self.way;
        let refusal = self.register().err();
        let fd = match (self.fd(), refusal) {
            (WatchedFd::Registered(fd, _), _) => fd,
            (WatchedFd::Free(_), Some(error)) if error.raw_os_error().is_none() => {
                return runtime_ended(error);
            }
            (WatchedFd::Free(_), _) => return self.poll_unwatched(cx, operation),
        };
        loop {
            let polled = match way {
                Direction::In => fd.poll_read_ready(cx),
                Direction::Out => fd.poll_write_ready(cx),
            };
            let mut event = match ready!(polled) {
                Ok(event) => event,
                Err(error) => return runtime_ended(error),
            };
            match operation(fd.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => event.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
                Ok((done, has_more)) => {
                    if !has_more {
                        event.clear_ready();
                    }
                    return Poll::Ready(Ok(done));
                }
            }
        }
    }

    /// As `poll_some`, without events.
    #[cold]
    fn poll_unwatched<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&T) -> io::Result<(R, bool)>,
    ) -> Poll<io::Result<R>> {
        let fd = self.get_ref();
        if sys::is_ready(fd, self.way) {
            match operation(fd) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome.map(|(done, _)| done)),
            }
        }
        let next_check = || Instant::now() + CHECK_PAUSE;
        let (check, timer) = &mut **self
            .next_check
            .get_or_insert_with(|| Box::new((next_check(), DeadlineTimer::new())));
        while timer.poll(cx, *check).is_ready() {
            *check = next_check();
        }
        Poll::Pending
    }

    pub(crate) async fn io<R>(
        &mut self,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        poll_fn(|cx| self.poll_io(cx, &mut operation)).await
    }

    /// Ready while the descriptor is: for a descriptor that stays readable, such as a pidfd. Never ready for another
    /// reason, because the end of a runtime is not the end of a process.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.poll_io(cx, |_| Ok(()))) {
            Ok(()) => Poll::Ready(()),
            Err(_) => Poll::Pending, // The runtime has ended. The task moves to another, which polls again.
        }
    }
}

/// Called if the runtime that polls has ended or is ending: the task moves, if it can.
fn runtime_ended<R>(error: io::Error) -> Poll<io::Result<R>> {
    match leave_runtime() {
        true => Poll::Pending,
        false => Poll::Ready(Err(error)),
    }
}

/// Waits until `fd` is readable. Other tasks may wait for it too.
#[cfg(feature = "multiprocessing")]
pub(crate) async fn readable(fd: impl sys::AsFd) -> io::Result<()> {
    let mut watched = Watched::new(sys::own_descriptor(&fd)?, Direction::In);
    poll_fn(|cx| watched.poll_ready(cx)).await;
    Ok(())
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use futures::FutureExt as _;
    use tokio::time::timeout;

    use super::*;
    use crate::sys::OwnedFd;

    /// Registers a descriptor with the runtime, which then refuses to watch it a second time.
    #[tokio::test]
    async fn a_descriptor_that_the_system_refuses_to_watch_is_ready_when_it_is() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let fd = Arc::new(OwnedFd::from(reader));
        let first = sys::register(fd.clone(), Direction::In).expect("the first registration");
        assert!(sys::register(fd.clone(), Direction::In).is_err());
        let mut second = Watched::new(fd, Direction::In);
        let mut ready = std::pin::pin!(poll_fn(|cx| second.poll_ready(cx)));
        assert!(ready.as_mut().now_or_never().is_none(), "the pipe is empty");
        writer.write_all(b"x").expect("there is room");
        let limit = Duration::from_secs(60);
        timeout(limit, ready)
            .await
            .expect("the descriptor is ready");
        drop(first);
        let ready = poll_fn(|cx| second.poll_ready(cx)).now_or_never();
        assert!(second.next_check.is_some() && ready.is_none_or(|()| true));
    }
}
