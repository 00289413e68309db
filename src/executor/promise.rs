//! The executor's side of a handle. The holder of a job owes its caller an outcome for each item. Dropping [`Owed`]
//! fails the remaining items, so no handle stays unresolved.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::context::Wanted;
use super::error::{Cause, TaskError};
use super::options::{OptionsInForce, TaskName, TaskOptions};
use super::token::CallerToken;
use crate::home::Home;
use crate::observe::{self, Meter, RunningCount, SubmitTime, Trace};

/// The facts about a job from its submission to its end, shared by its handle and its executor.
pub(crate) struct Ticket {
    id: u64,
    /// The number that the task sees as its own.
    task_id: u64,
    function: &'static str,
    asked: Option<Arc<TaskOptions>>,
    /// What its executor attaches to it. `None` if no executor takes the job.
    terms: Option<Arc<Terms>>,
    /// A [`TicketStage`].
    stage: AtomicU8,
    /// How many workers were lost while they ran it, if it has one item.
    losses: AtomicU32,
    /// The number of its first run among the attempts of the task.
    first_attempt: u32,
    /// Whether its function is async.
    is_async: bool,
    /// Whether a token of the user may cancel the job. For other tokens than that of its options, it is set before they
    /// are watched.
    has_token: AtomicBool,
    trace: Trace,
    submitted: SubmitTime,
}

/// Which outcomes of a job are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TicketStage {
    /// All.
    Open,
    /// The caller cancelled the job, and only the executor's answer is missing: whether the job has started.
    Aborting,
    /// None: all items are answered, or the caller cancelled the job.
    Closed,
}

impl TicketStage {
    const fn word(self) -> u8 {
        self as u8
    }

    fn of(word: u8) -> Self {
        match word {
            0 => Self::Open,
            1 => Self::Aborting,
            _ => Self::Closed,
        }
    }
}

/// What an executor attaches to each job that it takes. All jobs of an executor share one, so a job costs one reference
/// count.
#[derive(Debug)]
pub struct Terms {
    owner: Weak<dyn TaskOwner>,
    /// The executor's own options, for those that a task does not set.
    defaults: TaskOptions,
    meter: Meter,
    home: Arc<Home>,
}

impl Terms {
    pub(crate) fn new(
        owner: Weak<dyn TaskOwner>,
        defaults: TaskOptions,
        meter: Meter,
        home: Arc<Home>,
    ) -> Arc<Self> {
        Arc::new(Self {
            owner,
            defaults,
            meter,
            home,
        })
    }

    #[cfg(feature = "process")]
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }
}

/// The executor that holds a job, as its handle sees it.
pub(crate) trait TaskOwner: Send + Sync {
    /// Frees what a cancelled job occupies. The job's ticket is closed. Calls `answer` once, with whether any item of
    /// the job has started, before it drops the job.
    ///
    /// An owner that [`answers_late`](Self::answers_late) may return without calling `answer`. It then keeps the job's
    /// [`Owed`], and answers by [`Owed::cancel_rest`] or by any other outcome. It may be called again for the same job:
    /// a stream is dropped after its chunk was cancelled.
    fn abort(&self, ticket: &Ticket, answer: &mut dyn FnMut(bool));

    /// Whether the owner may have to query another machine to know what has started. The outcome of a cancelled task
    /// then comes with the owner's answer.
    fn answers_late(&self) -> bool {
        false
    }

    /// Whether a worker runs the job now.
    fn is_running(&self, ticket: &Ticket) -> bool;
}

impl Ticket {
    #[inline]
    pub(crate) fn new(function: &'static str, asked: Option<Arc<TaskOptions>>) -> Self {
        Self::with_task_id(function, asked, None)
    }

    /// A ticket for a task whose handle is on another machine, where the task has the number `task_id`. Two such tasks
    /// may have the same number, so it is not used as a key.
    #[inline]
    pub(crate) fn with_task_id(
        function: &'static str,
        asked: Option<Arc<TaskOptions>>,
        task_id: Option<u64>,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let name = asked.as_ref().and_then(|options| options.name.as_deref());
        Self {
            trace: Trace::begin(id, name.unwrap_or(function)),
            id,
            task_id: task_id.unwrap_or(id),
            function,
            asked,
            terms: None,
            stage: AtomicU8::new(TicketStage::Open.word()),
            losses: AtomicU32::new(0),
            first_attempt: observe::attempt().unwrap_or(1),
            is_async: false,
            has_token: AtomicBool::new(false),
            submitted: SubmitTime::now(),
        }
    }

