//! A call on its way to a worker, its types erased: it can run right here, or encode itself for
//! another process. Either way its caller is answered.
//!
//! A job has one item (`submit`) or several that travel together (a chunk of `map`). Each item
//! starts, ends and fails by itself.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use serde::de::DeserializeOwned;

use super::error::{Cause, TaskError};
use super::promise::{Owed, Promise, PromiseEncoded, PromiseOf, Ticket};
use super::room::Room;
use super::run::{ItemRunner, JobThread, Share, SharedChunk, Tally};
use super::task::{Arguments, Data, Initialized, Task};
use crate::alarm::Alarm;
use crate::function::{Answer, Desk, FunctionOffset, Serve};
use crate::panic;
use crate::wire::descriptors::{self, Descriptor};
use crate::wire::{Chain, CodecError, Payload, Reader, codec, frame};

/// A submitted call, its types erased. Dropping it gives its caller an error.
///
/// Users never see one: [`ExecutorExt`](crate::ExecutorExt) makes jobs, and executors run them.
pub struct Job {
    pub(crate) work: Box<dyn Work>,
    pub(crate) room: Room,
}

/// The thread that runs a job owns it and its place in the queue.
const _: () = {
    const fn is_sent<T: Send + 'static>() {}
    const fn is_shared<T: Send + Sync + Unpin + 'static>() {}
    is_sent::<Job>();
    is_shared::<Room>();
};

/// A job that can run in this process.
pub(crate) trait Work: Send {
    fn ticket(&self) -> &Ticket;

    fn promise(&self) -> Arc<dyn Promise>;

    /// How many items it has.
    fn items(&self) -> u32;

    /// Runs it on this thread, item by item.
    fn run(self: Box<Self>, seat: &dyn JobThread) -> Tally;

    /// Opens it to several threads, if it has several items.
    fn share(self: Box<Self>) -> Arc<dyn SharedChunk>;

    /// Fails all its items, none of them started.
    fn fail(self: Box<Self>, cause: &Cause);

    /// Turns it into calls, each no larger than `limit` bytes. An item that cannot be encoded
    /// fails by itself. Jobs that never leave this process have no encoding.
    fn encode(self: Box<Self>, limit: usize, emit: &mut dyn FnMut(EncodedCall));
}

/// A job encoded for another process.
pub(crate) struct EncodedCall {
    pub(crate) owed: Owed<dyn PromiseEncoded>,
    pub(crate) function: FunctionOffset,
    /// The number of the payload's first item; `owed` may begin later.
    pub(crate) base: u32,
    pub(crate) payload: Payload,
    /// Refuses it when it has waited for too long.
    pub(crate) expiry: Option<Arc<Alarm>>,
    /// How many workers have died when it was the next to begin.
    pub(crate) strikes: u8,
    /// How many workers were lost while they ran it.
    pub(crate) losses: u32,
}

impl EncodedCall {
    /// Takes the next item out as a call of its own, to be run once more.
    pub(crate) fn take_for_retry(&mut self) -> Self {
        let owed = self.owed.take_for_retry();
        let mut again = self.with(owed);
        again.losses += 1;
        again
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
            expiry: None, // It has not waited for too long.
            strikes: 0,
            losses: self.losses,
        }
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

impl Job {
    pub(crate) fn new(work: Box<dyn Work>, room: Room) -> Self {
        Self { work, room }
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("task", &self.work.ticket().name())
            .finish_non_exhaustive()
    }
}

/// One call that stays in this process: its function may capture and be called only once.
pub(crate) struct LocalCall<F, A, M, P: Promise> {
    function: F,
    args: A,
    owed: Owed<P>,
    marker: PhantomData<fn() -> M>,
}

impl<F, A, M, P: Promise> LocalCall<F, A, M, P> {
    pub(crate) fn new(function: F, args: A, promise: Arc<P>) -> Self {
        Self {
            function,
            args,
            owed: Owed::new(promise, 0..1),
            marker: PhantomData,
        }
    }
}

impl<F, A, M, P> Work for LocalCall<F, A, M, P>
where
    F: Task<A, M> + Send,
    A: Send,
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

    fn share(self: Box<Self>) -> Arc<dyn SharedChunk> {
        unreachable!("a local call has one item");
    }

    fn fail(self: Box<Self>, cause: &Cause) {
        self.owed.fail_rest(cause);
    }

    fn encode(self: Box<Self>, _: usize, _: &mut dyn FnMut(EncodedCall)) {
        unreachable!("a local call is given to thread pools only");
    }
}

/// One or more calls of a function without state, which may run anywhere. `Items` is `[A; 1]` or
/// `Vec<A>`.
pub(crate) struct Batch<F, Items, M, P: Promise> {
    function: F,
    items: Items,
    owed: Owed<P>,
    marker: PhantomData<fn() -> M>,
}

impl<F, Items, M, P: Promise> Batch<F, Items, M, P>
where
    Items: AsRef<[Items::Item]> + IntoIterator,
{
    pub(crate) fn new(function: F, items: Items, promise: Arc<P>) -> Self {
        let count = u32::try_from(items.as_ref().len()).expect("a chunk has fewer than 2^32 items");
        Self {
            function,
            items,
            owed: Owed::new(promise, 0..count),
            marker: PhantomData,
        }
    }
}

