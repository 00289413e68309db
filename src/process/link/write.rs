//! A worker that reads slowly holds nobody up: what its socket does not take at once stays in the
//! lane, and the task that drives the link writes it later.

use std::io;
use std::os::fd::AsFd as _;
use std::task::{Context, Poll};

use tokio::io::Interest;

use super::lane::Lane;
use super::{Ending, Link};
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
        let stream = self.writer.as_ref();
        lane.unwritten.send_with(|slices, fds| {
            stream.try_io(Interest::WRITABLE, || {
                sys::send_with_fds(stream.as_fd(), slices, fds)
            })
        })
    }

    /// Whether something waits for the socket to take more.
    pub(in crate::process) fn has_unwritten(&self) -> bool {
        !self.lock().unwritten.is_empty()
    }

    /// Writes on, as far as the socket takes it. Ready when nothing is left. What a dead worker does
    /// not take is dropped: a write that fails at once, again and again, would never let the task
    /// that drives the link see the death.
    pub(in crate::process) fn poll_write(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut lane = self.lock();
            match self.try_write(&mut lane) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    lane.unwritten.clear();
                    if outcome.is_err() {
                        lane.unput.clear();
                    }
                    if let Err(error) = outcome
                        && !sys::is_hangup(&error)
                    {
                        // It lives, but what was for it is lost: only another worker can help.
                        drop(lane);
                        self.end(Ending::Protocol(format!(
                            "a connection that failed: {error}"
                        )));
                    }
                    return Poll::Ready(());
                }
            }
            drop(lane);
            // A socket that fails says so in the write.
            let _ = std::task::ready!(self.writer.as_ref().poll_write_ready(cx));
        }
    }
}
