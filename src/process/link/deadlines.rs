//! When a worker is warned that its time is up, and when it is ended for that. Only the front item has a time limit,
//! which starts when [`Link::fate`] first reads it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::in_flight::{Beginning, InFlight, ItemStage, before};
use super::overrun::Overrun;
use super::stall::{StallCheck, Standstill};
use super::state::{LinkState, earlier};
use super::{Ending, Fate, Link};
use crate::executor::served::PromiseEncoded;
use crate::wire::claim::InvalidClaim;

/// The interval at which to check whether an item has started, in order to warn it of a shutdown.
const CHECK_AGAIN: Duration = Duration::from_millis(2);

/// An item that has used up its time and still runs: its caller gets the error.
pub(in crate::process) struct Late {
    pub(in crate::process) promise: Arc<dyn PromiseEncoded>,
    pub(in crate::process) item: u32,
    /// How many workers were lost with it before.
    pub(in crate::process) losses: u32,
    pub(in crate::process) limit: Duration,
}

impl Link {
    /// Sets or clears the deadline of the shutdown, so that tasks with a grace period are warned in time. Called under
    /// the pool's lock; the caller wakes the supervisor without it.
    pub(in crate::process) fn end_by(&self, deadline: Option<Instant>) {
        let mut state = self.lock();
        state.shutdown_at = deadline;
        for entry in &mut state.in_flight {
            let grace = entry.call.ticket().options().grace_period;
            if let Some(overrun) = &mut entry.overrun {
                overrun.shut_down(deadline.map(|end| before(end, grace, Instant::now())));
            }
        }
    }

    /// What the supervisor must do with the worker now. The time of the front item starts with the first call of this.
    pub(in crate::process) fn fate(&self) -> Fate {
        let mut state = self.lock();
        let state = &mut *state;
        let item_ends = state.overrun_end();
        if let Some(fate) = state.phase.fate(item_ends, Instant::now) {
            return fate;
        }
        let is_busy = state.is_busy();
        let stall_check = state.stall.moment(is_busy, Instant::now);
        let front = state.in_flight.front_mut();
        let [timeout, warning, share] = front.map_or([None; 3], |front| {
            let warning = state.shutdown_at.and_then(|end| front.warning_time(end));
            [front.timeout_end(), warning, front.share_moment()]
        });
        let moments = [
            item_ends,
            stall_check,
            timeout,
            warning,
            share,
            state.idle_end(),
            state.retirement.moment(),
            Self::release_at(state),
        ];
        Fate::Serve(moments.into_iter().flatten().min())
    }

    /// Whether the worker has run a call of several items for some time. True once in each interval.
    pub(in crate::process) fn share_is_due(&self) -> bool {
        let mut state = self.lock();
        let Some(front) = state.in_flight.front_mut() else {
            return false;
        };
        let due = front.shares_at.take_if(|at| *at <= Instant::now());
        due.is_some()
    }

    /// Called at the instant that `fate` returned. Returns an item whose caller gets an error now. `holds_outcomes`:
    /// the parent itself delays the worker.
    pub(in crate::process) fn on_deadline(&self, holds_outcomes: bool) -> Option<Late> {
        self.release_rings();
        let unsent = self.outbound().unsent();
        let mut state = self.lock();
        let state = &mut *state;
        let now = Instant::now();
        if self.end_for_overrun(state, now) {
            return None;
        }
        if state.stall.is_due(now) && state.phase.is_serving() {
            match holds_outcomes {
                true => state.stall.postpone(now),
                false => self.end_for_stall(state, unsent, now),
            }
        }
        self.warn_of_shutdown(state, now);
        self.time_out(state, now)
    }

    /// Ends the worker if an item that was asked to end has used up its time. Returns whether it did.
    fn end_for_overrun(&self, state: &mut LinkState, now: Instant) -> bool {
        let overran = state.in_flight.iter_mut().find_map(|entry| {
            let overrun = entry.overrun.as_mut()?;
            if !overrun.expires(now) {
                return None;
            }
            if !self.page.slot(entry.seq).condemn(overrun.item) {
                entry.seen = ItemStage::Ended;
                return None;
            }
            Some((overrun.why(), entry.call.ticket().options().grace_period))
        });
        let Some((why, grace)) = overran else {
            return false;
        };
        let kill_at = earlier(now.checked_add(grace), state.shutdown_at);
        let step = state.phase.terminate_by(why, kill_at.unwrap_or(now));
        Self::follow(state, step);
        true
    }

