//! A message of this client that has no outcome yet.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::cluster::entry::FunctionEntry;
use crate::cluster::record::{CancelReason, WorkerId};
use crate::cluster::task_message::ReplyTo;
use crate::executor::promise::{Owed, Ticket};
use crate::executor::room::Room;
use crate::executor::served::PromiseEncoded;
use crate::observe::RunningCount;

/// A message of this client: a task, or a part of a chunk.
pub(super) struct TaskInFlight {
    /// Empty once the caller of a cancel has its answer. The task may not have ended then.
    pub(super) owed: Owed<dyn PromiseEncoded>,
    pub(super) items: u32,
    /// The first item of the message, as the promise counts items.
    pub(super) base: u32,
    /// What to publish, until the stream has it. The name of a large payload is kept until the task ends.
    pub(super) content: Option<Box<TaskContent>>,
    /// Set if the outcome goes to a subject that is not this client's own.
    pub(super) reply: Option<Box<SharedReply>>,
    pub(super) stage: SendStage,
    /// Since when no stream accepts it.
    pub(super) untaken_since: Option<Instant>,
    /// Its latest known record.
    pub(super) seen: Seen,
    /// Why it is to end without an outcome.
    pub(super) end_request: Option<EndRequest>,
    /// Whether the worker of the claim is lost, and the task must not run again.
    pub(super) is_lost: bool,
    /// The sequence that a write without an answer yet is to replace.
    pub(super) swapping: Option<u64>,
    /// How many reads in a row did not find the claim.
    pub(super) absent: u8,
    /// How many searches in a row did not find the message in the stream.
    pub(super) unfound: u8,
    /// Only reads that were asked from this time on count as absent.
    pub(super) reads_from: Option<Instant>,
    /// Whether a search of the stream is on its way. Another answer is that of an earlier one.
    pub(super) is_searched: bool,
    /// Whether a worker may have run it in an attempt before the one of its record.
    pub(super) has_run: bool,
    /// How often the worker of the claim answered that it does not know the task.
    pub(super) denied: u8,
    /// The pause before the next check of its record.
    pub(super) pause: Duration,
    /// The latest report of its progress.
    pub(super) reported: Option<(u64, u64)>,
    pub(super) room: Room,
    pub(super) running: RunningCount,
}

/// What is published.
pub(super) struct TaskContent {
    pub(super) function: FunctionEntry,
    pub(super) payload: ContentPayload,
}

#[derive(Clone)]
pub(super) enum ContentPayload {
    Here(Bytes),
    /// In the payload stream.
    Object {
        name: String,
        size: u64,
    },
}

/// An outcome subject that other programs may know.
pub(super) struct SharedReply {
    pub(super) reply: ReplyTo,
    /// Listens on the subject until it is dropped.
    pub(super) _subscription: Option<Box<dyn Any + Send + Sync>>,
}

/// How far a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SendStage {
    /// It waits to be published, or for the upload of its payload.
    Unsent {
        /// When it was first published, if it is to be published again.
        first: Option<Instant>,
    },
    /// It is published, and the stream has not answered.
    Sent { first: Instant, latest: Instant },
    /// The stream has it. `None`: this client does not know the sequence, or not even whether the stream has it.
    Stored { seq: Option<u64> },
    /// The stream does not have it any more. So it has a record, or it is lost.
    Missing,
}

/// Where the stream has the message of a task. It is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessagePlace {
    At(u64),
    NotInStream,
    Unknown,
}

/// The record of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Seen {
    #[default]
    Nothing,
    /// A worker released its claim.
    Released { seq: u64 },
    Claimed {
        seq: u64,
        by: Arc<WorkerId>,
        attempt: u32,
        /// Takes the answer to the delivery, if the task may run again.
        answer_to: Option<String>,
    },
}

impl Seen {
    /// The sequence of the record that the next write must replace.
    pub(super) fn seq(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Released { seq } | Self::Claimed { seq, .. } => *seq,
        }
    }
}

