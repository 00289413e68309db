//! How a call and a worker find each other. A call takes an idle worker, or waits. A worker with room takes a
//! waiting call, or one that was sent ahead to another worker.

use std::sync::Arc;

use super::Pool;
use super::phase::CallOrigin;
use super::state::WaitingCall;
use crate::executor::encoded::EncodedCall;
use crate::executor::error::Cause;
use crate::process::link::{Link, Sent};

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
                Ok(sent) => return self.sent(&link, &sent),
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

    /// Called when a worker was sent calls. If it got its last call, its place is free for another worker. If an idle
    /// worker looked for calls while they were on their way, it takes some of them now.
    fn sent(&self, link: &Link, sent: &Sent) {
        self.counts.items_cancelled(sent.cancelled);
        if sent.was_sought {
            let mut state = self.lock();
            let deferred = state.offer_calls_of(link);
            self.start_workers(state);
            deferred.finish();
        } else if self.config.max_tasks_per_child.is_some() && link.is_leaving() {
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
            Ok(sent) => self.sent(link, &sent),
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

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt as _;

    use super::super::places::StartReason;
    use super::*;
    use crate::executor::encoded::EncodedItems;
    use crate::executor::handle::OutcomeCell;
    use crate::executor::promise::{Owed, Ticket};
    use crate::executor::served::PromiseEncoded;
    use crate::process::link::Tenure;
    use crate::process::output::{Outlets, Output};
    use crate::process::pool::ProcessPoolConfig;
    use crate::process::start::Recipe;
    use crate::sys::Socket;
    use crate::wire::page::Page;
    use crate::wire::{Chain, FunctionOffset};

    fn call() -> EncodedCall {
        let cell = Arc::new(OutcomeCell::<u64>::new(Ticket::new("test", None)));
        let items = EncodedItems {
            owed: Owed::new(cell, 0..1).map(|cell| cell as Arc<dyn PromiseEncoded>),
            base: 0,
            payload: Chain::new().finish(),
        };
        EncodedCall::new(FunctionOffset(0), items, None)
    }

    /// The pool chooses calls for a worker under its lock, and sends them later. In between, another worker may become
    /// idle, and finds them neither in the backlog nor in that worker.
    #[tokio::test]
    async fn an_idle_worker_takes_calls_that_were_on_their_way_when_it_looked() {
        let recipe = Recipe::plain(Outlets::new(Some(Output::null()), Some(Output::null())));
        let pool = Pool::new(ProcessPoolConfig::example(recipe, 2), |_, _| {});
        let (sockets, links): (Vec<_>, Vec<_>) = [1, 2]
            .map(|id| {
                let (ours, theirs) = Socket::pair().expect("a socket pair");
                let (page, _) = Page::create().expect("memory");
                let link = Link::new(id, 1, page, Arc::new(ours), Tenure::default());
                (theirs, Arc::new(link))
            })
            .into_iter()
            .unzip();
        let [busy, idle] = &links[..] else {
            panic!("there are two");
        };
        pool.lock().places.add(StartReason::Wanted);
        pool.lock().places.add(StartReason::Wanted);
        pool.worker_ready(busy);
        pool.worker_ready(idle);

        // It has answered a quick call, so further ones are sent ahead.
        assert!(busy.give(vec![call()]).is_ok());
        busy.ran(0, 1);
        assert!(busy.answered(0, 0..1).is_some());
        for _ in 0..4 {
            let deferred = pool.lock().enqueue(WaitingCall::again(call()));
            deferred.finish();
        }
        let (calls, deferred) = pool.lock().take_work(busy, &pool.config);
        deferred.finish();
        assert_eq!(calls.len(), 4);
        pool.refill(idle);
        assert!(idle.is_idle());
        while poll_fn(|cx| idle.poll_woken(cx)).now_or_never().is_some() {}

        let sent = busy.give(calls).expect("the worker serves");
        pool.sent(busy, &sent);
        let woken = poll_fn(|cx| idle.poll_woken(cx)).now_or_never();
        assert!(woken.is_some());
        pool.refill(idle);
        assert!(!idle.is_idle());
        assert_eq!(busy.calls_ahead(), 2);
        drop(sockets);
    }
}
