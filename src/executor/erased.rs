//! A call that runs in this process, its types erased. Its caller always gets an outcome, and gets it before the
//! destructor of a function or an argument runs.
//!
//! A call has one item (`submit`), a chunk has several that travel together (`map`). Each item
//! starts, ends and fails by itself.

use std::marker::PhantomData;
use std::mem::needs_drop;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use super::error::{Cause, TaskError};
use super::handle::{JoinHandle, OutcomeCell};
use super::mapper::Mapper;
use super::options::TaskOptions;
use super::promise::{Owed, Promise, PromiseOf, Terms, Ticket};
use super::room::Room;
use super::run::{ItemRunner, JobThread, Share, SharedChunk, Tally};
use super::spares::Spares;
use super::task::Task;
use crate::disposal;
use crate::panic;

/// Work that a thread of this process can run. [`Unstarted`] owns it.
pub(crate) trait Work: Send {
    fn ticket(&self) -> &Ticket;

    fn promise(&self) -> Arc<dyn Promise>;

    /// How many items it has.
    fn items(&self) -> u32;

    /// Runs it on this thread, item by item.
    fn run(self: Box<Self>, seat: &dyn JobThread) -> Tally;

    /// Fails all its items; none of them has started. Returns their number. Does not drop its function and arguments.
    fn fail(&mut self, cause: &Cause) -> usize;

    /// Whether dropping it runs a destructor of the user.
    fn has_destructors(&self) -> bool;

    /// Drops its function and its arguments, each separately. Contains their panics.
    fn drop_values(self: Box<Self>);

    /// Turns into work that has left the queue: several threads can then share a chunk.
    fn open(self: Box<Self>) -> OpenWork;
}

/// Work that has not started. If it is dropped, its callers get an error first. Then its function and arguments
/// are dropped on another thread: their destructors may block or panic, and any thread may drop this.
pub(crate) struct Unstarted<W: Work + ?Sized + 'static>(Option<Box<W>>);

impl<W: Work + ?Sized> Unstarted<W> {
    pub(crate) fn new(work: Box<W>) -> Self {
        Self(Some(work))
    }

    /// Fails all its items. Returns their number.
    pub(crate) fn fail(&mut self, cause: &Cause) -> usize {
        self.0.as_mut().map_or(0, |work| work.fail(cause))
    }

    /// Takes the work out. Its new owner must answer its callers.
    pub(crate) fn begin(mut self) -> Box<W> {
        let work = self.0.take().expect("only `begin` and the drop take it");
        std::mem::forget(self); // It is empty now. Skips the drop code for every call.
        work
    }
}

impl<W: Work + ?Sized> Deref for Unstarted<W> {
    type Target = W;

    fn deref(&self) -> &W {
        self.0.as_ref().expect("only `begin` and the drop take it")
    }
}

impl<W: Work + ?Sized + 'static> Drop for Unstarted<W> {
    fn drop(&mut self) {
        let Some(mut work) = self.0.take() else {
            return;
        };
        work.fail(&Cause::Shutdown);
        if work.has_destructors() {
            disposal::dispose_by(move || work.drop_values());
        }
    }
}

/// Work that has left the queue.
pub(crate) enum OpenWork {
    /// One thread runs it.
    One(Unstarted<dyn Work>),
    /// A chunk, or a part of one, which several threads can run together.
    Chunk(Arc<dyn SharedChunk>),
}

impl OpenWork {
    /// Fails the items that have not started. Returns their number.
    pub(crate) fn fail(&mut self, cause: &Cause) -> usize {
        match self {
            Self::One(work) => work.fail(cause),
            Self::Chunk(chunk) => chunk.fail(cause),
        }
    }
}

/// Work for a thread pool, with its room in the queue.
pub(crate) struct ThreadJob {
    pub(crate) work: Unstarted<dyn Work>,
    pub(crate) room: Room,
}

/// One call. Its function may capture, and is called once.
pub(crate) struct OneCall<F, A, M, P: Promise> {
    pub(super) function: F,
    pub(super) args: A,
    pub(super) owed: Owed<P>,
    marker: PhantomData<fn() -> M>,
}

impl<F, A, M, P: Promise> OneCall<F, A, M, P> {
    pub(crate) fn new(function: F, args: A, promise: Arc<P>) -> Self {
        Self {
            function,
            args,
            owed: Owed::new(promise, 0..1),
            marker: PhantomData,
        }
    }
}

/// Submits one call: `send` takes it with its room. Without room, the handle fails with the reason, and another thread
/// drops the function and its arguments.
pub(crate) fn submit_one<F, A, M>(
    name: &'static str,
    terms: &Arc<Terms>,
    room: Result<Room, TaskError>,
    options: Option<Arc<TaskOptions>>,
    function: F,
    args: A,
    send: impl FnOnce(Box<OneCall<F, A, M, OutcomeCell<F::Output>>>, Room),
) -> JoinHandle<F::Output>
where
    F: Task<A, M> + Send + 'static,
    F::Output: Send + 'static,
    A: Send + 'static,
{
    let ticket = Ticket::new(name, options).of_async(F::IS_ASYNC);
    match room {
        Ok(room) => {
            let cell = Arc::new(OutcomeCell::new(ticket.of_executor(terms.clone())));
            send(Box::new(OneCall::new(function, args, cell.clone())), room);
            cell.watch_option();
            JoinHandle::new(cell)
        }
        Err(refusal) => {
            let cell = OutcomeCell::new(ticket);
            cell.refuse(&refusal);
            disposal::dispose(args);
            disposal::dispose(function);
            JoinHandle::new(Arc::new(cell))
        }
    }
}

