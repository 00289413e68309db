//! A descriptor that a movable task waits for. It registers itself with the runtime that polls it.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use super::current::{current_runner, leave_runtime};
use crate::sys::{self, AsyncFd, Direction, StableFd};

/// Needs no runtime until it is polled.
#[derive(Debug)]
pub(crate) struct Watched<T: StableFd> {
    fd: Option<WatchedFd<T>>,
    way: Direction,
}

#[derive(Debug)]
enum WatchedFd<T: StableFd> {
    Free(T),
    /// With the runner whose runtime watches it.
    Registered(AsyncFd<T>, u64),
}

impl<T: StableFd> Watched<T> {
    pub(crate) fn new(fd: T, way: Direction) -> Self {
        Self {
            fd: Some(WatchedFd::Free(fd)),
            way,
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

    /// Waits for this direction from now on. An epoll instance takes a descriptor once, so it is one at a time.
    pub(crate) fn turn(&mut self, way: Direction) {
        if self.way != way {
            self.way = way;
            let fd = self.release();
            self.fd = Some(WatchedFd::Free(fd));
        }
    }

    fn registered(&mut self) -> io::Result<&AsyncFd<T>> {
        let runner = current_runner();
        if !matches!(self.fd(), WatchedFd::Registered(_, of) if *of == runner) {
            let fd = self.release();
            let (fd, outcome) = match sys::register(fd, self.way) {
                Ok(fd) => (WatchedFd::Registered(fd, runner), Ok(())),
                Err((fd, error)) => (WatchedFd::Free(fd), Err(error)),
            };
            self.fd = Some(fd);
            outcome?;
        }
        match self.fd() {
            WatchedFd::Registered(fd, _) => Ok(fd),
            WatchedFd::Free(_) => Err(io::ErrorKind::Other.into()),
        }
    }

    /// Calls `operation` whenever the descriptor is ready, until that does not fail with `WouldBlock`.
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
        let fd = self.registered()?;
        loop {
            let polled = match way {
                Direction::In => fd.poll_read_ready(cx),
                Direction::Out => fd.poll_write_ready(cx),
            };
            let mut event = match ready!(polled) {
                Ok(event) => event,
                // The runtime is ending.
                Err(_) if leave_runtime() => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
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

    pub(crate) async fn io<R>(
        &mut self,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        poll_fn(|cx| self.poll_io(cx, &mut operation)).await
    }

    /// Ready as long as the descriptor is: for one that stays readable, such as a pidfd.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_io(cx, |_| Ok(())).map(drop)
    }
}
