//! The record of a task: first a claim, in the end an outcome or a cancel. Each write names the record that it
//! replaces, so only one writer succeeds, and the others read the record.

use std::ops::Range;

use bytes::{BufMut as _, Bytes};

use super::malformed::{Malformed, WIRE_VERSION, of_this_version, within};
use super::task_message::{MOST_CLIENT, MOST_MESSAGE_ITEMS};
use crate::executor::error::TaskError;
use crate::wire::declare::message;
use crate::wire::outcomes::Values;
use crate::wire::{Chain, Reader, codec};

const MOST_WORKER: usize = 64;
const MOST_HOST: usize = 256;
/// The most bytes of the name that a user gives a worker.
pub(super) const MOST_WORKER_NAME: usize = 200;
const MOST_OBJECT: usize = 256;
const MOST_SUBJECT: usize = 1024;

/// The message on the outcome subject of a task.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Claim(ClaimRecord),
    /// A worker released its claim before the task started. This is equivalent to no record.
    Released {
        /// The number of the next claim.
        attempt: u32,
    },
    Outcome(OutcomeRecord),
    Cancelled(CancelRecord),
}

/// A worker runs the task, or is about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimRecord {
    pub(crate) by: WorkerId,
    /// 1 for the first claim of the task.
    pub(crate) attempt: u32,
    /// Counts the claims that this worker writes, so that no two have the same bytes.
    pub(crate) serial: u64,
    /// Takes the answer to the delivery, if the task may run again.
    pub(crate) answer_to: Option<String>,
}

/// The task has ended.
#[derive(Clone, Debug)]
pub(crate) struct OutcomeRecord {
    pub(crate) by: WorkerId,
    pub(crate) attempt: u32,
    pub(crate) body: OutcomeBody,
}

#[derive(Clone, Debug)]
pub(crate) enum OutcomeBody {
    Inline(ItemRuns),
    /// The payload stream has the output of [`ItemRuns::encode`].
    Object {
        name: String,
        size: u64,
    },
}

/// The outcomes of all items of a task.
#[derive(Clone, Debug, Default)]
pub(crate) struct ItemRuns {
    /// How long all items ran together.
    pub(crate) nanos: u64,
    /// The last report of a task of one item: how much is done, and of how much.
    pub(crate) progress: Option<(u64, u64)>,
    pub(crate) runs: Vec<ItemRun>,
}

/// The outcomes of consecutive items.
#[derive(Clone, Debug)]
pub(crate) enum ItemRun {
    /// Items from `first` on; `values` has their number.
    Values(Values),
    /// `count` items from `first` on, with one error.
    Failed {
        first: u32,
        count: u32,
        error: TaskError,
    },
}

/// The task will not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CancelRecord {
    /// The client that cancelled it.
    pub(crate) by: String,
    pub(crate) reason: CancelReason,
}

message! {
    /// Why a task does not run.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum CancelReason {
        Cancel,
        QueueTimeout,
    }
}

message! {
    /// A program that serves tasks.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct WorkerId {
        /// Unique among all workers at any time.
        pub(crate) id: String,
        pub(crate) host: String,
        pub(crate) pid: u32,
        /// Set if the user named it.
        pub(crate) name: Option<String>,
    }
}

message! {
    /// The front part of a record. The values of an outcome follow it.
    enum RecordHead {
        Claim { by: WorkerId, attempt: u32, serial: u64, answer_to: Option<String> },
        Released { attempt: u32 },
        Outcome { by: WorkerId, attempt: u32 },
        Stored { by: WorkerId, attempt: u32, name: String, size: u64 },
        Cancelled { by: String, reason: CancelReason },
    }
}

message! {
    /// The front part of the runs of an outcome. The values follow it, in the same order.
    struct RunsHead {
        nanos: u64,
        progress: Option<(u64, u64)>,
        runs: Vec<RunHead>,
    }
}

message! {
    enum RunHead {
        Values { first: u32, count: u32, len: u32 },
        Failed { first: u32, count: u32, error: TaskError },
    }
}

impl WorkerId {
    /// A worker without a name.
    #[cfg(test)]
    pub(crate) fn example(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            host: "apple".to_owned(),
            pid: 7,
            name: None,
        }
    }

    pub(super) fn checked(self) -> Result<Self, Malformed> {
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !self.id.bytes().all(is_id) {
            return Err(Malformed::invalid(
                "worker",
                "it cannot be a part of a subject",
            ));
        }
        Ok(Self {
            id: within("worker", self.id, MOST_WORKER)?,
            host: within("host", self.host, MOST_HOST)?,
            pid: self.pid,
            name: (self
                .name
                .map(|name| within("worker", name, MOST_WORKER_NAME)))
            .transpose()?,
        })
    }
}

