//! When a worker learns that its time is up, and when it is ended for that. Only the front item has a time
//! limit: it begins when [`Link::fate`] first asks for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::in_flight::{Beginning, InFlight, before};
use super::lane::{Lane, earlier};
use super::overrun::Overrun;
use super::{Ending, Fate, Link};
use crate::executor::decoded::PromiseEncoded;
use crate::wire::claim::Stage;

/// The interval of checks whether an item has begun that is to be warned of a shutdown.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// An item that has used up its time and still runs: its caller gets the error.
pub(in crate::process) struct Late {
    pub(in crate::process) promise: Arc<dyn PromiseEncoded>,
    pub(in crate::process) item: u32,
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
        let front = lane.in_flight.front_mut();
        let [timeout, warning, share] = front.map_or([None; 3], |front| {
            let warning = lane.shutdown_at.and_then(|end| front.warning_time(end));
            [front.timeout_end(), warning, front.share_moment()]
        });
        let moments = [
            item_ends,
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

    /// The instant of `fate` has arrived. Returns an item whose caller gets an error now.
    pub(in crate::process) fn on_deadline(&self) -> Option<Late> {
        let mut lane = self.lock();
        let lane = &mut *lane;
        let now = Instant::now();
        if self.end_for_overrun(lane, now) {
            return None;
        }
        self.release_rings(lane);
        self.warn_of_shutdown(lane, now);
        self.time_out(lane, now)
    }

    /// Ends the worker if an item that was asked to end has used up its time. Returns whether it does.
    fn end_for_overrun(&self, lane: &mut Lane, now: Instant) -> bool {
        let overran = lane.in_flight.iter_mut().find_map(|entry| {
            let overrun = entry.overrun.as_mut()?;
            let is_over = overrun.expires(now) && self.page.slot(entry.seq).condemn(overrun.item);
            is_over.then(|| (overrun.why(), entry.call.ticket().options().grace_period))
        });
        let Some((why, grace)) = overran else {
            return false;
        };
        let kill_at = earlier(now.checked_add(grace), lane.shutdown_at);
        let step = lane.phase.terminate_by(why, kill_at.unwrap_or(now));
        self.follow(lane, step);
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

    /// Ends the worker if the front item has used up its time, or warns the item if it has a grace period. Then its
    /// caller gets the error now.
    fn time_out(&self, lane: &mut Lane, now: Instant) -> Option<Late> {
        let front = lane.in_flight.front_mut()?;
        let limit = front.call.ticket().options().timeout?;
        if front.overrun.is_some() || !self.has_run_for(front, limit) {
            return None;
        }
        let (slot, item) = (self.page.slot(front.seq), front.call.owed.next());
        let grace = front.call.ticket().options().grace_period;
        if grace.is_zero() {
            if slot.condemn(item) {
                let step = lane.phase.condemn(Ending::TimedOut { limit });
                self.follow(lane, step);
            }
            return None;
        }
        if !slot.warn(item) {
            return None; // It has just ended.
        }
        let promise = front.call.owed.promise().clone();
        let ends = lane.end_of_grace(grace, now);
        let front = lane.in_flight.front_mut()?;
        front.overrun = Some(Overrun::timed_out(item, limit, ends));
        Some(Late {
            promise,
            item,
            limit,
        })
    }

    /// Whether the front item has run for `limit`. The parent knows when it began at the earliest. The worker
    /// knows better: arguments may take long to arrive.
    fn has_run_for(&self, front: &mut InFlight, limit: Duration) -> bool {
        let Some(began) = front.began.filter(|began| began.elapsed() >= limit) else {
            return false;
        };
        let item = front.call.owed.next();
        let claim = self.page.slot(front.seq).look();
        let runs = claim.is_ok_and(|claim| {
            claim.item == item && matches!(claim.stage, Stage::Running | Stage::Last)
        });
        let began = if runs {
            began.or_later(self.page.begun(front.seq))
        } else {
            Beginning::now() // It has not begun.
        };
        front.began = Some(began);
        runs && began.elapsed() >= limit
    }
}
