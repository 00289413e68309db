//! How calls are cancelled or expire. They may wait in the backlog or in a worker. A call that is in neither is in
//! transit between them, and its closed ticket stops it.

use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use crate::backlog::Pending as _;
use crate::executor::encoded::EncodedCall;
use crate::executor::error::{Cause, Rejection};
use crate::executor::promise::{Promise, TaskOwner, Ticket};
use crate::home::Alarm;

impl TaskOwner for Pool {
    fn abort(&self, ticket: &Ticket, answer: &mut dyn FnMut(bool)) {
        let mut state = self.lock();
        let removed = state.backlog.remove(ticket);
        state.settling += 1; // A shutdown waits for this and counts it.
        drop(state);
        let mut cancelled: usize = removed.iter().map(|waiting| waiting.items() as usize).sum();
        let mut begun = removed.iter().any(|waiting| waiting.call.owed.has_begun());
        drop(removed);
        for link in self.links() {
            let met = link.cancel(ticket);
            cancelled += met.unstarted;
            begun |= met.begun;
            self.counts.items_cut_short(met.overrun);
            for mut taken in met.revoked {
                self.counts.items_cancelled(taken.call.owed.refuse());
            }
        }
        self.counts.items_cancelled(cancelled);
        self.call_settled();
        // A call that is not found is in transit to its caller or to a worker. It is reported as started, so that no
        // caller runs it a second time by mistake.
        answer(begun || cancelled == 0);
    }

    fn is_running(&self, ticket: &Ticket) -> bool {
        self.lock()
            .places
            .links()
            .any(|link| link.is_running(ticket))
    }
}

impl Pool {
    /// Refuses a call that has not started after `limit`.
    pub(super) fn expiry(&self, promise: Arc<dyn Promise>, limit: Duration) -> Arc<Alarm> {
        let pool = self.me.clone();
        Arc::new(Alarm::set(&self.home, limit, move || {
            let Some(pool) = pool.upgrade() else { return };
            let ticket = promise.ticket();
            let mut state = pool.lock();
            let removed = state.backlog.remove(ticket);
            state.settling += 1;
            drop(state);
            let mut expired: Vec<EncodedCall> =
                removed.into_iter().map(|waiting| waiting.call).collect();
            for link in pool.links() {
                expired.extend(link.take_back(ticket));
            }
            for call in expired {
                let cause = Cause::Rejected(Rejection::WaitedTooLong { limit });
                let items = call.owed.fail_rest(&cause);
                pool.counts.items_refused(items);
            }
            pool.call_settled();
        }))
    }

    /// Called when calls were taken out and answered. If the pool is closed, a starting worker may not be needed any
    /// more.
    pub(super) fn call_settled(&self) {
        let mut state = self.lock();
        state.settled();
        let is_open = state.phase.is_open();
        drop(state);
        if !is_open {
            self.changed.notify_waiters();
        }
    }
}
