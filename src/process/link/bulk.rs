//! Large arguments go through shared memory: see [`bulk`](crate::wire::bulk). As much as fits goes in when the
//! call is sent, one piece at most. The supervisor's task does the rest, piece by piece, so that it does not
//! delay its runtime for long.

use std::time::{Duration, Instant};

use bytes::Buf as _;

use super::Link;
use super::lane::Lane;
use crate::wire::Payload;
use crate::wire::bulk::{IncomingPayload, PayloadPart, Split};
use crate::wire::message::{self, CallHead, ToWorker};
use crate::wire::ring::RingDirection;
use crate::wire::spare::Spare;

/// The time for which the rings of an idle worker keep their memory.
const KEPT: Duration = Duration::from_secs(1);

impl Link {
    /// Adds a call to the unwritten bytes. If the ring has no memory, all of the call goes through the socket.
    pub(super) fn put_call(&self, lane: &mut Lane, head: &CallHead, payload: &Payload) {
        let ring = self.page.ring(RingDirection::ToWorker);
        match payload.chain().and_then(Split::of) {
            Some(mut split) if ring.prepare(split.len(), !lane.ring_backlog.is_empty()) => {
                let parts = std::mem::take(&mut split.parts);
                message::put(&mut lane.unwritten, &ToWorker::Bulk(parts));
                message::put_call(&mut lane.unwritten, head, &split.rest.finish());
                lane.ring_backlog.extend(split.pieces);
                lane.rings_used = Some(Instant::now());
            }
            _ => message::put_call(&mut lane.unwritten, head, payload),
        }
    }

    /// Puts a piece of the backlog into the ring. True if there is room for more.
    pub(super) fn put(&self, lane: &mut Lane) -> bool {
        let ring = self.page.ring(RingDirection::ToWorker);
        let Some(bytes) = lane.ring_backlog.front_mut() else {
            return false;
        };
        let moved = ring.put(bytes);
        bytes.advance(moved.len);
        if bytes.is_empty() {
            lane.ring_backlog.pop_front();
        }
        if moved.is_awaited {
            ring.wake_reader();
        }
        let next = lane.ring_backlog.front();
        next.is_some_and(|bytes| ring.want_room(bytes.len()).is_none())
    }

    /// Like `put`, for the supervisor's task. If there is no room, the worker reports on the socket when there
    /// is again.
    pub(in crate::process) fn put_more(&self) -> bool {
        self.put(&mut self.lock())
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
        let idles = lane.in_flight.is_empty() && lane.ring_backlog.is_empty();
        lane.rings_used.filter(|_| idles)?.checked_add(KEPT)
    }

    /// Releases it, if it is time, with the other buffers for large payloads. A worker without calls sends
    /// nothing that is wanted.
    pub(super) fn release_rings(&self, lane: &mut Lane) {
        let is_due = |at| at <= Instant::now();
        if Self::release_at(lane).is_some_and(is_due) {
            lane.rings_used = None;
            lane.spare = Spare::default();
            message::put(&mut lane.unwritten, &ToWorker::Rest);
            self.write(lane);
            self.page.ring(RingDirection::ToWorker).release();
            self.page.ring(RingDirection::FromWorker).release();
        }
    }
}
