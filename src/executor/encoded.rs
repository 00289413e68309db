//! The job that a submitted call becomes, its encoded items, and the call that a worker process receives.
//!
//! Only a job that is [`Portable`] can be encoded. A function that captures stays in this process: its job is [`Work`]
//! only.

use std::sync::Arc;

use super::callee::{Callee, NOT_IN_EXECUTABLE};
use super::data::{Arguments, Data};
use super::erased::{ChunkCalls, OneCall, ThreadJob, Unstarted, Work};
use super::error::Cause;
use super::mapper::Mapper;
use super::promise::{Owed, Promise, PromiseOf, Ticket};
use super::room::Room;
#[cfg(feature = "multiprocessing")]
use super::served::ServeItems;
use super::served::{PromiseEncoded, ServeInitializer};
use super::task::{Initialized, Task, Unfinished};
use crate::function::{FunctionOffset, Serve, entry_point};
use crate::home::Alarm;
use crate::panic;
use crate::wire::descriptors::{self, Descriptor};
#[cfg(feature = "multiprocessing")]
use crate::wire::frame;
use crate::wire::{Chain, CodecError, Payload};

/// A submitted call that can run in any process, its types erased. Dropping it gives its caller an error.
///
/// An [`Executor`](crate::Executor) gets these; callers use [`ExecutorExt`](crate::ExecutorExt).
pub struct Job {
    pub(crate) work: Unstarted<dyn Portable>,
    pub(crate) room: Room,
}

/// Work that can also run in another process.
pub(crate) trait Portable: Work {
    /// The function that the job calls.
    fn callee(&self) -> Callee;

    /// Encodes its items, and emits them in portions of at most `limit` bytes. An item that cannot be encoded fails
    /// by itself.
    fn encode(self: Box<Self>, limit: usize, emit: &mut dyn FnMut(EncodedItems));
}

impl Job {
    pub(crate) fn new(work: Box<dyn Portable>, room: Room) -> Self {
        Self {
            work: Unstarted::new(work),
            room,
        }
    }

    /// The same job, to run in this process.
    pub(crate) fn into_thread_job(self) -> ThreadJob {
        let work: Box<dyn Work> = self.work.begin();
        ThreadJob {
            work: Unstarted::new(work),
            room: self.room,
        }
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("task", &self.work.ticket().name())
            .finish_non_exhaustive()
    }
}

impl<F, A, M, P> Portable for OneCall<F, A, M, P>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
    M: 'static,
    P: PromiseOf<F::Output> + PromiseEncoded + 'static,
{
    fn callee(&self) -> Callee {
        Callee::of::<F, A, M>(&self.function)
    }

    fn encode(self: Box<Self>, limit: usize, emit: &mut dyn FnMut(EncodedItems)) {
        let args = std::iter::once(self.args);
        encode_items(args, A::encode, self.owed, limit, emit);
    }
}

/// A function that is copied for each call: one without state, which has no bytes.
#[derive(Clone, Copy)]
pub(super) struct ByCopy<F>(pub(super) F);

impl<F, A, M> Mapper<A, M> for ByCopy<F>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
{
    type Output = F::Output;

    const IS_ASYNC: bool = F::IS_ASYNC;

    fn name() -> &'static str {
        F::path()
    }

    fn call_item(&self, args: A) -> Result<F::Output, Unfinished> {
        self.0.run(args)
    }
}

impl<F, A, M, P> Portable for ChunkCalls<ByCopy<F>, A, M, P>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
    M: 'static,
    P: PromiseOf<F::Output> + PromiseEncoded + 'static,
{
    fn callee(&self) -> Callee {
        Callee::of::<F, A, M>(&self.function.0)
    }

    fn encode(self: Box<Self>, limit: usize, emit: &mut dyn FnMut(EncodedItems)) {
        encode_items(self.items.into_iter(), A::encode, self.owed, limit, emit);
    }
}

/// Encodes items with `put`, and emits them whenever a portion is full.
pub(super) fn encode_items<A, P: PromiseEncoded + 'static>(
    mut items: impl Iterator<Item = A>,
    put: impl Fn(A, &mut Chain) -> Result<(), CodecError>,
    owed: Owed<P>,
    limit: usize,
    emit: &mut dyn FnMut(EncodedItems),
) {
    let mut outbound = Outbound {
        owed,
        payload: Chain::new(),
        descriptors: Vec::new(),
        begun: 0,
        lasting: 0,
        count: 0,
        limit,
        emit,
    };
    loop {
        match encoded(|| outbound.fill(&mut items, &put)) {
            Ok(Filled::All) => break,
            Ok(Filled::Full) => outbound.flush(),
            Ok(Filled::Over { alone }) => outbound.shed(alone),
            Err(reason) => outbound.fail(reason),
        }
    }
    outbound.flush();
}

