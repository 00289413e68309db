//! Runs a call that another program encoded as a job of an executor in this program. On a thread, each item is decoded
//! and run, and its result is encoded. A process pool passes the bytes on to a worker unchanged.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::callee::Callee;
use super::collector::{Collector, Done, Encoded, Keep, ReportProgress};
use super::contract::Executor;
use super::data::{Arguments, Data};
use super::encoded::{EncodedItems, Job, Portable, encode_items};
use super::erased::ChunkCalls;
use super::error::{Cause, TaskError};
use super::mapper::Mapper;
use super::options::TaskOptions;
use super::promise::Ticket;
use super::room::Room;
use super::task::{Task, Unary, Unfinished};
use crate::panic;
use crate::wire::outcomes::ItemFailure;
use crate::wire::{Chain, CodecError, Reader, codec};

/// The most items of a relayed call. Without this limit, a few bytes could announce items that take much memory.
pub(crate) const MOST_RELAYED: u32 = 1 << 20;

/// A call that another program encoded.
pub(crate) struct RelayedCall {
    /// The arguments of the items, one after another.
    pub(crate) payload: Bytes,
    pub(crate) items: u32,
    /// Retries have no effect: the call's caller decides whether it runs again.
    pub(crate) options: TaskOptions,
    /// The number that the task sees as its own: that of its handle in the other program.
    pub(crate) task_id: Option<u64>,
    /// Called for each report of a call of one item, on any thread.
    pub(crate) progress: Option<ReportProgress>,
    /// Dropped when the executor no longer uses the call. After a timeout, a function on a thread still runs.
    pub(crate) keep: Option<Keep>,
}

/// A relayed call that an executor has.
pub(crate) struct Relayed(Arc<Collector>);

impl Relayed {
    /// Frees the work. Items without an outcome are cancelled.
    pub(crate) fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether a worker runs it now.
    pub(crate) fn is_running(&self) -> bool {
        self.0.is_running()
    }
}

impl fmt::Debug for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relayed").finish_non_exhaustive()
    }
}

/// A function that calls from other programs can name, its types erased.
pub(crate) trait Relay: Send + Sync {
    /// Runs a call on `executor`, in `room`. Calls `done` once, with the outcome of each item, on any thread; `done`
    /// must not block it. Without room, or if the payload does not hold these items, all of them fail and none runs.
    fn start(
        &self,
        call: RelayedCall,
        room: Result<Room, TaskError>,
        executor: &dyn Executor,
        done: Done,
    ) -> Relayed;

    /// Finds the items in a payload. Fails if the payload holds fewer or more items.
    fn cut(&self, payload: &Bytes, items: u32) -> Result<Vec<ItemBytes>, String>;
}

pub(crate) fn relay_of<F, A, M>(function: F) -> Arc<dyn Relay>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
    M: 'static,
{
    Arc::new(FunctionRelay {
        function,
        marker: PhantomData,
    })
}

struct FunctionRelay<F, A, M> {
    function: F,
    marker: PhantomData<fn(A) -> M>,
}

impl<F, A, M> Relay for FunctionRelay<F, A, M>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
    M: 'static,
{
    fn start(
        &self,
        call: RelayedCall,
        room: Result<Room, TaskError>,
        executor: &dyn Executor,
        done: Done,
    ) -> Relayed {
        let options = Some(Arc::new(call.options.retries(0)));
        let mut ticket = Ticket::with_task_id(F::path(), options, call.task_id);
        let name = ticket.name();
        let items = cut::<A, M>(&call.payload, call.items);
        if items.is_ok() && room.is_ok() {
            ticket = ticket.of_executor(executor.terms().clone());
        }
        let collector = Collector::new(ticket, call.items, call.progress, call.keep, done);
        match (items, room) {
            (Err(reason), _) => {
                let cause = Cause::Codec(reason.into());
                collector.fail_rest(&TaskError::new(name, false, cause));
            }
            (Ok(_), Err(refusal)) => collector.fail_rest(&refusal.renamed(name)),
            (Ok(items), Ok(room)) => {
                let function = EncodedFunction {
                    function: self.function,
                    payload: call.payload,
                    marker: PhantomData,
                };
                let calls = ChunkCalls::new(function, items, collector.clone());
                executor.spawn_job(Job::new(Box::new(calls), room));
            }
        }
        Relayed(collector)
    }

    fn cut(&self, payload: &Bytes, items: u32) -> Result<Vec<ItemBytes>, String> {
        cut::<A, M>(payload, items)
    }
}

