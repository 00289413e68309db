//! What the runtime tells of a worker's socket. That it can be read is told always, that it can be
//! written to only while something waits for that: else the runtime would wake whenever the worker has
//! read something, to learn that there is room in a socket that was never full.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys;

/// A socket of which the runtime tells. Its other users never wait for it.
#[derive(Debug)]
pub(super) struct Watch {
    socket: Arc<UnixStream>,
    /// Always there, unless the system had no memory for it.
    told: Option<AsyncFd<Arc<UnixStream>>>,
    for_room: bool,
}

impl Watch {
    pub(super) fn new(socket: Arc<UnixStream>) -> io::Result<Self> {
        let told = AsyncFd::with_interest(socket.clone(), Interest::READABLE)?;
        Ok(Self {
            socket,
            told: Some(told),
            for_room: false,
        })
    }

    /// From now on it is told whether there is room to write, or no longer.
    pub(super) fn watch_room(&mut self, wanted: bool) -> io::Result<()> {
        if self.for_room == wanted {
            return Ok(());
        }
        self.told = None; // A descriptor can be watched once. What it can do now is told anew.
        let interest = match wanted {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        self.told = Some(AsyncFd::with_interest(self.socket.clone(), interest)?);
        self.for_room = wanted;
        Ok(())
    }

    fn told(&self) -> io::Result<&AsyncFd<Arc<UnixStream>>> {
        self.told
            .as_ref()
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Adds what has come to `buffer`, as much as it has room for. Nothing is the end.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut readable = ready!(self.told()?.poll_read_ready(cx))?;
            let room = buffer.spare_capacity_mut().len();
            match self.read_now(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable.clear_ready(),
                Ok(len @ 1..) => {
                    if len < room {
                        // That was all. What has come since is told after what is cleared here.
                        readable.clear_ready();
                    }
                    return Poll::Ready(Ok(len));
                }
                end => return Poll::Ready(end),
            }
        }
    }

    /// As `poll_read`, whatever was told.
    pub(super) fn read_now(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        sys::read_onto(self.socket.as_fd(), buffer)
    }

    /// Calls `write` until it does not fail for lack of room, for which it must be watched.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut() -> io::Result<()>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut writable = ready!(self.told()?.poll_write_ready(cx))?;
            match write() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => writable.clear_ready(),
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read as _, Write as _};

    use futures::FutureExt as _;

    use super::*;

    fn pair() -> (Watch, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        ours.set_nonblocking(true).expect("a socket");
        (Watch::new(Arc::new(ours)).expect("a runtime"), theirs)
    }

    #[tokio::test]
    async fn what_comes_is_read_whatever_the_room_for_it_and_then_the_end() {
        let (watch, mut theirs) = pair();
        let mut buffer = BytesMut::new();
        for round in 0..100_u8 {
            theirs.write_all(&[round; 300]).expect("there is room");
            while buffer.len() < 300 {
                buffer.reserve(100);
                let read = poll_fn(|cx| watch.poll_read(cx, &mut buffer)).await;
                assert!(read.expect("it is connected") > 0);
            }
            assert!(buffer.iter().all(|byte| *byte == round));
            buffer.clear();
            buffer.reserve(100);
            let nothing = poll_fn(|cx| watch.poll_read(cx, &mut buffer)).now_or_never();
            assert!(nothing.is_none(), "all has been read");
        }
        drop(theirs);
        let end = poll_fn(|cx| watch.poll_read(cx, &mut buffer)).await;
        assert_eq!(end.expect("no failure"), 0);
    }

    #[tokio::test]
    async fn room_is_told_as_long_as_it_is_wanted_and_nothing_that_came_is_missed() {
        let (mut watch, mut theirs) = pair();
        let socket = watch.socket.clone();
        let write = || (&*socket).write(&[1; 4096]).map(drop);
        for _ in 0..3 {
            while write().is_ok() {}
            theirs.write_all(b"!").expect("there is room");
            watch.watch_room(true).expect("there is memory");
            let full = poll_fn(|cx| watch.poll_write(cx, write)).now_or_never();
            assert!(full.is_none(), "nobody has read");
            theirs.set_nonblocking(true).expect("a socket");
            while theirs.read(&mut [0; 65536]).is_ok() {}
            let room = poll_fn(|cx| watch.poll_write(cx, write)).await;
            room.expect("it is connected");
            watch.watch_room(false).expect("there is memory");
            let mut buffer = BytesMut::with_capacity(8);
            let read = poll_fn(|cx| watch.poll_read(cx, &mut buffer)).await;
            assert_eq!(read.expect("it is connected"), 1);
        }
    }
}
