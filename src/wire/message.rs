//! The content of each frame. Tags are fixed numbers and fields have fixed positions, little-endian, so a
//! worker need not be written in Rust. The first two messages, `Hello` and `Greeting`, are the same in
//! every version of the protocol: they carry the version.

use bytes::BufMut as _;

use super::bulk::PayloadPart;
use super::chain::{Chain, Payload, Reader};
use super::codec;
use super::mark::Token;
use super::{FunctionOffset, frame};
use crate::panic::{Location, PanicReport};
use crate::sys::Limit;

/// The version of all messages except `Hello` and `Greeting`.
pub(crate) const VERSION: u16 = 1;

/// The environment variable that gives a child process its [`Role`]. Without it, a process is the program
/// itself.
pub(crate) const MARKER: &str = "CONCURRENT_FUTURES_ROLE";

/// What a process is started as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It serves calls.
    Worker = 0,
    /// It forks workers and runners.
    ForkServer = 1,
    /// It runs one function, its [`process_setup`](super::process_setup).
    Runner = 2,
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

    pub(crate) fn of_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| *role as u8 == byte)
    }
}

const MAGIC: [u8; 4] = *b"ccf\n";

mod tag {
    pub(super) const HELLO: u8 = 1;
    pub(super) const SETUP: u8 = 2;
    pub(super) const CALL: u8 = 3;
    pub(super) const EXIT: u8 = 4;
    pub(super) const BULK: u8 = 5;
    pub(super) const REST: u8 = 6;
    pub(super) const DESCRIPTORS: u8 = 7;
    pub(super) const TRACE: u8 = 8;

    pub(super) const GREETING: u8 = 64;
    pub(super) const READY: u8 = 65;
    pub(super) const FAILED: u8 = 66;
    pub(super) const OUTCOMES: u8 = 67;
    pub(super) const PROGRESS: u8 = 68;
    pub(super) const MOVED: u8 = 69;
    pub(super) const TAKEN: u8 = 70;
    #[cfg(feature = "tracing")]
    pub(super) const EVENT: u8 = 71;
}

/// How a function is identified. Other kinds are free for functions that are known by name.
mod function_kind {
    pub(super) const OFFSET: u8 = 0;
}

/// The version and the build of a process. The parent sends its own as `Hello`, to a worker with the shared
/// page beside it. The child answers with its own as `Greeting`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildIdentity {
    pub(crate) version: u16,
    pub(crate) build: Vec<u8>,
}

impl BuildIdentity {
    /// The identity of this process.
    pub(crate) fn own() -> Self {
        Self {
            version: VERSION,
            build: crate::sys::build_identity(),
        }
    }
}

/// The first message to a worker after the greetings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) worker_id: u64,
    pub(crate) max_frame: u64,
    /// The limits that it sets for itself.
    pub(crate) limits: Vec<(Limit, i64)>,
    /// Present if the parent reports its output by line.
    pub(crate) captured: Option<Captured>,
    pub(crate) initializer: Option<FunctionOffset>,
    /// How many descriptors came for the initializer.
    pub(crate) descriptors: u32,
    /// The most verbose level of events that the parent listens to: 1 is errors only, 5 is all, 0 is none.
    pub(crate) events: u8,
}

impl Setup {
    /// Whether no part of the setup can fail.
    pub(crate) fn is_plain(&self) -> bool {
        self.limits.is_empty() && self.captured.is_none() && self.initializer.is_none()
    }
}

/// Which streams of a worker need marks, and the token of the marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) token: Token,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// A call: the items `first..end` of a payload that begins with item `base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallHead {
    pub(crate) seq: u32,
    pub(crate) base: u32,
    pub(crate) first: u32,
    pub(crate) end: u32,
    pub(crate) task_id: u64,
    /// How long an item may run, in nanoseconds. 0 means no limit.
    pub(crate) timeout: u64,
    pub(crate) function: FunctionOffset,
}

/// A message of the parent.
#[derive(Debug)]
pub(crate) enum ToWorker {
    Hello(BuildIdentity),
    Setup(Setup, Reader),
    Call(CallHead, Reader),
    /// Parts of the next call's payload come through the ring.
    Bulk(Vec<PayloadPart>),
    /// How many descriptors came for the next call.
    Descriptors(u32),
    /// The trace of the next call, as a W3C `traceparent`.
    Trace(String),
    /// The worker has been idle for a while: it frees the buffer that it keeps for the next payload.
    Rest,
    Exit,
}

