//! The messages of clients and workers outside the streams. They are not stored: a lost message costs time, but no
//! task.

use bytes::{BufMut as _, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::malformed::{Malformed, WIRE_VERSION, of_this_version, within};
use super::record::WorkerId;
use super::task_message::{MOST_NAME, ReplyTo};
use crate::wire::declare::message;
use crate::wire::{Chain, Reader, codec};

message! {
    /// To a worker: a task is cancelled. The subject ends with `cancel`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Cancel {
        reply: String,
    }
}

message! {
    /// To a worker: a question whether it runs the task. The subject ends with `ask`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Ask {
        reply: String,
    }
}

message! {
    /// The answer to [`Ask`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum AskAnswer {
        /// The worker has the claim and will write the outcome.
        Running,
        /// The worker does not know the task.
        Unknown,
    }
}

message! {
    /// To all workers: the question which workers there are. Each answers with its [`Presence`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Who {
        Workers,
    }
}

message! {
    /// What a worker reports about itself.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Presence {
        pub(crate) by: WorkerId,
        pub(crate) functions: Vec<ServedFunction>,
        /// The build of its program, as text.
        pub(crate) build: String,
        /// How many tasks it runs at a time.
        pub(crate) slots: u32,
        pub(crate) running: u32,
        /// Whether it takes no new task, and ends after its last one.
        pub(crate) is_draining: bool,
    }
}

message! {
    /// A function that a worker has registered.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct ServedFunction {
        pub(crate) name: String,
        pub(crate) shape: String,
    }
}

message! {
    /// To a client: how far a task is. The subject names the task.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct ProgressNote {
        pub(crate) done: u64,
        pub(crate) total: u64,
    }
}

/// A message outside the streams.
pub(crate) trait ControlMessage: Serialize + DeserializeOwned + 'static {
    /// Checks what serde cannot check.
    fn checked(self) -> Result<Self, Malformed> {
        Ok(self)
    }

    fn encode(&self) -> Bytes {
        let mut out = Chain::new();
        out.tail().put_u8(WIRE_VERSION);
        codec::put_encoded(self, &mut out).expect("text and numbers can be encoded");
        out.into_bytes()
    }

    fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut input = Reader::from(of_this_version(bytes)?);
        let message: Self = codec::get(&mut input)
            .map_err(|error| Malformed::invalid("message", error.to_string()))?;
        match input.is_empty() {
            true => message.checked(),
            false => Err(Malformed::invalid("message", "it has bytes after its end")),
        }
    }
}

impl Cancel {
    pub(crate) fn new(reply: &ReplyTo) -> Self {
        let reply = reply.to_string();
        Self { reply }
    }

    pub(crate) fn reply(&self) -> Result<ReplyTo, Malformed> {
        self.reply.parse()
    }
}

impl Ask {
    pub(crate) fn new(reply: &ReplyTo) -> Self {
        let reply = reply.to_string();
        Self { reply }
    }

    pub(crate) fn reply(&self) -> Result<ReplyTo, Malformed> {
        self.reply.parse()
    }
}

impl ControlMessage for Cancel {
    fn checked(self) -> Result<Self, Malformed> {
        self.reply().map(|_| self)
    }
}

impl ControlMessage for Ask {
    fn checked(self) -> Result<Self, Malformed> {
        self.reply().map(|_| self)
    }
}

impl ControlMessage for AskAnswer {}

impl ControlMessage for Who {}

impl ControlMessage for ProgressNote {}

impl ControlMessage for Presence {
    fn checked(self) -> Result<Self, Malformed> {
        let functions = self.functions.into_iter().map(|function| {
            Ok(ServedFunction {
                name: within("function", function.name, MOST_NAME)?,
                shape: within("shape", function.shape, 4 * MOST_NAME)?,
            })
        });
        Ok(Self {
            functions: functions.collect::<Result<_, _>>()?,
            by: self.by.checked()?,
            build: within("build", self.build, MOST_NAME)?,
            ..self
        })
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/cluster/control.rs"]
mod tests;
