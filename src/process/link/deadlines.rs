//! When a worker learns that its time is up, and when it is ended for that. Only the front item has a time
//! limit: it begins when [`Link::fate`] first asks for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::in_flight::{Beginning, InFlight, ItemStage, before};
use super::lane::{Lane, earlier};
use super::overrun::Overrun;
use super::stall::{LookResult, Standstill};
use super::{Ending, Fate, Link};
use crate::executor::served::PromiseEncoded;
use crate::wire::claim::InvalidClaim;

/// The interval of checks whether an item has begun that is to be warned of a shutdown.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// An item that has used up its time and still runs: its caller gets the error.
pub(in crate::process) struct Late {
    pub(in crate::process) promise: Arc<dyn PromiseEncoded>,
    pub(in crate::process) item: u32,
    /// How many workers were lost with it before.
    pub(in crate::process) losses: u32,
    pub(in crate::process) limit: Duration,
}

impl Link {
    /// Sets the deadline of the shutdown, as far as it is known: a task with a grace period is warned in time.
    /// Called under the pool's lock; the caller wakes the supervisor without it.
    pub(in crate::process) fn end_by(&self, deadline: Option<Instant>) {
        let mut lane = self.lock();
        lane.shutdown_at = deadline;
        for entry in &mut lane.in_flight {
            let grace = entry.call.ticket().options().grace_period;
            if let Some(overrun) = &mut entry.overrun {
                overrun.shut_down(deadline.map(|end| before(end, grace, Instant::now())));
            }
        }
    }

    /// What the supervisor has to do with the worker now. The time of the front item begins with the first
    /// call.
    pub(in crate::process) fn fate(&self) -> Fate {
        let mut lane = self.lock();
        let lane = &mut *lane;
        let item_ends = lane.overrun_end();
        if let Some(fate) = lane.phase.fate(item_ends, Instant::now) {
            return fate;
        }
        let is_busy = lane.is_busy();
        let look = lane.stall.moment(is_busy, Instant::now);
        let front = lane.in_flight.front_mut();
        let [timeout, warning, share] = front.map_or([None; 3], |front| {
            let warning = lane.shutdown_at.and_then(|end| front.warning_time(end));
            [front.timeout_end(), warning, front.share_moment()]
        });
        let moments = [
            item_ends,
            look,
            timeout,
            warning,
            share,
            lane.idle_end(),
            lane.retirement.moment(),
            Self::release_at(lane),
        ];
        Fate::Serve(moments.into_iter().flatten().min())
    }

    /// Whether the worker has run a call of several items for some time. True once in each interval.
    pub(in crate::process) fn share_is_due(&self) -> bool {
        let mut lane = self.lock();
        let Some(front) = lane.in_flight.front_mut() else {
            return false;
        };
        let due = front.shares_at.take_if(|at| *at <= Instant::now());
        due.is_some()
    }

    /// The instant of `fate` has arrived. Returns an item whose caller gets an error now. `holds_outcomes`: the parent
    /// itself delays the worker.
    pub(in crate::process) fn on_deadline(&self, holds_outcomes: bool) -> Option<Late> {
        self.release_rings();
        let unsent = self.outbound().unsent();
        let mut lane = self.lock();
        let lane = &mut *lane;
        let now = Instant::now();
        if self.end_for_overrun(lane, now) {
            return None;
        }
        if lane.stall.is_due(now) && lane.phase.is_serving() {
            match holds_outcomes {
                true => lane.stall.postpone(now),
                false => self.end_for_stall(lane, unsent, now),
            }
        }
        self.warn_of_shutdown(lane, now);
        self.time_out(lane, now)
    }

    /// Ends the worker if an item that was asked to end has used up its time. Returns whether it does.
    fn end_for_overrun(&self, lane: &mut Lane, now: Instant) -> bool {
        let overran = lane.in_flight.iter_mut().find_map(|entry| {
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
        let kill_at = earlier(now.checked_add(grace), lane.shutdown_at);
        let step = lane.phase.terminate_by(why, kill_at.unwrap_or(now));
        Self::follow(lane, step);
        true
    }

    /// Warns the front item of the shutdown, if it is time. It may go on, and its outcome counts.
    fn warn_of_shutdown(&self, lane: &mut Lane, now: Instant) {
        let (Some(end), Some(front)) = (lane.shutdown_at, lane.in_flight.front_mut()) else {
            return;
        };
        if front.warning_time(end).is_none_or(|time| time > now) {
            return;
        }
        let item = front.call.owed.next();
        if self.page.slot(front.seq).warn(item) {
            let grace = front.call.ticket().options().grace_period;
            front.overrun = Some(Overrun::warned(item, before(end, grace, now)));
        } else {
            front.look_again = Some(now + LOOK_AGAIN); // It has not begun, or has just ended.
        }
    }

    /// Kills a worker that has something to do and does not begin it, or whose claims make no sense.
    fn end_for_stall(&self, lane: &mut Lane, unsent: usize, now: Instant) {
        let stands = |seq, item| LookResult::Stands(Standstill { seq, item, unsent });
        let result = match lane.in_flight.front_mut() {
            Some(front) => match self.see(front) {
                Ok(ItemStage::Runs) => LookResult::Runs,
                Ok(ItemStage::Waits | ItemStage::Ended) => {
                    stands(front.seq, front.call.owed.next())
                }
                Err(InvalidClaim) => return Self::end_for_claim(lane),
            },
            None if lane.is_probed => stands(lane.next_seq, 0),
            None => LookResult::Idles,
        };
        if lane.stall.look(result, now) {
            let why = Ending::Protocol("standing still with a call to run".to_owned());
            let step = lane.phase.kill(why);
            Self::follow(lane, step);
        }
    }

    /// Ends the worker if the front item has used up its time, or warns the item if it has a grace period. Then its
    /// caller gets the error now.
    ///
    /// The parent knows when the item began at the earliest. The worker knows better, since arguments may take long to
    /// arrive. But it may move the beginning only once, and not beyond the moment at which the parent sees it. An item
    /// that never begins, or has ended and has no outcome, is left to the [`StallWatch`](super::stall).
    fn time_out(&self, lane: &mut Lane, now: Instant) -> Option<Late> {
        let front = lane.in_flight.front_mut()?;
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
                Self::end_for_claim(lane);
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
            front.seen = ItemStage::Ended; // Just now.
            return None;
        }
        if grace.is_zero() {
            let step = lane.phase.condemn(Ending::TimedOut { limit });
            Self::follow(lane, step);
            return None;
        }
        let (promise, losses) = (front.call.owed.promise().clone(), front.call.owed.losses());
        let ends = lane.end_of_grace(grace, now);
        let front = lane.in_flight.front_mut()?;
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
        let claim = self.page.slot(entry.seq).look()?;
        entry.see(claim, self.page.begun(entry.seq))
    }
}
