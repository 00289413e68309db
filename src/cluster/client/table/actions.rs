//! What an event leads to: what the publisher sends, and what callers get.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::client::in_flight::{EndRequest, MessagePlace, TaskInFlight};
use crate::cluster::malformed::Malformed;
use crate::cluster::record::{CancelRecord, OutcomeRecord, WorkerId};
use crate::cluster::task_message::ReplyTo;
use crate::executor::error::Cause;
use crate::executor::promise::Owed;
use crate::executor::room::Room;
use crate::executor::served::PromiseEncoded;

/// What callers get. It is passed on after the lock is released.
#[derive(Default)]
pub(in crate::cluster::client) struct Completions {
    pub(in crate::cluster::client) ended: Vec<(TaskInFlight, End)>,
    /// Cancelled items whose callers get an answer before the server has decided. They count as started.
    pub(in crate::cluster::client) undecided: Vec<Owed<dyn PromiseEncoded>>,
    /// Entries of the queue that are free again.
    pub(in crate::cluster::client) rooms: Vec<Room>,
}

/// How a message ended.
#[derive(Debug)]
pub(in crate::cluster::client) enum End {
    Outcome(OutcomeRecord),
    /// It never started.
    Cancelled,
    Expired {
        limit: Duration,
    },
    /// It was not submitted, for this reason.
    Refused(Cause),
    /// Its worker is lost.
    Lost {
        by: Arc<WorkerId>,
        attempt: u32,
    },
    /// It was to be cancelled, and the server refuses the write, for this reason. It may run.
    Undecided(String),
    /// The queue has neither the message nor the record of the task.
    NotFound,
    /// Its record cannot be decoded.
    Unreadable(Malformed),
    /// It has no outcome at the deadline of a shutdown.
    Abandoned,
}

impl End {
    /// The end of a task that never started, as it was requested.
    pub(super) fn requested(end_request: Option<&EndRequest>) -> Self {
        match end_request {
            Some(EndRequest::Expire { limit }) => Self::Expired { limit: *limit },
            _ => Self::Cancelled,
        }
    }

    /// Whether the task may have started, or may start yet.
    pub(in crate::cluster::client) fn has_started(&self, task: &TaskInFlight) -> bool {
        match self {
            Self::Cancelled | Self::Expired { .. } | Self::Refused(_) => {
                task.is_claimed() || task.has_run
            }
            Self::Outcome(_) | Self::Lost { .. } | Self::Unreadable(_) => true,
            Self::Undecided(_) | Self::NotFound | Self::Abandoned => true, // As far as anyone knows.
        }
    }

    /// Whether the client must delete the payload: no worker will read it. A worker that stored the outcome deletes it.
    pub(super) fn is_for_good(&self) -> bool {
        match self {
            Self::Cancelled | Self::Expired { .. } | Self::Refused(_) | Self::Lost { .. } => true,
            Self::Outcome(_)
            | Self::Undecided(_)
            | Self::NotFound
            | Self::Unreadable(_)
            | Self::Abandoned => false,
        }
    }
}

/// What the publisher sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster::client) enum Action {
    /// Put the payload of a task into the payload stream.
    UploadPayload(u64),
    /// Replace a record: the task is cancelled.
    WriteCancel {
        number: u64,
        reply: ReplyTo,
        expected: u64,
        by: CancelRecord,
    },
    /// Let the record of a cancelled task expire.
    RetireRecord(RecordRetirement),
    /// Write that the worker of a task is lost.
    WriteLoss(LossToWrite),
    /// Let the server deliver a task to another worker now. That worker asks the lost one, and decides.
    Redeliver { answer_to: String },
    /// Delete a large payload that no worker reads.
    DeletePayload { object: String },
    /// Remove a task that does not run from the stream.
    DeleteMessage { seq: u64 },
    /// Tell a worker that its task is cancelled.
    CancelAtWorker {
        worker: Arc<WorkerId>,
        reply: ReplyTo,
    },
    /// Read the records of tasks.
    ReadRecords(Vec<(u64, ReplyTo)>),
    /// Ask a worker whether it runs a task.
    AskWorker {
        worker: Arc<WorkerId>,
        number: u64,
        reply: ReplyTo,
    },
    /// Check whether the stream still has the message of a task.
    CheckMessage { number: u64, seq: u64 },
    /// Search the stream for the message of a task.
    FindMessage { number: u64, reply: ReplyTo },
}

/// The record of a cancelled task, which may expire after the message of the task is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster::client) struct RecordRetirement {
    pub(in crate::cluster::client) reply: ReplyTo,
    pub(in crate::cluster::client) place: MessagePlace,
    /// The sequence of the record.
    pub(in crate::cluster::client) record: u64,
    pub(in crate::cluster::client) cancelled: CancelRecord,
}

/// A task whose worker is lost. It does not run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster::client) struct LossToWrite {
    pub(in crate::cluster::client) number: u64,
    pub(in crate::cluster::client) reply: ReplyTo,
    pub(in crate::cluster::client) place: MessagePlace,
    /// The sequence of the claim.
    pub(in crate::cluster::client) expected: u64,
    pub(in crate::cluster::client) by: Arc<WorkerId>,
    pub(in crate::cluster::client) attempt: u32,
}
