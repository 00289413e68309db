//! The outcome of a process.

use std::sync::Arc;

use crate::executor::error::{Cause, Death, TaskError};
use crate::executor::promise::Ticket;
use crate::process::verdict::cause;
use crate::wire::Reader;
use crate::wire::process_setup::OutcomeFile;

/// An outcome of this size or more is read on a blocking thread: it could stall the runtime.
const LARGE: u64 = 256 * 1024;

/// The outcome of a process.
#[derive(Debug)]
pub(crate) struct ProcessOutcome {
    outcome_file: Arc<OutcomeFile>,
    death: Death,
    has_threads: bool,
}

impl ProcessOutcome {
    /// `death` counts if the process left nothing.
    pub(super) fn new(outcome_file: Arc<OutcomeFile>, death: Death, has_threads: bool) -> Self {
        Self {
            outcome_file,
            death,
            has_threads,
        }
    }

    /// Whether to read it on another thread, because that takes long.
    pub(crate) fn may_stall(&self) -> bool {
        self.has_threads && self.outcome_file.len().is_some_and(|len| len > LARGE)
    }

    /// The encoded value.
    pub(crate) fn read(self, ticket: &Ticket) -> Result<Reader, TaskError> {
        let (started, cause) = match self.outcome_file.read() {
            Ok(Some(Ok(value))) => return Ok(value),
            Ok(Some(Err(failure))) => (failure.has_started(), cause(failure)),
            Ok(None) => (true, Cause::WorkerLost(self.death)),
            Err(error) => {
                let what = format!("ran, but its result cannot be read: {error}");
                (true, Cause::Codec(what.into()))
            }
        };
        Err(ticket.error(started, cause))
    }
}
