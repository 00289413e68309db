//! The messages between a parent and its workers. Each is a variant or a type here. To add one, declare it, send it at
//! one end and handle it at the other.
//!
//! A frame begins with a tag. The tag `MESSAGE` stands for any message; the [`codec`] encodes it. Calls and outcomes
//! have tags and fixed layouts of their own, because each task needs one of each.

use bytes::BufMut as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bulk::{self, PayloadPart};
use super::chain::{Chain, Payload, Reader};
use super::codec;
use super::confinement::Confinement;
use super::declare::message;
#[cfg(feature = "tracing")]
use super::event::LogEvent;
use super::level::EventLevel;
use super::mark::Token;
use super::text::{short, short_report};
use super::{FunctionOffset, frame};
use crate::panic::PanicReport;
use crate::record::words;
use crate::sys::Limit;

/// The environment variable that gives a child process its [`Role`]. Without it, a process is the program
/// itself.
pub(crate) const MARKER: &str = "CONCURRENT_FUTURES_ROLE";

/// The first byte of a frame.
mod tag {
    pub(super) const MESSAGE: u8 = 2;
    pub(super) const CALL: u8 = 3;
    pub(super) const OUTCOMES: u8 = 67;
}

message! {
    /// What a process is started as.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Role {
        /// It serves calls.
        Worker,
        /// It forks workers and runners.
        ForkServer,
        /// It runs one function, its [`process_setup`](super::process_setup).
        Runner,
    }
}

impl Role {
    const ALL: [Self; 3] = [Self::Worker, Self::ForkServer, Self::Runner];

    /// The value of the marker.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::ForkServer => "fork-server",
            Self::Runner => "runner",
        }
    }

    pub(crate) fn of_name(name: &std::ffi::OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|role| name == role.name())
    }
}

message! {
    /// What a child process learns about itself from its parent.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct ChildIdentity {
        pub(crate) name: String,
        /// The parent's process identity as a word.
        pub(crate) parent: u64,
        /// Whether it ends when its parent ends.
        pub(crate) is_daemon: bool,
    }
}

message! {
    /// The first message to a worker or a fork server after the hello. The arguments of the initializer
    /// follow it.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct Setup {
        pub(crate) identity: ChildIdentity,
        pub(crate) worker_id: u64,
        pub(crate) max_frame: u64,
        /// Whether other processes of its user may trace it.
        pub(crate) is_dumpable: bool,
        /// The limits that it sets for itself.
        pub(crate) limits: Vec<(Limit, i64)>,
        /// The rights that it gives up before it is ready.
        pub(crate) confinement: Option<Confinement>,
        /// Present if the parent reports its output by line.
        pub(crate) captured: Option<Captured>,
        pub(crate) initializer: Option<FunctionOffset>,
        /// The number of descriptors beside the arguments of the initializer.
        pub(crate) descriptors: u32,
        /// The most verbose level of events that the parent listens to. `None` if it listens to none.
        pub(crate) events: Option<EventLevel>,
    }
}

/// What a process receives after the hello: its setup. The arguments of its first function follow.
pub(crate) trait FirstMessage: DeserializeOwned + 'static {
    /// Whether no part of the setup can fail, or end the process before it is ready.
    fn is_plain(&self) -> bool;
}

impl FirstMessage for Setup {
    fn is_plain(&self) -> bool {
        self.limits.is_empty()
            && self.confinement.is_none()
            && self.captured.is_none()
            && self.initializer.is_none()
    }
}

message! {
    /// The streams of a worker that need marks, and the token of the marks.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Captured {
        pub(crate) token: Token,
        pub(crate) stdout: bool,
        pub(crate) stderr: bool,
    }
}

words!(Limit as "Limit" {
    AddressSpace = "address_space",
    CpuTime = "cpu_time",
    OpenFiles = "open_files",
    CoreSize = "core_size",
    Nice = "nice",
});

message! {
    /// A message to a worker that is ready.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) enum ToWorker {
        /// Parts of the next call's payload come through the ring.
        Bulk(parts: Vec<PayloadPart>),
        /// The number of descriptors beside the next call.
        Descriptors(count: u32),
        /// The trace of the next call, as a W3C `traceparent`.
        Trace(traceparent: String),
        /// The number of the next call's attempt, if it is not the first.
        Attempt(number: u32),
        /// The worker has been idle for a while: it frees the buffer that it keeps for the next payload.
        Rest,
        /// The worker exits.
        Exit,
        /// The worker answers with `Alive`.
        Probe,
    }
}

message! {
    /// A message of a worker.
    #[derive(Debug)]
    pub(crate) enum FromWorker {
        /// The setup is complete.
        Ready,
        /// A limit or the initializer failed, with a reason or a panic.
        Failed(failure: Result<String, PanicReport>),
        /// The page has a new progress report, in the slot of the call with this number.
        Progress(seq: u32),
        /// Parts of the next outcome's payload come through the ring.
        Bulk(parts: Vec<PayloadPart>),
        /// A task has written an event. Without `call`, code outside a task has.
        #[cfg(feature = "tracing")]
        Event { call: Option<u32>, event: LogEvent },
        /// The item of a call with descriptors has started: the worker owns the descriptors now.
        Taken(seq: u32),
        /// The worker has read or written some bytes of a ring for which the parent waits.
        Moved,
        /// The answer to `Probe`: the worker reads its messages.
        Alive,
    }
}

impl FromWorker {
    /// Reports a failed start. Shortens its texts.
    pub(crate) fn failed(failure: Result<String, PanicReport>) -> Self {
        Self::Failed(match failure {
            Ok(reason) => Ok(short(reason)),
            Err(report) => Err(short_report(report)),
        })
    }
}

