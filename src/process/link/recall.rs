//! Takes calls back from a worker: by theft, on revocation, or on a cancel. The claim in the page decides for each call
//! whether it has started; one that has not can safely run elsewhere.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::in_flight::InFlight;
use super::state::LinkState;
use super::{Ending, Link};
use crate::executor::encoded::EncodedCall;
use crate::executor::promise::Ticket;
use crate::observe::RunningCount;
use crate::wire::claim::{Claim, Stage};
use crate::wire::message::{self, ToWorker};

/// The grace period of an item that was cancelled together with others of its call.
const GRACE_OF_MANY: Duration = Duration::from_millis(2);

/// A call that was taken back from its worker.
pub(in crate::process) struct TakenBack {
    pub(in crate::process) call: EncodedCall,
    /// Dropping it lowers a metric, which runs code of another crate, so drop it without a lock.
    pub(in crate::process) running: RunningCount,
}

impl From<InFlight> for TakenBack {
    fn from(entry: InFlight) -> Self {
        Self {
            call: entry.call,
            running: entry.running,
        }
    }
}

/// The result of a cancel, in items.
#[derive(Default)]
pub(in crate::process) struct Cancelled {
    pub(in crate::process) unstarted: usize,
    /// Items that were asked to end.
    pub(in crate::process) overrun: usize,
    /// Whether any of them has started.
    pub(in crate::process) begun: bool,
    /// Calls of other tickets, which the same token cancels.
    pub(in crate::process) revoked: Vec<TakenBack>,
}

impl Link {
    /// The pool is about to search all workers for calls that have not started. Calls that are on their way to this
    /// one will be reported by [`Sent`](super::Sent).
    pub(in crate::process) fn note_search(&self) {
        self.lock().was_searched = true;
    }

    /// The number of calls that an idle worker may take. It counts as a search if there are none.
    pub(in crate::process) fn calls_ahead(&self) -> usize {
        let mut state = self.lock();
        let ahead = state.in_flight.len().saturating_sub(1);
        state.was_searched |= ahead == 0;
        ahead
    }

    /// Takes back up to half of the calls that the worker has not started, the last first, for an idle worker. It
    /// counts as a search if there are none.
    pub(in crate::process) fn steal(&self, most: usize) -> Vec<TakenBack> {
        let mut state = self.lock();
        let mut stolen = Vec::new();
        // The first call runs, or will soon.
        let share = most.min(state.in_flight.len().saturating_sub(1).div_ceil(2));
        while stolen.len() < share {
            let Some(last) = state.in_flight.back() else {
                break;
            };
            if !self.page.slot(last.seq).withdraw() {
                break;
            }
            state.count_taken_back();
            stolen.extend(state.in_flight.pop_back().map(TakenBack::from));
        }
        state.was_searched |= stolen.is_empty();
        stolen.reverse();
        stolen
    }

    /// Takes back the items after the running one, of the front call.
    pub(in crate::process) fn cut(&self) -> Option<EncodedCall> {
        let _over; // Dropped after the lock.
        let mut state = self.lock();
        let front = state.in_flight.front_mut()?;
        let slot = self.page.slot(front.seq);
        let has_begun = |claim: Claim| claim.stage != Stage::Offered;
        if front.overrun.is_some() || !slot.read().is_ok_and(has_begun) {
            return None;
        }
        let Ok(found) = slot.cut().and_then(|claim| front.check(claim)) else {
            Self::end_for_claim(&mut state);
            return None;
        };
        if !matches!(found.stage, Stage::Running | Stage::Overdue | Stage::Done) {
            return None;
        }
        front.is_cut = true;
        let rest = front.call.split_off(found.item + 1);
        if let Some(since) = front.fronts_since {
            front.elapsed = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        }
        if front.call.owed.remaining() == 0 {
            // The outcome of its last item was already read.
            _over = state.in_flight.pop_front();
            self.tasks_done.fetch_add(1, Ordering::Relaxed);
        }
        state.wakes = true;
        Some(rest).filter(|rest| rest.owed.remaining() > 0)
    }

