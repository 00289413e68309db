//! How calls are sent. A worker that reads slowly delays no other caller: bytes that its socket does not accept at once
//! stay in [`Outbound`], and the supervisor's task writes them later.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::in_flight::InFlight;
use super::outbound::Outbound;
use super::state::LinkState;
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
/// The most calls that are sent ahead, however short they are.
const MOST_AHEAD: u64 = SLOTS as u64 / 2;

/// Calls that were sent.
#[derive(Debug)]
pub(in crate::process) struct Sent {
    /// How many items a token has cancelled.
    pub(in crate::process) cancelled: usize,
    /// Whether the pool has searched this worker for calls that have not started, since it was last sent calls.
    pub(in crate::process) was_searched: bool,
}

impl Link {
    /// Reserves the worker for a call, so that it does not look idle until the call is sent.
    pub(in crate::process) fn reserve(&self) {
        let mut state = self.lock();
        state.reserved += 1;
        state.rests = false;
    }

    /// Sends the reserved call. If the worker is ending, returns the call instead.
    pub(in crate::process) fn give_reserved(
        &self,
        call: EncodedCall,
    ) -> Result<Sent, Vec<EncodedCall>> {
        self.give_to(1, vec![call])
    }

    /// Sends calls, in order. If the worker is ending, returns the calls instead.
    pub(in crate::process) fn give(
        &self,
        calls: Vec<EncodedCall>,
    ) -> Result<Sent, Vec<EncodedCall>> {
        self.give_to(0, calls)
    }

    fn give_to(&self, reserved: usize, calls: Vec<EncodedCall>) -> Result<Sent, Vec<EncodedCall>> {
        // Taken before the lock and dropped after it: a recorder of metrics is code of another crate.
        let running: Vec<_> = calls.iter().map(|call| call.ticket().running()).collect();
        let ring = self.ring_to_worker();
        let mut out = self.outbound();
        let payloads = calls.iter().map(|call| &call.payload);
        let mut splits = out.split_all(payloads, ring).into_iter();
        let mut state = self.lock();
        state.reserved -= reserved; // In the same critical section: otherwise the worker would look idle in between.
        if !state.phase.is_serving() {
            return Err(calls);
        }
        let mut unsent = Vec::new();
        for (call, running) in calls.into_iter().zip(running) {
            let split = splits.next().flatten();
            // A cancel, or the end of the queue timeout, may have searched while the call was between backlog and link,
            // and found it in neither. But it marks the call before it searches.
            if call.has_expired() || !call.owed.promise().may_start() {
                unsent.push((call, running));
            } else {
                self.send(&mut out, &mut state, (call, running), split);
            }
        }
        // The worker is idle since no new call is wanted.
        state.wakes |= state.in_flight.is_empty();
        let was_searched = std::mem::take(&mut state.was_searched);
        drop(state);
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
        Ok(Sent {
            cancelled,
            was_searched,
        })
    }

