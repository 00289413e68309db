//! The events of a worker in the runtime. Answers are always watched; room in the worker's socket is watched only while
//! something waits for it. Otherwise the runtime would wake each time the worker reads, for room in a socket that was
//! never full.

use std::io::{self, PipeReader};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::home::Watched;
use crate::sys::{self, AsFd as _, Direction, Socket};
use crate::wire::frame_buffer::FrameBuffer;

/// The pipe with a worker's answers, and the room in its socket.
#[derive(Debug)]
pub(super) struct WorkerWatch {
    answers: Watched<PipeReader>,
    socket: Arc<Socket>,
    /// `Some` while room is watched.
    room: Option<Watched<Arc<Socket>>>,
}

impl WorkerWatch {
    pub(super) fn new(answers: PipeReader, socket: Arc<Socket>) -> Self {
        Self {
            answers: Watched::new(answers, Direction::In),
            socket,
            room: None,
        }
    }

    /// Reads available bytes once. 0 means the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        frames: &mut FrameBuffer,
    ) -> Poll<io::Result<usize>> {
        // Fewer bytes than requested: the pipe is empty. An event reports later bytes.
        self.answers
            .poll_some(cx, |answers| frames.fill(answers.as_fd()))
    }

    /// Like `poll_read`, without waiting for an event.
    pub(super) fn read_now(&self, frames: &mut FrameBuffer) -> io::Result<usize> {
        let (len, _) = frames.fill(self.answers.get_ref().as_fd())?;
        Ok(len)
    }

    /// The number of bytes in the pipe.
    pub(super) fn waiting(&self) -> usize {
        sys::bytes_waiting(self.answers.get_ref().as_fd())
    }

    /// Starts or stops watching for room.
    pub(super) fn watch_room(&mut self, wanted: bool) {
        if self.room.is_some() != wanted {
            self.room = wanted.then(|| Watched::new(self.socket.clone(), Direction::Out));
        }
    }

    /// Calls `write` until it does not fail for lack of room, if room is watched.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut() -> io::Result<()>,
    ) -> Poll<io::Result<()>> {
        match &mut self.room {
            Some(room) => room.poll_io(cx, |_| write()),
            None => Poll::Pending,
        }
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::future::poll_fn;
    use std::io::{PipeWriter, Read as _, Write as _};

    use futures::FutureExt as _;

    use super::*;

    fn watch() -> (WorkerWatch, PipeWriter, Socket) {
        let (answers, writer) = sys::pipe().expect("a pipe");
        let (ours, theirs) = Socket::pair().expect("a socket pair");
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).expect("a socket");
        }
        let watch = WorkerWatch::new(answers, Arc::new(ours));
        (watch, writer.into(), theirs)
    }

    #[tokio::test]
    async fn all_bytes_of_the_pipe_are_read_and_then_its_end() {
        let (mut watch, mut worker, _socket) = watch();
        let mut frames = FrameBuffer::new(1000);
        for round in 0..100_u8 {
            let frame = [&300_u32.to_le_bytes()[..], &[round; 300]].concat();
            for part in frame.chunks(100) {
                worker.write_all(part).expect("there is room");
                let read = poll_fn(|cx| watch.poll_read(cx, &mut frames)).await;
                assert!(read.expect("the pipe is open") > 0);
            }
            let frame = frames.next().expect("valid").expect("whole");
            assert!(frame.len() == 300 && frame.iter().all(|byte| *byte == round));
            let nothing = poll_fn(|cx| watch.poll_read(cx, &mut frames)).now_or_never();
            assert!(nothing.is_none(), "all has been read");
        }
        drop(worker);
        let end = poll_fn(|cx| watch.poll_read(cx, &mut frames)).await;
        assert_eq!(end.expect("no failure"), 0);
    }

    #[tokio::test]
    async fn room_is_reported_when_the_pool_waits_for_it() {
        let (mut watch, _answers, mut theirs) = watch();
        let socket = watch.socket.clone();
        let write = || (&*socket).write(&[1; 4096]).map(drop);
        for _ in 0..3 {
            while write().is_ok() {}
            watch.watch_room(true);
            let full = poll_fn(|cx| watch.poll_write(cx, write)).now_or_never();
            assert!(full.is_none(), "nothing was read");
            while theirs.read(&mut [0; 65536]).is_ok() {}
            let room = poll_fn(|cx| watch.poll_write(cx, write)).await;
            room.expect("the socket is connected");
            watch.watch_room(false);
        }
    }
}