    /// Takes back all calls that the worker has not started.
    pub(in crate::process) fn revoke_unstarted(&self) -> Vec<EncodedCall> {
        self.revoke_and_wake(|_| true)
    }

    fn revoke_and_wake(&self, wanted: impl Fn(&EncodedCall) -> bool) -> Vec<EncodedCall> {
        let revoked = self.revoke_if(wanted);
        self.wake();
        revoked.into_iter().map(|taken| taken.call).collect()
    }

    fn revoke_if(&self, wanted: impl Fn(&EncodedCall) -> bool) -> Vec<TakenBack> {
        self.revoke_from(&mut self.lock(), wanted)
    }

    fn revoke_from(
        &self,
        state: &mut LinkState,
        wanted: impl Fn(&EncodedCall) -> bool,
    ) -> Vec<TakenBack> {
        let mut revoked = Vec::new();
        for entry in std::mem::take(&mut state.in_flight) {
            if wanted(&entry.call) && self.page.slot(entry.seq).withdraw() {
                state.count_taken_back();
                revoked.push(entry.into());
            } else {
                state.in_flight.push_back(entry);
            }
        }
        revoked
    }

    /// Takes back the calls that the worker has not started and that are less urgent than `priority`. Called under the
    /// pool's lock; the caller wakes the supervisor without it.
    pub(in crate::process) fn recall(&self, priority: i32) -> Vec<TakenBack> {
        self.revoke_if(|call| call.ticket().options().priority < priority)
    }

    /// Takes back the calls of `ticket` that the worker has not started.
    pub(in crate::process) fn take_back(&self, ticket: &Ticket) -> Vec<EncodedCall> {
        self.revoke_and_wake(|call| call.ticket().id() == ticket.id())
    }

    /// Cancels the calls of `ticket`, as its caller requests. Items that have not started never will. A worker that runs
    /// one is killed if the item does not end within its grace period.
    ///
    /// If a token cancels, other calls of the token are taken back first: the worker must not begin one of them when it
    /// becomes free.
    pub(in crate::process) fn cancel(&self, ticket: &Ticket) -> Cancelled {
        let mut over = Vec::new(); // Dropped after the lock.
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut met = Cancelled::default();
        let is_meant = |entry: &InFlight| entry.call.ticket().id() == ticket.id();
        if !state.in_flight.iter().any(is_meant) {
            return met;
        }
        if ticket.has_token() {
            met.revoked = self.revoke_from(state, |call| {
                call.ticket().id() != ticket.id() && call.owed.promise().is_revoked()
            });
        }
        let entries = std::mem::take(&mut state.in_flight);
        for (place, mut entry) in entries.into_iter().enumerate() {
            if is_meant(&entry) && self.cancel_call(state, &mut entry, &mut met) {
                if place == 0 {
                    Self::probe(state);
                }
                over.push(entry);
            } else {
                state.in_flight.push_back(entry);
            }
        }
        state.wakes = true;
        let has_messages = !state.messages.is_empty();
        drop(guard);
        if has_messages {
            self.write_now();
        }
        met
    }

    /// Cancels one call. Returns whether the worker will send no further outcome of it.
    fn cancel_call(
        &self,
        state: &mut LinkState,
        entry: &mut InFlight,
        met: &mut Cancelled,
    ) -> bool {
        let mut grace = entry.call.ticket().options().grace_period;
        if entry.call.owed.remaining() > 1 {
            // Items that travel together are quick, and replacing a worker takes longer.
            grace = grace.max(GRACE_OF_MANY);
        }
        let begun = self.page.begun(entry.seq);
        let stopped = self.page.slot(entry.seq).stop(grace.is_zero());
        let Ok(found) = stopped.and_then(|claim| entry.see_stopped(claim, begun)) else {
            met.begun = true; // As far as the parent can tell.
            Self::end_for_claim(state);
            return false;
        };
        let owed = &entry.call.owed;
        met.begun |= found.stage != Stage::Offered || owed.has_begun();
        match found.stage {
            Stage::Condemned => {
                let step = state.phase.condemn(Ending::Cancelled);
                Self::follow(state, step);
                return false;
            }
            Stage::Cancelled if found.item >= owed.next() => {
                self.page.announce_stop();
                let ends = state.end_of_grace(grace, Instant::now());
                met.overrun += usize::from(entry.cancel(found.item, ends));
                return false;
            }
            Stage::Offered => state.count_taken_back(),
            // An item whose outcome was read has ended, even if its worker has not yet marked that in the page. No
            // further outcome of this call follows.
            Stage::Done | Stage::Cancelled => {
                state.last_cancelled = Some((owed.ticket().task_id(), owed.ticket().name()));
            }
            _ => {}
        }
        met.unstarted += owed.remaining() as usize;
        true
    }

