//! The outcomes of a chunk of a map. A worker answers item by item; the stream takes everything that has arrived in one
//! step.

use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{self, Poll, Waker};
use std::time::Duration;

use futures::Stream;

use super::context::Wanted;
use super::error::{Cause, TaskError};
use super::item_outcomes::ItemNumbers;
use super::promise::{HeldOutcomes, Promise, PromiseOf, Ticket};
use super::spares::Spares;
use super::token::{CancelTarget, TokenWatch};
use crate::panic;

/// Where the outcomes of a chunk's items are put.
pub(crate) struct Chunk<R> {
    ticket: Ticket,
    /// The place of its first item in the map.
    first: usize,
    items: u32,
    /// Whether an outcome waits for those of earlier items.
    ordered: bool,
    /// Whether the stream waits for each outcome.
    urgent: AtomicBool,
    /// Buffers for outcomes.
    spares: Spares<Result<R, TaskError>>,
    answers: Mutex<Answers<R>>,
}

struct Answers<R> {
    /// All items before this one are answered.
    next: u32,
    /// The answered items beyond `next`, each with its outcome if the outcome waits for its turn.
    early: BTreeMap<u32, Option<Result<R, TaskError>>>,
    /// The outcomes that the stream may take.
    arrived: Vec<Result<R, TaskError>>,
    /// The items of these outcomes.
    numbers: ItemNumbers,
    /// The stream was dropped, or ended, before all items were answered.
    forgotten: bool,
    /// The latest measurement: how many items ran, for how long in all.
    took: Option<(u32, Duration)>,
    waker: Option<Waker>,
    /// Cancels the chunk when the token of its map is cancelled.
    token: Option<TokenWatch>,
    /// The threads that run the chunk, until it is urgent.
    holders: Vec<Weak<dyn HeldOutcomes>>,
    /// The wakers of the threads that drive the futures of items.
    future_wakers: Vec<(u32, Waker)>,
}

/// What the stream takes in one step.
pub(crate) struct Arrived<R> {
    pub(crate) outcomes: Vec<Result<R, TaskError>>,
    /// The items of the outcomes, counted from the first of the chunk.
    pub(crate) numbers: ItemNumbers,
    /// The place of the chunk's first item in the map.
    pub(crate) first: usize,
    /// A new measurement: how many items ran, for how long in all.
    pub(crate) took: Option<(u32, Duration)>,
}

/// The stream's end of a chunk: yields all outcomes that have arrived in one step. Dropping it cancels the items
/// without one.
pub(crate) struct Outcomes<R>(Arc<Chunk<R>>);

/// The outcomes of a chunk that its stream no longer wants.
#[must_use = "their destructors are user code: drop them last"]
pub(crate) struct Forgotten<R> {
    outcomes: Vec<Result<R, TaskError>>,
    /// Whether an outcome was missing.
    unanswered: bool,
}

impl<R> Drop for Forgotten<R> {
    fn drop(&mut self) {
        panic::contain_drops(std::mem::take(&mut self.outcomes));
    }
}

impl<R> Chunk<R> {
    pub(crate) fn new(
        ticket: Ticket,
        first: usize,
        items: u32,
        ordered: bool,
        spares: &Spares<Result<R, TaskError>>,
    ) -> Arc<Self> {
        let answers = Answers {
            next: 0,
            early: BTreeMap::new(),
            arrived: Vec::new(),
            numbers: ItemNumbers::default(),
            forgotten: false,
            took: None,
            waker: None,
            token: None,
            holders: Vec::new(),
            future_wakers: Vec::new(),
        };
        Arc::new(Self {
            ticket,
            first,
            items,
            ordered,
            urgent: AtomicBool::new(false),
            spares: spares.clone(),
            answers: Mutex::new(answers),
        })
    }

    pub(crate) fn outcomes(self: &Arc<Self>) -> Outcomes<R> {
        Outcomes(self.clone())
    }

