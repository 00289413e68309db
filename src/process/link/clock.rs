//! When a worker learns that its time is up, and when it is killed for that. Only the front item has a time
//! limit: it begins when [`Link::fate`] first asks for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lane::{Beginning, Lane, Overrun, before};
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
    pub(in crate::process) fn end_by(&self, deadline: Option<Instant>) {
        let mut lane = self.lock();
        lane.shutdown_at = deadline;
        for entry in &mut lane.in_flight {
            let Some(overrun) = &mut entry.overrun else {
                continue;
            };
            let grace = entry.call.ticket().grace_period();
            let end = deadline.map(|deadline| before(deadline, grace, Instant::now()));
            overrun.ends = match (&overrun.why, overrun.ends) {
                (Ending::Shutdown, _) => end, // If the shutdown was called off, the task may go on.
                (_, Some(own)) => Some(end.map_or(own, |end| end.min(own))),
                (_, None) => None,
            };
        }
        self.wake.notify();
    }

    /// What the supervisor has to do with the worker now. The time of the front item begins with the first
    /// call.
    pub(in crate::process) fn fate(&self) -> Fate {
        let mut lane = self.lock();
        let lane = &mut *lane;
        let overruns = lane.in_flight.iter().filter_map(|entry| {
            let overrun = entry.overrun.as_ref()?;
            overrun.ends
        });
        let overrun = overruns.min();
        match (&lane.ending, lane.kill_at) {
            (None, _) => {}
            (Some(Ending::Dismissed(_)), _) => return Fate::Leave,
            (Some(Ending::Terminated), _) => return Fate::Terminate(overrun),
            (Some(_), Some(moment)) if moment > Instant::now() => {
                return Fate::Terminate(Some(moment));
            }
            (Some(_), _) => return Fate::Kill,
        }
        let (mut soft, mut share) = (None, None);
        if let Some(front) = lane.in_flight.front_mut() {
            soft = front.soft_end(lane.shutdown_at);
            share = front.share_moment();
        }
        let idle = lane.idle_end(&self.tenure);
        let moments = [
            overrun,
            soft,
            share,
            idle,
            lane.retires_at,
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
        front
            .shares_at
            .take_if(|moment| *moment <= Instant::now())
            .is_some()
    }

    /// The instant of `fate` has arrived.
    pub(in crate::process) fn on_deadline(&self) -> Option<Late> {
        let mut lane = self.lock();
        let lane = &mut *lane;
        let now = Instant::now();
        for entry in &mut lane.in_flight {
            let Some(overrun) = &mut entry.overrun else {
                continue;
            };
            if overrun.ends.is_none_or(|end| end > now) {
                continue;
            }
            overrun.ends = None; // If it no longer runs, its outcome is in transit.
            if self.page.slot(entry.seq).condemn(overrun.item) {
                let (why, grace) = (overrun.why.clone(), entry.call.ticket().grace_period());
                let kill_at = now.checked_add(grace).into_iter().chain(lane.shutdown_at);
                let kill_at = kill_at.min();
                lane.condemn(why, kill_at);
                return None;
            }
        }
        self.release_rings(lane);
        self.warn_of_shutdown(lane, now);
        self.time_out(lane)
    }

    /// Warns the front item of the shutdown, if it is time. It may go on, and its outcome counts.
    fn warn_of_shutdown(&self, lane: &mut Lane, now: Instant) {
        let (Some(end), Some(front)) = (lane.shutdown_at, lane.in_flight.front_mut()) else {
            return;
        };
        let grace = front.call.ticket().grace_period();
        if grace.is_zero()
            || front.overrun.is_some()
            || before(end, grace.saturating_mul(2), now) > now
        {
            return;
        }
        let item = front.call.owed.next();
        if self.page.slot(front.seq).warn(item) {
            front.overrun = Some(Overrun {
                item,
                why: Ending::Shutdown,
                ends: Some(before(end, grace, now)),
                answered: false,
                is_last: false,
            });
        } else {
            front.look_again = Some(now + LOOK_AGAIN); // It has not begun, or has just ended.
        }
    }

    /// The front item may have used up its time, by the parent's knowledge of its beginning. The worker
    /// knows better: arguments may take long to arrive.
    fn time_out(&self, lane: &mut Lane) -> Option<Late> {
        let front = lane.in_flight.front_mut()?;
        let limit = front.call.ticket().timeout()?;
        let began = front.began?;
        let (seq, item) = (front.seq, front.call.owed.next());
        if front.overrun.is_some() || began.instant.elapsed() < limit {
            return None;
        }
        let claim = self.page.slot(seq).look();
        if (claim.seq, claim.item) != (seq, item)
            || !matches!(claim.stage, Stage::Running | Stage::Last)
        {
            front.began = Some(Beginning::now()); // It has not begun.
            return None;
        }
        let late = self.page.begun(seq).saturating_sub(began.system);
        let began = began.later_by(late);
        front.began = Some(began);
        if began.instant.elapsed() < limit {
            return None;
        }
        let grace = front.call.ticket().grace_period();
        let why = Ending::TimedOut { limit };
        if grace.is_zero() {
            if self.page.slot(seq).condemn(item) {
                lane.condemn(why, None);
            }
            return None;
        }
        if !self.page.slot(seq).warn(item) {
            return None; // It has just ended.
        }
        let promise = front.call.owed.promise().clone();
        let ends = lane.end_of_grace(grace);
        if let Some(front) = lane.in_flight.front_mut() {
            front.overrun = Some(Overrun {
                item,
                why,
                ends,
                answered: true,
                is_last: false,
            });
        }
        Some(Late {
            promise,
            item,
            limit,
        })
    }
}
