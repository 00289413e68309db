//! A call that a worker has, and the times of the item that it runs.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::overrun::Overrun;
use crate::executor::encoded::EncodedCall;
use crate::executor::served::PromiseEncoded;
use crate::observe::RunningCount;
use crate::sys;
use crate::wire::claim::{Claim, InvalidClaim, Stage};

/// How long a worker keeps all items of a call to itself.
const HOLD: Duration = Duration::from_millis(2);

/// A call that the worker has and has not answered completely.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) seq: u32,
    pub(super) call: EncodedCall,
    /// The first item when it was sent.
    pub(super) first: u32,
    /// The earliest time at which its front item can have started, once that is needed.
    pub(super) began: Option<Beginning>,
    /// How far its front item is, as far as the parent has seen.
    pub(super) seen: ItemStage,
    /// How long its items have run so far, in nanoseconds.
    pub(super) elapsed: u64,
    /// Whether the parent has taken back the items that have not started.
    pub(super) is_cut: bool,
    /// The running item that was asked to end.
    pub(super) overrun: Option<Overrun>,
    /// Since when it is known to be the front call, if it has more than one item.
    pub(super) fronts_since: Option<Instant>,
    /// When to check whether other workers can run the rest of it.
    pub(super) shares_at: Option<Instant>,
    /// It was too early to warn its item of a shutdown; the next attempt is at this instant.
    pub(super) check_again: Option<Instant>,
    /// The version of the last progress report that was passed on.
    pub(super) reported: u64,
    /// Dropping it lowers a metric, which runs code of another crate, so drop it without a lock.
    pub(super) running: RunningCount,
}

impl InFlight {
    pub(super) fn new(seq: u32, call: EncodedCall, running: RunningCount) -> Self {
        Self {
            seq,
            first: call.owed.next(),
            running,
            call,
            began: None,
            seen: ItemStage::Waits,
            elapsed: 0,
            is_cut: false,
            overrun: None,
            fronts_since: None,
            shares_at: None,
            check_again: None,
            reported: 0,
        }
    }

    /// Returns the claim of this call if it fits what the parent knows of the call: a worker posts each outcome before
    /// it goes on to the next item, and only the parent ends a call early.
    pub(super) fn check(&self, claim: Claim) -> Result<Claim, InvalidClaim> {
        let next = self.call.owed.next();
        let fits = match claim.stage {
            Stage::Offered => claim.item == self.first && next == self.first,
            Stage::Revoked | Stage::Last | Stage::Cancelled if !self.is_cut => false,
            _ => claim.item >= self.first && claim.item + 1 >= next,
        };
        let is_sent = claim.item < next + self.call.owed.remaining();
        (fits && is_sent).then_some(claim).ok_or(InvalidClaim)
    }

    /// Updates how far the front item is from the claim of this call. `begun` is when the item began, as the worker
    /// reports. It counts only the first time that the item is seen to run: from then on the parent's own clock
    /// decides.
    pub(super) fn see(&mut self, claim: Claim, begun: u64) -> Result<ItemStage, InvalidClaim> {
        let claim = self.check(claim)?;
        let seen = match claim.item.cmp(&self.call.owed.next()) {
            Ordering::Less => ItemStage::Waits, // The item before has an outcome, and is about to end.
            Ordering::Equal if claim.stage == Stage::Offered => ItemStage::Waits,
            Ordering::Equal if claim.is_running() => ItemStage::Runs,
            Ordering::Equal | Ordering::Greater => ItemStage::Ended,
        };
        if seen < self.seen {
            return Err(InvalidClaim);
        }
        if seen == ItemStage::Runs && self.seen == ItemStage::Waits {
            self.began = self.began.map(|began| began.or_later(begun));
        }
        self.seen = seen;
        Ok(seen)
    }

    /// As `see`, for a call that the parent has just stopped. Returns the claim.
    pub(super) fn see_stopped(&mut self, claim: Claim, begun: u64) -> Result<Claim, InvalidClaim> {
        self.is_cut |= claim.stage == Stage::Cancelled; // The parent cancelled it.
        self.see(claim, begun)?;
        self.is_cut = true;
        Ok(claim)
    }

