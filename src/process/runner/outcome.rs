//! The outcome of a process. The first join fixes it for all later ones: a file in memory can change as long as any
//! process has it.

use std::sync::{Arc, OnceLock};

use crate::executor::error::{Cause, Death, TaskError};
use crate::executor::promise::Ticket;
use crate::executor::served::failure_cause;
use crate::wire::Reader;
use crate::wire::process_setup::OutcomeFile;

/// An outcome of this size or more is read on a blocking thread, because it could stall the runtime.
const LARGE: u64 = 256 * 1024;

/// What a process leaves behind.
#[derive(Debug)]
pub(super) struct LeftOutcome {
    file: OutcomeFile,
    max_result: u64,
    /// What the first join has found: the size of the outcome if there is one, or why it cannot be read.
    found: OnceLock<Result<Option<u64>, String>>,
}

impl LeftOutcome {
    pub(super) fn new(file: OutcomeFile, max_result: u64) -> Self {
        let found = OnceLock::new();
        Self {
            file,
            max_result,
            found,
        }
    }

    fn find(&self) -> &Result<Option<u64>, String> {
        self.found.get_or_init(|| {
            let settled = self.file.settle(self.max_result);
            settled.map_err(|error| error.to_string())
        })
    }

    /// `death` is the reason if the process left no outcome.
    fn read(&self, death: Death, ticket: &Ticket) -> Result<Reader, TaskError> {
        let unreadable = |reason: &str| {
            let what = format!("ran, but its result cannot be read: {reason}");
            ticket.error(true, Cause::Codec(what.into()))
        };
        let len = self.find().as_ref().map_err(|reason| unreadable(reason))?;
        let Some(len) = len else {
            return Err(ticket.error(true, Cause::WorkerLost(death)));
        };
        match self.file.read(*len) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failure)) => Err(ticket.error(failure.has_started(), failure_cause(failure))),
            Err(error) => Err(unreadable(&error.to_string())),
        }
    }
}

/// The outcome of a process that has ended.
#[derive(Debug)]
pub(crate) struct ProcessOutcome {
    left: Arc<LeftOutcome>,
    death: Death,
    has_threads: bool,
}

impl ProcessOutcome {
    pub(super) fn new(left: Arc<LeftOutcome>, death: Death, has_threads: bool) -> Self {
        Self {
            left,
            death,
            has_threads,
        }
    }

    /// Whether to read it on another thread, because reading takes long.
    pub(crate) fn may_stall(&self) -> bool {
        self.has_threads && matches!(self.left.find(), Ok(Some(LARGE..)))
    }

    /// The encoded value.
    pub(crate) fn read(self, ticket: &Ticket) -> Result<Reader, TaskError> {
        self.left.read(self.death, ticket)
    }
}
