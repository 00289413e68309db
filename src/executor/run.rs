//! A job on a thread of this process: one item at a time, each with its own outcome. Idle threads
//! share the items of a chunk.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem::needs_drop;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::context::{self, Context};
use super::error::{Cause, InitFailure, TaskError};
use super::mapper::Mapper;
use super::promise::{HeldOutcomes, Owed, Promise, PromiseOf, Ticket};
use super::spares::Spares;
use super::task::Unfinished;
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
    /// Items that were refused: a token was cancelled before they began.
    pub(crate) cancelled: usize,
}

/// Runs items of one promise on this thread, and answers each.
pub(super) struct ItemRunner<'a, P> {
    promise: &'a Arc<P>,
    seat: &'a dyn JobThread,
    /// Whether this thread has the context of an item of this job.
    is_inside: bool,
    /// Whether each item has a timeout of its own.
    has_limit: bool,
    pub(super) tally: Tally,
    _running: RunningCount,
}

impl<'a, P: Promise + 'static> ItemRunner<'a, P> {
    pub(super) fn new(promise: &'a Arc<P>, seat: &'a dyn JobThread) -> Self {
        Self {
            promise,
            seat,
            is_inside: false,
            has_limit: promise.ticket().options().timeout.is_some(),
            tally: Tally::default(),
            _running: promise.ticket().running(),
        }
    }

    pub(super) fn run<R>(&mut self, item: u32, call: impl FnOnce() -> Result<R, Unfinished>)
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

    /// Makes the context of an item the current one of this thread.
    #[inline]
    fn enter(&mut self, item: u32, deadline: Option<Instant>) {
        match self.is_inside {
            true => context::next_item(u64::from(item)),
            false => self.enter_first(item, deadline),
        }
    }

    #[inline(never)] // It would make the loop over a chunk's items slower.
    fn enter_first(&mut self, item: u32, deadline: Option<Instant>) {
        let ticket = self.promise.ticket();
        context::enter(Context {
            task_id: ticket.task_id(),
            worker_id: self.seat.worker_id(),
            attempt: ticket.attempt(0),
            deadline,
            wanted: self.promise.clone(),
            key: u64::from(item),
            traceparent: ticket.traceparent(),
        });
        self.is_inside = true;
    }

    /// Runs an item. The context stays for the next one.
    fn outcome<R>(
        &mut self,
        item: u32,
        call: impl FnOnce() -> Result<R, Unfinished>,
    ) -> Result<R, TaskError> {
        let (promise, seat) = (self.promise, self.seat);
        let mut deadline = None;
        if self.has_limit {
            self.leave();
            deadline = seat.begin(promise.ticket(), item, &|| promise.clone());
        }
        self.enter(item, deadline);
        let ticket = promise.ticket();
        let outcome = ticket.run(seat.worker_id(), || panic::catch(call));
        if self.has_limit {
            seat.end();
        }
        self.tally.finished += 1;
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(unfinished)) => Err(self.unfinished(unfinished)),
            Err(report) => {
                self.tally.failed += 1;
                Err(ticket.error(true, Cause::Panic(report)))
            }
        }
    }

    #[cold]
    fn unfinished(&mut self, unfinished: Unfinished) -> TaskError {
        let ticket = self.promise.ticket();
        match unfinished {
            Unfinished::Dropped => ticket.error(true, Cause::Cancelled), // Its caller already has an outcome.
            Unfinished::NoRuntime(_) => {
                self.tally.failed += 1;
                let failure = InitFailure {
                    reason: unfinished.to_string(),
                    ..InitFailure::default()
                };
                ticket.error(false, Cause::InitFailed(failure))
            }
        }
    }

    /// Takes the context out, because user code outside the task may run next.
    fn leave(&mut self) {
        if std::mem::take(&mut self.is_inside) {
            context::leave();
        }
    }
}

/// How long an idle thread watches a chunk before it takes a part of it.
pub(crate) const NAP: Duration = Duration::from_micros(500);
/// An item that takes less time is not worth another thread.
const QUICK: Duration = Duration::from_micros(1);

/// A chunk that several threads may run at the same time.
pub(crate) trait SharedChunk: Send + Sync {
    fn ticket(&self) -> &Ticket;

    /// How many wanted items have not started.
    fn unstarted(&self) -> usize;

    /// Runs, one by one, the items that no other thread takes.
    fn run(&self, seat: &dyn JobThread) -> Tally;

    /// Takes half of the items that have not started, or the last one, for an idle thread, so that a slow item delays no
    /// other. Returns `None` while the items are quick: two threads would slow each other down. Call again after
    /// [`NAP`].
    fn split(&self) -> Option<Arc<dyn SharedChunk>>;

    /// Fails the items that have not started. Returns their number. Another thread drops their arguments.
    fn fail(&self, cause: &Cause) -> usize;

