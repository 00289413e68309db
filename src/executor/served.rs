//! How a worker process runs what was encoded for it: arguments in, outcome out. And how its parent decodes the
//! outcome, and puts it where the caller waits.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::needs_drop;

use serde::de::DeserializeOwned;

use super::chunk::Chunk;
use super::data::{Arguments, Data};
use super::error::{Cause, TaskError};
use super::handle::OutcomeCell;
use super::promise::{Promise, Ticket};
use super::task::{Initialized, Task};
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
        serve_items::<A, M, _>(desk, |args| function.call(args));
    }
}

/// Runs an initializer. The outcome is the text of its error, if it failed.
pub(super) struct ServeInitializer<A, M>(PhantomData<fn(A) -> M>);

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

/// Serves the claimed item and those after it until one gives no value, and returns the answer for
/// that one; `None` if no item is left. Nearly all of this is user code, which rarely panics: panics
/// are caught around all items, not around each.
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
                // A descriptor that no argument takes is closed.
                let mut beside = std::mem::take(beside);
                descriptors::supply(&mut beside, || A::decode(input))?
            };
            step.set(ItemStep::Call);
            let result = function(args);
            step.set(ItemStep::Encode);
            codec::put(result, value)?;
            if !desk.answer_value() {
                return Ok::<_, CodecError>(());
            }
        }
    });
    Some(Err(match (outcome, step.get()) {
        (Ok(Ok(())), _) => return None,
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

    /// Whether a result is the bytes it arrives as, so that decoding a large one blocks no thread.
    fn takes_bytes(&self) -> bool;
}

impl<T: DeserializeOwned + Send + 'static> PromiseEncoded for OutcomeCell<T> {
    fn fulfil_encoded(&self, values: Values) {
        if !self.ticket().is_closed() && !self.resolve_unwanted() {
            values.read(|value| {
                let unwanted = self.resolve(decode_result(self.ticket(), value));
                if let Some(Ok(unwanted)) = unwanted {
                    disposal::dispose(unwanted); // It was cancelled just now.
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
            return;
        }
        let first = values.first;
        let mut outcomes = Vec::with_capacity(values.count as usize);
        values.take_numbers(|number| outcomes.push(Ok(number))); // No user code reads them.
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

/// Decodes a result from a worker. User code runs here.
pub(crate) fn decode_result<R: DeserializeOwned + 'static>(
    ticket: &Ticket,
    value: &mut Reader,
) -> Result<R, TaskError> {
    if let Some(number) = codec::get_number(value) {
        return Ok(number); // No user code reads it.
    }
    let reason = match panic::catch(|| codec::get(value)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(report) => report.to_string(),
    };
    let cause = Cause::Codec(format!("ran, but its result cannot be decoded: {reason}").into());
    Err(ticket.error(true, cause))
}