    /// Sends a probe, because the page says that the worker does not run the cancelled call. Without an answer the
    /// worker counts as stalled.
    fn probe(state: &mut LinkState) {
        if state.phase.is_serving() && !std::mem::replace(&mut state.is_probed, true) {
            message::put(&mut state.messages, &ToWorker::Probe);
        }
    }

    /// Kills the worker because a claim of it is invalid.
    pub(super) fn end_for_claim(state: &mut LinkState) {
        let why = Ending::Protocol("writing an invalid claim".to_owned());
        let step = state.phase.kill(why);
        Self::follow(state, step);
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::TaskOptions;
    use crate::executor::context::Wanted;
    use crate::executor::error::TaskError;
    use crate::executor::promise::{Owed, Promise};
    use crate::executor::served::PromiseEncoded;
    use crate::process::link::Tenure;
    use crate::sys::Socket;
    use crate::wire::outcomes::Values;
    use crate::wire::page::Page;
    use crate::wire::{Chain, FunctionOffset};

    /// A promise whose outcome is not awaited.
    struct Unheard(Ticket);

    impl Wanted for Unheard {
        fn is_wanted(&self, _: u64) -> bool {
            false
        }

        fn report(&self, _: u64, _: u64, _: u64) {}
    }

    impl Promise for Unheard {
        fn ticket(&self) -> &Ticket {
            &self.0
        }

        fn fail(&self, _: u32, _: TaskError) {}
    }

    impl PromiseEncoded for Unheard {
        fn fulfil_encoded(&self, _: Values) {}

        fn takes_bytes(&self) -> bool {
            true
        }
    }

    /// The outcome of an item was read, and its worker has not marked its end in the page yet. No further
    /// outcome of that call follows; if one was awaited, all calls behind it would wait forever.
    #[tokio::test]
    async fn a_cancel_between_the_outcome_of_an_item_and_its_end_leaves_nothing_to_wait_for() {
        let (ours, _theirs) = Socket::pair().expect("a socket pair");
        let (page, fd) = Page::create().expect("memory");
        let worker = Page::open(fd).expect("the same page");
        let link = Link::new(1, 1, page, Arc::new(ours), Tenure::default());
        let options = TaskOptions::new().grace_period(Duration::from_secs(1));
        let promise = Arc::new(Unheard(Ticket::new("test", Some(Arc::new(options)))));
        let owed =
            Owed::new(promise.clone(), 0..3).map(|promise| promise as Arc<dyn PromiseEncoded>);
        let call = EncodedCall {
            owed,
            function: FunctionOffset(0),
            base: 0,
            payload: Chain::new().finish(),
            expiry: None,
            strikes: 0,
        };
        assert!(link.give(vec![call]).is_ok());
        assert!(worker.claim(0, 0, 0));
        assert!(link.answered(0, 0..1).is_some());
        assert!(promise.ticket().close());
        link.cancel(promise.ticket());
        assert!(!link.is_idle(), "the worker must answer the probe first");
        link.is_alive();
        assert!(link.is_idle());
        assert!(worker.slot(0).finish(0), "the worker goes on");
        assert!(
            !worker.claim(0, 1, 0),
            "the worker cannot claim the cancelled call"
        );
    }
}

#[cfg(all(test, target_os = "linux", properties))]
#[path = "../../../tests/properties/process/link/recall.rs"]
mod tests;
