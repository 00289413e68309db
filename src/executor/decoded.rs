//! Results from another process, decoded and put where their callers wait.

use std::mem::needs_drop;

use serde::de::DeserializeOwned;

use super::chunk::Chunk;
use super::error::{Cause, TaskError};
use super::handle::OutcomeCell;
use super::promise::{Promise, Ticket};
use crate::disposal;
use crate::panic;
use crate::wire::outcomes::Values;
use crate::wire::{Reader, codec};

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
