//! Large results on their way in. Their frame has come; its parts come out of the ring, in pieces
//! between which the runtime is free for others.

use crate::wire::Reader;
use crate::wire::bulk::IncomingPayload;
use crate::wire::ring::PayloadRing;

/// Outcomes of which parts are still to come.
#[derive(Debug)]
pub(super) struct Arrival {
    /// What came in the frame.
    rest: Reader,
    parts: IncomingPayload,
}

/// How far they are.
#[derive(Debug)]
pub(super) enum Arriving {
    /// There is more in the ring, but that is enough for once.
    More(Arrival),
    /// The worker says on the socket when there is more.
    Waits(Arrival),
    Whole(Reader),
    /// The two ends do not understand each other, or there is no memory: why.
    Failed(String),
}

impl Arrival {
    pub(super) fn new(rest: Reader, parts: IncomingPayload) -> Self {
        Self { rest, parts }
    }

    /// Reads on, `most` bytes or a little more.
    pub(super) fn read(mut self, ring: PayloadRing<'_>, most: &mut usize) -> Arriving {
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
            Some(outcomes) => Arriving::Whole(outcomes),
            None => Arriving::Failed("sending parts that do not fit".to_owned()),
        }
    }
}
