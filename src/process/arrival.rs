//! Large results in transit. Their frame has arrived; their parts come out of the ring, in pieces, between
//! which other tasks of the runtime run.

use super::turn::Turn;
use crate::wire::Reader;
use crate::wire::bulk::IncomingPayload;
use crate::wire::ring::PayloadRing;

/// What a look into the ring costs at least, in bytes: a worker that keeps changing the ring's words, and puts nothing
/// in, does not keep the parent here.
const LEAST: usize = 1024;

/// Outcomes with missing parts.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The contents of the frame.
    rest: Reader,
    parts: IncomingPayload,
}

/// The progress of an arrival.
#[derive(Debug)]
pub(super) enum Arriving {
    /// The turn is over.
    More(Arrival),
    /// The worker reports in the pipe when there is more.
    Waits(Arrival),
    Whole(Reader),
    /// The data is invalid, or no memory is left: the reason.
    Failed(String),
}

impl Arrival {
    pub(super) fn new(rest: Reader, parts: IncomingPayload) -> Self {
        Self { rest, parts }
    }

    /// Reads on until the turn is over, and at most about `most` bytes.
    pub(super) fn read(
        mut self,
        ring: PayloadRing<'_>,
        turn: &mut Turn,
        most: &mut usize,
    ) -> Arriving {
        while self.parts.missing() > 0 {
            if *most == 0 {
                return Arriving::Waits(self);
            }
            if turn.is_over() {
                return Arriving::More(self);
            }
            let moved = match self.parts.take(ring) {
                Ok(moved) => moved,
                Err(error) => return Arriving::Failed(format!("sending a large result: {error}")),
            };
            let cost = moved.len.max(LEAST);
            *most = most.saturating_sub(cost);
            turn.moved(cost);
            if moved.is_awaited {
                ring.wake_writer();
            }
            if moved.len == 0 && ring.want_bytes(self.parts.missing()).is_some() {
                return Arriving::Waits(self);
            }
        }
        match self.parts.join(self.rest) {
            Some(outcomes) => Arriving::Whole(outcomes),
            None => Arriving::Failed("sending parts of a wrong size".to_owned()),
        }
    }
}