    /// The same ticket, for an executor that takes the job.
    #[inline]
    pub(crate) fn of_executor(self, terms: Arc<Terms>) -> Self {
        let mut ticket = Self {
            terms: Some(terms),
            ..self
        };
        *ticket.has_token.get_mut() = ticket.options().cancel_token.is_some();
        ticket
    }

    /// The same ticket, for a function that may be async.
    #[inline]
    pub(crate) fn of_async(self, is_async: bool) -> Self {
        Self { is_async, ..self }
    }

    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    fn meter(&self) -> Option<&Meter> {
        self.terms.as_ref().map(|terms| &terms.meter)
    }

    /// Counts the job as running until the result is dropped.
    pub(crate) fn running(&self) -> RunningCount {
        self.meter().map(Meter::running).unwrap_or_default()
    }

    /// Runs an item on this thread.
    pub(crate) fn run<T>(&self, worker: u64, work: impl FnOnce() -> T) -> T {
        if !cfg!(feature = "metrics") && !self.trace.is_open() {
            return work(); // The time is not recorded.
        }
        let begun = Instant::now();
        let outcome = self.trace.within(work);
        self.ran(worker, 1, begun.elapsed());
        outcome
    }

    /// Records that `items` items ran for `time` in all, until now.
    pub(crate) fn ran(&self, worker: u64, items: u32, time: Duration) {
        self.trace.ran(worker, time);
        if let Some(meter) = self.meter() {
            meter.ran(items, self.submitted.elapsed().saturating_sub(time), time);
        }
    }

    /// Counts `items` outcomes of this kind.
    pub(crate) fn count(&self, outcome: &'static str, items: usize) {
        if let Some(meter) = self.meter() {
            meter.ended(outcome, items);
        }
    }

    /// The trace that the job belongs to, as a W3C `traceparent`.
    pub(crate) fn traceparent(&self) -> Option<Arc<str>> {
        let asked = self.options().traceparent.cloned();
        asked.or_else(|| self.trace.propagated())
    }

    /// A number that is unique in this process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The number that the task sees as its own: that of its handle, which may be on another machine.
    pub(crate) fn task_id(&self) -> u64 {
        self.task_id
    }

    pub(crate) fn name(&self) -> TaskName {
        match self.options().name.cloned() {
            Some(name) => TaskName::Given(name),
            None => TaskName::Function(self.function),
        }
    }

    /// The options that apply: its own, then those of its executor.
    #[inline]
    pub(crate) fn options(&self) -> OptionsInForce<'_> {
        let defaults = self.terms.as_ref().map(|terms| &terms.defaults);
        OptionsInForce::of(self.asked.as_deref(), defaults, self.is_async)
    }

    pub(crate) fn error(&self, started: bool, cause: Cause) -> TaskError {
        TaskError::new(self.name(), started, cause)
    }

    /// Whether no result is wanted any more.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.stage.load(Ordering::Acquire) != TicketStage::Open.word()
    }

    /// Closes it. Returns true only to the caller that closed it, which alone may put the outcome in.
    pub(crate) fn close(&self) -> bool {
        self.end() == TicketStage::Open
    }

    /// Closes it. Returns the stage before. If that was `Aborting`, the caller puts in the outcome that ends the abort.
    pub(super) fn end(&self) -> TicketStage {
        let closed = TicketStage::Closed.word();
        TicketStage::of(self.stage.swap(closed, Ordering::AcqRel))
    }

    /// Closes it for results, until the executor says whether the job has started. Returns true only to the caller that
    /// closed it.
    pub(super) fn begin_abort(&self) -> bool {
        let (open, aborting) = (TicketStage::Open.word(), TicketStage::Aborting.word());
        let begun =
            (self.stage).compare_exchange(open, aborting, Ordering::AcqRel, Ordering::Acquire);
        begun.is_ok()
    }

    /// Whether the caller cancelled, and the executor has not answered yet.
    pub(super) fn is_aborting(&self) -> bool {
        self.stage.load(Ordering::Acquire) == TicketStage::Aborting.word()
    }

    /// Whether its function is async.
    pub(crate) fn is_async(&self) -> bool {
        self.is_async
    }

    /// How many workers were lost while they ran it, if it has one item.
    pub(crate) fn losses(&self) -> u32 {
        self.losses.load(Ordering::Relaxed)
    }

    /// The number of the attempt after `losses` lost workers. It counts from 1, over all attempts of `retry`.
    pub(crate) fn attempt(&self, losses: u32) -> u32 {
        self.first_attempt.saturating_add(losses)
    }

    /// Records that a token may cancel the job.
    pub(super) fn note_token(&self) {
        self.has_token.store(true, Ordering::Release);
    }

    #[inline]
    pub(crate) fn has_token(&self) -> bool {
        self.has_token.load(Ordering::Acquire)
    }

    /// Whether the token among the options in force is cancelled.
    pub(crate) fn is_revoked(&self) -> bool {
        let token = || self.options().cancel_token;
        self.has_token() && token().is_some_and(CallerToken::is_cancelled)
    }

    /// Records that the current task waits for the outcome, so that the executor does not depend on another runtime.
    pub(crate) fn note_caller(&self) {
        if let Some(home) = self.home() {
            home.note_caller();
        }
    }

    /// Where its executor runs background tasks.
    pub(crate) fn home(&self) -> Option<&Arc<Home>> {
        self.terms.as_ref().map(|terms| &terms.home)
    }

    pub(crate) fn owner(&self) -> Option<Arc<dyn TaskOwner>> {
        self.terms.as_ref()?.owner.upgrade()
    }
}

