//! The promise of a relayed call. It keeps the outcomes encoded, and passes them on once each item has one.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::context::Wanted;
use super::error::{Cause, TaskError};
use super::promise::{Promise, PromiseOf, Ticket};
use super::relayed_runs::{GatheredRuns, RelayedOutcomes};
use super::served::{PromiseEncoded, failure_cause};
use crate::wire::Payload;
use crate::wire::outcomes::{ItemFailure, Values};

/// The encoded result of an item that ran on a thread.
pub(super) type Encoded = Result<Payload, Box<ItemFailure>>;

/// Called once with all outcomes.
pub(crate) type Done = Box<dyn FnOnce(RelayedOutcomes) + Send>;

/// Called with how much is done and how much there is to do.
pub(crate) type ReportProgress = Box<dyn Fn(u64, u64) + Send + Sync>;

/// What the caller lends a call for as long as the executor has it.
pub(crate) type Keep = Box<dyn Any + Send + Sync>;

/// Where the outcomes of a relayed call are put.
pub(crate) struct Collector {
    ticket: Ticket,
    items: u32,
    progress: Option<ReportProgress>,
    state: Mutex<CollectorState>,
    _keep: Option<Keep>,
}

struct CollectorState {
    runs: GatheredRuns,
    /// How long the items ran in all.
    time: Duration,
    /// `None` after the call.
    done: Option<Done>,
}

impl Collector {
    pub(super) fn new(
        ticket: Ticket,
        items: u32,
        progress: Option<ReportProgress>,
        keep: Option<Keep>,
        done: Done,
    ) -> Arc<Self> {
        let state = CollectorState {
            runs: GatheredRuns::new(items),
            time: Duration::ZERO,
            done: Some(done),
        };
        let collector = Self {
            ticket,
            items,
            progress,
            state: Mutex::new(state),
            _keep: keep,
        };
        collector.put(|_| ()); // A call without items is complete at once.
        Arc::new(collector)
    }

    /// Calls `put` to add outcomes. If they complete the call, passes all on.
    fn put(&self, put: impl FnOnce(&mut GatheredRuns)) {
        let mut state = self.lock();
        put(&mut state.runs);
        let done = match state.runs.is_complete() {
            true => state.done.take(),
            false => None,
        };
        let Some(done) = done else { return };
        let outcomes = RelayedOutcomes {
            time: state.time,
            runs: state.runs.take(),
        };
        drop(state);
        self.ticket.close();
        for (kind, items) in outcomes.kinds() {
            self.ticket.count(kind, items);
        }
        self.ticket.trace().end(match self.items {
            1 => outcomes.kinds().next().map_or("ok", |(kind, _)| kind),
            _ => "ok", // Each item has an outcome of its own.
        });
        done(outcomes);
    }

    /// Fails the items without an outcome.
    pub(super) fn fail_rest(&self, error: &TaskError) {
        self.put(|runs| runs.fail_rest(error));
    }

    /// As for a handle: closes the ticket first, then frees the work. An item that returns meanwhile keeps its result.
    pub(super) fn cancel(&self) {
        if self.ticket.is_closed() {
            return;
        }
        let owner = self.ticket.owner();
        let answers_late = owner.as_ref().is_some_and(|owner| owner.answers_late());
        let is_first = match answers_late {
            true => self.ticket.begin_abort(),
            false => self.ticket.close(),
        };
        if is_first {
            let mut answer = |begun| self.fail_rest(&self.ticket.error(begun, Cause::Cancelled));
            match owner {
                Some(owner) => owner.abort(&self.ticket, &mut answer),
                None => answer(false),
            }
        }
    }

    pub(super) fn is_running(&self) -> bool {
        let owner = self.ticket.owner();
        !self.ticket.is_closed() && owner.is_some_and(|owner| owner.is_running(&self.ticket))
    }

    /// The error of an item that ran, or was to run, in this process.
    fn failure(&self, failure: ItemFailure) -> TaskError {
        let started = failure.has_started();
        self.ticket.error(started, failure_cause(failure))
    }

