//! How a worker process runs what was encoded for it: arguments in, outcome out.

use std::cell::Cell;
use std::marker::PhantomData;

use super::data::{Arguments, Data};
use super::task::{Initialized, Task};
use crate::function::{Answer, Desk, Serve};
use crate::panic;
use crate::wire::outcomes::ItemFailure;
use crate::wire::{CodecError, codec, descriptors};

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