impl Record {
    pub(crate) fn encode(self) -> Bytes {
        let (head, runs) = match self {
            Self::Claim(ClaimRecord {
                by,
                attempt,
                serial,
                answer_to,
            }) => {
                let head = RecordHead::Claim {
                    by,
                    attempt,
                    serial,
                    answer_to,
                };
                (head, None)
            }
            Self::Released { attempt } => (RecordHead::Released { attempt }, None),
            Self::Outcome(OutcomeRecord { by, attempt, body }) => match body {
                OutcomeBody::Inline(runs) => (RecordHead::Outcome { by, attempt }, Some(runs)),
                OutcomeBody::Object { name, size } => {
                    let head = RecordHead::Stored {
                        by,
                        attempt,
                        name,
                        size,
                    };
                    (head, None)
                }
            },
            Self::Cancelled(CancelRecord { by, reason }) => {
                (RecordHead::Cancelled { by, reason }, None)
            }
        };
        let mut out = Chain::new();
        out.tail().put_u8(WIRE_VERSION);
        codec::put_encoded(&head, &mut out).expect("text and numbers can be encoded");
        if let Some(runs) = runs {
            runs.put(&mut out);
        }
        out.into_bytes()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut input = Reader::from(of_this_version(bytes)?);
        let invalid = |error: codec::CodecError| Malformed::invalid("record", error.to_string());
        let record = match codec::get(&mut input).map_err(invalid)? {
            RecordHead::Claim {
                by,
                attempt,
                serial,
                answer_to,
            } => Self::Claim(ClaimRecord {
                by: by.checked()?,
                attempt,
                serial,
                answer_to: answer_to
                    .map(|subject| within("answer", subject, MOST_SUBJECT))
                    .transpose()?,
            }),
            RecordHead::Released { attempt } => Self::Released { attempt },
            RecordHead::Outcome { by, attempt } => {
                return Ok(Self::Outcome(OutcomeRecord {
                    by: by.checked()?,
                    attempt,
                    body: OutcomeBody::Inline(ItemRuns::get(input)?),
                }));
            }
            RecordHead::Stored {
                by,
                attempt,
                name,
                size,
            } => Self::Outcome(OutcomeRecord {
                by: by.checked()?,
                attempt,
                body: OutcomeBody::Object {
                    name: within("object", name, MOST_OBJECT)?,
                    size,
                },
            }),
            RecordHead::Cancelled { by, reason } => Self::Cancelled(CancelRecord {
                by: within("client", by, MOST_CLIENT)?,
                reason,
            }),
        };
        match input.is_empty() {
            true => Ok(record),
            false => Err(Malformed::invalid("record", "it is too long")),
        }
    }
}

impl ItemRun {
    /// The items of the run, counted from the first of the task.
    pub(crate) fn items(&self) -> Range<u32> {
        match self {
            Self::Values(values) => values.items(),
            Self::Failed { first, count, .. } => *first..first.saturating_add(*count),
        }
    }
}

impl ItemRuns {
    /// One error for all of these items.
    pub(crate) fn failed(items: Range<u32>, error: &TaskError) -> Self {
        let run = ItemRun::Failed {
            first: items.start,
            count: items.len() as u32,
            error: error.clone(),
        };
        Self {
            nanos: 0,
            progress: None,
            runs: vec![run],
        }
    }

    /// Encodes an object for the payload stream.
    pub(crate) fn encode(self) -> Bytes {
        let mut out = Chain::new();
        out.tail().put_u8(WIRE_VERSION);
        self.put(&mut out);
        out.into_bytes()
    }

    /// Reads an object of the payload stream.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        Self::get(Reader::from(of_this_version(bytes)?))
    }

    fn put(self, out: &mut Chain) {
        let mut runs = Vec::with_capacity(self.runs.len());
        let mut bodies = Chain::new();
        for run in self.runs {
            runs.push(match run {
                ItemRun::Values(values) => {
                    let (first, count) = (values.first, values.count);
                    let before = bodies.len();
                    values.put(&mut bodies);
                    let len = u32::try_from(bodies.len() - before);
                    let len = len.expect("an outcome has less than 4 GiB");
                    RunHead::Values { first, count, len }
                }
                ItemRun::Failed {
                    first,
                    count,
                    error,
                } => RunHead::Failed {
                    first,
                    count,
                    error,
                },
            });
        }
        let head = RunsHead {
            nanos: self.nanos,
            progress: self.progress,
            runs,
        };
        codec::put_encoded(&head, out).expect("text and numbers can be encoded");
        out.put_chain(&bodies);
    }

    fn get(mut input: Reader) -> Result<Self, Malformed> {
        let invalid = |error: codec::CodecError| Malformed::invalid("outcome", error.to_string());
        let head: RunsHead = codec::get(&mut input).map_err(invalid)?;
        let runs = head.runs.into_iter().map(|run| match run {
            RunHead::Values { first, count, len } => {
                let entries = input.split_to(len as usize).ok_or(Malformed::Torn)?;
                items_of(first, count)?;
                let unlike = || Malformed::invalid("outcome", "its number of values is wrong");
                let values = Values::get(first, count, entries).ok_or_else(unlike)?;
                Ok(ItemRun::Values(values))
            }
            RunHead::Failed {
                first,
                count,
                error,
            } => {
                items_of(first, count)?;
                Ok(ItemRun::Failed {
                    first,
                    count,
                    error,
                })
            }
        });
        let runs = runs.collect::<Result<Vec<_>, _>>()?;
        match input.is_empty() {
            true => Ok(Self {
                nanos: head.nanos,
                progress: head.progress,
                runs,
            }),
            false => Err(Malformed::invalid("outcome", "it is too long")),
        }
    }
}

/// Checks the items of a run.
fn items_of(first: u32, count: u32) -> Result<Range<u32>, Malformed> {
    let end = first
        .checked_add(count)
        .filter(|end| *end <= MOST_MESSAGE_ITEMS);
    match end {
        Some(end) if count > 0 => Ok(first..end),
        _ => Err(Malformed::invalid(
            "outcome",
            "it has items that no task has",
        )),
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/cluster/record.rs"]
mod tests;