/// Why a message is to end without an outcome.
#[derive(Debug)]
pub(super) enum EndRequest {
    /// Its caller cancelled it.
    Abort {
        /// Whether the cancel was sent to the worker that has the task.
        is_announced: bool,
    },
    /// It waited too long.
    Expire { limit: Duration },
    /// The client is shut down and cancels what has not started.
    Shutdown,
}

impl EndRequest {
    pub(super) fn reason(&self) -> CancelReason {
        match self {
            Self::Abort { .. } | Self::Shutdown => CancelReason::Cancel,
            Self::Expire { .. } => CancelReason::QueueTimeout,
        }
    }
}

impl TaskInFlight {
    /// A message in this stage, with defaults for everything else.
    pub(super) fn new(owed: Owed<dyn PromiseEncoded>, stage: SendStage, room: Room) -> Self {
        Self {
            items: owed.remaining(),
            owed,
            base: 0,
            content: None,
            reply: None,
            stage,
            untaken_since: None,
            seen: Seen::Nothing,
            end_request: None,
            is_lost: false,
            swapping: None,
            absent: 0,
            unfound: 0,
            reads_from: None,
            is_searched: false,
            has_run: false,
            denied: 0,
            pause: Duration::ZERO,
            reported: None,
            room,
            running: RunningCount::default(),
        }
    }

    pub(super) fn ticket(&self) -> &Ticket {
        self.owed.ticket()
    }

    /// The address of its outcome.
    pub(super) fn reply(&self, client: &str, number: u64) -> ReplyTo {
        match &self.reply {
            Some(shared) => shared.reply.clone(),
            None => ReplyTo {
                client: client.into(),
                number,
            },
        }
    }

    /// Drops the payload once the stream has the message. The name of a large one is kept, to delete it later.
    pub(super) fn unload(&mut self) {
        let is_here =
            |content: &mut Box<TaskContent>| matches!(content.payload, ContentPayload::Here(_));
        self.content.take_if(is_here);
    }

    /// Takes the name of its large payload. The caller must delete the payload.
    pub(super) fn take_object(&mut self) -> Option<String> {
        let is_object = |content: &mut Box<TaskContent>| {
            matches!(content.payload, ContentPayload::Object { .. })
        };
        match self.content.take_if(is_object)?.payload {
            ContentPayload::Object { name, .. } => Some(name),
            ContentPayload::Here(_) => None,
        }
    }

    pub(super) fn items(&self) -> usize {
        self.items as usize
    }

    /// Its sequence in the stream, if it is known.
    pub(super) fn stored_at(&self) -> Option<u64> {
        match self.stage {
            SendStage::Stored { seq } => seq,
            _ => None,
        }
    }

    pub(super) fn place(&self) -> MessagePlace {
        match self.stage {
            SendStage::Stored { seq: Some(seq) } => MessagePlace::At(seq),
            SendStage::Missing | SendStage::Unsent { first: None } => MessagePlace::NotInStream,
            SendStage::Stored { seq: None } | SendStage::Sent { .. } | SendStage::Unsent { .. } => {
                MessagePlace::Unknown
            }
        }
    }

    /// Whether the stream has confirmed that it has the task, or a claim proves it.
    pub(super) fn is_surely_stored(&self) -> bool {
        match self.stage {
            SendStage::Unsent { .. } | SendStage::Sent { .. } => self.is_claimed(),
            // A search finds out. A reattached task has no content: this client did not publish it.
            SendStage::Stored { seq: None } => self.content.is_none() || self.is_claimed(),
            SendStage::Stored { seq: Some(_) } | SendStage::Missing => true,
        }
    }

    /// Whether a read that was asked then is too old to show that there is no record.
    pub(super) fn is_late(&self, asked: Instant) -> bool {
        self.reads_from.is_some_and(|from| asked < from)
    }

    pub(super) fn is_claimed(&self) -> bool {
        matches!(self.seen, Seen::Claimed { .. })
    }

    /// Whether its caller cancelled it, and no known record is a claim.
    pub(super) fn is_cancelling(&self) -> bool {
        !self.is_claimed() && matches!(self.end_request, Some(EndRequest::Abort { .. }))
    }
}

impl std::fmt::Debug for TaskInFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskInFlight")
            .field("task", &self.ticket().name())
            .field("stage", &self.stage)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
