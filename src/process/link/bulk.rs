//! Large arguments go through shared memory: see [`bulk`](crate::wire::bulk). Sending a call puts at most one piece
//! into it. The supervisor's task sends the rest piece by piece, so that it does not delay its runtime for long.

use std::time::{Duration, Instant};

use super::Link;
use super::state::LinkState;
use crate::wire::bulk::{IncomingPayload, PayloadPart};
use crate::wire::message::{self, ToWorker};
use crate::wire::ring::{PayloadRing, RingDirection};

/// How long the rings of an idle worker keep their memory.
const KEPT: Duration = Duration::from_secs(1);

impl Link {
    pub(super) fn ring_to_worker(&self) -> PayloadRing<'_> {
        self.page.ring(RingDirection::ToWorker)
    }

    /// Parts of a result will arrive through shared memory.
    pub(in crate::process) fn expect(&self, parts: Vec<PayloadPart>) -> IncomingPayload {
        let mut parts = IncomingPayload::new(parts);
        let mut state = self.lock();
        state.rings_used = Some(Instant::now());
        parts.use_spare(&mut state.spare);
        parts
    }

    /// When to release the memory of the rings.
    pub(super) fn release_at(state: &LinkState) -> Option<Instant> {
        let idles = state.in_flight.is_empty();
        state.rings_used.filter(|_| idles)?.checked_add(KEPT)
    }

    /// Releases that memory if it is time, and the other buffers for large payloads. A worker without calls sends
    /// nothing that is wanted.
    pub(super) fn release_rings(&self) {
        let is_due = |at| at <= Instant::now();
        let mut out = self.outbound(); // Holding this lock prevents a call from being sent.
        let mut state = self.lock();
        if !Self::release_at(&state).is_some_and(is_due) {
            return;
        }
        if out.has_backlog() {
            state.rings_used = Some(Instant::now()); // A cancelled call still uses them.
            return;
        }
        state.rings_used = None;
        let spare = std::mem::take(&mut state.spare);
        drop(state);
        drop(spare);
        message::put(&mut out.unwritten, &ToWorker::Rest);
        out.write(self.ring_to_worker());
        self.ring_to_worker().release();
        self.page.ring(RingDirection::FromWorker).release();
    }
}
