//! When a worker is told that time is up, and when it is killed for that. Only the item at the front
//! has a time: it begins when [`Link::fate`] first asks for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::lane::{Beginning, Lane, Overrun, before};
use super::{Ending, Fate, Link};
use crate::executor::decoded::PromiseEncoded;
use crate::wire::claim::Stage;

/// How soon it is looked again whether an item has begun that a shutdown has something to say to.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// An item that has had its time and still runs: its caller is to be told.
pub(in crate::process) struct Late {
    pub(in crate::process) promise: Arc<dyn PromiseEncoded>,
    pub(in crate::process) item: u32,
    pub(in crate::process) limit: Duration,
}

impl Link {
    /// The pool will be shut down by then, as far as is known: a task that has a grace period is
    /// told in time.
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
                (Ending::Shutdown, _) => end, // If it was called off, the task may go on.
                (_, Some(own)) => Some(end.map_or(own, |end| end.min(own))),
                (_, None) => None,
            };
        }
        self.wake.notify_one();
    }

    /// What is to be done with it now. The time of the item at the front begins when this is first
    /// asked.
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

    /// Whether the worker has had a call of several items for a while. Said now and then.
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

    /// The moment of `fate` has come.
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
            overrun.ends = None; // If it is no longer running, its outcome is on its way.
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

    /// The item at the front is told of the shutdown if it is time. It may go on, and what it gives
    /// counts.
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
            front.look_again = Some(now + LOOK_AGAIN); // It has not begun, or just ended.
        }
    }

    /// The item at the front may have had its time, by what the parent knows of its beginning. The
    /// worker knows better: arguments may travel for long.
    fn time_out(&self, lane: &mut Lane) -> Option<Late> {
        let front = lane.in_flight.front_mut()?;
        let limit = front.call.ticket().timeout()?;
        let began = front.began?;
        let (seq, item) = (front.seq, front.call.owed.next());
        if front.overrun.is_some() || began.tokio.elapsed() < limit {
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
        if began.tokio.elapsed() < limit {
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
