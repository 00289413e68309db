//! How calls are taken back from a worker: stolen, revoked, cancelled. The claim in the page decides for each
//! call whether it has begun; one that has not is safe to run elsewhere.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::in_flight::InFlight;
use super::lane::Lane;
use super::{Ending, Link};
use crate::executor::encoded::EncodedCall;
use crate::executor::promise::Ticket;
use crate::observe::RunningCount;
use crate::wire::claim::{Claim, Stage};
use crate::wire::message::{self, ToWorker};

/// The time to end for an item that was cancelled together with others of its call.
const GRACE_OF_MANY: Duration = Duration::from_millis(2);

/// A call that was taken back from its worker.
pub(in crate::process) struct TakenBack {
    pub(in crate::process) call: EncodedCall,
    /// Dropping it lowers a metric, by code of another crate: without a lock.
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
    /// Asked to end.
    pub(in crate::process) overrun: usize,
    /// Whether any of them has begun.
    pub(in crate::process) begun: bool,
    /// Calls of other tickets, which the same token cancels.
    pub(in crate::process) revoked: Vec<TakenBack>,
}

impl Link {
    /// Takes back up to half of the calls that it has not begun, the last first, for an idle worker.
    pub(in crate::process) fn steal(&self, most: usize) -> Vec<TakenBack> {
        let mut lane = self.lock();
        let mut stolen = Vec::new();
        // The first call runs or is about to.
        let share = most.min(lane.in_flight.len().saturating_sub(1).div_ceil(2));
        while stolen.len() < share {
            let Some(last) = lane.in_flight.back() else {
                break;
            };
            if !self.page.slot(last.seq).withdraw() {
                break;
            }
            lane.count_taken_back();
            stolen.extend(lane.in_flight.pop_back().map(TakenBack::from));
        }
        stolen.reverse();
        stolen
    }

    /// Takes back the items after the running one, of the front call.
    pub(in crate::process) fn cut(&self) -> Option<EncodedCall> {
        let _over; // Dropped after the lock.
        let mut lane = self.lock();
        let front = lane.in_flight.front_mut()?;
        let slot = self.page.slot(front.seq);
        let has_begun = |claim: Claim| claim.stage != Stage::Offered;
        if front.overrun.is_some() || !slot.look().is_ok_and(has_begun) {
            return None;
        }
        let Ok(found) = slot.cut().and_then(|claim| front.check(claim)) else {
            Self::end_for_claim(&mut lane);
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
            // The outcome of its last item was read.
            _over = lane.in_flight.pop_front();
            self.tasks_done.fetch_add(1, Ordering::Relaxed);
        }
        lane.wakes = true;
        Some(rest).filter(|rest| rest.owed.remaining() > 0)
    }

