//! The parent's end of one worker. `in_flight` holds everything that the worker still has to answer.
//!
//! Any thread gives it calls: the one that has a call for an idle worker writes it to the socket right there.
//! One task does the rest (reading, remaining writes, timeouts, the end of the worker), in
//! [`supervisor`](super::supervisor). Reading order:
//!
//! - this file: how calls are sent; [`mod@write`]: writing to the socket; [`bulk`]: payloads that go through
//!   shared memory;
//! - [`lane`]: the calls in flight, and the decisions about them;
//! - [`settle`]: who gets an outcome, and what follows for the calls of a dead worker;
//! - [`recall`]: how calls are taken back or cancelled;
//! - [`ending`]: why a worker ends; [`fate`]: how; [`clock`]: when.

mod bulk;
mod clock;
mod ending;
mod fate;
mod lane;
mod recall;
mod settle;
mod wake;
mod write;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

pub(super) use self::clock::Late;
pub(super) use self::ending::{Dismissal, Ending, Tenure};
pub(super) use self::fate::Fate;
use self::lane::{InFlight, Lane};
pub(super) use self::settle::Answered;
use self::wake::SupervisorWake;
use crate::executor::encoded::EncodedCall;
use crate::executor::error::{Cause, Rejection};
use crate::executor::promise::Ticket;
use crate::sys::Socket;
use crate::wire::Chain;
use crate::wire::message::{self, CallHead};
use crate::wire::page::{Page, SLOTS};
use crate::wire::spare::Spare;

/// The amount of work that is sent ahead to hide the latency of a round trip.
const AHEAD: Duration = Duration::from_millis(1);
/// The maximal number of calls that are sent ahead, however short they are.
const MOST_AHEAD: usize = SLOTS as usize / 2;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) pid: u32,
    pub(super) started_at: SystemTime,
    pub(super) page: Page,
    /// Non-blocking.
    socket: Arc<Socket>,
    lane: Mutex<Lane>,
    /// Wakes the supervisor's task.
    wake: SupervisorWake,
    tasks_done: AtomicU64,
    /// It has answered something.
    proven: AtomicBool,
    tenure: Tenure,
}

