//! An event that a task wrote, on its way to the parent's subscriber (feature `tracing`).

use super::declare::message;
use super::level::EventLevel;

message! {
    /// The content of the event, and where in the program it was written.
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct LogEvent {
        pub(crate) place: CallsitePlace,
        /// One for each field of the place. `None` if the event has no value for it.
        pub(crate) values: Vec<Option<FieldValue>>,
    }
}

message! {
    /// The place in the program that writes the event.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    pub(crate) struct CallsitePlace {
        pub(crate) level: EventLevel,
        pub(crate) name: String,
        pub(crate) target: String,
        pub(crate) module: Option<String>,
        pub(crate) file: Option<String>,
        pub(crate) line: Option<u32>,
        pub(crate) fields: Vec<String>,
    }
}

message! {
    /// The value of a field.
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) enum FieldValue {
        Signed(number: i64),
        Unsigned(number: u64),
        Float(number: f64),
        Bool(is_set: bool),
        Text(text: String),
        /// The `Debug` output of the value.
        Debug(text: String),
    }
}
