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
            if let Some(cause) = state.refusal(origin, &waiting.call) {
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

    /// Called when a worker was sent calls. If it got its last call, its place is free for another worker.
    fn sent(&self, link: &Arc<Link>, sent: &Sent) {
        self.counts.items_cancelled(sent.cancelled);
        if sent.was_searched {
            self.search_again(link);
        } else if self.config.max_tasks_per_child.is_some() && link.is_leaving() {
            self.start_workers(self.lock());
        }
    }

    /// The pool chooses calls for a worker under its lock, and sends them without it. In between it may have searched
    /// the worker for calls that have not started: to cancel them, for a more urgent call or for an idle worker. Treats
    /// those that were on their way as it would have.
    fn search_again(&self, link: &Arc<Link>) {
        let mut state = self.lock();
        if state.pending_cancelled {
            state.settling += 1;
            drop(state);
            return self.cancel_unstarted(std::slice::from_ref(link), Vec::new());
        }
        let deferred = state.search_again(link);
        self.start_workers(state);
        deferred.finish();
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
    use std::pin::pin;

    use futures::FutureExt as _;

    use super::super::places::StartReason;
    use super::*;
    use crate::executor::encoded::EncodedItems;
    use crate::executor::handle::OutcomeCell;
    use crate::executor::options::{Shutdown, TaskOptions};
    use crate::executor::promise::{Owed, Ticket};
    use crate::executor::served::PromiseEncoded;
    use crate::process::link::Tenure;
    use crate::process::output::{Outlets, Output};
    use crate::process::pool::ProcessPoolConfig;
    use crate::process::start::Recipe;
    use crate::sys::Socket;
    use crate::wire::page::Page;
    use crate::wire::{Chain, FunctionOffset};

    fn call(options: Option<TaskOptions>) -> EncodedCall {
        let ticket = Ticket::new("test", options.map(Arc::new));
        let cell = Arc::new(OutcomeCell::<u64>::new(ticket));
        let items = EncodedItems {
            owed: Owed::new(cell, 0..1).map(|cell| cell as Arc<dyn PromiseEncoded>),
            base: 0,
            payload: Chain::new().finish(),
        };
        EncodedCall::new(FunctionOffset(0), items, None)
    }

    /// Two workers of a pool. Calls that the pool has chosen for one of them have not been sent yet.
    struct OnTheirWay {
        pool: Arc<Pool>,
        busy: Arc<Link>,
        idle: Arc<Link>,
        calls: Vec<EncodedCall>,
        _sockets: [Socket; 2],
    }

    impl OnTheirWay {
        fn new() -> Self {
            let recipe = Recipe::plain(Outlets::new(Some(Output::null()), Some(Output::null())));
            let pool = Pool::new(ProcessPoolConfig::example(recipe, 2), |_, _| {});
            let worker = || {
                let (ours, theirs) = Socket::pair().expect("a socket pair");
                let (page, _) = Page::create().expect("memory");
                let id = pool.lock().places.add(StartReason::Wanted);
                let link = Link::new(id, 1, page, Arc::new(ours), Tenure::default());
                let link = Arc::new(link);
                pool.worker_ready(&link);
                (link, theirs)
            };
            let ((busy, socket), (idle, other)) = (worker(), worker());
            // It has answered a quick call, so others are sent ahead.
            assert!(busy.give(vec![call(None)]).is_ok());
            busy.ran(0, 1);
            assert!(busy.answered(0, 0..1).is_some());
            for _ in 0..4 {
                let deferred = pool.lock().enqueue(WaitingCall::again(call(None)));
                deferred.finish();
            }
            let (calls, deferred) = pool.lock().take_work(&busy, &pool.config);
            deferred.finish();
            assert_eq!(calls.len(), 4);
            let _sockets = [socket, other];
            Self {
                pool,
                busy,
                idle,
                calls,
                _sockets,
            }
        }

        /// The calls arrive.
        fn send(&mut self) {
            let sent = self.busy.give(std::mem::take(&mut self.calls));
            self.pool
                .sent(&self.busy, &sent.expect("the worker serves"));
        }
    }

    fn is_woken(link: &Link) -> bool {
        poll_fn(|cx| link.poll_woken(cx)).now_or_never().is_some()
    }

    #[tokio::test]
    async fn an_idle_worker_takes_calls_that_were_on_their_way_when_it_looked() {
        let mut test = OnTheirWay::new();
        test.pool.refill(&test.idle);
        assert!(test.idle.is_idle());
        while is_woken(&test.idle) {}
        test.send();
        assert!(is_woken(&test.idle));
        test.pool.refill(&test.idle);
        assert!(!test.idle.is_idle());
        assert_eq!(test.busy.calls_ahead(), 2);
    }

    #[tokio::test]
    async fn a_more_urgent_call_comes_before_calls_that_were_on_their_way() {
        let mut test = OnTheirWay::new();
        let urgent = call(Some(TaskOptions::new().priority(1)));
        let id = urgent.ticket().id();
        let deferred = test.pool.lock().enqueue(WaitingCall::again(urgent));
        deferred.finish();
        test.send();
        assert!(test.busy.is_idle() && is_woken(&test.busy));
        let (calls, deferred) = test.pool.lock().take_work(&test.busy, &test.pool.config);
        deferred.finish();
        assert_eq!((calls.len(), calls[0].ticket().id()), (5, id));
    }

    #[tokio::test]
    async fn a_shutdown_that_cancels_pending_calls_cancels_those_on_their_way() {
        let mut test = OnTheirWay::new();
        let tickets: Vec<_> = test
            .calls
            .iter()
            .map(|call| call.owed.promise().clone())
            .collect();
        let is_cancelled = |promise: &Arc<dyn PromiseEncoded>| promise.ticket().is_closed();
        let (pool, how) = (test.pool.clone(), Shutdown::new().cancel_pending(true));
        let mut shutdown = pin!(pool.shut_down(how));
        assert!(shutdown.as_mut().now_or_never().is_none());
        test.send();
        assert!(test.busy.is_idle() && tickets.iter().all(is_cancelled));
    }
}