    /// Takes those of `items` that have outcomes, for as many as are treated alike. The first one may have been asked
    /// to end. `None` if no outcome of them is awaited.
    pub(super) fn take_answered(&mut self, items: &Range<u32>) -> Option<Taken> {
        let next = self.call.owed.next();
        let end = items.end.min(next + self.call.owed.remaining());
        if next < items.start || end <= next || self.condemned_item().is_some() {
            return None;
        }
        self.began = None;
        self.seen = ItemStage::Waits;
        self.check_again = None;
        let until = self
            .overrun
            .as_ref()
            .map(|overrun| overrun.settles_until(next));
        let overrun = self.overrun.take_if(|overrun| overrun.item == next);
        let end = until.map_or(end, |until| until.min(end));
        let (promise, items) = self.call.owed.take_until(end);
        Some((promise, items, overrun))
    }

    /// When to check whether other workers can run the rest of it.
    pub(super) fn share_moment(&mut self) -> Option<Instant> {
        if self.overrun.is_some() || self.call.owed.remaining() < 2 {
            return None;
        }
        let now = Instant::now();
        self.fronts_since.get_or_insert(now);
        Some(*self.shares_at.get_or_insert(now + HOLD))
    }

    /// Its caller cancelled while the item ran. Returns whether that resolves the item.
    pub(super) fn cancel(&mut self, item: u32, ends: Option<Instant>) -> bool {
        if let Some(overrun) = self.overrun_of(item) {
            return overrun.cancel(ends);
        }
        self.overrun = Some(Overrun::cancelled(item, ends));
        true
    }

    /// Makes the item the last of its call. Its outcome counts.
    pub(super) fn end_with(&mut self, item: u32) {
        match self.overrun_of(item) {
            Some(overrun) => overrun.make_last(),
            None => self.overrun = Some(Overrun::last(item)),
        }
    }

    /// The item that exceeded its timeout and that its worker is killed for. Nothing that the worker sends or claims
    /// changes that any more.
    pub(super) fn condemned_item(&self) -> Option<u32> {
        let overrun = self.overrun.as_ref()?;
        overrun.is_void().then_some(overrun.item)
    }

    fn overrun_of(&mut self, item: u32) -> Option<&mut Overrun> {
        self.overrun.as_mut().filter(|overrun| overrun.item == item)
    }

    pub(super) fn overrun_end(&self) -> Option<Instant> {
        self.overrun.as_ref()?.ends()
    }

    /// When its front item has used up its time, unless it was asked to end before or has ended. The time starts with
    /// the first call of this.
    pub(super) fn timeout_end(&mut self) -> Option<Instant> {
        let limit = self.call.ticket().options().timeout?;
        if self.overrun.is_some() || self.seen == ItemStage::Ended {
            return None;
        }
        let began = self.began.get_or_insert_with(Beginning::now);
        began.at.checked_add(limit)
    }

    /// When to warn its front item of a shutdown that ends at `end`: two grace periods before, if it has any.
    pub(super) fn warning_time(&self, end: Instant) -> Option<Instant> {
        let grace = self.call.ticket().options().grace_period;
        if grace.is_zero() || self.overrun.is_some() {
            return None;
        }
        let first = || before(end, grace.saturating_mul(2), Instant::now());
        Some(self.check_again.unwrap_or_else(first))
    }
}

/// How far an item is, according to the claim of its call. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ItemStage {
    /// It has not started.
    Waits,
    Runs,
    /// It has ended, and its outcome is in transit.
    Ended,
}

/// The receiver of outcomes, their items, and the first of them if it was asked to end.
type Taken = (Arc<dyn PromiseEncoded>, Range<u32>, Option<Overrun>);

/// When an item began, or the earliest time at which it can have started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    at: Instant,
    /// The same time by the system's clock, in nanoseconds, which the worker reads too.
    nanos: u64,
}

impl Beginning {
    pub(super) fn now() -> Self {
        Self {
            at: Instant::now(),
            nanos: sys::monotonic_nanos(),
        }
    }

    /// This time, or the reported one if that is later, but not later than now.
    pub(super) fn or_later(self, reported: u64) -> Self {
        let nanos = reported.min(sys::monotonic_nanos()).max(self.nanos);
        Self {
            at: self.at + Duration::from_nanos(nanos - self.nanos),
            nanos,
        }
    }
}

/// `span` before `end`, or `now` if that is out of range.
pub(super) fn before(end: Instant, span: Duration, now: Instant) -> Instant {
    end.checked_sub(span).unwrap_or(now)
}
