//! Tests of an executor that is notified later than its callers ask, like one on another machine.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::{Owed, Promise, PromiseOf as _, TaskOwner, Terms, Ticket};
use crate::executor::chunk::Chunk;
use crate::executor::error::{Cause, TaskError};
use crate::executor::handle::{JoinHandle, OutcomeCell};
use crate::executor::options::TaskOptions;
use crate::executor::spares::Spares;
use crate::executor::wait::{ReturnWhen, wait};
use crate::home::Home;
use crate::observe::Meter;

/// An executor that holds its jobs and lets the test answer them.
#[derive(Default)]
struct Scripted {
    /// Whether it answers a cancel at once.
    at_once: Option<bool>,
    owed: Mutex<Option<Owed<dyn Promise>>>,
    aborts: Mutex<u32>,
}

impl TaskOwner for Scripted {
    fn abort(&self, _: &Ticket, answer: &mut dyn FnMut(bool)) {
        *self.aborts.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        if let Some(started) = self.at_once {
            answer(started);
            drop(self.take());
        }
    }

    fn answers_late(&self) -> bool {
        true
    }

    fn is_running(&self, _: &Ticket) -> bool {
        false
    }
}

impl Scripted {
    fn new(at_once: Option<bool>) -> Arc<Self> {
        Arc::new(Self {
            at_once,
            ..Self::default()
        })
    }

    fn terms(self: &Arc<Self>) -> Arc<Terms> {
        let me: Weak<Self> = Arc::downgrade(self);
        Terms::new(me, TaskOptions::new(), Meter::new("test"), Home::new())
    }

    fn task(self: &Arc<Self>) -> JoinHandle<u32> {
        let ticket = Ticket::new("test", None).of_executor(self.terms());
        let cell = Arc::new(OutcomeCell::new(ticket));
        self.hold(cell.clone(), 1);
        JoinHandle::new(cell)
    }

    fn chunk(self: &Arc<Self>, items: u32, token: &CancellationToken) -> Arc<Chunk<u32>> {
        let options = TaskOptions::new().cancel_token(token.clone());
        let ticket = Ticket::new("test", Some(Arc::new(options))).of_executor(self.terms());
        let chunk = Chunk::new(ticket, 0, items, true, &Spares::default());
        self.hold(chunk.clone(), items);
        chunk.watch_option();
        chunk
    }

    fn hold(&self, promise: Arc<dyn Promise>, items: u32) {
        let owed = Owed::new(promise, 0..items);
        *self.owed.lock().unwrap_or_else(PoisonError::into_inner) = Some(owed);
    }

    fn take(&self) -> Option<Owed<dyn Promise>> {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.take()
    }

    fn held(&self) -> Owed<dyn Promise> {
        self.take().expect("it holds a job")
    }