impl<F, Items, A, M, P> Work for Batch<F, Items, M, P>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    Items: IntoIterator<Item = A> + Send,
    A: Arguments<M>,
    M: 'static,
    P: PromiseOf<F::Output> + PromiseEncoded + 'static,
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
        for args in items {
            if promise.ticket().is_closed() {
                break;
            }
            let begun = promise.counts_time().then(Instant::now);
            runner.run(owed.take_number(), || {
                let result = function.call(args);
                if let Some(begun) = begun {
                    promise.took(1, begun.elapsed());
                }
                result
            });
        }
        runner.tally
    }

    fn share(self: Box<Self>) -> Arc<dyn SharedChunk> {
        let args = self.items.into_iter().collect();
        Arc::new(Share::new(self.function, args, self.owed))
    }

    fn fail(self: Box<Self>, cause: &Cause) {
        self.owed.fail_rest(cause);
    }

    fn encode(self: Box<Self>, limit: usize, emit: &mut dyn FnMut(EncodedCall)) {
        let Self {
            function,
            items,
            owed,
            ..
        } = *self;
        let Some(function) = FunctionOffset::of::<F, ServeItems<A, M>>(&function) else {
            owed.fail_rest(&Cause::Codec(NOT_IN_EXECUTABLE.into()));
            return;
        };
        let mut outbound = Outbound {
            owed,
            function,
            payload: Chain::new(),
            descriptors: Vec::new(),
            begun: 0,
            count: 0,
            limit,
            emit,
        };
        let mut items = items.into_iter();
        loop {
            match encoded(|| outbound.fill(&mut items)) {
                Ok(Filled::All) => break,
                Ok(Filled::Full) => outbound.flush(),
                Ok(Filled::Over | Filled::Alone) => outbound.shed(),
                Err(reason) => outbound.fail(reason),
            }
        }
        outbound.flush();
    }
}

/// A call has as many items as fit this many bytes, or one.
const FULL: usize = 256 * 1024;

/// The items of a job as they are encoded, and sent off whenever a call is full.
struct Outbound<'a, P: Promise> {
    /// The items in `payload`, and those that are not encoded yet.
    owed: Owed<P>,
    function: FunctionOffset,
    payload: Chain,
    /// What the latest item is to have beside it.
    descriptors: Vec<Descriptor>,
    /// Where in the payload the latest item begins.
    begun: usize,
    /// How many items are encoded in full.
    count: u32,
    limit: usize,
    emit: &'a mut dyn FnMut(EncodedCall),
}

enum Filled {
    All,
    /// As full as a call should be.
    Full,
    /// The latest item is more than a call may hold.
    Over,
    /// The latest item has descriptors, and so a call of its own: they are to be closed as soon as it
    /// has begun.
    Alone,
}

impl<P: PromiseEncoded + 'static> Outbound<'_, P> {
    /// Encodes items until there is something to do about them. User code runs here.
    fn fill<A: Arguments<M>, M>(
        &mut self,
        items: impl Iterator<Item = A>,
    ) -> Result<Filled, CodecError> {
        descriptors::gather(&mut self.descriptors, || {
            for args in items {
                self.begun = self.payload.len();
                args.encode(&mut self.payload)?;
                self.count += 1;
                if self.payload.len() > self.limit {
                    return Ok(Filled::Over);
                }
                if descriptors::gathered() > 0 {
                    return Ok(Filled::Alone);
                }
                if self.payload.len() >= FULL {
                    return Ok(Filled::Full);
                }
            }
            Ok(Filled::All)
        })
    }

    /// Sends off all but the latest item, which is to travel in the next call; if it can travel at
    /// all.
    #[cold]
    fn shed(&mut self) {
        let size = self.payload.len() - self.begun;
        self.count -= 1;
        if size > self.limit {
            return self.fail(too_large(size, self.limit));
        }
        let latest = self.payload.split_off(self.begun);
        let descriptors = std::mem::take(&mut self.descriptors);
        self.flush();
        self.payload = latest;
        self.count = 1;
        if !descriptors.is_empty() {
            self.descriptors = descriptors;
            self.flush();
        }
    }

    /// The latest item cannot be sent.
    #[cold]
    fn fail(&mut self, reason: String) {
        self.payload.truncate(self.begun);
        self.descriptors.clear();
        self.flush();
        let error = self.owed.ticket().error(false, Cause::Codec(reason.into()));
        self.owed
            .answer_next(|promise, item| promise.fail(item, error));
    }

    fn flush(&mut self) {
        self.begun = 0;
        if self.count == 0 {
            return self.payload.clear();
        }
        let base = self.owed.next();
        let rest = self.owed.split_off(base + std::mem::take(&mut self.count));
        let owed = std::mem::replace(&mut self.owed, rest)
            .map(|promise| promise as Arc<dyn PromiseEncoded>);
        self.payload.attach(std::mem::take(&mut self.descriptors));
        let payload = self.payload.finish();
        (self.emit)(EncodedCall {
            owed,
            function: self.function,
            base,
            payload,
            expiry: None,
            strikes: 0,
            losses: 0,
        });
    }
}

