//! A call that runs in this process, its types erased. Its caller always gets an outcome.
//!
//! A call has one item (`submit`), a chunk has several that travel together (`map`). Each item
//! starts, ends and fails by itself.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use super::error::{Cause, TaskError};
use super::handle::{JoinHandle, OutcomeCell};
use super::mapper::Mapper;
use super::options::TaskOptions;
use super::promise::{Owed, Promise, PromiseOf, Ticket};
use super::room::Room;
use super::run::{ItemRunner, JobThread, Share, SharedChunk, Tally};
use super::task::Task;
use crate::panic;

/// Work that a thread of this process can run. Dropping it gives its caller an error.
pub(crate) trait Work: Send {
    fn ticket(&self) -> &Ticket;

    fn promise(&self) -> Arc<dyn Promise>;

    /// How many items it has.
    fn items(&self) -> u32;

    /// Runs it on this thread, item by item.
    fn run(self: Box<Self>, seat: &dyn JobThread) -> Tally;

    /// Fails all its items, none of them started.
    fn fail(self: Box<Self>, cause: &Cause);

    /// Leaves the queue: a chunk of several items can then be shared among threads.
    fn open(self: Box<Self>) -> OpenWork;
}

/// Work that has left the queue.
pub(crate) enum OpenWork {
    /// One thread runs it.
    One(Box<dyn Work>),
    /// A chunk, or a part of one, which several threads can run together.
    Chunk(Arc<dyn SharedChunk>),
}

/// Work for a thread pool, with its room in the queue.
pub(crate) struct ThreadJob {
    pub(crate) work: Box<dyn Work>,
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

/// Submits one call: `send` takes it with its room. Without room the handle fails with the reason.
pub(crate) fn submit_one<F, A, M>(
    room: Result<Room, TaskError>,
    options: Option<Arc<TaskOptions>>,
    function: F,
    args: A,
    send: impl FnOnce(Box<OneCall<F, A, M, OutcomeCell<F::Output>>>, Room),
) -> JoinHandle<F::Output>
where
    F: Task<A, M>,
    F::Output: Send,
{
    let ticket = Ticket::new(std::any::type_name::<F>(), options);
    let cell = Arc::new(OutcomeCell::new(ticket));
    match room {
        Ok(room) => send(Box::new(OneCall::new(function, args, cell.clone())), room),
        Err(refusal) => cell.refuse(&refusal),
    }
    JoinHandle::new(cell)
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
        if owed.ticket().is_closed() {
            return Tally::default();
        }
        let item = owed.take_number();
        let mut runner = ItemRunner::new(owed.promise(), seat);
        runner.run(item, || function.call(args));
        runner.tally
    }

    fn fail(self: Box<Self>, cause: &Cause) {
        let Self {
            function,
            args,
            owed,
            ..
        } = *self;
        owed.fail_rest(cause);
        panic::contain_drop(args);
        panic::contain_drop(function);
    }

    fn open(self: Box<Self>) -> OpenWork {
        OpenWork::One(self)
    }
}

/// The calls of one function that travel together.
pub(crate) struct ChunkCalls<F, A, M, P: Promise> {
    pub(super) function: F,
    pub(super) items: Vec<A>,
    pub(super) owed: Owed<P>,
    marker: PhantomData<fn() -> M>,
}

impl<F, A, M, P: Promise> ChunkCalls<F, A, M, P> {
    pub(crate) fn new(function: F, items: Vec<A>, promise: Arc<P>) -> Self {
        let count = u32::try_from(items.len()).expect("a chunk has fewer than 2^32 items");
        Self {
            function,
            items,
            owed: Owed::new(promise, 0..count),
            marker: PhantomData,
        }
    }
}

impl<F, A, M, P> Work for ChunkCalls<F, A, M, P>
where
    F: Mapper<A, M>,
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
            if promise.ticket().is_closed() {
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
        panic::contain_drop(items);
        panic::contain_drop(function);
        runner.tally
    }

    fn fail(self: Box<Self>, cause: &Cause) {
        let Self {
            function,
            items,
            owed,
            ..
        } = *self;
        owed.fail_rest(cause);
        panic::contain_drop(items);
        panic::contain_drop(function);
    }

    fn open(self: Box<Self>) -> OpenWork {
        if self.items.len() < 2 {
            return OpenWork::One(self);
        }
        OpenWork::Chunk(Arc::new(Share::new(
            self.function,
            self.items.into(),
            self.owed,
        )))
    }
}
