//! How a call and a worker find each other. A call takes an idle worker, or waits. A worker with room takes a
//! waiting call, or one that was sent ahead to another worker.

use std::sync::Arc;

use super::Pool;
use super::phase::CallOrigin;
use super::state::WaitingCall;
use crate::executor::encoded::EncodedCall;
use crate::executor::error::Cause;
use crate::process::link::Link;

impl Pool {
    /// Finds a worker for a call, or queues it.
    pub(super) fn dispatch(&self, mut waiting: WaitingCall, origin: CallOrigin) {
        loop {
            let mut state = self.lock();
            state.starts.work_arrived();
            if let Some(cause) = state.refusal(origin) {
                drop(state);
                return self.refuse(waiting, origin, &cause);
            }
            let Some(link) = state.idle.pop() else {
                let deferred = state.enqueue(waiting);
                self.start_workers(state);
                deferred.finish();
                return;
            };
            drop(state);
            match link.give_reserved(waiting.call) {
                Ok(cancelled) => return self.sent(&link, cancelled),
                // The worker has just died. Its place becomes free when its calls are settled.
                Err(mut back) => match back.pop() {
                    Some(call) => waiting.call = call,
                    None => return,
                },
            }
        }
    }

    /// Fails a call that the pool does not run.
    fn refuse(&self, waiting: WaitingCall, origin: CallOrigin, cause: &Cause) {
        let items = waiting.call.owed.fail_rest(cause);
        match (cause, origin) {
            (Cause::Cancelled, _) => self.counts.items_cancelled(items),
            (_, CallOrigin::GivenBack) => self.counts.items_refused(items),
            (_, CallOrigin::Submitted) => {} // The call was not accepted.
        }
    }

    /// Called when a worker was sent calls, of which a token cancelled `cancelled` items. If it got its last call, its
    /// place is free for another worker.
    fn sent(&self, link: &Link, cancelled: usize) {
        self.counts.items_cancelled(cancelled);
        if self.config.max_tasks_per_child.is_some() && link.is_leaving() {
            self.start_workers(self.lock());
        }
    }

    /// Gives work to a worker that became ready.
    pub(in crate::process) fn worker_ready(&self, link: &Arc<Link>) {
        let mut state = self.lock();
        let deferred = state.worker_ready(link);
        drop(state);
        deferred.finish();
        self.terms.meter().worker_started();
        self.changed.notify_waiters();
        self.refill(link);
    }

    /// Gives a worker as much work as it has room for. If there is none, the worker is idle, or is dismissed.
    pub(in crate::process) fn refill(&self, link: &Arc<Link>) {
        let mut state = self.lock();
        let (calls, deferred) = state.take_work(link, &self.config);
        let is_drained = state.is_drained();
        drop(state);
        deferred.finish();
        if is_drained {
            self.changed.notify_waiters();
        }
        if calls.is_empty() {
            return;
        }
        match link.give(calls) {
            Ok(cancelled) => self.sent(link, cancelled),
            Err(back) => self.give_back(back),
        }
    }

    /// Gives the rest of a call of several items to idle workers, since its worker has run it for some time.
    pub(in crate::process) fn share(&self, link: &Link) {
        let state = self.lock();
        let free = self
            .config
            .max_workers
            .saturating_sub(state.places.taken(&self.config));
        let others = state.idle.len() + free;
        if others == 0 || !state.backlog.is_empty() || state.phase.is_stopped() {
            return;
        }
        drop(state);
        let Some(mut rest) = link.cut() else { return };
        let mut parts = Vec::new();
        for workers in (2..=others as u32 + 1).rev() {
            let share = rest.owed.remaining().div_ceil(workers);
            if share == rest.owed.remaining() {
                break;
            }
            let others = rest.split_off(rest.owed.next() + share);
            parts.push(std::mem::replace(&mut rest, others));
        }
        parts.push(rest);
        self.give_back(parts);
    }

    /// Dispatches calls that a dead worker did not begin.
    pub(in crate::process) fn give_back(&self, calls: Vec<EncodedCall>) {
        for call in calls {
            self.dispatch(WaitingCall::again(call), CallOrigin::GivenBack);
        }
    }

    /// Counts items whose functions have ended, and how many of them returned no value.
    pub(in crate::process) fn items_ended(&self, items: usize, failed: u64) {
        self.counts.items_ended(items, failed);
    }

    /// Counts items that still run although their callers already have their errors.
    pub(in crate::process) fn item_overran(&self, items: usize) {
        self.counts.items_cut_short(items);
    }
}
