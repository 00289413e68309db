//! Large arguments go through shared memory: see [`bulk`](crate::wire::bulk). As much as fits goes in when the
//! call is sent, one piece at most. The supervisor's task does the rest, piece by piece, so that it does not
//! delay its runtime for long.

use std::time::{Duration, Instant};

use super::Link;
use super::lane::Lane;
use crate::wire::bulk::{IncomingPayload, PayloadPart};
use crate::wire::message::{self, ToWorker};
use crate::wire::ring::{PayloadRing, RingDirection};

/// The time for which the rings of an idle worker keep their memory.
const KEPT: Duration = Duration::from_secs(1);

impl Link {
    pub(super) fn ring_to_worker(&self) -> PayloadRing<'_> {
        self.page.ring(RingDirection::ToWorker)
    }

    /// Parts of a result will arrive through shared memory.
    pub(in crate::process) fn expect(&self, parts: Vec<PayloadPart>) -> IncomingPayload {
        let mut parts = IncomingPayload::new(parts);
        let mut lane = self.lock();
        lane.rings_used = Some(Instant::now());
        parts.use_spare(&mut lane.spare);
        parts
    }

    /// When to release the memory of the rings.
    pub(super) fn release_at(lane: &Lane) -> Option<Instant> {
        let idles = lane.in_flight.is_empty();
        lane.rings_used.filter(|_| idles)?.checked_add(KEPT)
    }

    /// Releases it, if it is time, with the other buffers for large payloads. A worker without calls sends
    /// nothing that is wanted.
    pub(super) fn release_rings(&self) {
        let is_due = |at| at <= Instant::now();
        let mut out = self.outbound(); // No call is sent meanwhile.
        let mut lane = self.lock();
        if !Self::release_at(&lane).is_some_and(is_due) {
            return;
        }
        if out.has_backlog() {
            lane.rings_used = Some(Instant::now()); // Of a call that was cancelled.
            return;
        }
        lane.rings_used = None;
        let spare = std::mem::take(&mut lane.spare);
        drop(lane);
        drop(spare);
        message::put(&mut out.unwritten, &ToWorker::Rest);
        out.write(self.ring_to_worker());
        self.ring_to_worker().release();
        self.page.ring(RingDirection::FromWorker).release();
    }
}