    /// Takes back all calls that it has not begun.
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
        lane: &mut Lane,
        wanted: impl Fn(&EncodedCall) -> bool,
    ) -> Vec<TakenBack> {
        let mut revoked = Vec::new();
        for entry in std::mem::take(&mut lane.in_flight) {
            if wanted(&entry.call) && self.page.slot(entry.seq).withdraw() {
                lane.count_taken_back();
                revoked.push(entry.into());
            } else {
                lane.in_flight.push_back(entry);
            }
        }
        revoked
    }

    /// Takes back the calls that it has not begun and that are less urgent than `priority`. Called under the
    /// pool's lock; the caller wakes the supervisor without it.
    pub(in crate::process) fn recall(&self, priority: i32) -> Vec<TakenBack> {
        self.revoke_if(|call| call.ticket().options().priority < priority)
    }

    /// Takes back the calls of `ticket` that it has not begun.
    pub(in crate::process) fn take_back(&self, ticket: &Ticket) -> Vec<EncodedCall> {
        self.revoke_and_wake(|call| call.ticket().id() == ticket.id())
    }

    /// The caller of `ticket` has cancelled. Items that have not begun never will, and a worker that runs one
    /// is killed if it does not end within its grace period.
    ///
    /// If a token cancels, other calls of the token are taken back first: the worker must not begin one when it is free.
    pub(in crate::process) fn cancel(&self, ticket: &Ticket) -> Cancelled {
        let mut over = Vec::new(); // Dropped after the lock.
        let mut guard = self.lock();
        let lane = &mut *guard;
        let mut met = Cancelled::default();
        let is_meant = |entry: &InFlight| entry.call.ticket().id() == ticket.id();
        if !lane.in_flight.iter().any(is_meant) {
            return met;
        }
        if ticket.has_token() {
            met.revoked = self.revoke_from(lane, |call| {
                call.ticket().id() != ticket.id() && call.owed.promise().is_revoked()
            });
        }
        let entries = std::mem::take(&mut lane.in_flight);
        for (place, mut entry) in entries.into_iter().enumerate() {
            if is_meant(&entry) && self.cancel_call(lane, &mut entry, &mut met) {
                if place == 0 {
                    Self::probe(lane);
                }
                over.push(entry);
            } else {
                lane.in_flight.push_back(entry);
            }
        }
        lane.wakes = true;
        let has_messages = !lane.messages.is_empty();
        drop(guard);
        if has_messages {
            self.write_now();
        }
        met
    }

    /// Cancels one call. Returns whether the worker answers no further item of it.
    fn cancel_call(&self, lane: &mut Lane, entry: &mut InFlight, met: &mut Cancelled) -> bool {
        let mut grace = entry.call.ticket().options().grace_period;
        if entry.call.owed.remaining() > 1 {
            // Items that travel together are quick, and replacing a worker takes longer.
            grace = grace.max(GRACE_OF_MANY);
        }
        let begun = self.page.begun(entry.seq);
        let stopped = self.page.slot(entry.seq).stop(grace.is_zero());
        let Ok(found) = stopped.and_then(|claim| entry.see_stopped(claim, begun)) else {
            met.begun = true; // As far as the parent can tell.
            Self::end_for_claim(lane);
            return false;
        };
        let owed = &entry.call.owed;
        met.begun |= found.stage != Stage::Offered || owed.has_begun();
        match found.stage {
            Stage::Condemned => {
                let step = lane.phase.condemn(Ending::Cancelled);
                Self::follow(lane, step);
                return false;
            }
            Stage::Cancelled if found.item >= owed.next() => {
                let ends = lane.end_of_grace(grace, Instant::now());
                met.overrun += usize::from(entry.cancel(found.item, ends));
                return false;
            }
            Stage::Offered => lane.count_taken_back(),
            // An item whose outcome was read has ended, although its worker has not marked that in the page yet.
            // Then nothing more follows for this call.
            Stage::Done | Stage::Cancelled => {
                lane.last_cancelled = Some((owed.ticket().id(), owed.ticket().name()));
            }
            _ => {}
        }
        met.unstarted += owed.remaining() as usize;
        true
    }

    /// Sends a probe: by its own word, the worker does not run the call that was cancelled. Without an answer it
    /// counts as stalled.
    fn probe(lane: &mut Lane) {
        if lane.phase.is_serving() && !std::mem::replace(&mut lane.is_probed, true) {
            message::put(&mut lane.messages, &ToWorker::Probe);
        }
    }

    /// Kills a worker for a claim that makes no sense.
    pub(super) fn end_for_claim(lane: &mut Lane) {
        let why = Ending::Protocol("writing an invalid claim".to_owned());
        let step = lane.phase.kill(why);
        Self::follow(lane, step);
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

    /// A promise that no one awaits.
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
        assert!(!link.is_idle(), "it has to give a sign of life first");
        link.is_alive();
        assert!(link.is_idle());
        assert!(worker.slot(0).finish(0), "it goes on");
        assert!(!worker.claim(0, 1, 0), "with something else");
    }
}

#[cfg(all(test, target_os = "linux", properties))]
#[path = "../../../tests/properties/process/link/recall.rs"]
mod tests;
