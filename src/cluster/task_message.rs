//! A task as it is sent to a worker: headers, which any NATS tool shows, and the encoded arguments as the body. No
//! header contains an address in the program or a time of day, because builds and clocks differ.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;

use super::malformed::{Malformed, WIRE_VERSION, within};

const VERSION: &str = "Cf-V";
const FUNCTION: &str = "Cf-Fn";
const SHAPE: &str = "Cf-Shape";
const ITEMS: &str = "Cf-Items";
const REPLY: &str = "Cf-Reply";
const ID: &str = "Cf-Id";
const NAME: &str = "Cf-Name";
const TIMEOUT: &str = "Cf-Timeout";
const GRACE: &str = "Cf-Grace";
const RETRIES: &str = "Cf-Retries";
const ATTEMPT: &str = "Cf-Attempt";
const TRACEPARENT: &str = "traceparent";
const OBJECT: &str = "Cf-Object";
const SIZE: &str = "Cf-Size";

/// The most bytes of the name of a function or a task.
pub(crate) const MOST_NAME: usize = 1024;
/// The most items of a message. Limits the memory that a small message can take in a worker.
pub(crate) const MOST_MESSAGE_ITEMS: u32 = 1 << 20;
const MOST_SHAPE: usize = 4096;
const MOST_TRACEPARENT: usize = 256;
const MOST_OBJECT: usize = 256;

/// A task as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskMessage {
    pub(crate) function: String,
    /// The types of its arguments and its result.
    pub(crate) shape: String,
    /// The number of items in the payload. They are numbered from 0.
    pub(crate) items: u32,
    pub(crate) reply: ReplyTo,
    /// The number of its handle in the client.
    pub(crate) id: u64,
    /// `None` if the user has not named it.
    pub(crate) name: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace_period: Duration,
    pub(crate) retries: u32,
    /// The number of its first attempt. The caller may have made some before, as other tasks.
    pub(crate) first_attempt: u32,
    pub(crate) traceparent: Option<String>,
    pub(crate) payload: TaskPayload,
}

/// The encoded items of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TaskPayload {
    /// The body of the message.
    Inline(Bytes),
    /// In the payload stream, because they do not fit in a message.
    Object { name: String, size: u64 },
}

/// Where the outcome of a task goes: the last two tokens of its subject, which no other task has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ReplyTo {
    /// The client, or an id that the user chose. Any text, since it is escaped in a subject.
    pub(crate) client: Box<str>,
    pub(crate) number: u64,
}

/// The most bytes of the name of a client.
pub(crate) const MOST_CLIENT: usize = 512;

impl fmt::Display for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.client, self.number)
    }
}

impl FromStr for ReplyTo {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let parts = text.rsplit_once('.');
        let (client, number) =
            parts.ok_or_else(|| Malformed::invalid(REPLY, "it is not a client and a number"))?;
        Ok(Self {
            client: within(REPLY, client.to_owned(), MOST_CLIENT)?.into(),
            number: number_of(REPLY, number)?,
        })
    }
}

