//! How a worker process runs a call that was encoded for it: arguments in, outcome out. Also how its parent decodes the
//! outcome and passes it to the waiting caller.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::needs_drop;

use serde::de::DeserializeOwned;

use super::chunk::Chunk;
use super::data::{Arguments, Data};
use super::error::{Cause, InitFailure, TaskError};
use super::handle::OutcomeCell;
use super::promise::{Promise, Ticket};
use super::task::{Initialized, Task, Unfinished};
use crate::disposal;
use crate::function::{Answer, Desk, Serve};
use crate::panic;
use crate::wire::outcomes::{ItemFailure, Values};
use crate::wire::{CodecError, Reader, codec, descriptors};

/// Runs the items of a task.
pub(super) struct ServeItems<A, M>(PhantomData<fn(A) -> M>);

impl<F, A, M> Serve<F> for ServeItems<A, M>
where
    F: Task<A, M> + Copy,
    F::Output: Data,
    A: Arguments<M>,
{
    fn serve(function: F, desk: &mut dyn Desk) {
        serve_items::<A, M, _>(desk, |args| function.run(args));
    }
}

/// Runs an initializer. If it fails, the outcome is the text of its error.
pub(super) struct ServeInitializer<A, M>(PhantomData<fn(A) -> M>);

impl<F, A, M> Serve<F> for ServeInitializer<A, M>
where
    F: Task<A, M> + Copy,
    F::Output: Initialized,
    A: Arguments<M>,
{
    fn serve(function: F, desk: &mut dyn Desk) {
        serve_items::<A, M, _>(desk, |args| Ok(function.run(args)?.into_error()));
    }
}

fn serve_items<A: Arguments<M>, M, R: Data>(
    desk: &mut dyn Desk,
    function: impl Fn(A) -> Result<R, Unfinished>,
) {
    let mut torn = None;
    for _ in 0..desk.skip() {
        torn = torn.or(A::skip(desk.input()).err());
    }
    let mut claimed = desk.claim();
    while claimed {
        let answer = match &torn {
            None => serve_run(desk, &function),
            Some(error) => Some(Err(ItemFailure::Undecodable(error.to_string()))),
        };
        claimed = answer.is_some_and(|answer| desk.answer(answer));
    }
}

/// How far an item is.
#[derive(Clone, Copy)]
enum ItemStep {
    Decode,
    Call,
    Encode,
}

/// Serves the claimed item and those after it until one ends without a value, and returns the answer for that one;
/// `None` if no item is left. Nearly all of this is user code, which rarely panics: so one `catch` surrounds all items
/// instead of each.
fn serve_run<A: Arguments<M>, M, R: Data>(
    desk: &mut dyn Desk,
    function: &impl Fn(A) -> Result<R, Unfinished>,
) -> Option<Answer> {
    let step = Cell::new(ItemStep::Decode);
    let outcome = panic::catch(|| {
        loop {
            step.set(ItemStep::Decode);
            let (input, beside, value) = desk.item();
            let args = if beside.is_empty() {
                A::decode(input)?
            } else {
                // A descriptor that no argument takes is closed.
                let mut beside = std::mem::take(beside);
                descriptors::supply(&mut beside, || A::decode(input))?
            };
            step.set(ItemStep::Call);
            let result = match function(args) {
                Ok(result) => result,
                Err(unfinished) => return Ok(Some(unfinished)),
            };
            step.set(ItemStep::Encode);
            codec::put(result, value)?;
            if !desk.answer_value() {
                return Ok::<_, CodecError>(None);
            }
        }
    });
    Some(Err(match (outcome, step.get()) {
        (Ok(Ok(None)), _) => return None,
        (Ok(Ok(Some(Unfinished::Dropped))), _) => ItemFailure::Dropped,
        (Ok(Ok(Some(unfinished @ Unfinished::NoRuntime(_)))), _) => {
            ItemFailure::NoRuntime(unfinished.to_string())
        }
        (Ok(Err(error)), ItemStep::Decode) => ItemFailure::Undecodable(error.to_string()),
        (Ok(Err(error)), _) => ItemFailure::Unencodable(error.to_string()),
        (Err(report), ItemStep::Decode) => ItemFailure::Undecodable(report.to_string()),
        (Err(report), ItemStep::Call) => ItemFailure::Panicked(report),
        (Err(report), ItemStep::Encode) => ItemFailure::Unencodable(report.to_string()),
    }))
}

/// A promise that takes the encoded results of another process.
pub(crate) trait PromiseEncoded: Promise {
    fn fulfil_encoded(&self, values: Values);

    /// Whether the result is the bytes as they arrive, so that decoding a large one blocks no thread.
    fn takes_bytes(&self) -> bool;
}

impl<T: DeserializeOwned + Send + 'static> PromiseEncoded for OutcomeCell<T> {
    fn fulfil_encoded(&self, values: Values) {
        if self.ticket().is_closed() {
            self.end_abort(true);
        } else if !self.resolve_unwanted() {
            values.read(|value| {
                let unwanted = self.resolve(decode_result(self.ticket(), value));
                if let Some(Ok(unwanted)) = unwanted {
                    disposal::dispose(unwanted); // The task was cancelled just now.
                }
            });
        }
    }

    fn takes_bytes(&self) -> bool {
        codec::is_bytes::<T>()
    }
}

impl<R: DeserializeOwned + Send + 'static> PromiseEncoded for Chunk<R> {
    fn fulfil_encoded(&self, mut values: Values) {
        if self.ticket().is_closed() {
            return self.end_abort(values.items(), true);
        }
        let first = values.first;
        let mut outcomes = Vec::with_capacity(values.count as usize);
        values.take_numbers(|number| outcomes.push(Ok(number))); // Decoding numbers runs no user code.
        values.read(|value| outcomes.push(decode_result(self.ticket(), value)));
        let unwanted = self.put_run(first, outcomes);
        if needs_drop::<R>() && !unwanted.is_empty() {
            disposal::dispose_by(move || panic::contain_drops(unwanted));
        }
    }

    fn takes_bytes(&self) -> bool {
        codec::is_bytes::<R>()
    }
}

/// Decodes a result from a worker. This runs user code.
pub(crate) fn decode_result<R: DeserializeOwned + 'static>(
    ticket: &Ticket,
    value: &mut Reader,
) -> Result<R, TaskError> {
    if let Some(number) = codec::get_number(value) {
        return Ok(number); // Decoding a number runs no user code.
    }
    let reason = match panic::catch(|| codec::get(value)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(report) => report.to_string(),
    };
    let cause = Cause::Codec(format!("ran, but its result cannot be decoded: {reason}").into());
    Err(ticket.error(true, cause))
}

/// The cause of an item without a value.
pub(crate) fn failure_cause(failure: ItemFailure) -> Cause {
    Cause::Codec(match failure {
        ItemFailure::Panicked(report) => return Cause::Panic(report),
        ItemFailure::Undecodable(reason) => {
            format!("was not run: its arguments cannot be decoded: {reason}").into()
        }
        ItemFailure::Unencodable(reason) => {
            format!("ran, but its result cannot be sent: {reason}").into()
        }
        ItemFailure::Invalid => "ended with an invalid report".into(),
        // After a timeout or a cancel the caller already has an outcome. So here the pool shuts down.
        ItemFailure::Dropped => return Cause::Shutdown,
        ItemFailure::NoRuntime(reason) => {
            return Cause::InitFailed(InitFailure {
                reason,
                ..InitFailure::default()
            });
        }
    })
}
