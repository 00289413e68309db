//! The input of a map: items pulled from a source and gathered into chunks, their types erased.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use futures::Stream;

use super::chunk::{Chunk, Outcomes};
use super::job::{Batch, Job};
use super::options::TaskOptions;
use super::promise::Ticket;
use super::room::Room;
use super::task::{Arguments, Data, Task};

/// Where a map's jobs come from.
pub(crate) trait Feed<R>: Send {
    /// Pulls from the source until so many items are gathered or the source has ended. User code
    /// runs here; if it panics, the source has ended, and what was gathered stays.
    fn poll_gather(&mut self, cx: &mut task::Context<'_>, upto: usize) -> Poll<()>;

    /// How many items wait to be sent off.
    fn gathered(&self) -> usize;

    /// Whether the source has nothing more.
    fn is_drained(&self) -> bool;

    /// How many items are still to be sent off, if the source knows how many it has.
    fn left(&self) -> Option<usize>;

    /// Makes one job of what is gathered.
    fn job(&mut self, room: Room, ordered: bool, options: Option<Arc<TaskOptions>>) -> Batched<R>;
}

/// A job and the outcomes it will have.
pub(crate) type Batched<R> = (Job, Outcomes<R>);

/// A function and the arguments to call it with.
pub(crate) struct Calls<F, S: Stream, M> {
    function: F,
    source: Option<Pin<Box<S>>>,
    gathered: Vec<S::Item>,
    marker: PhantomData<fn() -> M>,
}

impl<F, S: Stream, M> Calls<F, S, M> {
    pub(crate) fn new(function: F, source: S) -> Self {
        Self {
            function,
            source: Some(Box::pin(source)),
            gathered: Vec::new(),
            marker: PhantomData,
        }
    }
}

impl<F, S, M> Feed<F::Output> for Calls<F, S, M>
where
    S: Stream + Send,
    S::Item: Arguments<M>,
    F: Task<S::Item, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    M: 'static,
{
    fn poll_gather(&mut self, cx: &mut task::Context<'_>, upto: usize) -> Poll<()> {
        let Some(mut source) = self.source.take() else {
            return Poll::Ready(());
        };
        if self.gathered.capacity() == 0 {
            self.gathered.reserve_exact(upto);
        }
        let mut pulled = Poll::Ready(());
        while self.gathered.len() < upto {
            match source.as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => self.gathered.push(item),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {
                    pulled = Poll::Pending;
                    break;
                }
            }
        }
        self.source = Some(source);
        pulled
    }

    fn gathered(&self) -> usize {
        self.gathered.len()
    }

    fn is_drained(&self) -> bool {
        self.source.is_none()
    }

    fn left(&self) -> Option<usize> {
        let (least, most) = self
            .source
            .as_ref()
            .map_or((0, Some(0)), |source| source.size_hint());
        most.filter(|most| *most == least)?
            .checked_add(self.gathered.len())
    }

    fn job(
        &mut self,
        room: Room,
        ordered: bool,
        options: Option<Arc<TaskOptions>>,
    ) -> Batched<F::Output> {
        let items = std::mem::take(&mut self.gathered);
        let count = u32::try_from(items.len()).expect("a map keeps its chunks that small");
        let ticket = Ticket::new(std::any::type_name::<F>(), options);
        let chunk = Chunk::new(ticket, count, ordered);
        let outcomes = chunk.outcomes();
        let work = Batch::new(self.function, items, chunk);
        (Job::new(Box::new(work), room), outcomes)
    }
}
