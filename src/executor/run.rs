//! A job on a thread of this process: one item at a time, each with its own outcome. Idle threads
//! share the items of a chunk.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem::needs_drop;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::context::{self, Context};
use super::error::{Cause, TaskError};
use super::mapper::Mapper;
use super::promise::{HeldOutcomes, Owed, Promise, PromiseOf, Ticket};
use crate::disposal;
use crate::observe::RunningCount;
use crate::panic;

/// The thread that runs a job.
pub(crate) trait JobThread {
    fn worker_id(&self) -> u64;

    /// Called before an item runs. Returns the end of its timeout.
    fn begin(
        &self,
        ticket: &Ticket,
        item: u32,
        promise: &dyn Fn() -> Arc<dyn Promise>,
    ) -> Option<Instant>;

    /// Called after an item.
    fn end(&self);
}

/// How the items of a job ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) finished: usize,
    pub(crate) failed: usize,
    /// Refused: a token was cancelled before they began.
    pub(crate) cancelled: usize,
}

/// Runs items of one promise here, and answers each.
pub(super) struct ItemRunner<'a, P> {
    promise: &'a Arc<P>,
    seat: &'a dyn JobThread,
    /// The context of the running item, reused from one to the next.
    context: Option<Context>,
    /// Whether each item has a timeout of its own.
    has_limit: bool,
    pub(super) tally: Tally,
    _running: RunningCount,
}

impl<'a, P: Promise + 'static> ItemRunner<'a, P> {
    pub(super) fn new(promise: &'a Arc<P>, seat: &'a dyn JobThread) -> Self {
        let context = Context {
            task_id: promise.ticket().id(),
            worker_id: seat.worker_id(),
            deadline: None,
            wanted: promise.clone(),
            key: 0,
            traceparent: promise.ticket().traceparent(),
        };
        Self {
            promise,
            seat,
            context: Some(context),
            has_limit: promise.ticket().options().timeout.is_some(),
            tally: Tally::default(),
            _running: promise.ticket().running(),
        }
    }

    pub(super) fn run<R>(&mut self, item: u32, call: impl FnOnce() -> R)
    where
        P: PromiseOf<R>,
    {
        let outcome = self.outcome(item, call);
        self.leave();
        match outcome {
            Ok(value) => self.promise.fulfil(item, value),
            Err(error) => self.promise.fail(item, error),
        }
    }

    /// Runs an item. The context stays for the next one.
    fn outcome<R>(&mut self, item: u32, call: impl FnOnce() -> R) -> Result<R, TaskError> {
        let (promise, seat) = (self.promise, self.seat);
        let mut deadline = None;
        if self.has_limit {
            self.leave();
            deadline = seat.begin(promise.ticket(), item, &|| promise.clone());
        }
        match self.context.take() {
            Some(mut context) => {
                context.key = u64::from(item);
                context.deadline = deadline;
                context::enter(context);
            }
            None => context::go_on(u64::from(item)),
        }
        let ticket = promise.ticket();
        let outcome = ticket.run(seat.worker_id(), || panic::catch(call));
        if self.has_limit {
            seat.end();
        }
        self.tally.finished += 1;
        outcome.map_err(|report| {
            self.tally.failed += 1;
            ticket.error(true, Cause::Panic(report))
        })
    }

    /// Takes the context out. User code that is no task may run after this.
    fn leave(&mut self) {
        if self.context.is_none() {
            self.context = context::leave();
        }
    }
}

/// How long an idle thread watches a chunk before it takes a part of it.
pub(crate) const NAP: Duration = Duration::from_micros(500);
/// The least time of an item that is worth another thread.
const QUICK: Duration = Duration::from_micros(1);

/// A chunk that several threads may run at the same time.
pub(crate) trait SharedChunk: Send + Sync {
    fn ticket(&self) -> &Ticket;

    /// How many items are wanted and not begun.
    fn unstarted(&self) -> usize;

    /// Runs the items that no other thread takes, one by one.
    fn run(&self, seat: &dyn JobThread) -> Tally;

    /// Takes half of the items that are not begun, or the last one, for an idle thread. So a slow item
    /// delays no other. Returns `None` while the items are quick: two threads would slow each other
    /// down. Ask again after [`NAP`].
    fn split(&self) -> Option<Arc<dyn SharedChunk>>;

