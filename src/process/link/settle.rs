//! Who gets what: the outcomes and reports of a living worker, and the calls that a dead one still had to
//! answer.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Link;
use super::lane::InFlight;
use crate::executor::decoded::PromiseEncoded;
use crate::executor::encoded::EncodedCall;
use crate::executor::error::{Cause, Death};
use crate::executor::options::TaskName;
use crate::executor::promise::Ticket;
use crate::wire::claim::Stage;
#[cfg(feature = "tracing")]
use crate::{observe, wire::event::LogEvent};

/// The number of worker deaths after which a queued call is blamed.
const MOST_STRIKES: u8 = 3;

/// The receiver of some outcomes.
pub(in crate::process) struct Answered {
    pub(in crate::process) promise: Arc<dyn PromiseEncoded>,
    /// The items.
    pub(in crate::process) items: Range<u32>,
    /// They have an answer already.
    pub(in crate::process) late: bool,
    /// The rest of their call, if no worker runs it.
    pub(in crate::process) rest: Option<EncodedCall>,
    /// How many items of the call have run, and for how long, once it is over.
    pub(in crate::process) took: Option<(u32, Duration)>,
}

/// What a dead worker leaves behind.
pub(in crate::process) struct Remains {
    /// Calls, or rests of calls, that it did not start, and items to run again.
    pub(in crate::process) unstarted: Vec<EncodedCall>,
    /// The number of items that died with it.
    pub(in crate::process) lost: usize,
    /// It ended without having begun anything.
    pub(in crate::process) was_useless: bool,
}

impl Link {
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

    /// The single item of a call with descriptors has begun. Their objects have to end when the worker is done
    /// with them, so the parent keeps the descriptors only if the item may be run again.
    pub(in crate::process) fn taken(&self, seq: u32) {
        let mut lane = self.lock();
        let mut calls = lane.in_flight.iter_mut();
        let call = calls.find_map(|entry| (entry.seq == seq).then_some(&mut entry.call));
        let unneeded = call
            .filter(|call| call.losses >= call.ticket().retries())
            .map(|call| call.payload.detach());
        drop(lane);
        drop(unneeded);
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
        let left = lane.left.as_ref().filter(|(id, _)| *id == task);
        found.or_else(|| left.map(|(_, name)| name.clone()))
    }

    /// Items of a call have run for `nanos` nanoseconds.
    pub(in crate::process) fn ran(&self, seq: u32, nanos: u64) {
        let mut lane = self.lock();
        if let Some(front) = lane.in_flight.front_mut()
            && front.seq == seq
        {
            front.elapsed = front.elapsed.saturating_add(nanos);
        }
    }

    /// Finds the receiver of the outcomes of some items, for as many as are treated alike. `None` if their call
    /// was taken back: another process has run it, or no one wants it.
    pub(in crate::process) fn answered(&self, seq: u32, items: Range<u32>) -> Option<Answered> {
        let mut lane = self.lock();
        let front = lane.in_flight.front_mut()?;
        let next = front.call.owed.next();
        if front.seq != seq || !items.contains(&next) || front.call.owed.remaining() == 0 {
            return None;
        }
        front.began = None;
        front.look_again = None;
        let mut end = items.end.min(next + front.call.owed.remaining());
        if let Some(overrun) = &front.overrun {
            // The item that was asked to end is settled by itself.
            end = end.min(if overrun.item > next {
                overrun.item
            } else {
                next + 1
            });
        }
        let overrun = front.overrun.take_if(|overrun| overrun.item == next);
        let (promise, items) = front.call.owed.take_until(end);
        let is_last = overrun.as_ref().is_some_and(|overrun| overrun.is_last);
        let mut answered = Answered {
            promise,
            items,
            late: overrun.is_some_and(|overrun| overrun.answered),
            rest: None,
            took: None,
        };
        if (front.call.owed.remaining() == 0 || is_last)
            && let Some(entry) = lane.in_flight.pop_front()
        {
            if entry.elapsed > 0 {
                let elapsed = Duration::from_nanos(entry.elapsed);
                answered.took = Some((end - entry.first, elapsed));
                lane.count_call_time(entry.elapsed);
            }
            if entry.call.owed.remaining() > 0 {
                answered.rest = Some(entry.call);
            } else if lane.rings_used.is_some()
                && let Some(payload) = entry.call.payload.into_chain()
            {
                lane.spare.keep(payload);
            }
            self.tasks_done.fetch_add(1, Ordering::Relaxed);
        }
        Some(answered)
    }

    /// Settles the calls that a dead worker did not answer, after all its answers were read. `loss` is the
    /// failure of its running item.
    pub(in crate::process) fn settle_death(&self, loss: &Cause) -> Remains {
        let in_flight = {
            let mut lane = self.lock();
            lane.closed = true;
            std::mem::take(&mut lane.in_flight)
        };
        let mut remains = Remains {
            unstarted: Vec::new(),
            lost: 0,
            was_useless: !self.proven.load(Ordering::Relaxed),
        };
        for (place, entry) in in_flight.into_iter().enumerate() {
            let InFlight {
                seq,
                mut call,
                overrun,
                ..
            } = entry;
            let claim = self.page.slot(seq).look();
            debug_assert_eq!(claim.seq, seq, "a slot belongs to one call in flight");
            let begun = match claim.stage {
                Stage::Offered | Stage::Revoked => claim.item,
                _ => claim.item + 1,
            };
            remains.was_useless &= matches!(claim.stage, Stage::Offered | Stage::Revoked);
            let answered = overrun.filter(|overrun| overrun.answered);
            while call.owed.next() < begun && call.owed.remaining() > 0 {
                if answered.as_ref().map(|overrun| overrun.item) == Some(call.owed.next()) {
                    call.owed.take_next();
                    continue;
                }
                if let Cause::WorkerLost(death) = loss {
                    if call.losses < call.ticket().retries() && !call.ticket().is_closed() {
                        remains.unstarted.push(call.take_for_retry());
                        continue;
                    }
                    let runs = call.losses + 1;
                    let death = death.clone();
                    call.owed
                        .fail_next(Cause::WorkerLost(Death { runs, ..death }));
                } else {
                    call.owed.fail_next(loss.clone());
                }
                remains.lost += 1;
            }
            let unstarted = claim.stage == Stage::Offered;
            if place == 0 && unstarted && matches!(loss, Cause::WorkerLost(_)) {
                call.strikes += 1; // Reading it may have killed the worker.
            }
            if call.strikes == MOST_STRIKES {
                remains.lost += call.owed.fail_rest(loss);
            } else if call.owed.remaining() > 0 && !call.ticket().is_closed() {
                remains.unstarted.push(call);
            }
        }
        remains
    }
}
