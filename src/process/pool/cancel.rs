//! How calls are cancelled or expire. They may wait in the backlog or in a worker. A call that is in neither is
//! in transit between them, and its ticket carries a mark.

use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use crate::backlog::Pending as _;
use crate::executor::encoded::EncodedCall;
use crate::executor::error::{Cause, Rejection};
use crate::executor::promise::{Promise, TaskOwner, Ticket};
use crate::home::Alarm;

impl TaskOwner for Pool {
    fn abort(&self, ticket: &Ticket) -> bool {
        let removed = self.lock().backlog.remove(ticket);
        let mut cancelled: usize = removed.iter().map(|waiting| waiting.items() as usize).sum();
        let mut begun = removed.iter().any(|waiting| waiting.call.owed.has_begun());
        drop(removed);
        for link in self.links() {
            let met = link.cancel(ticket);
            cancelled += met.unstarted;
            begun |= met.begun;
            self.item_overran(met.overrun);
        }
        // A call that is found nowhere is in transit to its caller or to a worker. Report it as begun, so that
        // no one runs it a second time by mistake.
        begun |= cancelled == 0;
        let mut state = self.lock();
        state.cancelled += cancelled as u64;
        let closed = state.closed;
        drop(state);
        if closed {
            self.changed.notify_waiters(); // A worker that is starting may not be needed any more.
        }
        begun
    }

    fn is_running(&self, ticket: &Ticket) -> bool {
        self.lock().links().any(|link| link.is_running(ticket))
    }
}

impl Pool {
    /// Refuses a call that has not begun after `limit`.
    pub(super) fn expiry(&self, promise: Arc<dyn Promise>, limit: Duration) -> Arc<Alarm> {
        let pool = self.me.clone();
        Arc::new(Alarm::set(&self.home, limit, move || {
            let Some(pool) = pool.upgrade() else { return };
            let ticket = promise.ticket();
            let mut expired: Vec<EncodedCall> = pool
                .lock()
                .backlog
                .remove(ticket)
                .into_iter()
                .map(|waiting| waiting.call)
                .collect();
            for link in pool.links() {
                expired.extend(link.take_back(ticket));
            }
            for call in expired {
                call.owed
                    .fail_rest(&Cause::Rejected(Rejection::WaitedTooLong { limit }));
            }
            pool.changed.notify_waiters(); // A worker that is starting may not be needed any more.
        }))
    }
}