/// Where the outcome of each item of a job goes. Only the first outcome of an item counts, so a cancel may race with a
/// result.
///
/// As [`Wanted`], its keys are the numbers of the items.
pub(crate) trait Promise: Wanted {
    fn ticket(&self) -> &Ticket;

    fn fail(&self, item: u32, error: TaskError);

    /// An item has lost its worker `losses` times and runs again.
    #[cfg(feature = "process")]
    fn runs_again(&self, _item: u32, _losses: u32) {}

    /// Whether a token of the job is cancelled. The ticket may still be open, because the token wakes one job after
    /// another.
    fn is_revoked(&self) -> bool {
        self.ticket().is_revoked()
    }

    /// Whether an item may start now.
    fn may_start(&self) -> bool {
        !self.ticket().is_closed() && !self.is_revoked()
    }

    /// Whether it must know how long items run.
    fn counts_time(&self) -> bool {
        false
    }

    /// `items` items that travelled together ran for `time` in all.
    fn took(&self, _items: u32, _time: Duration) {}
}

/// A promise that takes the result itself, from a thread of this process.
pub(crate) trait PromiseOf<R>: Promise {
    fn fulfil(&self, item: u32, value: R);

    /// Takes the outcomes of consecutive items.
    fn take_run(&self, first: u32, outcomes: Vec<Result<R, TaskError>>) {
        for (item, outcome) in (first..).zip(outcomes) {
            match outcome {
                Ok(value) => self.fulfil(item, value),
                Err(error) => self.fail(item, error),
            }
        }
    }

    /// An empty buffer for outcomes.
    fn spare(&self) -> Vec<Result<R, TaskError>> {
        Vec::new()
    }

    /// Whether the caller waits for each outcome, and not for those of many items at once.
    fn is_urgent(&self) -> bool {
        true
    }

    /// Registers outcomes that a thread holds back, to publish them once the caller waits for each outcome.
    fn watch(&self, _held: Weak<dyn HeldOutcomes>) {}
}

/// Outcomes that a thread holds back while the caller waits for many at once.
pub(crate) trait HeldOutcomes: Send + Sync {
    fn publish(&self);
}

/// The items of a job that have no outcome yet: `next..end`.
pub(crate) struct Owed<P: Promise + ?Sized> {
    promise: Arc<P>,
    next: u32,
    end: u32,
    /// How many workers were lost while they ran these items.
    losses: u32,
}

impl<P: Promise + ?Sized> Owed<P> {
    pub(crate) fn new(promise: Arc<P>, items: Range<u32>) -> Self {
        Self {
            promise,
            next: items.start,
            end: items.end,
            losses: 0,
        }
    }

    pub(crate) fn promise(&self) -> &Arc<P> {
        &self.promise
    }

    pub(crate) fn ticket(&self) -> &Ticket {
        self.promise.ticket()
    }

    /// The first item without an outcome.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// How many items have no outcome.
    pub(crate) fn remaining(&self) -> u32 {
        self.end - self.next
    }

    /// Answers the next item through `answer`.
    pub(crate) fn answer_next(&mut self, answer: impl FnOnce(&P, u32)) {
        debug_assert!(self.next < self.end, "an item is answered once");
        let item = self.next;
        self.next += 1;
        answer(&self.promise, item);
    }

    /// As `take_next`, for a caller that already has the promise.
    pub(crate) fn take_number(&mut self) -> u32 {
        debug_assert!(self.next < self.end, "an item is answered once");
        self.next += 1;
        self.next - 1
    }

    /// Fails all remaining items; none of them runs. Returns their number.
    pub(crate) fn fail_rest(mut self, cause: &Cause) -> usize {
        self.fail_remaining(cause)
    }