    /// Fails the item that began last. An async item ends with that.
    fn fail_running(&self, cause: &Cause);
}

/// A part of a chunk.
pub(super) struct Share<F, A, M, R, P: Promise> {
    promise: Arc<P>,
    rest: Mutex<ChunkRest<F, A, R, P>>,
    /// Takes the buffer of the arguments.
    spares: Spares<A>,
    marker: PhantomData<fn() -> M>,
}

/// The items that have not started, and the outcomes that are held back.
struct ChunkRest<F, A, R, P: Promise> {
    /// `None` once no item needs it. The values that the function captured are dropped where a panic is contained, and
    /// not with this share, which the executor drops between two jobs.
    function: Option<F>,
    args: VecDeque<A>,
    owed: Owed<P>,
    /// The outcomes of consecutive items. They share the arguments' lock, so each item takes one lock.
    held: Vec<Result<R, TaskError>>,
    /// The item of the first held outcome.
    held_from: u32,
    /// When an idle thread last checked, and how many items were left then.
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

    /// Holds the outcome of the item that started last. Makes room for those of all later items, unless it
    /// `is_urgent`: then it is published at once, with the memory that it has here.
    fn hold(&mut self, outcome: Result<R, TaskError>, is_urgent: bool)
    where
        P: PromiseOf<R>,
    {
        if self.held.capacity() == 0 && !is_urgent {
            self.held = self.owed.promise().spare();
            self.held.reserve_exact(self.args.len() + 1);
        }
        self.held.push(outcome);
    }

    /// Whether its items have been slow since the last check.
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
    pub(super) fn new(function: F, args: Vec<A>, spares: Spares<A>, owed: Owed<P>) -> Arc<Self> {
        Self::of(ChunkRest::new(Some(function), args.into(), owed), spares)
    }

    fn of(rest: ChunkRest<F, A, F::Output, P>, spares: Spares<A>) -> Arc<Self> {
        let share = Arc::new(Self {
            promise: rest.owed.promise().clone(),
            rest: Mutex::new(rest),
            spares,
            marker: PhantomData,
        });
        let held: Weak<Self> = Arc::downgrade(&share);
        share.promise.watch(held);
        share
    }

    /// Stores the outcome of the item before, and takes the next item.
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
            // Called before the last outcome: after that, the stream may be dropped.
            self.promise
                .took(runner.tally.finished as u32, begun.elapsed());
        }
        self.publish();
        panic::contain_drop(function);
        let mut rest = self.lock();
        let (kept, args) = (rest.function.take(), std::mem::take(&mut rest.args));
        drop(rest);
        self.spares.keep(args.into()); // Empty: all items have started, or were taken by another thread.
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
        Some(Self::of(half, self.spares.clone()))
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

    fn fail_running(&self, cause: &Cause) {
        let next = self.lock().owed.next();
        // If no item of this share has started, the running item is the last of the share before it, which runs too or
        // has its outcome.
        if let Some(item) = next.checked_sub(1) {
            let error = self.promise.ticket().error(true, cause.clone());
            self.promise.fail(item, error);
        }
    }
}

/// Fails the remaining items, before the destructors of their arguments run.
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
    use crate::executor::erased::{OneCall, Work as _};
    use crate::executor::handle::{JoinHandle, OutcomeCell};

    /// The thread that the test runs on.
    struct Here;

    impl JobThread for Here {
        fn worker_id(&self) -> u64 {
            1
        }

        fn begin(&self, _: &Ticket, _: u32, _: &dyn Fn() -> Arc<dyn Promise>) -> Option<Instant> {
            None
        }

        fn end(&self) {}
    }

    #[test]
    fn a_task_sees_the_number_of_its_handle_wherever_that_is() {
        let seen = |task_id| {
            let ticket = Ticket::with_task_id("test", None, task_id);
            let cell = Arc::new(OutcomeCell::new(ticket));
            let handle = JoinHandle::new(cell.clone());
            let call = || context::current().map(|context| context.task_id());
            Box::new(OneCall::new(call, (), cell)).run(&Here);
            let id = handle.id();
            let seen = futures::FutureExt::now_or_never(handle).expect("it ran");
            (id, seen.expect("no panic").expect("a task runs"))
        };
        let (id, task_id) = seen(None);
        assert_eq!(id, task_id);
        let (id, task_id) = seen(Some(u64::MAX));
        assert_eq!(task_id, u64::MAX);
        assert!(id < u64::MAX);
    }

    #[test]
    fn an_outcome_that_is_published_at_once_takes_no_memory_for_those_of_later_items() {
        const ITEMS: u32 = 1000;
        let hold = |is_urgent| {
            let promise = Chunk::<u64>::new(
                Ticket::new("test", None),
                0,
                ITEMS,
                true,
                &Spares::default(),
            );
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
