//! Settles the calls that a dead worker did not answer. Items that have started fail or run again, and the rest runs
//! elsewhere.

use std::sync::atomic::Ordering;

use super::Link;
use super::in_flight::InFlight;
use super::overrun::Overrun;
use crate::executor::encoded::EncodedCall;
use crate::executor::error::{Cause, Death};
use crate::wire::claim::{Claim, InvalidClaim, Stage};

/// The number of worker deaths after which a queued call is blamed.
const MOST_STRIKES: u8 = 3;

/// What a dead worker leaves behind.
pub(in crate::process) struct Remains {
    /// Calls, or parts of calls, that the worker did not start, and items to run again.
    pub(in crate::process) unstarted: Vec<EncodedCall>,
    /// The number of items that were lost with the worker.
    pub(in crate::process) lost: usize,
    /// Whether the worker ended without having started anything.
    pub(in crate::process) was_useless: bool,
}

impl Link {
    /// Settles the calls that a dead worker did not answer, after all its answers were read. `loss` is the
    /// failure of its running item.
    pub(in crate::process) fn settle_death(&self, loss: &Cause) -> Remains {
        let in_flight = {
            let mut state = self.lock();
            state.phase.die();
            std::mem::take(&mut state.in_flight)
        };
        let mut remains = Remains {
            unstarted: Vec::new(),
            lost: 0,
            was_useless: !self.proven.load(Ordering::Relaxed),
        };
        for (place, mut entry) in in_flight.into_iter().enumerate() {
            if place == 0 {
                let claim = self.page.slot(entry.seq).read();
                remains.settle_front(&mut entry, claim, loss);
            } // A worker answers earlier calls before it begins one, so it has not started this one.
            remains.keep_unstarted(entry.call, loss);
        }
        remains
    }
}

impl Remains {
    /// Settles the items of the first call that have started. Without a valid claim, the next item counts as started.
    fn settle_front(
        &mut self,
        entry: &mut InFlight,
        claim: Result<Claim, InvalidClaim>,
        loss: &Cause,
    ) {
        let claim = claim.and_then(|claim| entry.check(claim));
        let begun = match claim {
            Ok(claim) if matches!(claim.stage, Stage::Offered | Stage::Revoked) => claim.item,
            Ok(claim) => claim.item + 1,
            Err(InvalidClaim) => entry.call.owed.next() + 1,
        };
        let begun = begun.max(entry.condemned_item().map_or(0, |item| item + 1));
        let was_next = claim.is_ok_and(|claim| claim.stage == Stage::Offered);
        self.was_useless &= begun == entry.first;
        self.settle_begun(entry, begun, loss);
        if was_next && matches!(loss, Cause::WorkerLost(_)) {
            entry.call.strikes += 1; // Reading it may have killed the worker.
        }
    }

    /// Fails the items before `end`, which have started, or keeps them to run again.
    fn settle_begun(&mut self, entry: &mut InFlight, end: u32, loss: &Cause) {
        let answered = entry.overrun.take().filter(Overrun::is_answered);
        let answered = answered.map(|overrun| overrun.item);
        let call = &mut entry.call;
        while call.owed.next() < end && call.owed.remaining() > 0 {
            if answered == Some(call.owed.next()) {
                call.owed.take_next();
                continue;
            }
            let runs = call.owed.losses() + 1;
            let cause = match loss {
                Cause::WorkerLost(_)
                    if runs <= call.ticket().options().retries && !call.ticket().is_closed() =>
                {
                    self.unstarted.push(call.take_for_retry());
                    continue;
                }
                Cause::WorkerLost(death) => Cause::WorkerLost(Death {
                    runs,
                    ..death.clone()
                }),
                other => other.clone(),
            };
            call.owed.fail_next(cause);
            self.lost += 1;
        }
    }

    /// Keeps the items that have not started, if their caller wants them. A call is blamed if several workers died while
    /// it was next.
    fn keep_unstarted(&mut self, call: EncodedCall, loss: &Cause) {
        if call.strikes == MOST_STRIKES {
            self.lost += call.owed.fail_rest(loss);
        } else if call.owed.remaining() > 0 && !call.ticket().is_closed() {
            self.unstarted.push(call);
        }
    }
}
