//! A worker that reads slowly holds nobody up: what its socket does not take at once stays in the
//! lane, and the task that drives the link writes it later.

use std::io;
use std::os::fd::AsFd as _;
use std::task::{Context, Poll, ready};

use super::lane::Lane;
use super::{Ending, Link};
use crate::process::watch::WorkerWatch;
use crate::sys;

impl Link {
    /// Writes what the socket takes. A failure is not told here: the worker is dead then, and
    /// whoever drives the link learns that by itself.
    pub(super) fn write(&self, lane: &mut Lane) {
        self.put(lane); // First, so that the worker finds it when it reads of it.
        let _ = self.try_write(lane);
    }

    /// A write to a dead worker is an error here, not the signal that ends a program which does
    /// not ignore it.
    fn try_write(&self, lane: &mut Lane) -> io::Result<()> {
        let socket = self.socket.as_fd();
        lane.unwritten
            .send_with(|slices, fds| sys::send_with_fds(socket, slices, fds))
    }

    /// Whether something waits for the socket to take more.
    pub(in crate::process) fn has_unwritten(&self) -> bool {
        !self.lock().unwritten.is_empty()
    }

    /// Writes on, as far as the socket takes it. Ready when nothing is left. What a dead worker does
    /// not take is dropped: a write that fails at once, again and again, would never let the task
    /// that drives the link see the death.
    pub(in crate::process) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        watch: &WorkerWatch,
    ) -> Poll<()> {
        let outcome = ready!(watch.poll_write(cx, || self.try_write(&mut self.lock())));
        if let Err(error) = outcome {
            let mut lane = self.lock();
            lane.unwritten.clear();
            lane.ring_backlog.clear();
            drop(lane);
            if !sys::is_hangup(&error) {
                // It lives, but what was for it is lost: only another worker can help.
                self.end(Ending::failed(&error));
            }
        }
        Poll::Ready(())
    }
}
