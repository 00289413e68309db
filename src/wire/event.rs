//! An event that a task wrote, on its way to the parent's subscriber (feature `tracing`).

use tracing_core::Level;

use super::chain::{Chain, Reader};
use super::codec;

/// The content of the event, and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogEvent {
    pub(crate) place: CallsitePlace,
    /// One for each field of the place. `None` if the event has no value for it.
    pub(crate) values: Vec<Option<FieldValue>>,
}

/// The place in the program that writes the event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallsitePlace {
    pub(crate) level: Level,
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) module: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
    pub(crate) fields: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FieldValue {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
    Text(String),
    /// The output of its `Debug`.
    Debug(String),
}

/// The levels in the order of their numbers, 1 to 5. The number 0 is none of them.
const LEVELS: [Level; 5] = [
    Level::ERROR,
    Level::WARN,
    Level::INFO,
    Level::DEBUG,
    Level::TRACE,
];

/// A level as a number.
pub(crate) fn number(level: Level) -> u8 {
    let place = LEVELS.into_iter().position(|other| other == level);
    place.map_or(0, |place| place as u8 + 1)
}

/// The level of a number.
pub(crate) fn level(number: u8) -> Option<Level> {
    let place = usize::from(number).checked_sub(1)?;
    LEVELS.get(place).copied()
}

type EventHead = (
    u8,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<u32>,
    Vec<String>,
);
/// The kind of the value, and the value as a number or as text.
type Encoded = (u8, u64, String);

pub(crate) fn put(out: &mut Chain, event: &LogEvent) {
    let CallsitePlace {
        level,
        name,
        target,
        module,
        file,
        line,
        fields,
    } = event.place.clone();
    let head: EventHead = (number(level), name, target, module, file, line, fields);
    let values: Vec<Option<Encoded>> = event
        .values
        .iter()
        .map(|value| Some(encode(value.as_ref()?)))
        .collect();
    codec::put((head, values), out).expect("text and numbers can be encoded");
}

pub(crate) fn get(input: &mut Reader) -> Option<LogEvent> {
    let (head, values): (EventHead, Vec<Option<Encoded>>) = codec::get(input).ok()?;
    let (number, name, target, module, file, line, fields) = head;
    if fields.len() != values.len() {
        return None;
    }
    let values = values.into_iter().map(|value| match value {
        Some(value) => decode(value).map(Some),
        None => Some(None),
    });
    Some(LogEvent {
        place: CallsitePlace {
            level: level(number)?,
            name,
            target,
            module,
            file,
            line,
            fields,
        },
        values: values.collect::<Option<_>>()?,
    })
}

fn encode(value: &FieldValue) -> Encoded {
    match value {
        FieldValue::Signed(number) => (0, *number as u64, String::new()),
        FieldValue::Unsigned(number) => (1, *number, String::new()),
        FieldValue::Float(number) => (2, number.to_bits(), String::new()),
        FieldValue::Bool(is_set) => (3, u64::from(*is_set), String::new()),
        FieldValue::Text(text) => (4, 0, text.clone()),
        FieldValue::Debug(text) => (5, 0, text.clone()),
    }
}

fn decode((kind, number, text): Encoded) -> Option<FieldValue> {
    Some(match kind {
        0 => FieldValue::Signed(number as i64),
        1 => FieldValue::Unsigned(number),
        2 => FieldValue::Float(f64::from_bits(number)),
        3 => FieldValue::Bool(number != 0),
        4 => FieldValue::Text(text),
        5 => FieldValue::Debug(text),
        _ => return None,
    })
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/event.rs"]
mod tests;
