//! Large results in transit. Their frame has arrived; their parts are read from the ring piece by piece, and other
//! tasks of the runtime run between the pieces.

use super::turn::Turn;
use crate::wire::Reader;
use crate::wire::bulk::IncomingPayload;
use crate::wire::ring::PayloadRing;

/// The least cost of a read from the ring, in bytes. A worker that keeps changing the ring's words without adding data
/// must not hold the parent here.
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

    /// Reads until the turn is over, and at most about `most` bytes.
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