impl TaskMessage {
    /// The headers, as names and values of visible ASCII. Headers with a default value are left out.
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::with_capacity(12);
        let mut put = |name, value| headers.push((name, value));
        put(VERSION, WIRE_VERSION.to_string());
        put(FUNCTION, visible(&self.function));
        put(SHAPE, visible(&self.shape));
        put(REPLY, visible(&self.reply.to_string()));
        put(ID, self.id.to_string());
        if self.items != 1 {
            put(ITEMS, self.items.to_string());
        }
        if let Some(name) = &self.name {
            put(NAME, visible(name));
        }
        if let Some(timeout) = self.timeout {
            put(TIMEOUT, nanos(timeout).to_string());
        }
        if !self.grace_period.is_zero() {
            put(GRACE, nanos(self.grace_period).to_string());
        }
        if self.retries > 0 {
            put(RETRIES, self.retries.to_string());
        }
        if self.first_attempt != 1 {
            put(ATTEMPT, self.first_attempt.to_string());
        }
        if let Some(traceparent) = &self.traceparent {
            put(TRACEPARENT, visible(traceparent));
        }
        if let TaskPayload::Object { name, size } = &self.payload {
            put(OBJECT, visible(name));
            put(SIZE, size.to_string());
        }
        headers
    }

    /// The body of the message.
    pub(crate) fn body(&self) -> Bytes {
        match &self.payload {
            TaskPayload::Inline(bytes) => bytes.clone(),
            TaskPayload::Object { .. } => Bytes::new(),
        }
    }

    /// Reads where the outcome of a message goes, even if nothing else can be read.
    pub(crate) fn read_reply<'a>(
        header: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Option<ReplyTo> {
        reply_of(header(REPLY)?).ok()
    }

    /// Reads a message: `header` returns the value of a header.
    pub(crate) fn read<'a>(
        header: impl Fn(&'static str) -> Option<&'a str>,
        body: Bytes,
    ) -> Result<Self, Malformed> {
        let needed = |name| header(name).ok_or(Malformed::Missing { field: name });
        let number = |name| header(name).map(|text| number_of(name, text)).transpose();
        let text = |name, most| {
            let text = header(name).map(|text| text_of(name, text, most));
            text.transpose()
        };
        let missing = |field| Malformed::Missing { field };
        let version = needed(VERSION)?;
        if version.parse() != Ok(WIRE_VERSION) {
            let theirs = version.chars().take(20).collect();
            return Err(Malformed::Version { theirs });
        }
        let items = number(ITEMS)?.unwrap_or(1);
        let payload = match text(OBJECT, MOST_OBJECT)? {
            Some(name) => TaskPayload::Object {
                name,
                size: number(SIZE)?.ok_or(Malformed::Missing { field: SIZE })?,
            },
            None => TaskPayload::Inline(body),
        };
        Ok(Self {
            function: text(FUNCTION, MOST_NAME)?.ok_or(missing(FUNCTION))?,
            shape: text(SHAPE, MOST_SHAPE)?.ok_or(missing(SHAPE))?,
            items: match u32::try_from(items) {
                Ok(items @ 1..=MOST_MESSAGE_ITEMS) => items,
                _ => {
                    return Err(Malformed::invalid(
                        ITEMS,
                        "no task has that number of items",
                    ));
                }
            },
            reply: reply_of(needed(REPLY)?)?,
            id: number(ID)?.ok_or(missing(ID))?,
            name: text(NAME, MOST_NAME)?,
            timeout: number(TIMEOUT)?.map(Duration::from_nanos),
            grace_period: Duration::from_nanos(number(GRACE)?.unwrap_or(0)),
            retries: u32::try_from(number(RETRIES)?.unwrap_or(0)).unwrap_or(u32::MAX),
            first_attempt: u32::try_from(number(ATTEMPT)?.unwrap_or(1)).unwrap_or(u32::MAX),
            traceparent: text(TRACEPARENT, MOST_TRACEPARENT)?,
            payload,
        })
    }
}

/// The task whose header [`REPLY`] is this one.
fn reply_of(header: &str) -> Result<ReplyTo, Malformed> {
    text_of(REPLY, header, MOST_CLIENT + 21)?.parse()
}

/// Whether the header [`REPLY`] of a message is this one.
pub(crate) fn is_reply(header: &str, reply: &ReplyTo) -> bool {
    header == visible(&reply.to_string())
}

/// A time limit as a number. A limit of more than 584 years is no limit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Accepts only digits: no client writes a sign or a space.
fn number_of(field: &'static str, text: &str) -> Result<u64, Malformed> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| Malformed::invalid(field, "it is not a number of 64 bits"))
}

/// Escapes characters that a header cannot contain as `%XX`.
fn visible(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    if text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match is_plain(byte) {
            true => visible.push(byte.into()),
            false => {
                visible.push('%');
                visible.push(DIGITS[usize::from(byte >> 4)].into());
                visible.push(DIGITS[usize::from(byte & 15)].into());
            }
        }
    }
    visible
}

/// Decodes the output of `visible`.
fn text_of(field: &'static str, text: &str, most: usize) -> Result<String, Malformed> {
    let text = within(field, text.to_owned(), 3 * most)?; // Checked before it is decoded.
    if !text.contains('%') {
        return within(field, text, most);
    }
    let invalid = || Malformed::invalid(field, "its escapes are not those of a text");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = digit().zip(digit()).ok_or_else(invalid)?;
                (high * 16 + low) as u8
            }
            _ => byte,
        });
    }
    within(
        field,
        String::from_utf8(bytes).map_err(|_| invalid())?,
        most,
    )
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/cluster/task_message.rs"]
mod tests;
