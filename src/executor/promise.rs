//! The executor's side of a handle. The holder of a job owes its caller an outcome for each item.
//! Dropping [`Owed`] fails the items that are left, so no handle stays unresolved.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::context::Wanted;
use super::error::{Cause, TaskError};
use super::options::{OptionsInForce, TaskName, TaskOptions};
use super::token::CallerToken;
use crate::home::Home;
use crate::observe::{Meter, RunningCount, SubmitTime, Trace};

/// The facts about a job from its submission to its end, shared by its handle and its executor.
pub(crate) struct Ticket {
    id: u64,
    function: &'static str,
    asked: Option<Arc<TaskOptions>>,
    /// Set when an executor takes the job.
    terms: OnceLock<Arc<Terms>>,
    /// No outcome is wanted any more: all items are answered, or the caller cancelled.
    closed: AtomicBool,
    /// How many workers were lost while they ran it, if it has one item.
    losses: AtomicU32,
    /// A token of the user may cancel the job. Set before the token is watched.
    has_token: AtomicBool,
    trace: Trace,
    submitted: SubmitTime,
}

/// What an executor attaches to each job that it takes. All its jobs share one, so a job costs one
/// reference count.
pub(crate) struct Terms {
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
    /// Frees what a cancelled job holds. Its ticket is closed. Calls `answer` once, with whether any of the job has
    /// begun, before it drops the job.
    fn abort(&self, ticket: &Ticket, answer: &mut dyn FnMut(bool));

    /// Whether a worker runs the job now.
    fn is_running(&self, ticket: &Ticket) -> bool;
}

impl Ticket {
    pub(crate) fn new(function: &'static str, asked: Option<Arc<TaskOptions>>) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let name = asked.as_ref().and_then(|options| options.name.as_deref());
        Self {
            trace: Trace::begin(id, name.unwrap_or(function)),
            id,
            function,
            asked,
            terms: OnceLock::new(),
            closed: AtomicBool::new(false),
            losses: AtomicU32::new(0),
            has_token: AtomicBool::new(false),
            submitted: SubmitTime::now(),
        }
    }

    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    fn meter(&self) -> Option<&Meter> {
        self.terms.get().map(|terms| &terms.meter)
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

    /// Counts `items` items with this outcome.
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

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn name(&self) -> TaskName {
        match self.options().name.cloned() {
            Some(name) => TaskName::Given(name),
            None => TaskName::Function(self.function),
        }
    }

    /// The options that apply: its own, then those of the executor that has taken it.
    #[inline]
    pub(crate) fn options(&self) -> OptionsInForce<'_> {
        let defaults = self.terms.get().map(|terms| &terms.defaults);
        OptionsInForce::of(self.asked.as_deref(), defaults)
    }

    pub(crate) fn error(&self, started: bool, cause: Cause) -> TaskError {
        TaskError::new(self.name(), started, cause)
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes it. Returns true to the one caller that did; only that one may put the outcome in.
    pub(crate) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// How many workers were lost while they ran it, if it has one item.
    pub(crate) fn losses(&self) -> u32 {
        self.losses.load(Ordering::Relaxed)
    }

    /// Notes the executor that takes the job. Only the first call counts.
    pub(crate) fn accept(&self, terms: &Arc<Terms>) {
        let _ = self.terms.set(terms.clone());
        if self.options().cancel_token.is_some() {
            self.note_token();
        }
    }

    /// Takes note that a token may cancel the job.
    pub(super) fn note_token(&self) {
        self.has_token.store(true, Ordering::Release);
    }

    #[inline]
    pub(crate) fn has_token(&self) -> bool {
        self.has_token.load(Ordering::Acquire)
    }

    /// Whether the token among the options that apply is cancelled.
    pub(crate) fn is_revoked(&self) -> bool {
        let token = || self.options().cancel_token;
        self.has_token() && token().is_some_and(CallerToken::is_cancelled)
    }

    /// Takes note that the current task waits for the outcome: the executor must not depend on another runtime.
    pub(crate) fn note_caller(&self) {
        if let Some(home) = self.home() {
            home.note_caller();
        }
    }

    /// Where the executor that took the job runs its background tasks.
    pub(crate) fn home(&self) -> Option<&Arc<Home>> {
        self.terms.get().map(|terms| &terms.home)
    }

    pub(crate) fn owner(&self) -> Option<Arc<dyn TaskOwner>> {
        self.terms.get()?.owner.upgrade()
    }
}

/// Where the outcome of each item of a job goes. The first outcome of an item counts and later ones
/// are ignored, so a cancel may race a result.
///
/// As [`Wanted`], its keys are the numbers of the items.
pub(crate) trait Promise: Wanted {
    fn ticket(&self) -> &Ticket;

