//! What goes back to the parent. A finished frame is put into the shared page before anything
//! else, so that it is not lost should this process die before it has written it to the socket.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;

use crate::wire::Chain;
use crate::wire::message::{self, OUTCOME_HEAD, OutcomeHead, Status};
use crate::wire::page::{OUTBOX, Page};

pub(super) struct Outbox<'a> {
    socket: &'a UnixStream,
    page: &'a Page,
    limit: usize,
    /// Frames that were not written yet; the page holds the same bytes.
    unsent: Chain,
    /// The frame that is being made.
    frame: Chain,
    /// The socket's failure. It ends the worker, but an entry cannot be told of it.
    broken: Option<io::Error>,
}

impl<'a> Outbox<'a> {
    pub(super) fn new(socket: &'a UnixStream, page: &'a Page, limit: usize) -> Self {
        Self {
            socket,
            page,
            limit,
            unsent: Chain::new(),
            frame: Chain::new(),
            broken: None,
        }
    }

    /// Sends a message at once.
    pub(super) fn send(&mut self, put: impl FnOnce(&mut Chain)) -> io::Result<()> {
        put(&mut self.unsent);
        self.flush();
        self.check()
    }

    /// Puts an outcome where the parent will find it, whatever happens to this process. It is
    /// written to the socket by `flush` at the latest.
    pub(super) fn post(&mut self, head: OutcomeHead, payload: &Chain) {
        if head.status == Status::Value && payload.len() > self.limit {
            return self.refuse(head, payload.len());
        }
        let size = OUTCOME_HEAD + payload.len();
        if self.unsent.len() + size > OUTBOX {
            self.flush();
        }
        if size <= OUTBOX {
            message::put_outcome(&mut self.frame, &head, payload);
            let mut at = self.unsent.len();
            for piece in self.frame.pieces() {
                self.page.post(at, piece);
                at += piece.len();
            }
            self.unsent.append(&mut self.frame);
        } else {
            message::put_outcome(&mut self.unsent, &head, payload);
            self.flush();
        }
    }

    #[cold]
    fn refuse(&mut self, head: OutcomeHead, size: usize) {
        let reason = format!(
            "its result encodes to {size} bytes, and a frame may have {}; raise `max_frame_length`",
            self.limit
        );
        let mut payload = Chain::new();
        message::put_text(&mut payload, &reason);
        self.post(
            OutcomeHead {
                status: Status::Unencodable,
                ..head
            },
            &payload,
        );
    }

    /// How many bytes wait to be written.
    pub(super) fn len(&self) -> usize {
        self.unsent.len()
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) {
        let mut socket = self.socket;
        if let Err(error) = self
            .unsent
            .write_with(|slices| socket.write_vectored(slices))
        {
            self.broken = Some(error);
        }
        self.page.clear_outbox();
    }

    pub(super) fn check(&mut self) -> io::Result<()> {
        self.broken.take().map_or(Ok(()), Err)
    }
}
