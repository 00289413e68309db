//! How a pool ends: it closes, finishes or fails the waiting calls, and dismisses, terminates or kills its
//! workers.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Pool;
use crate::executor::encoded::EncodedCall;
use crate::executor::error::Cause;
use crate::process::link::{Dismissal, Ending};

/// How to end all workers.
#[derive(Clone, Copy)]
pub(in crate::process) enum EndWorkers {
    Terminate,
    Kill,
}

impl Pool {
    pub(in crate::process) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        let idle: Vec<_> = idle.iter().filter_map(|id| state.link(*id)).collect();
        drop(state);
        self.rooms.close();
        for link in idle {
            link.dismiss(Dismissal::Closed);
            link.write_now(); // The runtime that drives it may be busy for long.
        }
        self.changed.notify_waiters();
    }

    /// Warns tasks with a grace period of the shutdown in time, while the returned notice exists.
    pub(super) fn announce_deadline(&self, deadline: Instant) -> Notice<'_> {
        let mut state = self.lock();
        state.deadlines.push(deadline);
        state.send_deadline();
        Notice {
            pool: self,
            deadline,
        }
    }

    /// Fails all items that have not begun. Returns their number.
    pub(super) fn fail_pending(&self, cause: &Cause) -> usize {
        let pending = self.lock().backlog.drain();
        let mut calls: Vec<EncodedCall> = pending.into_iter().map(|waiting| waiting.call).collect();
        for link in self.links() {
            calls.extend(link.revoke_unstarted());
            calls.extend(link.cut());
        }
        self.changed.notify_waiters();
        calls
            .into_iter()
            .map(|call| call.owed.fail_rest(cause))
            .sum()
    }

    /// Ends all workers now, by SIGTERM or SIGKILL. Does not wait.
    pub(in crate::process) fn end_workers(&self, how: EndWorkers) {
        self.close();
        self.lock().stopped = true;
        let mut cancelled = self.fail_pending(&Cause::Cancelled);
        for link in self.links() {
            match how {
                EndWorkers::Kill => link.end(Ending::Shutdown),
                EndWorkers::Terminate => {
                    let unstarted = link.terminate().into_iter();
                    cancelled += unstarted
                        .map(|call| call.owed.fail_rest(&Cause::Cancelled))
                        .sum::<usize>();
                }
            }
        }
        self.lock().cancelled += cancelled as u64;
    }

    pub(super) async fn all_gone(&self) {
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
        let gone = state.workers.is_empty() && state.settling == 0 && state.backlog.is_empty();
        self.start_workers(state);
        gone
    }

    /// Ends the fork server, if there is one. The caller may be outside of any runtime.
    pub(super) async fn close_starter(&self) {
        let (ended, end) = oneshot::channel();
        let pool = self.shared();
        self.home.spawn(async move {
            pool.config.starter.close().await;
            let _ = ended.send(()); // The caller may have been dropped.
        });
        let _ = end.await;
    }

    /// The numbers of items that finished, were cancelled before they began, and were killed by a shutdown.
    pub(super) fn tally(&self) -> (u64, u64, u64) {
        let state = self.lock();
        (
            self.finished.load(Ordering::Relaxed),
            state.cancelled,
            state.killed,
        )
    }
}

/// A shutdown with a deadline is in progress. If its future is dropped, the deadline is cancelled.
pub(super) struct Notice<'a> {
    pool: &'a Pool,
    deadline: Instant,
}

impl Drop for Notice<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let mut deadlines = state.deadlines.iter();
        if let Some(place) = deadlines.position(|known| *known == self.deadline) {
            state.deadlines.swap_remove(place);
        }
        state.send_deadline();
    }
}