    /// Fails the items that are not begun. Returns their number. Another thread drops their arguments.
    fn fail(&self, cause: &Cause) -> usize;
}

/// A part of a chunk.
pub(super) struct Share<F, A, M, R, P: Promise> {
    promise: Arc<P>,
    rest: Mutex<ChunkRest<F, A, R, P>>,
    marker: PhantomData<fn() -> M>,
}

/// The items that are not begun, and the outcomes that are held back.
struct ChunkRest<F, A, R, P: Promise> {
    /// `None` once no item needs it. What a function captured is dropped where its panic is contained, and
    /// not with the part, which the executor drops between two jobs.
    function: Option<F>,
    args: VecDeque<A>,
    owed: Owed<P>,
    /// The outcomes of items that follow each other. Under the same lock as the arguments, so an item takes it once.
    held: Vec<Result<R, TaskError>>,
    /// The item of the first of them.
    held_from: u32,
    /// When an idle thread last looked, and how many items there were.
    seen: Option<(Instant, usize)>,
}

impl<F: Clone, A, R, P: Promise> ChunkRest<F, A, R, P> {
    fn new(function: Option<F>, args: VecDeque<A>, owed: Owed<P>) -> Self {
        Self {
            function,
            args,
            held: Vec::new(),
            held_from: owed.next(),
            owed,
            seen: None,
        }
    }

    /// Takes out all items but the first `keep`.
    fn split_off(&mut self, keep: usize) -> Self {
        let owed = self.owed.split_off(self.owed.next() + keep as u32);
        Self::new(self.function.clone(), self.args.split_off(keep), owed)
    }

    /// Holds the outcome of the item that was begun last. Makes room for those of all later items, unless it
    /// `is_urgent`: then it is published at once, with the memory that it has here.
    fn hold(&mut self, outcome: Result<R, TaskError>, is_urgent: bool) {
        if self.held.capacity() == 0 && !is_urgent {
            self.held.reserve_exact(self.args.len() + 1);
        }
        self.held.push(outcome);
    }

    /// Whether its items have been slow since the last look.
    fn is_slow(&mut self) -> bool {
        let now = Instant::now();
        let Some((then, before)) = self.seen else {
            self.seen = Some((now, self.args.len()));
            return false;
        };
        let begun = (before - self.args.len()) as u32;
        let passed = now - then;
        if passed < NAP {
            return false; // Too early to tell.
        }
        self.seen = Some((now, self.args.len()));
        passed >= QUICK * begun
    }
}

impl<F, A, M, P> Share<F, A, M, F::Output, P>
where
    F: Mapper<A, M>,
    F::Output: Send,
    A: Send + 'static,
    M: 'static,
    P: PromiseOf<F::Output> + 'static,
{
    pub(super) fn new(function: F, args: VecDeque<A>, owed: Owed<P>) -> Arc<Self> {
        Self::of(ChunkRest::new(Some(function), args, owed))
    }

    fn of(rest: ChunkRest<F, A, F::Output, P>) -> Arc<Self> {
        let share = Arc::new(Self {
            promise: rest.owed.promise().clone(),
            rest: Mutex::new(rest),
            marker: PhantomData,
        });
        let held: Weak<Self> = Arc::downgrade(&share);
        share.promise.watch(held);
        share
    }

    /// The next item, after the outcome of the one before.
    fn next(
        &self,
        outcome: Option<Result<F::Output, TaskError>>,
        runner: &mut ItemRunner<'_, P>,
    ) -> Option<(A, u32)> {
        let mut rest = self.lock();
        if let Some(outcome) = outcome {
            let is_urgent = self.promise.is_urgent();
            rest.hold(outcome, is_urgent);
            if is_urgent {
                drop(rest);
                runner.leave();
                self.publish();
                rest = self.lock();
            }
        }
        if !self.promise.may_start() {
            let args = std::mem::take(&mut rest.args);
            let next = rest.owed.next();
            let mut owed = rest.owed.split_off(next);
            drop(rest);
            runner.leave(); // Destructors are user code.
            runner.tally.cancelled += owed.refuse();
            panic::contain_drops(args);
            return None;
        }
        let args = rest.args.pop_front()?;
        Some((args, rest.owed.take_number()))
    }
}