/// Items of a job, encoded.
pub(crate) struct EncodedItems {
    pub(crate) owed: Owed<dyn PromiseEncoded>,
    /// The number of the payload's first item.
    pub(crate) base: u32,
    pub(crate) payload: Payload,
}

/// Items of a job on their way to a worker process.
pub(crate) struct EncodedCall {
    pub(crate) owed: Owed<dyn PromiseEncoded>,
    pub(crate) function: FunctionOffset,
    /// The number of the payload's first item; `owed` may begin later.
    pub(crate) base: u32,
    pub(crate) payload: Payload,
    /// Refuses the call at the end of its queue timeout.
    pub(crate) expiry: Option<Arc<Alarm>>,
    /// How many workers died while this call was the next to begin.
    pub(crate) strikes: u8,
}

impl EncodedCall {
    pub(crate) fn new(
        function: FunctionOffset,
        items: EncodedItems,
        expiry: Option<Arc<Alarm>>,
    ) -> Self {
        Self {
            owed: items.owed,
            function,
            base: items.base,
            payload: items.payload,
            expiry,
            strikes: 0,
        }
    }

    /// Takes the next item out as a call of its own, to run once more.
    pub(crate) fn take_for_retry(&mut self) -> Self {
        let owed = self.owed.take_for_retry();
        self.with(owed)
    }

    /// Splits off the items from `at` on.
    pub(crate) fn split_off(&mut self, at: u32) -> Self {
        let rest = self.owed.split_off(at);
        self.with(rest)
    }

    /// A call with the same payload, for some of its items.
    fn with(&self, owed: Owed<dyn PromiseEncoded>) -> Self {
        Self {
            owed,
            function: self.function,
            base: self.base,
            payload: self.payload.clone(),
            expiry: None, // The call has left the queue already.
            strikes: 0,
        }
    }

    /// Whether its queue timeout has ended.
    pub(crate) fn has_expired(&self) -> bool {
        self.expiry
            .as_ref()
            .is_some_and(|expiry| expiry.has_fired())
    }

    pub(crate) fn ticket(&self) -> &Ticket {
        self.owed.ticket()
    }
}

impl std::fmt::Debug for EncodedCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncodedCall")
            .field("task", &self.ticket().name())
            .finish_non_exhaustive()
    }
}

/// A call takes items until its payload has this many bytes.
const FULL: usize = 256 * 1024;

/// A call takes items until it has this many descriptors that all of its items may name.
const MOST_LASTING: usize = 64;

/// Encodes items, and emits them whenever a portion is full.
struct Outbound<'a, P: Promise> {
    /// The items in `payload`, and those not encoded yet.
    owed: Owed<P>,
    payload: Chain,
    /// The lasting descriptors of the call, and then all of the latest item.
    descriptors: Vec<Descriptor>,
    /// Where the latest item starts in the payload.
    begun: usize,
    /// How many descriptors precede those of the latest item. They are lasting ones.
    lasting: usize,
    /// How many items are fully encoded.
    count: u32,
    limit: usize,
    emit: &'a mut dyn FnMut(EncodedItems),
}

/// Why the encoding of items stopped.
enum Filled {
    /// No item is left.
    All,
    /// The call is full.
    Full,
    /// The latest item needs another call, because it exceeds this call's limit. `alone`: it needs a call of its own,
    /// because it has descriptors that are closed as soon as it begins.
    Over { alone: bool },
}

impl<P: PromiseEncoded + 'static> Outbound<'_, P> {
    /// Encodes items until the call must be emitted or no item is left. User code runs here.
    fn fill<A>(
        &mut self,
        items: impl Iterator<Item = A>,
        put: impl Fn(A, &mut Chain) -> Result<(), CodecError>,
    ) -> Result<Filled, CodecError> {
        descriptors::gather(&mut self.descriptors, || {
            for args in items {
                self.begun = self.payload.len();
                self.lasting = descriptors::gathered().lasting;
                put(args, &mut self.payload)?;
                self.count += 1;
                let gathered = descriptors::gathered();
                let alone = gathered.for_one_item > 0;
                if alone || self.payload.len() > self.limit {
                    return Ok(Filled::Over { alone });
                }
                if self.payload.len() >= FULL || gathered.lasting >= MOST_LASTING {
                    return Ok(Filled::Full);
                }
            }
            Ok(Filled::All)
        })
    }

