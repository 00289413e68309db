//! An event that a task has written, on its way to the parent's subscriber (feature `tracing`).

use tracing_core::Level;

use super::chain::{Chain, Reader};
use super::codec;

/// What the event says, and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) place: Place,
    /// For each field of the place its value, if it was given one.
    pub(crate) values: Vec<Option<Value>>,
}

/// Where an event is written in the program: it is the same each time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) level: Level,
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) module: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
    pub(crate) fields: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
    Text(String),
    /// What its `Debug` has written.
    Debug(String),
}

/// The levels in the order of their numbers, which are 1 to 5. Where 0 is said, it is none of them.
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

/// What level a number stands for.
pub(crate) fn level(number: u8) -> Option<Level> {
    let place = usize::from(number).checked_sub(1)?;
    LEVELS.get(place).copied()
}

type Head = (
    u8,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<u32>,
    Vec<String>,
);
/// Which of the kinds it is, and the value as a number or as text.
type Encoded = (u8, u64, String);

pub(crate) fn put(out: &mut Chain, event: &Event) {
    let Place {
        level,
        name,
        target,
        module,
        file,
        line,
        fields,
    } = event.place.clone();
    let head: Head = (number(level), name, target, module, file, line, fields);
    let values: Vec<Option<Encoded>> = event
        .values
        .iter()
        .map(|value| Some(encode(value.as_ref()?)))
        .collect();
    codec::put((head, values), out).expect("text and numbers can be encoded");
}

pub(crate) fn get(input: &mut Reader) -> Option<Event> {
    let (head, values): (Head, Vec<Option<Encoded>>) = codec::get(input).ok()?;
    let (number, name, target, module, file, line, fields) = head;
    if fields.len() != values.len() {
        return None;
    }
    let values = values.into_iter().map(|value| match value {
        Some(value) => decode(value).map(Some),
        None => Some(None),
    });
    Some(Event {
        place: Place {
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

fn encode(value: &Value) -> Encoded {
    match value {
        Value::Signed(number) => (0, *number as u64, String::new()),
        Value::Unsigned(number) => (1, *number, String::new()),
        Value::Float(number) => (2, number.to_bits(), String::new()),
        Value::Bool(is_set) => (3, u64::from(*is_set), String::new()),
        Value::Text(text) => (4, 0, text.clone()),
        Value::Debug(text) => (5, 0, text.clone()),
    }
}

fn decode((kind, number, text): Encoded) -> Option<Value> {
    Some(match kind {
        0 => Value::Signed(number as i64),
        1 => Value::Unsigned(number),
        2 => Value::Float(f64::from_bits(number)),
        3 => Value::Bool(number != 0),
        4 => Value::Text(text),
        5 => Value::Debug(text),
        _ => return None,
    })
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/event.rs"]
mod tests;