impl<F, A, M, R, P: Promise> Share<F, A, M, R, P> {
    fn lock(&self) -> MutexGuard<'_, ChunkRest<F, A, R, P>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F, A, M, P> HeldOutcomes for Share<F, A, M, F::Output, P>
where
    F: Mapper<A, M>,
    F::Output: Send,
    A: Send + 'static,
    M: 'static,
    P: PromiseOf<F::Output> + 'static,
{
    fn publish(&self) {
        let mut rest = self.lock();
        let first = rest.held_from;
        let held = std::mem::take(&mut rest.held);
        rest.held_from += held.len() as u32;
        drop(rest);
        if !held.is_empty() {
            self.promise.take_run(first, held);
        }
    }
}

impl<F, A, M, P> SharedChunk for Share<F, A, M, F::Output, P>
where
    F: Mapper<A, M>,
    F::Output: Send,
    A: Send + 'static,
    M: 'static,
    P: PromiseOf<F::Output> + 'static,
{
    fn ticket(&self) -> &Ticket {
        self.promise.ticket()
    }

    fn unstarted(&self) -> usize {
        match self.promise.ticket().is_closed() {
            true => 0,
            false => self.lock().args.len(),
        }
    }

    fn run(&self, seat: &dyn JobThread) -> Tally {
        let Some(function) = self.lock().function.clone() else {
            return Tally::default(); // All its items have failed.
        };
        let mut runner = ItemRunner::new(&self.promise, seat);
        let begun = Instant::now();
        let mut outcome = None;
        while let Some((args, item)) = self.next(outcome.take(), &mut runner) {
            outcome = Some(runner.outcome(item, || function.call_item(args)));
        }
        runner.leave();
        if runner.tally.finished > 0 {
            // Before the last outcome: after it, the stream may be dropped.
            self.promise
                .took(runner.tally.finished as u32, begun.elapsed());
        }
        self.publish();
        panic::contain_drop(function);
        let kept = self.lock().function.take();
        panic::contain_drop(kept);
        runner.tally
    }

    fn split(&self) -> Option<Arc<dyn SharedChunk>> {
        let mut rest = self.lock();
        if rest.args.is_empty() || self.promise.ticket().is_closed() || !rest.is_slow() {
            return None;
        }
        let keep = rest.args.len() / 2;
        let half = rest.split_off(keep);
        if let Some((_, left)) = &mut rest.seen {
            *left = keep;
        }
        drop(rest);
        Some(Self::of(half))
    }

    fn fail(&self, cause: &Cause) -> usize {
        let mut rest = self.lock();
        let args = std::mem::take(&mut rest.args);
        let next = rest.owed.next();
        let owed = rest.owed.split_off(next);
        let function = rest.function.take();
        drop(rest);
        let count = owed.fail_rest(cause);
        if needs_drop::<A>() || needs_drop::<F>() {
            disposal::dispose_by(move || {
                panic::contain_drops(args);
                panic::contain_drop(function);
            });
        }
        count
    }
}

/// Its callers get an error before the destructors of what is left run.
impl<F, A, M, R, P: Promise> Drop for Share<F, A, M, R, P> {
    fn drop(&mut self) {
        let rest = self.rest.get_mut().unwrap_or_else(PoisonError::into_inner);
        rest.owed.fail_remaining(&Cause::Shutdown);
        panic::contain_drops(std::mem::take(&mut rest.held));
        panic::contain_drops(std::mem::take(&mut rest.args));
        panic::contain_drop(rest.function.take());
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;
    use crate::executor::chunk::Chunk;

    #[test]
    fn an_outcome_that_is_published_at_once_takes_no_memory_for_those_of_later_items() {
        const ITEMS: u32 = 1000;
        let hold = |is_urgent| {
            let promise = Chunk::<u64>::new(Ticket::new("test", None), 0, ITEMS, true);
            let args: VecDeque<u32> = (1..ITEMS).collect();
            let owed = Owed::new(promise, 1..ITEMS);
            let mut rest = ChunkRest::<fn(u32) -> u64, _, _, _>::new(None, args, owed);
            rest.hold(Ok(7), is_urgent);
            rest.held.capacity()
        };
        assert!(hold(true) < 10);
        assert_eq!(hold(false), ITEMS as usize);
    }
}
