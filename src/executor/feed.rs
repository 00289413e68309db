//! The input of a map: items pulled from a source and gathered into chunks, their types erased.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::thread;

use futures::Stream;
use futures::future::BoxFuture;

use super::chunk::{Chunk, Outcomes};
use super::erased::ChunkCalls;
use super::error::TaskError;
use super::mapper::Mapper;
use super::options::TaskOptions;
use super::promise::{Terms, Ticket};
use super::room::Room;
use super::spares::Spares;
use crate::panic::{self, Contained};

/// Where a map's chunks come from, and where they go.
pub(crate) trait Feed<R>: Send {
    /// The path of the function that is called.
    fn function(&self) -> &'static str;

    /// Pulls from the source until `upto` items are gathered or the source has ended. This runs user code. Returns a
    /// panic of it; the source then counts as ended and the gathered items stay.
    fn poll_gather(&mut self, cx: &mut task::Context<'_>, upto: usize) -> thread::Result<Poll<()>>;

    /// How many items are gathered and not yet sent.
    fn gathered(&self) -> usize;

    /// Whether the source has ended.
    fn is_drained(&self) -> bool;

    /// How many items are still to be sent, if the source knows its length.
    fn left(&self) -> Option<usize>;

    /// Waits for room in the executor's queue.
    fn room(&self) -> BoxFuture<'static, Result<Room, TaskError>>;

    /// Sends the gathered items to the executor as one chunk. `keep` first receives its outcomes.
    fn send(
        &mut self,
        room: Room,
        first: usize,
        ordered: bool,
        options: Option<Arc<TaskOptions>>,
        spares: &Spares<Result<R, TaskError>>,
        keep: &mut dyn FnMut(Outcomes<R>),
    );
}

/// An executor that runs chunks of the type `W`.
pub(crate) trait Destination<W>: Send {
    /// What the executor attaches to each job.
    fn terms(&self) -> &Arc<Terms>;

    /// Waits for room in the queue.
    fn room(&self) -> BoxFuture<'static, Result<Room, TaskError>>;

    fn send(&self, chunk: W, room: Room);
}

/// The chunk that a map sends.
pub(crate) type MapChunk<F, A, M> = ChunkCalls<F, A, M, Chunk<<F as Mapper<A, M>>::Output>>;

/// A function, the items to call it with, and the executor to call it on.
pub(crate) struct Calls<D, F, S: Stream, M> {
    destination: D,
    function: Contained<F>,
    /// Its panics are contained one by one, like those of the items.
    source: Option<Pin<Box<S>>>,
    gathered: Vec<S::Item>,
    spares: Spares<S::Item>,
    marker: PhantomData<fn() -> M>,
}

impl<D, F, S: Stream, M> Calls<D, F, S, M> {
    pub(crate) fn new(destination: D, function: F, source: S) -> Self {
        Self {
            destination,
            function: Contained::new(function),
            source: Some(Box::pin(source)),
            gathered: Vec::new(),
            spares: Spares::default(),
            marker: PhantomData,
        }
    }
}

/// What stopped the pulling of items.
enum Pulled {
    Enough,
    Pending,
    End,
}

impl<D, F, S: Stream, M> Drop for Calls<D, F, S, M> {
    fn drop(&mut self) {
        panic::contain_drop(self.source.take());
        panic::contain_drops(std::mem::take(&mut self.gathered));
    }
}

impl<D, F, S, M> Feed<F::Output> for Calls<D, F, S, M>
where
    D: Destination<MapChunk<F, S::Item, M>>,
    S: Stream + Send,
    S::Item: Send,
    F: Mapper<S::Item, M>,
    F::Output: Send + 'static,
{
    fn function(&self) -> &'static str {
        F::name()
    }

    fn poll_gather(&mut self, cx: &mut task::Context<'_>, upto: usize) -> thread::Result<Poll<()>> {
        let Some(mut source) = self.source.take() else {
            return Ok(Poll::Ready(()));
        };
        if self.gathered.capacity() == 0 {
            self.gathered = self.spares.take();
            self.gathered.reserve_exact(upto);
        }
        let gathered = &mut self.gathered;
        let pull = AssertUnwindSafe(|| {
            while gathered.len() < upto {
                match source.as_mut().poll_next(cx) {
                    Poll::Ready(Some(item)) => gathered.push(item),
                    Poll::Ready(None) => return Pulled::End,
                    Poll::Pending => return Pulled::Pending,
                }
            }
            Pulled::Enough
        });
        let pulled = catch_unwind(pull);
        match pulled {
            Ok(Pulled::Enough | Pulled::Pending) => self.source = Some(source),
            Ok(Pulled::End) | Err(_) => panic::contain_drop(source),
        }
        match pulled {
            Ok(Pulled::Pending) => Ok(Poll::Pending),
            Ok(Pulled::Enough | Pulled::End) => Ok(Poll::Ready(())),
            Err(panic) => Err(panic),
        }
    }

    fn gathered(&self) -> usize {
        self.gathered.len()
    }

    fn is_drained(&self) -> bool {
        self.source.is_none()
    }

    fn left(&self) -> Option<usize> {
        let source = self.source.as_ref();
        let (least, most) = source.map_or((0, Some(0)), |source| source.size_hint());
        most.filter(|most| *most == least)?
            .checked_add(self.gathered.len())
    }

    fn room(&self) -> BoxFuture<'static, Result<Room, TaskError>> {
        self.destination.room()
    }

    fn send(
        &mut self,
        room: Room,
        first: usize,
        ordered: bool,
        options: Option<Arc<TaskOptions>>,
        spares: &Spares<Result<F::Output, TaskError>>,
        keep: &mut dyn FnMut(Outcomes<F::Output>),
    ) {
        let items = std::mem::take(&mut self.gathered);
        let count = u32::try_from(items.len()).expect("a map limits the items of a chunk");
        let ticket = Ticket::new(F::name(), options).of_async(F::IS_ASYNC);
        let ticket = ticket.of_executor(self.destination.terms().clone());
        let chunk = Chunk::new(ticket, first, count, ordered, spares);
        keep(chunk.outcomes());
        let calls = ChunkCalls::new(self.function.get().clone(), items, chunk.clone());
        self.destination.send(calls.reusing(&self.spares), room);
        chunk.watch_option();
    }
}