/// What `encode`, which is the user's code, gives; or why its arguments cannot be sent.
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

/// How a worker runs the items of a task.
struct ServeItems<A, M>(PhantomData<fn(A) -> M>);

impl<F, A, M> Serve<F> for ServeItems<A, M>
where
    F: Task<A, M> + Copy,
    F::Output: Data,
    A: Arguments<M>,
{
    fn serve(function: F, desk: &mut dyn Desk) {
        serve_items::<A, M, _>(desk, |args| function.call(args));
    }
}

/// How it runs an initializer: what goes back is the text of its error, if there is one.
struct ServeInitializer<A, M>(PhantomData<fn(A) -> M>);

impl<F, A, M> Serve<F> for ServeInitializer<A, M>
where
    F: Task<A, M> + Copy,
    F::Output: Initialized,
    A: Arguments<M>,
{
    fn serve(function: F, desk: &mut dyn Desk) {
        serve_items::<A, M, _>(desk, |args| function.call(args).into_error());
    }
}

fn serve_items<A: Arguments<M>, M, R: Data>(desk: &mut dyn Desk, function: impl Fn(A) -> R) {
    let mut torn = None;
    for _ in 0..desk.skip() {
        torn = torn.or(A::skip(desk.input()).err());
    }
    let mut claimed = desk.claim();
    while claimed {
        let answer = match &torn {
            None => serve_run(desk, &function),
            Some(error) => Some(Answer::Undecodable(error.to_string())),
        };
        claimed = answer.is_some_and(|answer| desk.answer(answer));
    }
}

/// How far an item has come.
#[derive(Clone, Copy)]
enum ItemStep {
    Decode,
    Call,
    Encode,
}

/// Serves the item that is claimed, and those after it, until one gives no value: gives the answer
/// about that one. Nothing if no item is left. Nearly all of it is the user's code, which panics
/// rarely: panics are caught around all items, not around each.
fn serve_run<A: Arguments<M>, M, R: Data>(
    desk: &mut dyn Desk,
    function: &impl Fn(A) -> R,
) -> Option<Answer> {
    let step = Cell::new(ItemStep::Decode);
    let outcome = panic::catch(|| {
        loop {
            step.set(ItemStep::Decode);
            let (input, beside, value) = desk.item();
            let args = if beside.is_empty() {
                A::decode(input)?
            } else {
                // What is not among the arguments is closed.
                let mut beside = std::mem::take(beside);
                descriptors::supply(&mut beside, || A::decode(input))?
            };
            step.set(ItemStep::Call);
            let result = function(args);
            step.set(ItemStep::Encode);
            codec::put(result, value)?;
            if !desk.answer(Answer::Value) {
                return Ok::<_, CodecError>(());
            }
        }
    });
    Some(match (outcome, step.get()) {
        (Ok(Ok(())), _) => return None,
        (Ok(Err(error)), ItemStep::Decode) => Answer::Undecodable(error.to_string()),
        (Ok(Err(error)), _) => Answer::Unencodable(error.to_string()),
        (Err(report), ItemStep::Decode) => Answer::Undecodable(report.to_string()),
        (Err(report), ItemStep::Call) => Answer::Panicked(report),
        (Err(report), ItemStep::Encode) => Answer::Unencodable(report.to_string()),
    })
}

/// So many descriptors go along with the first words to a worker.
const MOST_DESCRIPTORS: usize = 250;

/// An initializer encoded for a worker.
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

/// The one call of a process that was started for it.
pub(crate) fn encode_process_setup<F, A, M>(
    function: F,
    args: A,
) -> Result<(FunctionOffset, Chain), String>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
{
    /// What else such a process is told has room beside it in a frame.
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

/// A function that is called once in a new process, as `S` serves, and its arguments.
fn encode_opening<S, F, A, M>(function: F, args: A) -> Result<(FunctionOffset, Chain), String>
where
    S: Serve<F>,
    F: Copy + Send + Sync + 'static,
    A: Arguments<M>,
{
    let entry = FunctionOffset::of::<F, S>(&function).ok_or(NOT_IN_EXECUTABLE)?;
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

const NOT_IN_EXECUTABLE: &str = "cannot be sent: its function lies in a shared library, where a worker cannot \
    find it; move the function into the executable";

/// Decodes a result that came from a worker. User code runs here.
pub(crate) fn decode_result<R: DeserializeOwned + 'static>(
    ticket: &Ticket,
    value: &mut Reader,
) -> Result<R, TaskError> {
    if let Some(number) = codec::get_number(value) {
        return Ok(number); // No code of the user's reads it.
    }
    let reason = match panic::catch(|| codec::get(value)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(report) => report.to_string(),
    };
    let cause = Cause::Codec(format!("ran, but its result cannot be decoded: {reason}").into());
    Err(ticket.error(true, cause))
}