/// A message of a worker.
#[derive(Debug)]
pub(crate) enum FromWorker {
    Greeting(BuildIdentity),
    Ready,
    /// The initializer failed, with a reason or a panic.
    Failed(Result<String, PanicReport>),
    /// Outcomes of items. A [`Listener`](super::outcomes::Listener) reads them.
    Outcomes(Reader),
    /// The page has a new progress report, in the slot of the call with this number.
    Progress(u32),
    /// Parts of the next outcome's payload come through the ring.
    Bulk(Vec<PayloadPart>),
    /// An event, with the number of the call whose task wrote it, or without if no task did. See `event`.
    #[cfg(feature = "tracing")]
    Event(Option<u32>, Reader),
    /// The item of a call with descriptors has started: the worker owns them now.
    Taken(u32),
    /// The parent waits for bytes in a ring, or for room there: the worker has written or read some.
    Moved,
}

/// Appends one frame: what `write` puts, then the payload.
pub(super) fn put(out: &mut Chain, tag: u8, payload: &Chain, write: impl FnOnce(&mut Vec<u8>)) {
    put_head(out, tag, payload.len(), write);
    out.put_chain(payload);
}

/// As `put`, without the payload: `payload` bytes must follow.
fn put_head(out: &mut Chain, tag: u8, payload: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let start = frame::begin(out);
    out.tail().put_u8(tag);
    write(out.tail());
    frame::finish(out, start, payload);
}

fn put_identity(out: &mut Chain, tag: u8, identity: &BuildIdentity) {
    put(out, tag, &Chain::new(), |out| {
        out.put_slice(&MAGIC);
        out.put_u16_le(identity.version);
        out.put_slice(&identity.build);
    });
}

pub(crate) fn put_hello(out: &mut Chain, identity: &BuildIdentity) {
    put_identity(out, tag::HELLO, identity);
}

pub(crate) fn put_greeting(out: &mut Chain, identity: &BuildIdentity) {
    put_identity(out, tag::GREETING, identity);
}

/// `args` holds the initializer's arguments, with as many descriptors as `setup` says.
pub(crate) fn put_setup(out: &mut Chain, setup: &Setup, args: &Chain) {
    debug_assert_eq!(setup.descriptors as usize, args.descriptors().len());
    put(out, tag::SETUP, args, |out| {
        out.put_u64_le(setup.worker_id);
        out.put_u64_le(setup.max_frame);
        put_limits(out, &setup.limits);
        put_captured(out, setup.captured);
        out.put_u8(u8::from(setup.initializer.is_some()));
        put_function(out, setup.initializer.unwrap_or(FunctionOffset(0)));
        out.put_u32_le(setup.descriptors);
        out.put_u8(setup.events);
    });
}

pub(crate) fn put_call(out: &mut Chain, head: &CallHead, payload: &Payload) {
    let descriptors = payload.descriptors().len();
    if descriptors > 0 {
        put(out, tag::DESCRIPTORS, &Chain::new(), |out| {
            out.put_u32_le(descriptors as u32); // Each has a number of 32 bits.
        });
    }
    put_head(out, tag::CALL, payload.len(), |out| {
        out.put_u32_le(head.seq);
        out.put_u32_le(head.base);
        out.put_u32_le(head.first);
        out.put_u32_le(head.end);
        out.put_u64_le(head.task_id);
        out.put_u64_le(head.timeout);
        put_function(out, head.function);
    });
    out.put_payload(payload);
}

/// Sent before the message whose payload has these parts, in either direction.
pub(crate) fn put_bulk(out: &mut Chain, parts: &[PayloadPart]) {
    put(out, tag::BULK, &Chain::new(), |out| {
        for part in parts {
            out.put_u32_le(part.at);
            out.put_u32_le(part.len);
        }
    });
}

fn get_bulk(frame: &mut Reader) -> Option<Vec<PayloadPart>> {
    let mut parts = Vec::new();
    while !frame.is_empty() {
        let (at, len) = (frame.u32()?, frame.u32()?);
        parts.push(PayloadPart { at, len });
    }
    Some(parts)
}

pub(crate) fn put_rest(out: &mut Chain) {
    put(out, tag::REST, &Chain::new(), |_| {});
}

