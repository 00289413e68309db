//! Who gets what a living worker sends: outcomes, progress reports, events.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Link;
use super::in_flight::{InFlight, ItemStage};
use super::lane::FinishedCall;
use super::overrun::Overrun;
use crate::executor::options::TaskName;
use crate::executor::promise::Ticket;
use crate::executor::served::PromiseEncoded;
use crate::wire::claim::InvalidClaim;
#[cfg(feature = "tracing")]
use crate::{observe, wire::event::LogEvent};

/// From this time on, in nanoseconds, it is worth a system call to check how long items have run: an hour.
const UNUSUAL: u64 = 3600 * 1_000_000_000;

/// The receiver of some outcomes.
pub(in crate::process) struct Answered {
    pub(in crate::process) promise: Arc<dyn PromiseEncoded>,
    /// The items.
    pub(in crate::process) items: Range<u32>,
    /// How many workers were lost with the first of them.
    pub(in crate::process) losses: u32,
    /// They have an answer already.
    pub(in crate::process) late: bool,
    /// What is left of their call, if it is over.
    pub(in crate::process) finished: FinishedCall,
}

impl Link {
    /// Finds the receiver of the outcomes of some items, for as many as are treated alike. `None` if their call
    /// was taken back: another process has run it, or no one wants it.
    pub(in crate::process) fn answered(&self, seq: u32, items: Range<u32>) -> Option<Answered> {
        let mut lane = self.lock();
        let front = lane
            .in_flight
            .front_mut()
            .filter(|front| front.seq == seq)?;
        let losses = front.call.owed.losses();
        let (promise, items, overrun) = front.take_answered(&items)?;
        let is_last = overrun.as_ref().is_some_and(Overrun::is_last);
        let mut finished = FinishedCall::default();
        if is_last || front.call.owed.remaining() == 0 {
            finished = lane.finish_front();
            self.tasks_done.fetch_add(1, Ordering::Relaxed);
        }
        Some(Answered {
            promise,
            items,
            losses,
            late: overrun.is_some_and(|overrun| overrun.is_answered()),
            finished,
        })
    }

    /// Items of a call have run for `nanos` nanoseconds, by the worker's word: no longer than it lives.
    pub(in crate::process) fn ran(&self, seq: u32, nanos: u64) {
        let nanos = match nanos {
            0..UNUSUAL => nanos,
            _ => nanos.min(u64::try_from(self.ready_at.elapsed().as_nanos()).unwrap_or(u64::MAX)),
        };
        let mut lane = self.lock();
        if let Some(front) = lane.in_flight.front_mut()
            && front.seq == seq
        {
            front.elapsed = front.elapsed.saturating_add(nanos);
        }
    }

    /// The single item of a call with descriptors has begun. Their objects have to end when the worker is done
    /// with them, so the parent keeps the descriptors only if the item may be run again. Those of several items it
    /// keeps as long as the call. An error if the item has not begun, or is not the only one: a worker sends the
    /// outcomes of the calls before it first, so it is the front call by now.
    pub(in crate::process) fn taken(&self, seq: u32) -> Result<(), InvalidClaim> {
        let mut lane = self.lock();
        let Some(place) = lane.in_flight.iter().position(|entry| entry.seq == seq) else {
            return Ok(()); // It was cancelled.
        };
        let entry = &mut lane.in_flight[place];
        let has_one_item = entry.call.owed.remaining() <= 1;
        if place > 0 || !has_one_item || self.see(entry)? == ItemStage::Waits {
            return Err(InvalidClaim);
        }
        let is_last_run = entry.call.owed.losses() >= entry.call.ticket().options().retries;
        let unneeded = is_last_run.then(|| entry.call.payload.detach());
        drop(lane);
        drop(unneeded);
        Ok(())
    }

    /// The worker has answered a probe.
    pub(in crate::process) fn is_alive(&self) {
        self.lock().is_probed = false;
    }

    /// Passes on the latest progress report of a call.
    pub(in crate::process) fn report(&self, seq: u32) {
        let Some((version, report)) = self.page.take_report(seq) else {
            return;
        };
        let mut lane = self.lock();
        let is_meant = |entry: &&mut InFlight| {
            entry.seq == report.seq && entry.call.owed.next() == report.item
        };
        let promise = lane.in_flight.iter_mut().find(is_meant).and_then(|entry| {
            let is_new = std::mem::replace(&mut entry.reported, version) != version;
            is_new.then(|| entry.call.owed.promise().clone())
        });
        drop(lane);
        if let Some(promise) = promise {
            promise.report(report.item.into(), report.done, report.total);
        }
    }

    /// The worker is dead: its last report may have arrived without a nudge.
    pub(in crate::process) fn last_report(&self) {
        let front = self.lock().in_flight.front().map(|entry| entry.seq);
        if let Some(seq) = front {
            self.report(seq);
        }
    }

    /// A worker has logged an event, in the task of a call or in none.
    #[cfg(feature = "tracing")]
    pub(in crate::process) fn tell(&self, call: Option<u32>, event: LogEvent) {
        let promise = call.and_then(|seq| {
            let lane = self.lock();
            let entry = lane.in_flight.iter().find(|entry| entry.seq == seq);
            entry.map(|entry| entry.call.owed.promise().clone())
        });
        // Without the lock: a subscriber is foreign code.
        observe::relay::tell(
            event,
            promise.as_ref().map(|promise| promise.ticket().trace()),
        );
    }

    /// The name of one of its tasks.
    pub(in crate::process) fn name_of(&self, task: u64) -> Option<TaskName> {
        let lane = self.lock();
        let mut tickets = lane.in_flight.iter().map(|entry| entry.call.ticket());
        let found = tickets.find(|ticket| ticket.id() == task).map(Ticket::name);
        let last = lane.last_cancelled.as_ref().filter(|(id, _)| *id == task);
        found.or_else(|| last.map(|(_, name)| name.clone()))
    }
}
