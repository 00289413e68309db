//! How a pool ends: it closes, finishes or cancels the waiting calls, and dismisses, terminates or kills its
//! workers.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Pool;
use crate::executor::encoded::EncodedCall;
use crate::executor::error::Cause;
use crate::executor::open::Close;
use crate::executor::options::{Shutdown, ShutdownReport};
use crate::home::within;
use crate::process::link::{Dismissal, Ending, Link};

/// How to end all workers.
#[derive(Clone, Copy)]
pub(in crate::process) enum EndWorkers {
    Terminate,
    Kill,
}

impl Close for Pool {
    /// Refuses new tasks from now on, and dismisses the idle workers.
    fn close(&self) {
        let mut state = self.lock();
        let idle = match state.phase.close() {
            true => state.idle.drain(),
            false => Vec::new(),
        };
        drop(state);
        self.rooms.close();
        for link in idle {
            link.dismiss(Dismissal::Closed);
            link.write_now(); // The runtime that drives the worker may be blocked.
            link.wake();
        }
        self.changed.notify_waiters();
    }
}

impl Pool {
    /// Closes the pool, and waits until all its work is done and all workers have ended. At the deadline, no further
    /// item begins, and the workers are killed.
    pub(super) async fn shut_down(&self, how: Shutdown) -> ShutdownReport {
        let deadline = how.ends_at();
        let before = self.counts.now();
        self.close();
        if how.cancel_pending {
            self.cancel_pending();
        }
        match deadline {
            None => self.all_gone().await,
            Some(deadline) => {
                let _notice = self.announce_deadline(deadline);
                let gone = within(&self.home, deadline, self.all_gone()).await;
                if gone.is_none() {
                    self.end_workers(EndWorkers::Kill);
                    self.all_gone().await;
                }
            }
        }
        self.close_starter().await;
        self.counts.since(&before)
    }

    /// Warns tasks with a grace period of the shutdown in time, until the returned notice is dropped.
    fn announce_deadline(&self, deadline: Instant) -> Notice<'_> {
        let mut state = self.lock();
        let nearest = state.phase.announce(deadline);
        let deferred = state.send_deadline(nearest);
        drop(state);
        deferred.finish();
        Notice {
            pool: self,
            deadline,
        }
    }

    /// Cancels all items that have not started.
    fn cancel_pending(&self) {
        let mut state = self.lock();
        state.pending_cancelled = true;
        state.settling += 1;
        let pending = state.backlog.drain();
        drop(state);
        let links = self.links();
        links.iter().for_each(|link| link.note_search());
        let calls = pending.into_iter().map(|waiting| waiting.call).collect();
        self.cancel_unstarted(&links, calls);
    }

    /// Cancels these calls, and all items of these workers that have not started. The caller has counted this as
    /// unsettled.
    pub(super) fn cancel_unstarted(&self, links: &[Arc<Link>], mut calls: Vec<EncodedCall>) {
        for link in links {
            calls.extend(link.revoke_unstarted());
            calls.extend(link.cut());
        }
        self.cancel_all(calls);
        self.call_settled();
    }

    fn cancel_all(&self, calls: Vec<EncodedCall>) {
        for call in calls {
            let items = call.owed.fail_rest(&Cause::Cancelled);
            self.counts.items_cancelled(items);
        }
    }

    /// Ends all workers now, by SIGTERM or SIGKILL. Does not wait.
    pub(in crate::process) fn end_workers(&self, how: EndWorkers) {
        self.close();
        self.lock().phase.stop();
        self.cancel_pending();
        for link in self.links() {
            match how {
                EndWorkers::Kill => link.end(Ending::Shutdown),
                EndWorkers::Terminate => self.cancel_all(link.terminate()),
            }
        }
    }

    async fn all_gone(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_all_gone() {
                return;
            }
            changed.await;
        }
    }

    /// Whether no work and no workers are left; starts workers if work is left.
    fn is_all_gone(&self) -> bool {
        let state = self.lock();
        let gone = state.is_empty();
        self.start_workers(state);
        gone
    }

    /// Ends the fork server, if there is one. The caller may be outside of any runtime.
    async fn close_starter(&self) {
        let (ended, end) = oneshot::channel();
        let pool = self.shared();
        self.home.spawn(async move {
            pool.config.starter.close().await;
            let _ = ended.send(()); // The caller may have been dropped.
        });
        let _ = end.await;
    }
}

/// A shutdown with a deadline that is in progress. Dropping it, also with the shutdown's future, withdraws the
/// deadline.
struct Notice<'a> {
    pool: &'a Pool,
    deadline: Instant,
}

impl Drop for Notice<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let nearest = state.phase.withdraw(self.deadline);
        let deferred = state.send_deadline(nearest);
        drop(state);
        deferred.finish();
    }
}
