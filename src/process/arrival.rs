//! A large result on its way in. Its frame has come; its parts come out of the ring, in pieces between
//! which the runtime is free for others.

use crate::wire::Reader;
use crate::wire::bulk::Incoming;
use crate::wire::message::OutcomeHead;
use crate::wire::ring::Ring;

/// An outcome of whose payload parts are still to come.
#[derive(Debug)]
pub(super) struct Arrival {
    head: OutcomeHead,
    rest: Reader,
    parts: Incoming,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Arriving {
    /// There is more in the ring, but that is enough for once.
    More(Arrival),
    /// The worker says on the socket when there is more.
    Waits(Arrival),
    Whole(OutcomeHead, Reader),
    /// The two ends do not understand each other, or there is no memory: why.
    Failed(String),
}

impl Arrival {
    pub(super) fn new(head: OutcomeHead, rest: Reader, parts: Incoming) -> Self {
        Self { head, rest, parts }
    }

    /// Reads on, `most` bytes or a little more.
    pub(super) fn read(mut self, ring: Ring<'_>, most: &mut usize) -> Arriving {
        while self.parts.missing() > 0 {
            if *most == 0 {
                return Arriving::More(self);
            }
            let moved = match self.parts.take(ring) {
                Ok(moved) => moved,
                Err(error) => return Arriving::Failed(format!("sending a large result: {error}")),
            };
            *most = most.saturating_sub(moved.len);
            if moved.is_awaited {
                ring.wake_writer();
            }
            if moved.len == 0 && ring.want_bytes(self.parts.missing()).is_some() {
                return Arriving::Waits(self);
            }
        }
        match self.parts.join(self.rest) {
            Some(payload) => Arriving::Whole(self.head, payload),
            None => Arriving::Failed("sending parts that do not fit".to_owned()),
        }
    }
}
