//! What is on its way to a worker: bytes for its socket, and pieces for its ring. It has a lock of its own, and only
//! the holder of that lock writes. So a thread that takes the lock of the link's state, as a pool does under its own
//! lock, waits for no system call and no copy of a large payload. The locks are taken in the order outbound, state.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use crate::sys::{self, AsFd as _, Socket};
use crate::wire::bulk::{LARGE, Split};
use crate::wire::message::{self, CallHead, ToWorker};
use crate::wire::ring::PayloadRing;
use crate::wire::{Chain, Payload};

#[derive(Debug)]
pub(super) struct Outbound {
    /// Non-blocking.
    socket: Arc<Socket>,
    /// Bytes that the socket has not accepted yet.
    pub(super) unwritten: Chain,
    /// Pieces that did not yet fit into the ring. Their calls were written or are about to be.
    ring_backlog: VecDeque<Bytes>,
}

impl Outbound {
    pub(super) fn new(socket: Arc<Socket>) -> Self {
        Self {
            socket,
            unwritten: Chain::new(),
            ring_backlog: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unwritten.is_empty() && self.ring_backlog.is_empty()
    }

    /// Whether pieces wait for room in the ring.
    pub(super) fn has_backlog(&self) -> bool {
        !self.ring_backlog.is_empty()
    }

    /// The number of bytes that neither the socket nor the ring has accepted yet. Bytes in the ring do not count,
    /// because their number is in memory that the worker can change at any time.
    pub(super) fn unsent(&self) -> usize {
        let backlog = self.ring_backlog.iter().map(Bytes::len);
        self.unwritten.len() + backlog.sum::<usize>()
    }

    /// Splits off the large pieces of payloads, which go through the ring. An entry is `None` if its payload has no
    /// large piece, or if the ring has no memory: the whole call then goes through the socket. Returns nothing if no
    /// payload is large.
    pub(super) fn split_all<'a>(
        &self,
        payloads: impl Iterator<Item = &'a Payload> + Clone,
        ring: PayloadRing<'_>,
    ) -> Vec<Option<Split>> {
        if payloads.clone().all(|payload| payload.len() < LARGE) {
            return Vec::new(); // The usual case.
        }
        let mut waiting = self.has_backlog();
        let split = |payload: &Payload| {
            let split = payload.chain().and_then(Split::of)?;
            let has_memory = ring.prepare(split.len(), waiting);
            waiting |= has_memory;
            has_memory.then_some(split)
        };
        payloads.map(split).collect()
    }

    /// Adds a call to the unwritten bytes.
    pub(super) fn put_call(&mut self, head: &CallHead, payload: &Payload, split: Option<Split>) {
        let Some(mut split) = split else {
            return message::put_call(&mut self.unwritten, head, payload);
        };
        let parts = std::mem::take(&mut split.parts);
        message::put(&mut self.unwritten, &ToWorker::Bulk(parts));
        message::put_call(&mut self.unwritten, head, &split.rest.finish());
        self.ring_backlog.extend(split.pieces);
    }

    /// Writes what the socket accepts, and puts a piece into the ring. A failure is not reported here: it means that
    /// the worker is dead, which the supervisor notices by itself.
    pub(super) fn write(&mut self, ring: PayloadRing<'_>) {
        self.put(ring); // First, so that the piece is there when the worker reads its frame.
        let _ = self.try_write();
    }

    /// Writes what the socket accepts. A write to a dead worker is an error, not a SIGPIPE.
    pub(super) fn try_write(&mut self) -> io::Result<()> {
        let socket = self.socket.as_fd();
        self.unwritten
            .send_with(|slices, fds| sys::send_with_fds(socket, slices, fds))
    }

    /// Puts a piece of the backlog into the ring. True if there is room for more.
    pub(super) fn put(&mut self, ring: PayloadRing<'_>) -> bool {
        let Some(bytes) = self.ring_backlog.front_mut() else {
            return false;
        };
        let moved = ring.put(bytes);
        bytes.advance(moved.len);
        if bytes.is_empty() {
            self.ring_backlog.pop_front();
        }
        if moved.is_awaited {
            ring.wake_reader();
        }
        let next = self.ring_backlog.front();
        next.is_some_and(|bytes| ring.want_room(bytes.len()).is_none())
    }

    /// Drops everything, because the worker is dead.
    pub(super) fn clear(&mut self) {
        self.unwritten.clear();
        self.ring_backlog.clear();
    }
}
