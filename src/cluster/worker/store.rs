//! Replaces the claim of a task by its outcome. Repeats the write until it is stored, also after a reconnect.

use std::time::Duration;

use bytes::Bytes;

use super::core::WorkerCore;
use super::records::{Written, write};
use super::table::{HeldEnd, HeldTask};
use crate::cluster::large;
use crate::cluster::record::{ItemRuns, OutcomeBody, OutcomeRecord, Record};
use crate::cluster::swap::Seq;
use crate::executor::error::{Cause, TaskError};
use crate::executor::options::TaskName;

/// The most bytes that a message has beside its body.
const MARGIN: usize = 1024;

const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) enum Stored {
    Yes {
        seq: Seq,
        body: Bytes,
    },
    /// Another writer replaced the claim, because it considered this worker lost; or this worker ends and has given up.
    Fenced,
}

/// Where an outcome is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Message,
    Object,
    /// It is too large, so an error is stored instead.
    TooLarge,
}

/// Stores the outcome over the record `claim`. `ttl`: how long the server keeps it.
pub(super) async fn store(
    core: &WorkerCore,
    held: &HeldTask,
    claim: Seq,
    attempt: u32,
    outcomes: ItemRuns,
    ttl: Option<Duration>,
) -> Stored {
    let mut outcome = OutcomeBytes::new(core, attempt, outcomes).await;
    loop {
        match write(core, held, claim, ttl, outcome.body.clone()).await {
            Ok(Written::Stored(seq)) => {
                let body = outcome.body;
                return Stored::Yes { seq, body };
            }
            Ok(Written::Other(_) | Written::Removed) => return Stored::Fenced,
            Err(refusal) if refusal.is_too_large && outcome.size != Size::TooLarge => {
                outcome = outcome.larger(core, attempt, &refusal.reason).await;
                continue;
            }
            Err(_) => {} // The stream is full or has no leader, or a right is missing. An admin can change that.
        }
        if held.end() == Some(HeldEnd::Abandoned) {
            return Stored::Fenced;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// An encoded outcome.
struct OutcomeBytes {
    body: Bytes,
    size: Size,
    /// The outcome before any of it was replaced by an error.
    runs: ItemRuns,
}

impl OutcomeBytes {
    async fn new(core: &WorkerCore, attempt: u32, outcomes: ItemRuns) -> Self {
        let outcome = Self {
            body: encode(core, attempt, OutcomeBody::Inline(outcomes.clone())),
            size: Size::Message,
            runs: outcomes,
        };
        let most = core.nats.max_payload();
        match outcome.body.len() + MARGIN <= most {
            true => outcome,
            false => {
                let reason = format!("a message has at most {most} bytes");
                outcome.larger(core, attempt, &reason).await
            }
        }
    }

    /// Returns the same outcome as an object, or an error instead of it.
    async fn larger(self, core: &WorkerCore, attempt: u32, reason: &str) -> Self {
        let reason = match self.size {
            Size::Message => {
                let bytes = self.runs.clone().encode();
                let size = bytes.len() as u64;
                match large::put(&core.nats, &core.names, bytes).await {
                    Ok(name) => {
                        let body = OutcomeBody::Object { name, size };
                        return Self {
                            body: encode(core, attempt, body),
                            size: Size::Object,
                            runs: self.runs,
                        };
                    }
                    Err(error) => {
                        format!("{reason}, and it cannot be stored as a large payload: {error}")
                    }
                }
            }
            Size::Object | Size::TooLarge => reason.to_owned(),
        };
        let cause = format!(
            "ran, but its result has {} bytes and cannot be sent back: {reason}",
            self.body.len()
        );
        let task = TaskName::Function("(of the cluster)"); // The client knows the name.
        let error = TaskError::new(task, true, Cause::Codec(cause.into())).after(attempt - 1, true);
        let items = self.runs.runs.iter().map(|run| run.items().len() as u32);
        let runs = ItemRuns::failed(0..items.sum(), &error);
        Self {
            body: encode(core, attempt, OutcomeBody::Inline(runs)),
            size: Size::TooLarge,
            runs: self.runs,
        }
    }
}

fn encode(core: &WorkerCore, attempt: u32, body: OutcomeBody) -> Bytes {
    let by = core.me.clone();
    Record::Outcome(OutcomeRecord { by, attempt, body }).encode()
}
