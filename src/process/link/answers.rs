//! Finds the receivers of what a living worker sends: outcomes, progress reports, events.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Link;
use super::in_flight::{InFlight, ItemStage};
use super::overrun::Overrun;
use super::state::FinishedCall;
use crate::executor::options::TaskName;
use crate::executor::promise::Ticket;
use crate::executor::served::PromiseEncoded;
use crate::wire::claim::InvalidClaim;
#[cfg(feature = "tracing")]
use crate::{observe, wire::event::LogEvent};

/// A run time, in nanoseconds, above which a system call to check it is worth its cost: an hour.
const UNUSUAL: u64 = 3600 * 1_000_000_000;

/// The receiver of some outcomes.
pub(in crate::process) struct Answered {
    pub(in crate::process) promise: Arc<dyn PromiseEncoded>,
    /// The items.
    pub(in crate::process) items: Range<u32>,
    /// How many workers were lost with the first of them.
    pub(in crate::process) losses: u32,
    /// Whether their callers already have an outcome.
    pub(in crate::process) late: bool,
    /// The rest of their call, if the call is over.
    pub(in crate::process) finished: FinishedCall,
}

impl Link {
    /// Finds the receiver of the outcomes of some items, for as many of them as are treated alike. `None` if their call
    /// was taken back: another process has run it, or its result is not wanted.
    pub(in crate::process) fn answered(&self, seq: u32, items: Range<u32>) -> Option<Answered> {
        let mut state = self.lock();
        let front = state
            .in_flight
            .front_mut()
            .filter(|front| front.seq == seq)?;
        let losses = front.call.owed.losses();
        let (promise, items, overrun) = front.take_answered(&items)?;
        let is_last = overrun.as_ref().is_some_and(Overrun::is_last);
        let mut finished = FinishedCall::default();
        if is_last || front.call.owed.remaining() == 0 {
            finished = state.finish_front();
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

    /// Records that items of a call ran for `nanos` nanoseconds, as the worker reports; at most as long as the worker
    /// has lived.
    pub(in crate::process) fn ran(&self, seq: u32, nanos: u64) {
        let nanos = match nanos {
            0..UNUSUAL => nanos,
            _ => nanos.min(u64::try_from(self.ready_at.elapsed().as_nanos()).unwrap_or(u64::MAX)),
        };
        let mut state = self.lock();
        if let Some(front) = state.in_flight.front_mut()
            && front.seq == seq
        {
            front.elapsed = front.elapsed.saturating_add(nanos);
        }
    }

    /// The single item of a call with descriptors has started. The objects behind them must end when the worker is done
    /// with them, so the parent keeps the descriptors only if the item may run again. It keeps those of several items
    /// as long as the call. Fails if the item has not started or is not the only one. A worker sends the outcomes of
    /// earlier calls first, so this is the front call now.
    pub(in crate::process) fn taken(&self, seq: u32) -> Result<(), InvalidClaim> {
        let mut state = self.lock();
        let Some(place) = state.in_flight.iter().position(|entry| entry.seq == seq) else {
            return Ok(()); // The call was cancelled.
        };
        let entry = &mut state.in_flight[place];
        let has_one_item = entry.call.owed.remaining() <= 1;
        if place > 0 || !has_one_item || self.see(entry)? == ItemStage::Waits {
            return Err(InvalidClaim);
        }
        let is_last_run = entry.call.owed.losses() >= entry.call.ticket().options().retries;
        let unneeded = is_last_run.then(|| entry.call.payload.detach());
        drop(state);
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
        let mut state = self.lock();
        let is_meant = |entry: &&mut InFlight| {
            entry.seq == report.seq && entry.call.owed.next() == report.item
        };
        let promise = state.in_flight.iter_mut().find(is_meant).and_then(|entry| {
            let is_new = std::mem::replace(&mut entry.reported, version) != version;
            is_new.then(|| entry.call.owed.promise().clone())
        });
        drop(state);
        if let Some(promise) = promise {
            promise.report(report.item.into(), report.done, report.total);
        }
    }

    /// Passes on the last report of a dead worker, which may have come without a nudge.
    pub(in crate::process) fn last_report(&self) {
        let front = self.lock().in_flight.front().map(|entry| entry.seq);
        if let Some(seq) = front {
            self.report(seq);
        }
    }

    /// A worker has logged an event, in the task of a call or in none.
    #[cfg(feature = "tracing")]
    pub(in crate::process) fn pass_on_event(&self, call: Option<u32>, event: LogEvent) {
        let promise = call.and_then(|seq| {
            let state = self.lock();
            let entry = state.in_flight.iter().find(|entry| entry.seq == seq);
            entry.map(|entry| entry.call.owed.promise().clone())
        });
        // Called without the lock: a subscriber is code of another crate.
        observe::relay::pass_on(
            event,
            promise.as_ref().map(|promise| promise.ticket().trace()),
        );
    }

    /// The name of the task that has this number in its output.
    pub(in crate::process) fn name_of(&self, task: u64) -> Option<TaskName> {
        let state = self.lock();
        let mut tickets = state.in_flight.iter().map(|entry| entry.call.ticket());
        let found = tickets
            .find(|ticket| ticket.task_id() == task)
            .map(Ticket::name);
        let last = state.last_cancelled.as_ref().filter(|(id, _)| *id == task);
        found.or_else(|| last.map(|(_, name)| name.clone()))
    }
}
