//! [`ExitPipe`]: how a process ended, as its fork server writes it to a pipe without a request.

use std::io::{PipeReader, Read as _};
use std::time::Duration;

use crate::home::{readable, sleep};
use crate::sys::{self, AsFd, BorrowedFd, Exit};
use crate::wire::forkserver::{FromForkServer, LONGEST, MOST_EXITED};
use crate::wire::frame::Frames;
use crate::wire::message;

/// The interval of retries after the system refused to watch the pipe.
const AGAIN: Duration = Duration::from_millis(10);

/// The pipe through which a fork server reports how one process ended.
#[derive(Debug)]
pub(in crate::process) struct ExitPipe(PipeReader);

impl ExitPipe {
    /// How the process ended; `None` if that is not reported yet. If the fork server ends first, it remains unknown.
    pub(in crate::process) fn try_read(&self) -> Option<Exit> {
        if !sys::is_readable(&self.0) {
            return None;
        }
        let mut bytes = [0; MOST_EXITED];
        // A message this short arrives in one piece.
        let len = (&self.0).read(&mut bytes).unwrap_or(0);
        let frame = Frames::new(LONGEST).next(&mut &bytes[..len]);
        let report = frame.ok().flatten().map(|frame| message::get(frame.into()));
        Some(match report.flatten() {
            Some(FromForkServer::Exited { code, signal, .. }) => Exit {
                code,
                signal,
                ..Exit::default()
            },
            _ => Exit::default(),
        })
    }
}

impl ExitPipe {
    /// Waits until the fork server has reported how the process ended, or has ended itself.
    pub(super) async fn read(&self) -> Exit {
        loop {
            if let Some(exit) = self.try_read() {
                return exit;
            }
            if readable(self).await.is_err() {
                sleep(AGAIN).await;
            }
        }
    }
}

impl From<PipeReader> for ExitPipe {
    fn from(pipe: PipeReader) -> Self {
        Self(pipe)
    }
}

impl AsFd for ExitPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
