//! A worker that reads slowly delays no one: bytes that its socket does not accept at once stay in the lane,
//! and the supervisor's task writes them later.

use std::io;
use std::task::{Context, Poll, ready};

use super::lane::Lane;
use super::{Ending, Link};
use crate::process::watch::WorkerWatch;
use crate::sys::{self, AsFd as _};

impl Link {
    /// Writes what the socket accepts. A failure is not reported here: then the worker is dead, and the
    /// supervisor notices that by itself.
    pub(super) fn write(&self, lane: &mut Lane) {
        self.put(lane); // First, so that the worker finds it when it reads of it.
        let _ = self.try_write(lane);
    }

    /// As `write`, for what was decided under the pool's lock.
    pub(in crate::process) fn write_now(&self) {
        self.write(&mut self.lock());
    }

    /// A write to a dead worker is an error here, not the signal that ends a program which does
    /// not ignore it.
    fn try_write(&self, lane: &mut Lane) -> io::Result<()> {
        let socket = self.socket.as_fd();
        lane.unwritten
            .send_with(|slices, fds| sys::send_with_fds(socket, slices, fds))
    }

    /// Whether something is left to write.
    pub(in crate::process) fn has_unwritten(&self) -> bool {
        !self.lock().unwritten.is_empty()
    }

    /// Writes on, as far as the socket accepts it. Ready when nothing is left. Bytes for a dead worker are
    /// dropped: a write that fails again and again at once would keep the supervisor's task from noticing the
    /// death.
    pub(in crate::process) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        watch: &mut WorkerWatch,
    ) -> Poll<()> {
        let outcome = ready!(watch.poll_write(cx, || self.try_write(&mut self.lock())));
        if let Err(error) = outcome {
            let mut lane = self.lock();
            lane.unwritten.clear();
            lane.ring_backlog.clear();
            drop(lane);
            if !sys::is_hangup(&error) {
                // It is alive, but bytes for it are lost: only another worker can help.
                self.end(Ending::failed(&error));
            }
        }
        Poll::Ready(())
    }
}