/// Where in the payload an item is.
pub(crate) type ItemBytes = Range<u32>;

/// Finds the items. Fails if the payload holds fewer or more items.
fn cut<A: Arguments<M>, M>(payload: &Bytes, items: u32) -> Result<Vec<ItemBytes>, String> {
    let unlike = |what: &str| format!("was not run: its payload {what} {items} items");
    if items > MOST_RELAYED {
        return Err(format!(
            "was not run: it has {items} items, and a call may have {MOST_RELAYED}"
        ));
    }
    let len = u32::try_from(payload.len()).map_err(|_| unlike("is too large for"))?;
    let mut input = Reader::from(payload.clone());
    let mut ranges = Vec::with_capacity(items as usize);
    let mut begin = 0;
    for _ in 0..items {
        A::skip(&mut input).map_err(|_| unlike("is too short for"))?;
        let end = len - input.len() as u32;
        ranges.push(begin..end);
        begin = end;
    }
    match input.is_empty() {
        true => Ok(ranges),
        false => Err(unlike("is too long for")),
    }
}

/// A function that takes and returns encoded values. Its clones share the payload.
struct EncodedFunction<F, A, M> {
    function: F,
    payload: Bytes,
    marker: PhantomData<fn(A) -> M>,
}

impl<F: Copy, A, M> Clone for EncodedFunction<F, A, M> {
    fn clone(&self) -> Self {
        Self {
            function: self.function,
            payload: self.payload.clone(),
            marker: PhantomData,
        }
    }
}

impl<F, A, M> Mapper<ItemBytes, Unary> for EncodedFunction<F, A, M>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
    M: 'static,
{
    type Output = Encoded;

    const IS_ASYNC: bool = F::IS_ASYNC;

    fn name() -> &'static str {
        F::path()
    }

    fn call_item(&self, item: ItemBytes) -> Result<Encoded, Unfinished> {
        let bytes = self.payload.slice(item.start as usize..item.end as usize);
        let args = match of_user(|| A::decode(&mut Reader::from(bytes))) {
            Ok(args) => args,
            Err(reason) => return Ok(Err(Box::new(ItemFailure::Undecodable(reason)))),
        };
        let result = self.function.run(args)?;
        let mut value = Chain::new();
        Ok(match of_user(|| codec::put(result, &mut value)) {
            Ok(()) => Ok(value.finish()),
            Err(reason) => Err(Box::new(ItemFailure::Unencodable(reason))),
        })
    }
}

/// Runs a conversion, which may call code of the user. A panic becomes an error.
fn of_user<T>(convert: impl FnOnce() -> Result<T, CodecError>) -> Result<T, String> {
    match panic::catch(convert) {
        Ok(converted) => converted.map_err(|error| error.to_string()),
        Err(report) => Err(report.to_string()),
    }
}

impl<F, A, M> Portable for ChunkCalls<EncodedFunction<F, A, M>, ItemBytes, Unary, Collector>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
    M: 'static,
{
    fn callee(&self) -> Callee {
        Callee::of::<F, A, M>(&self.function.function)
    }

    fn encode(self: Box<Self>, limit: usize, emit: &mut dyn FnMut(EncodedItems)) {
        let payload = self.function.payload;
        let put = |item: ItemBytes, out: &mut Chain| {
            out.put_bytes(payload.slice(item.start as usize..item.end as usize));
            Ok(())
        };
        encode_items(self.items.into_iter(), put, self.owed, limit, emit);
    }
}