pub(crate) fn put_moved(out: &mut Chain) {
    put(out, tag::MOVED, &Chain::new(), |_| {});
}

pub(crate) fn put_taken(out: &mut Chain, seq: u32) {
    put(out, tag::TAKEN, &Chain::new(), |out| out.put_u32_le(seq));
}

/// Sent before the call that belongs to the trace.
pub(crate) fn put_trace(out: &mut Chain, traceparent: &str) {
    let mut text = Chain::new();
    put_text(&mut text, traceparent);
    put(out, tag::TRACE, &text, |_| {});
}

#[cfg(feature = "tracing")]
pub(crate) fn put_event(out: &mut Chain, call: Option<u32>, event: &super::event::LogEvent) {
    let mut payload = Chain::new();
    super::event::put(&mut payload, event);
    put(out, tag::EVENT, &payload, |out| {
        out.put_u8(u8::from(call.is_some()));
        out.put_u32_le(call.unwrap_or_default());
    });
}

pub(crate) fn put_exit(out: &mut Chain) {
    put(out, tag::EXIT, &Chain::new(), |_| {});
}

pub(crate) fn put_ready(out: &mut Chain) {
    put(out, tag::READY, &Chain::new(), |_| {});
}

pub(crate) fn put_failed(out: &mut Chain, failure: &Result<String, PanicReport>) {
    let mut payload = Chain::new();
    match failure {
        Ok(reason) => put_text(&mut payload, reason),
        Err(report) => put_panic(&mut payload, report),
    }
    put(out, tag::FAILED, &payload, |out| {
        out.put_u8(u8::from(failure.is_err()))
    });
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

pub(super) fn put_limits(out: &mut Vec<u8>, limits: &[(Limit, i64)]) {
    out.put_u8(limits.len() as u8);
    for (limit, value) in limits {
        out.put_u8(limit_kind(*limit));
        out.put_i64_le(*value);
    }
}

pub(super) fn get_limits(frame: &mut Reader) -> Option<Vec<(Limit, i64)>> {
    let count = frame.u8()?;
    (0..count).map(|_| get_limit(frame)).collect()
}

fn limit_kind(limit: Limit) -> u8 {
    match limit {
        Limit::AddressSpace => 0,
        Limit::CpuTime => 1,
        Limit::OpenFiles => 2,
        Limit::CoreSize => 3,
        Limit::Nice => 4,
    }
}

fn get_limit(frame: &mut Reader) -> Option<(Limit, i64)> {
    let limit = match frame.u8()? {
        0 => Limit::AddressSpace,
        1 => Limit::CpuTime,
        2 => Limit::OpenFiles,
        3 => Limit::CoreSize,
        4 => Limit::Nice,
        _ => return None,
    };
    Some((limit, frame.u64()? as i64))
}

fn put_captured(out: &mut Vec<u8>, captured: Option<Captured>) {
    let (stdout, stderr, token) = match captured {
        Some(captured) => (captured.stdout, captured.stderr, captured.token.0),
        None => (false, false, 0),
    };
    out.put_u8(u8::from(stdout) | u8::from(stderr) << 1);
    out.put_u64_le(token as u64);
    out.put_u64_le((token >> 64) as u64);
}

fn get_captured(frame: &mut Reader) -> Option<Option<Captured>> {
    let streams = frame.u8()?;
    let (low, high) = (u128::from(frame.u64()?), u128::from(frame.u64()?));
    let captured = Captured {
        token: Token(high << 64 | low),
        stdout: streams & 1 != 0,
        stderr: streams & 2 != 0,
    };
    Some((streams != 0).then_some(captured))
}

pub(crate) fn put_progress(out: &mut Chain, seq: u32) {
    put(out, tag::PROGRESS, &Chain::new(), |out| out.put_u32_le(seq));
}

pub(super) fn put_function(out: &mut Vec<u8>, function: FunctionOffset) {
    out.put_u8(function_kind::OFFSET);
    out.put_i64_le(function.0);
}

/// A frame with the report of a failure may exceed the limit for values by this much.
pub(crate) const REPORT: usize = 256 * 1024;
/// The most bytes of each text in a report.
const TEXT: usize = 64 * 1024;

/// Text in place of a value.
pub(crate) fn put_text(out: &mut Chain, text: &str) {
    codec::put(cut(text, TEXT), out).expect("text can be encoded");
}

/// A panic report in place of a value.
pub(crate) fn put_panic(out: &mut Chain, report: &PanicReport) {
    let location = report
        .location
        .as_ref()
        .map(|at| (cut(at.file(), TEXT), at.line(), at.column()));
    let fields = (
        cut(&report.message, TEXT),
        location,
        report.backtrace.as_deref().map(|text| cut(text, TEXT)),
    );
    codec::put(fields, out).expect("text and numbers can be encoded");
}

/// The text, cut at a character if it has more than `most` bytes.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let mut ends = (0..=most.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

pub(crate) fn get_text(input: &mut Reader) -> Option<String> {
    codec::get(input).ok()
}

pub(crate) fn get_panic(input: &mut Reader) -> Option<PanicReport> {
    type Fields = (String, Option<(String, u32, u32)>, Option<String>);
    let (message, location, backtrace): Fields = codec::get(input).ok()?;
    let location = location.map(|(file, line, column)| Location::new(file, line, column));
    Some(PanicReport {
        message,
        location,
        backtrace,
    })
}

impl ToWorker {
    /// `None` if the frame is invalid.
    pub(crate) fn parse(mut frame: Reader) -> Option<Self> {
        let message = match frame.u8()? {
            tag::HELLO => Self::Hello(get_identity(&mut frame)?),
            tag::SETUP => {
                let worker_id = frame.u64()?;
                let max_frame = frame.u64()?;
                let limits = get_limits(&mut frame)?;
                let captured = get_captured(&mut frame)?;
                let present = frame.u8()? == 1;
                let function = get_function(&mut frame)?;
                let setup = Setup {
                    worker_id,
                    max_frame,
                    limits,
                    captured,
                    initializer: present.then_some(function),
                    descriptors: frame.u32()?,
                    events: frame.u8()?,
                };
                Self::Setup(setup, frame)
            }
            tag::CALL => {
                let head = CallHead {
                    seq: frame.u32()?,
                    base: frame.u32()?,
                    first: frame.u32()?,
                    end: frame.u32()?,
                    task_id: frame.u64()?,
                    timeout: frame.u64()?,
                    function: get_function(&mut frame)?,
                };
                Self::Call(head, frame)
            }
            tag::BULK => Self::Bulk(get_bulk(&mut frame)?),
            tag::DESCRIPTORS => Self::Descriptors(frame.u32()?),
            tag::TRACE => Self::Trace(get_text(&mut frame)?),
            tag::REST => Self::Rest,
            tag::EXIT => Self::Exit,
            _ => return None,
        };
        Some(message)
    }
}

impl FromWorker {
    /// `None` if the frame is invalid.
    pub(crate) fn parse(mut frame: Reader) -> Option<Self> {
        let message = match frame.u8()? {
            tag::GREETING => Self::Greeting(get_identity(&mut frame)?),
            tag::READY => Self::Ready,
            tag::FAILED => match frame.u8()? {
                0 => Self::Failed(Ok(get_text(&mut frame)?)),
                _ => Self::Failed(Err(get_panic(&mut frame)?)),
            },
            tag::OUTCOMES => Self::Outcomes(frame),
            tag::PROGRESS => Self::Progress(frame.u32()?),
            tag::BULK => Self::Bulk(get_bulk(&mut frame)?),
            tag::TAKEN => Self::Taken(frame.u32()?),
            #[cfg(feature = "tracing")]
            tag::EVENT => {
                let has_call = frame.u8()? == 1;
                let call = frame.u32()?;
                Self::Event(has_call.then_some(call), frame)
            }
            tag::MOVED => Self::Moved,
            _ => return None,
        };
        Some(message)
    }
}

fn get_identity(frame: &mut Reader) -> Option<BuildIdentity> {
    if frame.take(MAGIC.len())? != MAGIC[..] {
        return None;
    }
    Some(BuildIdentity {
        version: frame.u16()?,
        build: std::mem::take(frame).into_bytes().to_vec(),
    })
}

pub(super) fn get_function(frame: &mut Reader) -> Option<FunctionOffset> {
    match frame.u8()? {
        function_kind::OFFSET => Some(FunctionOffset(frame.u64()? as i64)),
        _ => None,
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/message.rs"]
mod tests;