impl Link {
    pub(super) fn new(id: u64, pid: u32, page: Page, socket: Arc<Socket>, tenure: Tenure) -> Self {
        Self {
            id,
            pid,
            started_at: SystemTime::now(),
            page,
            socket,
            lane: Mutex::new(Lane {
                in_flight: VecDeque::new(),
                unwritten: Chain::new(),
                ring_backlog: VecDeque::new(),
                rings_used: None,
                spare: Spare::default(),
                next_seq: 0,
                given: 0,
                reserved: 0,
                call_time: None,
                ending: None,
                kill_at: None,
                idle_since: None,
                retires_at: tenure
                    .max_age
                    .and_then(|age| Instant::now().checked_add(age)),
                exceeds_memory_limit: false,
                retirements: 0,
                leaving: false,
                shutdown_at: None,
                left: None,
                closed: false,
            }),
            wake: SupervisorWake::default(),
            tasks_done: AtomicU64::new(0),
            proven: AtomicBool::new(false),
            tenure,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lane> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tasks_done(&self) -> u64 {
        self.tasks_done.load(Ordering::Relaxed)
    }

    /// Waits until another thread has something for the supervisor's task.
    pub(super) fn poll_woken(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.wake.poll(cx)
    }

    /// Reserves the worker for a call, so that it does not look idle until the call is sent.
    pub(super) fn reserve(&self) {
        self.lock().reserved += 1;
    }

    /// Sends the reserved call. A closed link returns it.
    pub(super) fn give_reserved(&self, call: EncodedCall) -> Result<(), Vec<EncodedCall>> {
        let mut lane = self.lock();
        lane.reserved -= 1; // Under one lock with the rest: in between, it would look idle.
        self.give_to(lane, vec![call])
    }

    /// The number of calls behind the first, which runs or is about to.
    pub(super) fn queued_calls(&self) -> usize {
        self.lock().in_flight.len().saturating_sub(1)
    }

    /// Sends calls, in order. A closed link returns them.
    pub(super) fn give(&self, calls: Vec<EncodedCall>) -> Result<(), Vec<EncodedCall>> {
        self.give_to(self.lock(), calls)
    }

    fn give_to(
        &self,
        mut lane: MutexGuard<'_, Lane>,
        calls: Vec<EncodedCall>,
    ) -> Result<(), Vec<EncodedCall>> {
        if lane.closed {
            return Err(calls);
        }
        let mut late = Vec::new();
        for call in calls {
            // A cancel, or the end of the queue timeout, that happened while the call was between backlog and
            // link found it in neither. But it left its mark before it looked.
            if call
                .expiry
                .as_ref()
                .is_some_and(|expiry| expiry.has_fired())
            {
                late.push(call);
            } else if !call.ticket().is_closed() {
                self.send(&mut lane, call);
            }
        }
        self.write(&mut lane);
        if !lane.unwritten.is_empty() || !lane.ring_backlog.is_empty() || lane.in_flight.is_empty()
        {
            // Something is left to write or put, or the worker is idle since no new call is wanted.
            self.wake.notify();
        }
        drop(lane);
        for call in late {
            let limit = call.ticket().queue_timeout().unwrap_or_default();
            call.owed
                .fail_rest(&Cause::Rejected(Rejection::WaitedTooLong { limit }));
        }
        Ok(())
    }

    fn send(&self, lane: &mut Lane, call: EncodedCall) {
        let seq = lane.next_seq;
        lane.next_seq = seq.wrapping_add(1);
        lane.given += 1;
        let timeout = call.ticket().timeout();
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
            message::put_trace(&mut lane.unwritten, &traceparent);
        }
        self.put_call(lane, &head, &call.payload);
        let has_deadline = timeout.is_some() || lane.shutdown_at.is_some();
        if has_deadline && lane.in_flight.is_empty() {
            self.wake.notify(); // The supervisor has a deadline to watch.
        }
        lane.in_flight.push_back(InFlight {
            seq,
            first: head.first,
            _running: call.ticket().running(),
            call,
            began: None,
            elapsed: 0,
            overrun: None,
            fronts_since: None,
            shares_at: None,
            look_again: None,
            reported: 0,
        });
    }

    /// The number of further calls that it may get now: enough that it is not idle while an answer and the next
    /// call are in transit, but at most a millisecond of work, and a single call while the duration of calls is
    /// unknown.
    pub(super) fn room(&self) -> usize {
        let lane = self.lock();
        if lane.closed || lane.leaving || lane.in_flight.iter().any(|entry| entry.overrun.is_some())
        {
            return 0;
        }
        let ahead = match lane.call_time {
            Some(time) => {
                (AHEAD.as_nanos() as u64 / time.max(1)).clamp(1, MOST_AHEAD as u64) as usize
            }
            None => 1,
        };
        // The sequence numbers in flight must fit the slots.
        let span = lane
            .in_flight
            .front()
            .map_or(0, |oldest| lane.next_seq.wrapping_sub(oldest.seq));
        let slots = (SLOTS - span.min(SLOTS)) as usize;
        let lifetime =
            usize::try_from(self.max_tasks().saturating_sub(lane.given)).unwrap_or(usize::MAX);
        ahead
            .saturating_sub(lane.in_flight.len())
            .min(slots)
            .min(lifetime)
    }

    /// Records that it has answered something. True the first time.
    pub(super) fn prove(&self) -> bool {
        !self.proven.load(Ordering::Relaxed) && !self.proven.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_idle(&self) -> bool {
        let lane = self.lock();
        lane.in_flight.is_empty() && lane.reserved == 0
    }

    /// The number of items that it runs: 0 or 1.
    pub(super) fn running(&self) -> usize {
        let lane = self.lock();
        usize::from(lane.in_flight.iter().any(|entry| self.runs(entry)))
    }

    /// The number of items that wait in it.
    pub(super) fn waiting(&self) -> usize {
        let lane = self.lock();
        let items: usize = lane
            .in_flight
            .iter()
            .map(|entry| match &entry.overrun {
                Some(overrun) if overrun.is_last => usize::from(self.runs(entry)),
                _ => entry.call.owed.remaining() as usize,
            })
            .sum();
        items.saturating_sub(usize::from(
            lane.in_flight.iter().any(|entry| self.runs(entry)),
        ))
    }

    fn runs(&self, entry: &InFlight) -> bool {
        let claim = self.page.slot(entry.seq).look();
        claim.seq == entry.seq && claim.is_running()
    }

    pub(super) fn is_running(&self, ticket: &Ticket) -> bool {
        let lane = self.lock();
        lane.in_flight
            .iter()
            .any(|entry| entry.call.ticket().id() == ticket.id() && self.runs(entry))
    }
}