    fn send(
        &self,
        out: &mut Outbound,
        state: &mut LinkState,
        (call, running): (EncodedCall, RunningCount),
        split: Option<Split>,
    ) {
        let seq = state.next_seq;
        state.next_seq = seq.wrapping_add(1);
        state.count_sent();
        let timeout = call.ticket().options().timeout;
        let head = CallHead {
            seq,
            base: call.base,
            first: call.owed.next(),
            end: call.owed.next() + call.owed.remaining(),
            task_id: call.ticket().task_id(),
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
        let attempt = call.ticket().attempt(call.owed.losses());
        if attempt > 1 {
            message::put(&mut out.unwritten, &ToWorker::Attempt(attempt));
        }
        if split.is_some() {
            state.rings_used = Some(Instant::now());
        }
        out.put_call(&head, &call.payload, split);
        let has_deadline =
            timeout.is_some() || state.shutdown_at.is_some() || !state.stall.is_armed();
        if has_deadline && state.in_flight.is_empty() {
            state.wakes = true; // The supervisor has a deadline to watch.
        }
        state.in_flight.push_back(InFlight::new(seq, call, running));
    }

    /// The number of further calls that the worker may get now, and whether it is idle. The number is large enough that
    /// the worker is not idle while an answer and the next call are in transit, but limited to a millisecond of work,
    /// and to a single call while the duration of calls is unknown.
    pub(in crate::process) fn vacancy(&self) -> (usize, bool) {
        let state = self.lock();
        (Self::room(&state), state.is_idle())
    }

    fn room(state: &LinkState) -> usize {
        let is_held_up =
            state.is_probed || state.in_flight.iter().any(|entry| entry.overrun.is_some());
        if !state.phase.takes_more() || is_held_up {
            return 0;
        }
        let ahead = state.call_time.map_or(1, |time| {
            (AHEAD.as_nanos() as u64 / time.max(1)).clamp(1, MOST_AHEAD)
        });
        // The sequence numbers in flight must fit the slots.
        let oldest = state
            .in_flight
            .front()
            .map_or(state.next_seq, |entry| entry.seq);
        let slots = SLOTS.saturating_sub(state.next_seq.wrapping_sub(oldest));
        let most = ahead.saturating_sub(state.in_flight.len() as u64);
        most.min(slots.into()).min(state.calls_left) as usize
    }

    /// Writes what the socket accepts, messages of the state first.
    pub(in crate::process) fn write_now(&self) {
        let mut out = self.outbound();
        let mut state = self.lock();
        if !state.messages.is_empty() {
            out.unwritten.put_chain(&state.messages);
            state.messages.clear();
        }
        drop(state);
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

    /// Continues to write as far as the socket accepts it. Ready when nothing is left. Bytes for a dead worker are
    /// dropped: a write that fails again and again at once would keep the supervisor's task from noticing the death.
    pub(in crate::process) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        watch: &mut WorkerWatch,
    ) -> Poll<()> {
        let outcome = ready!(watch.poll_write(cx, || self.outbound().try_write()));
        if let Err(error) = outcome {
            self.outbound().clear();
            if !sys::is_hangup(&error) {
                // The worker is alive, but bytes for it are lost, so it must be replaced.
                self.end(Ending::failed(&error));
            }
        }
        Poll::Ready(())
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::os::fd::AsFd as _;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::executor::encoded::EncodedItems;
    use crate::executor::handle::OutcomeCell;
    use crate::executor::promise::{Owed, Ticket};
    use crate::executor::served::PromiseEncoded;
    use crate::process::link::Tenure;
    use crate::sys::Socket;
    use crate::wire::message::ParentFrame;
    use crate::wire::page::Page;
    use crate::wire::{Chain, FunctionOffset, Reader, frame};

    #[tokio::test]
    async fn a_worker_receives_the_number_of_a_handle_on_another_machine() {
        let (ours, theirs) = Socket::pair().expect("a socket pair");
        let (page, _fd) = Page::create().expect("memory");
        let link = Link::new(1, 1, page, Arc::new(ours), Tenure::default());
        let ticket = Ticket::with_task_id("test", None, Some(7007));
        let cell = Arc::new(OutcomeCell::<u64>::new(ticket));
        let items = EncodedItems {
            owed: Owed::new(cell, 0..1).map(|cell| cell as Arc<dyn PromiseEncoded>),
            base: 0,
            payload: Chain::new().finish(),
        };
        let call = EncodedCall::new(FunctionOffset(0), items, None);
        assert!(link.give(vec![call]).is_ok());
        let mut bytes = [0; 256];
        let len = sys::receive(theirs.as_fd(), &mut bytes).expect("a frame");
        let frame = Bytes::copy_from_slice(&bytes[frame::HEAD..len]);
        let Some(ParentFrame::Call(head, _)) = ParentFrame::parse(Reader::from(frame)) else {
            panic!("the message is a call");
        };
        assert_eq!(head.task_id, 7007);
    }
}