    /// Emits all but the latest item, which goes into the next call or fails if it is too large.
    #[cold]
    fn shed(&mut self, alone: bool) {
        let size = self.payload.len() - self.begun;
        self.count -= 1;
        if size > self.limit {
            return self.fail(too_large(size, self.limit));
        }
        let latest = self.payload.split_off(self.begun);
        // The item refers to its descriptors by number, so its call needs the descriptors before them, too.
        let descriptors = self.descriptors.clone();
        self.descriptors.truncate(self.lasting);
        self.flush();
        self.payload = latest;
        self.descriptors = descriptors;
        self.count = 1;
        if alone {
            self.flush();
        }
    }

    /// The latest item cannot be sent.
    #[cold]
    fn fail(&mut self, reason: String) {
        self.payload.truncate(self.begun);
        self.descriptors.truncate(self.lasting);
        self.flush();
        let error = self.owed.ticket().error(false, Cause::Codec(reason.into()));
        self.owed
            .answer_next(|promise, item| promise.fail(item, error));
    }

    fn flush(&mut self) {
        self.begun = 0;
        self.lasting = 0;
        if self.count == 0 {
            self.descriptors.clear();
            return self.payload.clear();
        }
        let base = self.owed.next();
        let rest = self.owed.split_off(base + std::mem::take(&mut self.count));
        let owed = std::mem::replace(&mut self.owed, rest)
            .map(|promise| promise as Arc<dyn PromiseEncoded>);
        self.payload.attach(std::mem::take(&mut self.descriptors));
        let payload = self.payload.finish();
        (self.emit)(EncodedItems {
            owed,
            base,
            payload,
        });
    }
}

/// Runs `encode`, which is user code. An error says why the arguments cannot be sent.
fn encoded<T>(encode: impl FnOnce() -> Result<T, CodecError>) -> Result<T, String> {
    match panic::catch(encode) {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(error)) => Err(format!(
            "cannot be sent: an argument cannot be encoded: {error}"
        )),
        Err(report) => Err(format!(
            "cannot be sent: the encoding of an argument {report}"
        )),
    }
}

fn too_large(size: usize, limit: usize) -> String {
    format!(
        "cannot be sent: its arguments encode to {size} bytes, and a frame may have {limit}; raise `max_frame_length`"
    )
}

/// The most descriptors that travel with the first message to a process.
const MOST_DESCRIPTORS: usize = 250;

/// Encodes an initializer for a worker.
pub(crate) fn encode_initializer<F, A, M>(
    function: F,
    args: A,
    limit: usize,
) -> Result<(FunctionOffset, Chain), String>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Initialized,
    A: Arguments<M>,
{
    let (entry, chain) = encode_opening::<ServeInitializer<A, M>, _, _, _>(function, args)?;
    if chain.len() > limit {
        return Err(too_large(chain.len(), limit));
    }
    Ok((entry, chain))
}

/// Encodes the one call of a process that is started for it.
#[cfg(feature = "multiprocessing")]
pub(crate) fn encode_process_setup<F, A, M>(
    function: F,
    args: A,
) -> Result<(FunctionOffset, Chain), String>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
{
    /// The rest of the frame is for the other fields of the first message.
    const MOST: usize = frame::LARGEST / 2;
    let (entry, chain) = encode_opening::<ServeItems<A, M>, _, _, _>(function, args)?;
    if chain.len() > MOST {
        return Err(format!(
            "cannot be sent: its arguments encode to {} bytes, and those of a process may have {MOST}",
            chain.len()
        ));
    }
    Ok((entry, chain))
}

/// Encodes a function that `S` serves once in a new process, with its arguments.
fn encode_opening<S, F, A, M>(function: F, args: A) -> Result<(FunctionOffset, Chain), String>
where
    S: Serve<F>,
    F: Copy + Send + Sync + 'static,
    A: Arguments<M>,
{
    let entry = FunctionOffset::of(entry_point::<F, S>(&function)).ok_or(NOT_IN_EXECUTABLE)?;
    let mut chain = Chain::new();
    let mut descriptors = Vec::new();
    encoded(|| descriptors::gather(&mut descriptors, || args.encode(&mut chain)))?;
    if descriptors.len() > MOST_DESCRIPTORS {
        return Err(format!(
            "cannot be sent: its arguments have {} descriptors beside them, and the first call in a process \
             may have {MOST_DESCRIPTORS}",
            descriptors.len()
        ));
    }
    chain.attach(descriptors);
    chain.seal();
    Ok((entry, chain))
}
