//! How calls are sent. A worker that reads slowly delays no one: bytes that its socket does not accept at once
//! stay in [`Outbound`], and the supervisor's task writes them later.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::in_flight::InFlight;
use super::lane::Lane;
use super::outbound::Outbound;
use super::{Ending, Link};
use crate::executor::encoded::EncodedCall;
use crate::executor::error::{Cause, Rejection};
use crate::observe::RunningCount;
use crate::process::watch::WorkerWatch;
use crate::sys;
use crate::wire::bulk::Split;
use crate::wire::message::{self, CallHead, ToWorker};
use crate::wire::page::SLOTS;
use crate::wire::text;

/// The amount of work that is sent ahead to hide the latency of a round trip.
const AHEAD: Duration = Duration::from_millis(1);
/// The maximal number of calls that are sent ahead, however short they are.
const MOST_AHEAD: u64 = SLOTS as u64 / 2;

impl Link {
    /// Reserves the worker for a call, so that it does not look idle until the call is sent.
    pub(in crate::process) fn reserve(&self) {
        let mut lane = self.lock();
        lane.reserved += 1;
        lane.rests = false;
    }

    /// Sends the reserved call. A worker that ends returns it. Otherwise returns how many items a token has cancelled.
    pub(in crate::process) fn give_reserved(
        &self,
        call: EncodedCall,
    ) -> Result<usize, Vec<EncodedCall>> {
        self.give_to(1, vec![call])
    }

    /// Sends calls, in order. A worker that ends returns them. Otherwise returns how many items a token has cancelled.
    pub(in crate::process) fn give(
        &self,
        calls: Vec<EncodedCall>,
    ) -> Result<usize, Vec<EncodedCall>> {
        self.give_to(0, calls)
    }

    fn give_to(&self, reserved: usize, calls: Vec<EncodedCall>) -> Result<usize, Vec<EncodedCall>> {
        // Before the lock, and dropped after it: a recorder of metrics is code of another crate.
        let running: Vec<_> = calls.iter().map(|call| call.ticket().running()).collect();
        let ring = self.ring_to_worker();
        let mut out = self.outbound();
        let payloads = calls.iter().map(|call| &call.payload);
        let mut splits = out.split_all(payloads, ring).into_iter();
        let mut lane = self.lock();
        lane.reserved -= reserved; // Under one lock with the rest: in between, it would look idle.
        if !lane.phase.is_serving() {
            return Err(calls);
        }
        let mut unsent = Vec::new();
        for (call, running) in calls.into_iter().zip(running) {
            let split = splits.next().flatten();
            // A cancel, or the end of the queue timeout, that happened while the call was between backlog and
            // link found it in neither. But it left its mark before it looked.
            if call.has_expired() || !call.owed.promise().may_start() {
                unsent.push((call, running));
            } else {
                self.send(&mut out, &mut lane, (call, running), split);
            }
        }
        // The worker is idle since no new call is wanted.
        lane.wakes |= lane.in_flight.is_empty();
        drop(lane);
        out.write(ring);
        let is_left = !out.is_empty();
        drop(out);
        if is_left {
            self.wake.notify();
        }
        let mut cancelled = 0;
        for (mut call, _) in unsent {
            if call.has_expired() {
                let limit = call.ticket().options().queue_timeout.unwrap_or_default();
                call.owed
                    .fail_rest(&Cause::Rejected(Rejection::WaitedTooLong { limit }));
            } else {
                cancelled += call.owed.refuse();
            }
        }
        Ok(cancelled)
    }

    fn send(
        &self,
        out: &mut Outbound,
        lane: &mut Lane,
        (call, running): (EncodedCall, RunningCount),
        split: Option<Split>,
    ) {
        let seq = lane.next_seq;
        lane.next_seq = seq.wrapping_add(1);
        lane.count_sent();
        let timeout = call.ticket().options().timeout;
        let head = CallHead {
            seq,
            base: call.base,
            first: call.owed.next(),
            end: call.owed.next() + call.owed.remaining(),
            task_id: call.ticket().id(),
            timeout: timeout.map_or(0, |limit| {
                u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)
            }),
            function: call.function,
        };
        self.page.slot(seq).offer(head.first);
        if let Some(traceparent) = call.ticket().traceparent() {
            let traceparent = text::short(traceparent.as_ref().to_owned());
            message::put(&mut out.unwritten, &ToWorker::Trace(traceparent));
        }
        if split.is_some() {
            lane.rings_used = Some(Instant::now());
        }
        out.put_call(&head, &call.payload, split);
        let has_deadline =
            timeout.is_some() || lane.shutdown_at.is_some() || !lane.stall.is_armed();
        if has_deadline && lane.in_flight.is_empty() {
            lane.wakes = true; // The supervisor has a deadline to watch.
        }
        lane.in_flight.push_back(InFlight::new(seq, call, running));
    }

    /// The number of further calls that it may get now, and whether it is idle. The number is enough that it is not
    /// idle while an answer and the next call are in transit, but at most a millisecond of work, and a single call
    /// while the duration of calls is unknown.
    pub(in crate::process) fn vacancy(&self) -> (usize, bool) {
        let lane = self.lock();
        (Self::room(&lane), lane.is_idle())
    }

    fn room(lane: &Lane) -> usize {
        let is_held_up =
            lane.is_probed || lane.in_flight.iter().any(|entry| entry.overrun.is_some());
        if !lane.phase.takes_more() || is_held_up {
            return 0;
        }
        let ahead = lane.call_time.map_or(1, |time| {
            (AHEAD.as_nanos() as u64 / time.max(1)).clamp(1, MOST_AHEAD)
        });
        // The sequence numbers in flight must fit the slots.
        let oldest = lane
            .in_flight
            .front()
            .map_or(lane.next_seq, |entry| entry.seq);
        let slots = SLOTS.saturating_sub(lane.next_seq.wrapping_sub(oldest));
        let most = ahead.saturating_sub(lane.in_flight.len() as u64);
        most.min(slots.into()).min(lane.calls_left) as usize
    }

    /// Writes what the socket accepts, messages of the lane first.
    pub(in crate::process) fn write_now(&self) {
        let mut out = self.outbound();
        let mut lane = self.lock();
        if !lane.messages.is_empty() {
            out.unwritten.put_chain(&lane.messages);
            lane.messages.clear();
        }
        drop(lane);
        out.write(self.ring_to_worker());
        let is_left = !out.is_empty();
        drop(out);
        if is_left {
            self.wake.notify();
        }
    }

    /// Puts a piece of the backlog into the ring. Returns whether there is room for more, and whether something is left
    /// to write. Without room, the worker reports on the socket when there is some again.
    pub(in crate::process) fn put_more(&self) -> (bool, bool) {
        let mut out = self.outbound();
        let has_room = out.put(self.ring_to_worker());
        (has_room, !out.unwritten.is_empty())
    }

    /// Writes on, as far as the socket accepts it. Ready when nothing is left. Bytes for a dead worker are
    /// dropped: a write that fails again and again at once would keep the supervisor's task from noticing the
    /// death.
    pub(in crate::process) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        watch: &mut WorkerWatch,
    ) -> Poll<()> {
        let outcome = ready!(watch.poll_write(cx, || self.outbound().try_write()));
        if let Err(error) = outcome {
            self.outbound().clear();
            if !sys::is_hangup(&error) {
                // It is alive, but bytes for it are lost: only another worker can help.
                self.end(Ending::failed(&error));
            }
        }
        Poll::Ready(())
    }
}