/// A call: the items `first..end` of a payload that begins with item `base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallHead {
    pub(crate) seq: u32,
    pub(crate) base: u32,
    pub(crate) first: u32,
    pub(crate) end: u32,
    pub(crate) task_id: u64,
    /// The time limit of an item, in nanoseconds. 0 means no limit.
    pub(crate) timeout: u64,
    pub(crate) function: FunctionOffset,
}

/// A frame to a worker that is ready.
#[derive(Debug)]
pub(crate) enum ParentFrame {
    Call(CallHead, Reader),
    Message(ToWorker),
}

/// A frame of a worker.
#[derive(Debug)]
pub(crate) enum WorkerFrame {
    /// Outcomes of items. An [`OutcomeReader`](super::outcomes::OutcomeReader) reads them.
    Outcomes(Reader),
    Message(FromWorker),
}

impl ParentFrame {
    /// `None` if the frame is invalid.
    pub(crate) fn parse(mut frame: Reader) -> Option<Self> {
        match frame.u8()? {
            tag::CALL => {
                let head = CallHead {
                    seq: frame.u32()?,
                    base: frame.u32()?,
                    first: frame.u32()?,
                    end: frame.u32()?,
                    task_id: frame.u64()?,
                    timeout: frame.u64()?,
                    function: FunctionOffset(frame.u64()? as i64),
                };
                Some(Self::Call(head, frame))
            }
            tag::MESSAGE => get_alone(frame).map(Self::Message),
            _ => None,
        }
    }
}

impl WorkerFrame {
    /// `None` if the frame is invalid.
    pub(crate) fn parse(mut frame: Reader) -> Option<Self> {
        match frame.u8()? {
            tag::OUTCOMES => Some(Self::Outcomes(frame)),
            tag::MESSAGE => get_alone(frame).filter(is_sound).map(Self::Message),
            _ => None,
        }
    }
}

/// Whether the fields of a message fit together.
fn is_sound(message: &FromWorker) -> bool {
    match message {
        // The sum of the parts is compared with a limit, which so bounds their number too.
        FromWorker::Bulk(parts) => parts.iter().all(|part| part.len as usize >= bulk::LARGE),
        #[cfg(feature = "tracing")]
        FromWorker::Event { event, .. } => event.place.fields.len() == event.values.len(),
        _ => true,
    }
}

/// Appends a call. `payload` holds its items.
pub(crate) fn put_call(out: &mut Chain, head: &CallHead, payload: &Payload) {
    let descriptors = payload.descriptors().len();
    if descriptors > 0 {
        put(out, &ToWorker::Descriptors(descriptors as u32)); // A descriptor's number has 32 bits.
    }
    let CallHead {
        seq,
        base,
        first,
        end,
        task_id,
        timeout,
        function,
    } = *head;
    let start = frame::begin(out);
    let bytes = out.tail();
    bytes.put_u8(tag::CALL);
    for number in [seq, base, first, end] {
        bytes.put_u32_le(number);
    }
    bytes.put_u64_le(task_id);
    bytes.put_u64_le(timeout);
    bytes.put_i64_le(function.0);
    frame::finish(out, start, payload.len());
    out.put_payload(payload);
}

/// The size of the head of a frame of outcomes.
pub(crate) const OUTCOMES_HEAD: usize = frame::HEAD + 1;

/// The head of a frame with `len` bytes of [entries](super::outcomes).
pub(crate) fn outcomes_head(len: usize) -> [u8; OUTCOMES_HEAD] {
    let len = u32::try_from(1 + len).expect("the length was checked against the limit");
    let mut head = [tag::OUTCOMES; OUTCOMES_HEAD];
    head[..frame::HEAD].copy_from_slice(&len.to_le_bytes());
    head
}

/// Appends a frame with a message.
pub(crate) fn put<M: Serialize>(out: &mut Chain, message: &M) {
    put_with(out, message, &Chain::new());
}

/// Appends a frame with a message and the bytes that belong to it.
pub(crate) fn put_with<M: Serialize>(out: &mut Chain, message: &M, payload: &Chain) {
    let start = frame::begin(out);
    out.tail().put_u8(tag::MESSAGE);
    codec::put_encoded(message, out).expect("a message can be encoded");
    frame::finish(out, start, payload.len());
    out.put_chain(payload);
}

/// The message in a frame. `None` if the frame is invalid.
pub(crate) fn get<M: DeserializeOwned + 'static>(mut frame: Reader) -> Option<M> {
    let is_message = frame.u8()? == tag::MESSAGE;
    is_message.then(|| get_alone(frame)).flatten()
}

/// The message in a frame, and the bytes that belong to it. `None` if the frame is invalid.
pub(crate) fn get_with<M: DeserializeOwned + 'static>(mut frame: Reader) -> Option<(M, Reader)> {
    if frame.u8()? != tag::MESSAGE {
        return None;
    }
    let message = codec::get(&mut frame).ok()?;
    Some((message, frame))
}

/// The message in the rest of a frame.
fn get_alone<M: DeserializeOwned + 'static>(mut rest: Reader) -> Option<M> {
    // A decoded message may take much more memory than its bytes.
    if rest.len() > LONGEST {
        return None;
    }
    let message = codec::get(&mut rest).ok()?;
    rest.is_empty().then_some(message)
}

/// The most bytes of a message, without its payload.
pub(crate) const LONGEST: usize = 256 * 1024;
/// A frame with the report of a failure may exceed the limit for values by this much.
pub(crate) const REPORT: usize = LONGEST;
#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/message.rs"]
pub(crate) mod tests;