    fn fail(&self, item: u32, error: TaskError);

    /// The item lost its worker and is to run again.
    #[cfg(feature = "process")]
    fn runs_again(&self, _item: u32) {}

    /// Whether a token of the job is cancelled. Its ticket may still be open: the token wakes one job after another.
    fn is_revoked(&self) -> bool {
        self.ticket().is_revoked()
    }

    /// Whether an item may start now.
    fn may_start(&self) -> bool {
        !self.ticket().is_closed() && !self.is_revoked()
    }

    /// Whether it needs to know how long items run.
    fn counts_time(&self) -> bool {
        false
    }

    /// `items` items that travelled together ran for `time` in all.
    fn took(&self, _items: u32, _time: Duration) {}
}

/// A promise that takes the result itself, from a thread of this process.
pub(crate) trait PromiseOf<R>: Promise {
    fn fulfil(&self, item: u32, value: R);

    /// Takes the outcomes of items that follow each other.
    fn take_run(&self, first: u32, outcomes: Vec<Result<R, TaskError>>) {
        for (item, outcome) in (first..).zip(outcomes) {
            match outcome {
                Ok(value) => self.fulfil(item, value),
                Err(error) => self.fail(item, error),
            }
        }
    }

    /// Whether the caller waits for each outcome, and not for those of many items at once.
    fn is_urgent(&self) -> bool {
        true
    }

    /// Publishes what this thread holds back once the caller waits for each outcome.
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

    /// As `take_next`, for a caller that holds the promise.
    pub(crate) fn take_number(&mut self) -> u32 {
        debug_assert!(self.next < self.end, "an item is answered once");
        self.next += 1;
        self.next - 1
    }

    /// Fails all items that are left; none of them runs. Returns their number.
    pub(crate) fn fail_rest(mut self, cause: &Cause) -> usize {
        self.fail_remaining(cause)
    }

    /// Fails all items that are left. Returns their number.
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

    /// Fails all items that are left, since none may start. Returns how many of them a token has cancelled.
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
    /// Its only item lost its worker and is to run again.
    pub(super) fn note_loss(&self) {
        let losses = self.losses.fetch_add(1, Ordering::Relaxed) + 1;
        self.trace.attempted_again(losses);
    }
}

/// What only the parent of worker processes does.
#[cfg(feature = "process")]
impl<P: Promise + ?Sized> Owed<P> {
    /// How many workers were lost while they ran the items that are left.
    pub(crate) fn losses(&self) -> u32 {
        self.losses
    }

    /// Whether the items that are left began before.
    pub(crate) fn has_begun(&self) -> bool {
        self.losses > 0
    }

    /// Takes the next item out, to run once more.
    pub(crate) fn take_for_retry(&mut self) -> Self {
        let (promise, item) = self.take_next();
        promise.runs_again(item);
        Self {
            promise,
            next: item,
            end: item + 1,
            losses: self.losses + 1,
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

/// Whatever drops a job, such as a runtime or a pool that ends, its caller gets an outcome.
impl<P: Promise + ?Sized> Drop for Owed<P> {
    fn drop(&mut self) {
        self.fail_remaining(&Cause::Shutdown);
    }
}