impl<F, A, M, P> Work for OneCall<F, A, M, P>
where
    F: Task<A, M> + Send + 'static,
    A: Send + 'static,
    M: 'static,
    P: PromiseOf<F::Output> + 'static,
{
    fn ticket(&self) -> &Ticket {
        self.owed.ticket()
    }

    fn promise(&self) -> Arc<dyn Promise> {
        self.owed.promise().clone()
    }

    fn items(&self) -> u32 {
        1
    }

    fn run(self: Box<Self>, seat: &dyn JobThread) -> Tally {
        let Self {
            function,
            args,
            mut owed,
            ..
        } = *self;
        if !owed.promise().may_start() {
            let cancelled = owed.refuse();
            panic::contain_drop(args);
            panic::contain_drop(function);
            return Tally {
                cancelled,
                ..Tally::default()
            };
        }
        let item = owed.take_number();
        let mut runner = ItemRunner::new(owed.promise(), seat);
        runner.run(item, || function.run(args));
        runner.tally
    }

    fn fail(&mut self, cause: &Cause) -> usize {
        self.owed.fail_remaining(cause)
    }

    fn has_destructors(&self) -> bool {
        needs_drop::<F>() || needs_drop::<A>()
    }

    fn drop_values(self: Box<Self>) {
        let Self { function, args, .. } = *self;
        panic::contain_drop(args);
        panic::contain_drop(function);
    }

    fn open(self: Box<Self>) -> OpenWork {
        OpenWork::One(Unstarted::new(self))
    }
}

/// The calls of one function that travel together.
pub(crate) struct ChunkCalls<F, A, M, P: Promise> {
    pub(super) function: F,
    pub(super) items: Vec<A>,
    pub(super) owed: Owed<P>,
    /// Takes the buffer of the items.
    spares: Spares<A>,
    marker: PhantomData<fn() -> M>,
}

impl<F, A, M, P: Promise> ChunkCalls<F, A, M, P> {
    pub(crate) fn new(function: F, items: Vec<A>, promise: Arc<P>) -> Self {
        let count = u32::try_from(items.len()).expect("a chunk has fewer than 2^32 items");
        Self {
            function,
            items,
            owed: Owed::new(promise, 0..count),
            spares: Spares::default(),
            marker: PhantomData,
        }
    }

    /// Leaves the buffer of the items to later chunks, once it is empty.
    pub(super) fn reusing(self, spares: &Spares<A>) -> Self {
        let spares = spares.clone();
        Self { spares, ..self }
    }
}

impl<F, A, M, P> Work for ChunkCalls<F, A, M, P>
where
    F: Mapper<A, M>,
    F::Output: Send,
    A: Send + 'static,
    M: 'static,
    P: PromiseOf<F::Output> + 'static,
{
    fn ticket(&self) -> &Ticket {
        self.owed.ticket()
    }

    fn promise(&self) -> Arc<dyn Promise> {
        self.owed.promise().clone()
    }

    fn items(&self) -> u32 {
        self.owed.remaining()
    }

    fn run(self: Box<Self>, seat: &dyn JobThread) -> Tally {
        let Self {
            function,
            items,
            mut owed,
            ..
        } = *self;
        let promise = owed.promise().clone();
        let mut runner = ItemRunner::new(&promise, seat);
        let mut items = items.into_iter();
        for args in items.by_ref() {
            if !promise.may_start() {
                break;
            }
            let begun = promise.counts_time().then(Instant::now);
            runner.run(owed.take_number(), || {
                let result = function.call_item(args);
                if let Some(begun) = begun {
                    promise.took(1, begun.elapsed());
                }
                result
            });
        }
        let mut tally = runner.tally;
        tally.cancelled += owed.refuse(); // Before the destructors of the remaining arguments run.
        panic::contain_drops(items);
        panic::contain_drop(function);
        tally
    }

    fn fail(&mut self, cause: &Cause) -> usize {
        self.owed.fail_remaining(cause)
    }

    fn has_destructors(&self) -> bool {
        needs_drop::<F>() || needs_drop::<A>()
    }

    fn drop_values(self: Box<Self>) {
        let Self {
            function, items, ..
        } = *self;
        panic::contain_drops(items);
        panic::contain_drop(function);
    }

    fn open(self: Box<Self>) -> OpenWork {
        if self.items.len() < 2 {
            return OpenWork::One(Unstarted::new(self));
        }
        OpenWork::Chunk(Share::new(
            self.function,
            self.items,
            self.spares,
            self.owed,
        ))
    }
}