    /// Calls `put` to add outcomes. Returns those that are not wanted, for the caller to drop: their destructors are
    /// user code.
    #[must_use = "their destructors may panic"]
    fn answer<U>(&self, put: impl FnOnce(&mut Answers<R>) -> U) -> U {
        let mut answers = self.lock();
        let unwanted = put(&mut answers);
        let is_over = answers.next == self.items;
        let mut token = None;
        if is_over {
            self.ticket.close();
            token = answers.token.take();
        }
        let waker = match answers.arrived.is_empty() {
            true => None,
            false => answers.waker.take(),
        };
        let future_wakers = answers.take_unwanted_wakers();
        drop(answers);
        drop(token);
        future_wakers.into_iter().for_each(Waker::wake);
        if is_over {
            self.ticket.trace().end("ok"); // Each item has an outcome of its own.
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        unwanted
    }

    /// Counts the outcomes that the stream takes.
    fn count(&self, outcomes: &[Result<R, TaskError>]) {
        if cfg!(feature = "metrics") {
            let failed = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
            let failures: Vec<_> = failed.map(TaskError::kind).collect();
            self.ticket.count("ok", outcomes.len() - failures.len());
            for kind in failures {
                self.ticket.count(kind, 1);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Answers<R>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Answers<R> {
    /// Adds the outcomes of consecutive items. Returns those of items that already have one.
    fn put(
        &mut self,
        first: u32,
        mut outcomes: Vec<Result<R, TaskError>>,
        ordered: bool,
    ) -> Vec<Result<R, TaskError>> {
        if first == self.next && self.early.is_empty() && !self.forgotten {
            self.next += outcomes.len() as u32;
            self.numbers.push(first..self.next);
            if self.arrived.is_empty() {
                self.arrived = outcomes;
            } else {
                self.arrived.append(&mut outcomes);
            }
            return Vec::new();
        }
        let items = (first..).zip(outcomes);
        let unwanted = items.filter_map(|(item, outcome)| self.put_one(item, outcome, ordered));
        unwanted.collect()
    }

    fn put_one(
        &mut self,
        item: u32,
        outcome: Result<R, TaskError>,
        ordered: bool,
    ) -> Option<Result<R, TaskError>> {
        if self.has(item) {
            return Some(outcome);
        }
        if item == self.next {
            self.arrive(item, outcome);
            self.next += 1;
            self.catch_up();
        } else if ordered {
            self.early.insert(item, Some(outcome));
        } else {
            self.arrive(item, outcome);
            self.early.insert(item, None);
        }
        None
    }

    fn arrive(&mut self, item: u32, outcome: Result<R, TaskError>) {
        self.arrived.push(outcome);
        self.numbers.push(item..item + 1);
    }

    fn has(&self, item: u32) -> bool {
        self.forgotten || item < self.next || self.early.contains_key(&item)
    }

    /// Takes out the wakers of the threads that drive the future of an answered item.
    fn take_unwanted_wakers(&mut self) -> Vec<Waker> {
        if self.future_wakers.is_empty() {
            return Vec::new();
        }
        let future_wakers = std::mem::take(&mut self.future_wakers);
        let (unwanted, wanted) = future_wakers
            .into_iter()
            .partition(|(item, _)| self.has(*item));
        self.future_wakers = wanted;
        let unwanted: Vec<(u32, Waker)> = unwanted;
        unwanted.into_iter().map(|(_, waker)| waker).collect()
    }

    /// Advances `next` past the items that were answered before their turn.
    fn catch_up(&mut self) {
        while let Some(outcome) = self.early.remove(&self.next) {
            if let Some(outcome) = outcome {
                self.arrive(self.next, outcome);
            }
            self.next += 1;
        }
    }
}

impl<R: Send> Wanted for Chunk<R> {
    fn is_wanted(&self, item: u64) -> bool {
        !self.ticket.is_closed() && u32::try_from(item).is_ok_and(|item| !self.lock().has(item))
    }

    fn wake_if_unwanted(&self, item: u64, waker: Option<Waker>) {
        let mut answers = self.lock();
        let future_wakers = &mut answers.future_wakers;
        let place = future_wakers
            .iter()
            .position(|(of, _)| u64::from(*of) == item);
        let before = place.map(|place| future_wakers.swap_remove(place));
        future_wakers.extend(waker.map(|waker| (item as u32, waker))); // An item has a number of 32 bits.
        drop(answers);
        drop(before);
    }

    /// An item has no handle to report to.
    fn report(&self, _: u64, _: u64, _: u64) {}
}

impl<R: Send> Promise for Chunk<R> {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn fail(&self, item: u32, error: TaskError) {
        let error = match self.ticket.is_aborting() {
            true => error.into_cancelled(),
            false => error,
        };
        let unwanted = self.answer(|answers| answers.put_one(item, Err(error), self.ordered));
        drop(unwanted); // An error runs no user code when it is dropped.
    }

    fn counts_time(&self) -> bool {
        true
    }

    fn took(&self, items: u32, time: Duration) {
        self.lock().took = Some((items, time));
    }
}

impl<R: Send> PromiseOf<R> for Chunk<R> {
    fn fulfil(&self, item: u32, value: R) {
        if self.ticket.is_closed() {
            self.end_abort(item..item + 1, true);
        }
        let unwanted = self.answer(|answers| answers.put_one(item, Ok(value), self.ordered));
        if let Some(unwanted) = unwanted {
            panic::contain_drop(unwanted);
        }
    }

    fn take_run(&self, first: u32, outcomes: Vec<Result<R, TaskError>>) {
        panic::contain_drops(self.put_run(first, outcomes));
    }

    fn spare(&self) -> Vec<Result<R, TaskError>> {
        self.spares.take()
    }

    fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::Relaxed)
    }

    fn watch(&self, held: Weak<dyn HeldOutcomes>) {
        let mut answers = self.lock();
        answers.holders.retain(|holder| holder.strong_count() > 0);
        answers.holders.push(held);
    }
}

impl<R> Chunk<R> {
    /// Adds the outcomes of consecutive items. Returns those that are not wanted.
    pub(super) fn put_run(
        &self,
        first: u32,
        outcomes: Vec<Result<R, TaskError>>,
    ) -> Vec<Result<R, TaskError>> {
        if self.ticket.is_closed() {
            let items = first..first + outcomes.len() as u32;
            self.end_abort(items, true);
        }
        self.answer(|answers| answers.put(first, outcomes, self.ordered))
    }
}

impl<R: Send + 'static> Chunk<R> {
    /// Watches the token among the options in force, if there is one. Call it once an executor has the chunk.
    pub(super) fn watch_option(self: &Arc<Self>) {
        let Some(token) = self.ticket.options().cancel_token else {
            return;
        };
        let me: Weak<Self> = Arc::downgrade(self);
        let Some(watch) = token.watch(me) else {
            return CancelTarget::cancel(&**self);
        };
        let mut answers = self.lock();
        if !answers.forgotten && answers.next < self.items {
            answers.token = Some(watch);
        }
    }
}

impl<R: Send> CancelTarget for Chunk<R> {
    /// Answers the items without an outcome, then frees the work. Any part of a chunk may be running, so those items
    /// count as started if any part has.
    fn cancel(&self) {
        if self.ticket.is_closed() {
            return;
        }
        let owner = self.ticket.owner();
        if let Some(owner) = owner.as_ref().filter(|owner| owner.answers_late()) {
            if self.ticket.begin_abort() {
                let mut answer = |begun| self.end_abort(0..self.items, begun);
                owner.abort(&self.ticket, &mut answer);
            }
            return;
        }
        let begun = owner
            .as_ref()
            .is_some_and(|owner| owner.is_running(&self.ticket));
        let unanswered = self.cancel_items(0..self.items, begun);
        if unanswered > 0
            && let Some(owner) = owner
        {
            owner.abort(&self.ticket, &mut |_| {});
        }
    }
}

impl<R> Chunk<R> {
    /// Fails those of the items that have no outcome. Returns their number.
    fn cancel_items(&self, items: Range<u32>, started: bool) -> usize {
        let error = self.ticket.error(started, Cause::Cancelled);
        self.answer(|answers| {
            let unanswered = items.filter(|item| !answers.has(*item));
            let unanswered: Vec<u32> = unanswered.collect();
            for item in &unanswered {
                let _none = answers.put_one(*item, Err(error.clone()), self.ordered);
            }
            unanswered.len()
        })
    }

    /// Ends an abort of these items that waits for the executor's answer, if there is one.
    pub(super) fn end_abort(&self, items: Range<u32>, started: bool) {
        if self.ticket.is_aborting() {
            self.cancel_items(items, started);
        }
    }
}

impl<R> Outcomes<R> {
    /// From now on each outcome arrives as soon as it is available. Those that threads hold back arrive now.
    ///
    /// A thread holds an outcome and reads `urgent` under its lock. So it either sees this store, or already holds the
    /// outcome when this takes the lock.
    pub(crate) fn hurry(&self) {
        self.0.urgent.store(true, Ordering::Relaxed);
        let holders = std::mem::take(&mut self.0.lock().holders);
        for holder in holders.iter().filter_map(Weak::upgrade) {
            holder.publish();
        }
    }

    pub(crate) fn is_urgent(&self) -> bool {
        self.0.urgent.load(Ordering::Relaxed)
    }

    /// Takes all outcomes, and refuses those that arrive later. To cancel several chunks, forget each before you drop
    /// the first: a worker that the first drop frees must not start the next chunk.
    pub(crate) fn forget(&self) -> Forgotten<R> {
        let mut answers = self.0.lock();
        let unanswered = answers.next < self.0.items;
        answers.forgotten = unanswered;
        let arrived = std::mem::take(&mut answers.arrived);
        let early = std::mem::take(&mut answers.early);
        let token = answers.token.take();
        let future_wakers = answers.take_unwanted_wakers();
        self.0.ticket.close();
        let cancelled = self.0.items - answers.next - early.len() as u32;
        drop(answers); // The destructors of the outcomes are user code.
        drop(token);
        future_wakers.into_iter().for_each(Waker::wake);
        self.0.count(&arrived);
        self.0.ticket.count("cancelled", cancelled as usize);
        if unanswered {
            self.0.ticket.trace().end("cancelled");
        }
        let early = early.into_values().flatten();
        Forgotten {
            outcomes: arrived.into_iter().chain(early).collect(),
            unanswered,
        }
    }
}

impl<R> Drop for Outcomes<R> {
    /// As for a handle: closes the ticket first, so that the executor then frees the work.
    fn drop(&mut self) {
        let forgotten = self.forget();
        if forgotten.unanswered
            && let Some(owner) = self.0.ticket.owner()
        {
            owner.abort(&self.0.ticket, &mut |_| {});
        }
    }
}

impl<R> Stream for Outcomes<R> {
    type Item = Arrived<R>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        let mut answers = self.0.lock();
        if !answers.arrived.is_empty() {
            let arrived = Arrived {
                outcomes: std::mem::take(&mut answers.arrived),
                numbers: std::mem::take(&mut answers.numbers),
                first: self.0.first,
                took: answers.took.take(),
            };
            drop(answers);
            self.0.count(&arrived.outcomes);
            return Poll::Ready(Some(arrived));
        }
        if answers.forgotten || answers.next == self.0.items {
            return Poll::Ready(None);
        }
        match &mut answers.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        drop(answers);
        self.0.ticket.note_caller();
        Poll::Pending
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/executor/chunk.rs"]
mod tests;