    /// Warns the front item of the shutdown, if it is time. The item may go on, and its outcome counts.
    fn warn_of_shutdown(&self, state: &mut LinkState, now: Instant) {
        let (Some(end), Some(front)) = (state.shutdown_at, state.in_flight.front_mut()) else {
            return;
        };
        if front.warning_time(end).is_none_or(|time| time > now) {
            return;
        }
        let item = front.call.owed.next();
        if self.page.slot(front.seq).warn(item) {
            self.page.announce_stop();
            let grace = front.call.ticket().options().grace_period;
            front.overrun = Some(Overrun::warned(item, before(end, grace, now)));
        } else {
            front.check_again = Some(now + CHECK_AGAIN); // The item has not started, or has just ended.
        }
    }

    /// Kills a worker that has something to do and does not begin it, or whose claims make no sense.
    fn end_for_stall(&self, state: &mut LinkState, unsent: usize, now: Instant) {
        let stands = |seq, item| StallCheck::Stands(Standstill { seq, item, unsent });
        let result = match state.in_flight.front_mut() {
            Some(front) => match self.see(front) {
                Ok(ItemStage::Runs) => StallCheck::Runs,
                Ok(ItemStage::Waits | ItemStage::Ended) => {
                    stands(front.seq, front.call.owed.next())
                }
                Err(InvalidClaim) => return Self::end_for_claim(state),
            },
            None if state.is_probed => stands(state.next_seq, 0),
            None => StallCheck::Idles,
        };
        if state.stall.check(result, now) {
            let why = Ending::Protocol("standing still with a call to run".to_owned());
            let step = state.phase.kill(why);
            Self::follow(state, step);
        }
    }

    /// If the front item has used up its time, ends the worker, or warns the item if it has a grace period. The item's
    /// caller then gets the error.
    ///
    /// The parent knows the earliest time at which the item can have started. The worker knows the exact time, which is
    /// later if the arguments take long to arrive. But the worker may move the time only once, and not beyond the
    /// moment at which the parent sees it. An item that never begins, or that ended without an outcome, is left to the
    /// [`StallWatch`](super::stall).
    fn time_out(&self, state: &mut LinkState, now: Instant) -> Option<Late> {
        let front = state.in_flight.front_mut()?;
        let is_over = |front: &mut InFlight| front.timeout_end().is_some_and(|end| end <= now);
        if !is_over(front) {
            return None;
        }
        match self.see(front) {
            Ok(ItemStage::Runs) if is_over(front) => {}
            Ok(ItemStage::Runs | ItemStage::Ended) => return None,
            Ok(ItemStage::Waits) => {
                front.began = Some(Beginning::now());
                return None;
            }
            Err(InvalidClaim) => {
                Self::end_for_claim(state);
                return None;
            }
        }
        let options = front.call.ticket().options();
        let (limit, grace) = (options.timeout?, options.grace_period);
        let (slot, item) = (self.page.slot(front.seq), front.call.owed.next());
        let runs = match grace.is_zero() {
            true => slot.condemn(item),
            false => slot.warn(item),
        };
        if !runs {
            front.seen = ItemStage::Ended; // It ended just now.
            return None;
        }
        if grace.is_zero() {
            front.overrun = Some(Overrun::condemned(item, limit));
            let step = state.phase.condemn(Ending::TimedOut { limit });
            Self::follow(state, step);
            return None;
        }
        self.page.announce_stop();
        let (promise, losses) = (front.call.owed.promise().clone(), front.call.owed.losses());
        let ends = state.end_of_grace(grace, now);
        let front = state.in_flight.front_mut()?;
        front.overrun = Some(Overrun::timed_out(item, limit, ends));
        Some(Late {
            promise,
            item,
            losses,
            limit,
        })
    }

    /// How far the front item of a call is.
    pub(super) fn see(&self, entry: &mut InFlight) -> Result<ItemStage, InvalidClaim> {
        let claim = self.page.slot(entry.seq).read()?;
        entry.see(claim, self.page.begun(entry.seq))
    }
}