    fn put_encoded(&self, runs: &mut GatheredRuns, item: u32, outcome: Result<Encoded, TaskError>) {
        match outcome {
            Ok(Ok(value)) => runs.put_value(item, value),
            Ok(Err(failure)) => runs.put_failure(item, self.failure(*failure)),
            Err(error) => runs.put_failure(item, error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, CollectorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted for Collector {
    fn is_wanted(&self, item: u64) -> bool {
        let item = u32::try_from(item);
        !self.ticket.is_closed() && item.is_ok_and(|item| !self.lock().runs.has(item))
    }

    fn report(&self, _: u64, done: u64, total: u64) {
        if let Some(progress) = &self.progress
            && self.items == 1
            && !self.ticket.is_closed()
        {
            progress(done, total);
        }
    }
}

impl Promise for Collector {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// After a cancel, the outcome is the executor's answer to the cancel, and not the error with which it drops the
    /// job.
    fn fail(&self, item: u32, error: TaskError) {
        let is_aborting = self.ticket.is_aborting();
        let error = match is_aborting && !error.is_cancelled() {
            true => error.into_cancelled(),
            false => error,
        };
        if is_aborting || !self.ticket.is_closed() {
            self.put(|runs| runs.put_failure(item, error));
        }
    }

    fn counts_time(&self) -> bool {
        true
    }

    fn took(&self, _: u32, time: Duration) {
        self.lock().time += time;
    }
}

impl PromiseOf<Encoded> for Collector {
    fn fulfil(&self, item: u32, value: Encoded) {
        self.put(|runs| self.put_encoded(runs, item, Ok(value)));
    }

    fn take_run(&self, first: u32, outcomes: Vec<Result<Encoded, TaskError>>) {
        self.put(|runs| {
            for (item, outcome) in (first..).zip(outcomes) {
                self.put_encoded(runs, item, outcome);
            }
        });
    }

    /// An item that exceeds its timeout may keep its thread for ever. The items before it must have their outcomes by
    /// then.
    fn is_urgent(&self) -> bool {
        self.ticket.options().timeout.is_some()
    }
}

impl PromiseEncoded for Collector {
    fn fulfil_encoded(&self, values: Values) {
        self.put(|runs| runs.put_values(values));
    }

    fn takes_bytes(&self) -> bool {
        true
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::executor::options::TaskOptions;
    use crate::executor::promise::{Owed, TaskOwner, Terms};
    use crate::executor::relayed_runs::RelayedRun;
    use crate::home::Home;
    use crate::observe::Meter;

    /// An executor that drops a job at once if it is cancelled.
    struct Dropping {
        /// Whether it reports at once that the job has started.
        at_once: bool,
        owed: Mutex<Option<Owed<Collector>>>,
    }

    impl TaskOwner for Dropping {
        fn abort(&self, _: &Ticket, answer: &mut dyn FnMut(bool)) {
            if self.at_once {
                drop(self.take());
                answer(true);
            }
        }

        fn answers_late(&self) -> bool {
            !self.at_once
        }

        fn is_running(&self, _: &Ticket) -> bool {
            false
        }
    }

    impl Dropping {
        fn take(&self) -> Owed<Collector> {
            let mut owed = self.owed.lock().expect("no panic");
            owed.take().expect("the executor holds a job")
        }
    }

    /// A call of three items, of which the first has a result.
    fn held(
        at_once: bool,
    ) -> (
        Arc<Dropping>,
        Arc<Collector>,
        mpsc::Receiver<RelayedOutcomes>,
    ) {
        let (done, outcomes) = mpsc::channel();
        let done = Box::new(move |outcomes| done.send(outcomes).expect("the test waits"));
        let owner = Arc::new(Dropping {
            at_once,
            owed: Mutex::new(None),
        });
        let weak: std::sync::Weak<Dropping> = Arc::downgrade(&owner);
        let terms = Terms::new(weak, TaskOptions::new(), Meter::new("test"), Home::new());
        let ticket = Ticket::new("test", None).of_executor(terms);
        let collector = Collector::new(ticket, 3, None, None, done);
        let mut owed = Owed::new(collector.clone(), 0..3);
        owed.answer_next(|promise, item| promise.fulfil(item, Ok(Payload::Small([0].into()))));
        *owner.owed.lock().expect("no panic") = Some(owed);
        (owner, collector, outcomes)
    }

    fn rest(outcomes: &mpsc::Receiver<RelayedOutcomes>) -> TaskError {
        let runs = outcomes.try_recv().expect("each item has an outcome").runs;
        match &runs[..] {
            [
                RelayedRun::Values(first),
                RelayedRun::Failed {
                    first: 1,
                    count: 2,
                    error,
                },
            ] => {
                assert_eq!(first.items(), 0..1);
                error.clone()
            }
            runs => panic!("{runs:?}"),
        }
    }

    #[test]
    fn a_cancelled_relay_has_the_answer_of_its_executor_though_that_drops_the_job() {
        let (_owner, collector, outcomes) = held(true);
        collector.cancel();
        collector.cancel();
        let error = rest(&outcomes);
        assert!(error.is_cancelled() && error.was_started());
    }

    #[test]
    fn a_cancelled_relay_waits_for_an_executor_that_answers_late() {
        for started in [false, true] {
            let (owner, collector, outcomes) = held(false);
            collector.cancel();
            assert!(outcomes.try_recv().is_err());
            assert!(!collector.is_wanted(1));
            owner.take().cancel_rest(started);
            let error = rest(&outcomes);
            assert_eq!((error.is_cancelled(), error.was_started()), (true, started));
        }
    }

    #[test]
    fn a_relay_whose_executor_is_dropped_fails_as_a_shutdown() {
        let (owner, _collector, outcomes) = held(true);
        drop(owner);
        assert!(rest(&outcomes).is_shutdown());
    }
}