    /// Fails all remaining items. Returns their number.
    pub(crate) fn fail_remaining(&mut self, cause: &Cause) -> usize {
        let count = self.remaining() as usize;
        if count > 0 {
            let error = self.ticket().error(self.losses > 0, cause.clone());
            let error = error.of_rerun(self.losses);
            while self.remaining() > 0 {
                self.answer_next(|promise, item| promise.fail(item, error.clone()));
            }
        }
        count
    }

    /// Answers an abort: no remaining item will have a result. `started`: whether any of them has started.
    #[allow(dead_code, reason = "for an executor that answers late")]
    pub(crate) fn cancel_rest(mut self, started: bool) {
        let error = self.ticket().error(started, Cause::Cancelled);
        let error = error.of_rerun(self.losses);
        while self.remaining() > 0 {
            self.answer_next(|promise, item| promise.fail(item, error.clone()));
        }
    }

    /// Fails all remaining items, since none may start. Returns how many of them a token cancelled.
    pub(crate) fn refuse(&mut self) -> usize {
        let is_revoked = self.remaining() > 0 && self.promise.is_revoked();
        let items = self.fail_remaining(&Cause::Cancelled);
        if is_revoked { items } else { 0 }
    }

    /// Splits off the items from `at` on.
    pub(crate) fn split_off(&mut self, at: u32) -> Self {
        let at = at.clamp(self.next, self.end);
        let rest = Self {
            promise: self.promise.clone(),
            next: at,
            end: self.end,
            losses: self.losses,
        };
        self.end = at;
        rest
    }
}

#[cfg(feature = "process")]
impl Ticket {
    /// Its only item has lost its worker `losses` times and runs again.
    pub(super) fn note_losses(&self, losses: u32) {
        if self.losses.fetch_max(losses, Ordering::Relaxed) < losses {
            self.trace.attempted_again(self.attempt(losses));
        }
    }
}

/// What only the parent of worker processes does.
#[cfg(feature = "process")]
impl<P: Promise + ?Sized> Owed<P> {
    /// How many workers were lost while they ran the remaining items.
    pub(crate) fn losses(&self) -> u32 {
        self.losses
    }

    /// Whether the remaining items began before.
    pub(crate) fn has_begun(&self) -> bool {
        self.losses > 0
    }

    /// Takes the next item out, to run once more.
    pub(crate) fn take_for_retry(&mut self) -> Self {
        let (promise, item) = self.take_next();
        let losses = self.losses + 1;
        promise.runs_again(item, losses);
        Self {
            promise,
            next: item,
            end: item + 1,
            losses,
        }
    }

    /// The remaining items are attempted elsewhere, as the `attempt`th attempt. Later reports of an earlier attempt
    /// have no effect.
    #[allow(
        dead_code,
        reason = "for an executor whose workers decide about retries"
    )]
    pub(crate) fn note_attempt(&mut self, attempt: u32) {
        let losses = attempt.saturating_sub(1);
        if losses > self.losses {
            self.losses = losses;
            for item in self.next..self.end {
                self.promise.runs_again(item, losses);
            }
        }
    }

    /// Answers all items through `answer`.
    pub(crate) fn answer_all(mut self, answer: impl FnOnce(&P)) {
        self.next = self.end;
        answer(&self.promise);
    }

    /// Takes the items before `end` out; the caller answers them.
    pub(crate) fn take_until(&mut self, end: u32) -> (Arc<P>, Range<u32>) {
        let end = end.clamp(self.next, self.end);
        let items = self.next..end;
        self.next = end;
        (self.promise.clone(), items)
    }

    /// Takes the next item out; the caller answers it.
    pub(crate) fn take_next(&mut self) -> (Arc<P>, u32) {
        let item = self.take_number();
        (self.promise.clone(), item)
    }

    pub(crate) fn fail_next(&mut self, cause: Cause) {
        let error = self.ticket().error(true, cause).of_rerun(self.losses);
        self.answer_next(|promise, item| promise.fail(item, error));
    }

    /// The same items, with another view of the promise.
    pub(crate) fn map<Q: Promise + ?Sized>(
        mut self,
        view: impl FnOnce(Arc<P>) -> Arc<Q>,
    ) -> Owed<Q> {
        let owed = Owed {
            promise: view(self.promise.clone()),
            next: self.next,
            end: self.end,
            losses: self.losses,
        };
        self.next = self.end;
        owed
    }
}

/// Gives the caller an outcome, whatever drops the job, such as the end of a runtime or a pool.
impl<P: Promise + ?Sized> Drop for Owed<P> {
    fn drop(&mut self) {
        self.fail_remaining(&Cause::Shutdown);
    }
}

#[cfg(all(test, not(properties)))]
#[path = "../../tests/late_answers/mod.rs"]
mod tests;