    fn aborts(&self) -> u32 {
        *self.aborts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cancelled(outcome: Option<Result<u32, TaskError>>) -> TaskError {
    let error = outcome.expect("there is an outcome").expect_err("no value");
    assert!(error.is_cancelled(), "{error}");
    error
}

#[test]
fn a_cancelled_handle_waits_for_the_answer_of_its_executor() {
    for started in [false, true] {
        let owner = Scripted::new(None);
        let mut handle = owner.task();
        handle.abort();
        handle.abort();
        assert_eq!(owner.aborts(), 1, "it is asked once");
        assert!(!handle.is_finished());
        assert!((&mut handle).now_or_never().is_none());
        owner.held().cancel_rest(started);
        assert!(handle.is_finished());
        let error = cancelled(handle.now_or_never());
        assert_eq!(error.was_started(), started);
    }
}

#[test]
fn an_executor_that_asks_may_still_answer_at_once() {
    for started in [false, true] {
        let owner = Scripted::new(Some(started));
        let handle = owner.task();
        handle.abort();
        let error = cancelled(handle.now_or_never());
        assert_eq!(error.was_started(), started);
    }
}

/// So no caller runs a task again that may have run.
#[test]
fn a_cancel_without_an_answer_counts_as_started() {
    let owner = Scripted::new(None);
    let handle = owner.task();
    handle.abort();
    drop(owner.held());
    assert!(cancelled(handle.now_or_never()).was_started());
}

#[test]
fn a_cancelled_task_has_no_other_outcome() {
    let value = |owed: &mut Owed<dyn Promise>| {
        let error = owed.ticket().error(
            true,
            Cause::TimedOut {
                limit: Duration::ZERO,
            },
        );
        owed.answer_next(|promise, item| promise.fail(item, error));
    };
    let owner = Scripted::new(None);
    let handle = owner.task();
    handle.abort();
    value(&mut owner.held());
    assert!(cancelled(handle.now_or_never()).was_started());

    let owner = Scripted::new(None);
    let ticket = Ticket::new("test", None).of_executor(owner.terms());
    let cell = Arc::new(OutcomeCell::new(ticket));
    owner.hold(cell.clone(), 1);
    let handle = JoinHandle::new(cell.clone());
    handle.abort();
    cell.fulfil(0, 7);
    drop(owner.held());
    assert!(cancelled(handle.now_or_never()).was_started());
}

#[test]
fn a_refusal_that_meets_a_cancel_says_that_nothing_started() {
    let owner = Scripted::new(None);
    let handle = owner.task();
    handle.abort();
    owner
        .held()
        .fail_rest(&Cause::Codec("cannot be sent".into()));
    assert!(!cancelled(handle.now_or_never()).was_started());
}

#[test]
fn a_dropped_handle_takes_the_late_answer() {
    let owner = Scripted::new(None);
    let handle = owner.task().abort_on_drop();
    let (sender, receiver) = std::sync::mpsc::channel();
    handle.on_done(move |outcome| {
        let started = outcome.as_ref().map_err(TaskError::was_started);
        sender.send(started.copied()).expect("the test receives");
    });
    drop(handle);
    assert_eq!(owner.aborts(), 1);
    assert!(receiver.try_recv().is_err(), "no answer yet");
    owner.held().cancel_rest(false);
    assert_eq!(receiver.recv(), Ok(Err(false)));
}

#[tokio::test]
async fn waits_and_callbacks_take_an_answer_from_another_thread() {
    let owner = Scripted::new(None);
    let handle = owner.task();
    let (sender, receiver) = std::sync::mpsc::channel();
    handle.on_done(move |outcome| sender.send(outcome.is_err()).expect("the test receives"));
    let abort = handle.abort_handle();
    let waiting = wait([handle], ReturnWhen::AllCompleted);
    abort.abort();
    let owed = owner.held();
    let answering = std::thread::spawn(move || owed.cancel_rest(true));
    let mut waited = waiting.await;
    let error = cancelled(waited.done.pop());
    assert!(error.was_started());
    assert_eq!(receiver.recv(), Ok(true), "before the handle has it");
    answering.join().expect("no panic");
}

/// The answer may come before the executor has returned from the call that cancels.
#[test]
fn an_answer_that_overtakes_its_cancel_counts() {
    for _ in 0..1000 {
        let owner = Scripted::new(None);
        let handle = owner.task();
        let owed = owner.held();
        let answering = std::thread::spawn(move || owed.cancel_rest(true));
        handle.abort();
        answering.join().expect("no panic");
        assert!(cancelled(handle.now_or_never()).was_started());
    }
}

#[test]
fn a_cancelled_chunk_keeps_what_it_has_and_waits_for_the_rest() {
    let owner = Scripted::new(None);
    let token = CancellationToken::new();
    let chunk = owner.chunk(4, &token);
    let mut outcomes = chunk.outcomes();
    let mut owed = owner.held();
    chunk.fulfil(owed.take_number(), 10);
    token.cancel();
    assert_eq!(owner.aborts(), 1);
    let arrived = outcomes.next().now_or_never().flatten();
    assert_eq!(arrived.expect("the first item").outcomes.len(), 1);
    assert!(outcomes.next().now_or_never().is_none(), "no answer yet");
    chunk.fulfil(owed.take_number(), 20); // Too late, so this is ignored.
    owed.cancel_rest(false);
    let arrived = outcomes.next().now_or_never().flatten();
    let rest = arrived.expect("the answer").outcomes;
    let started = rest
        .into_iter()
        .map(|outcome| cancelled(Some(outcome)).was_started());
    assert_eq!(started.collect::<Vec<_>>(), [true, false, false]);
    assert!(outcomes.next().now_or_never().expect("the end").is_none());
}

#[cfg(feature = "process")]
#[test]
fn an_outcome_counts_the_attempts_that_its_executor_heard_of() {
    let owner = Scripted::new(None);
    let handle = owner.task();
    let mut owed = owner.held();
    for attempt in [1, 3, 2] {
        owed.note_attempt(attempt);
    }
    let error = owed.ticket().error(false, Cause::Codec("no reason".into()));
    owed.answer_next(|promise, item| promise.fail(item, error));
    let error = handle
        .now_or_never()
        .expect("an outcome")
        .expect_err("no value");
    assert_eq!((error.attempts(), error.was_started()), (3, true));

    let handle = owner.task();
    let mut owed = owner.held();
    owed.note_attempt(2);
    drop(owed);
    let error = handle
        .now_or_never()
        .expect("an outcome")
        .expect_err("no value");
    assert_eq!((error.attempts(), error.was_started()), (2, true));
}

#[test]
fn a_dropped_stream_needs_no_answer() {
    let owner = Scripted::new(None);
    let token = CancellationToken::new();
    let outcomes = owner.chunk(2, &token).outcomes();
    token.cancel();
    drop(outcomes);
    owner.held().cancel_rest(false);
}
