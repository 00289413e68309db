//! How important an event is that a task writes. A parent names the most verbose level that its subscriber accepts.

#[cfg(feature = "tracing")]
use tracing_core::Level;

use super::declare::message;

message! {
    /// The level of an event that a task writes. The most important comes first.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub(crate) enum EventLevel {
        Error,
        Warn,
        Info,
        Debug,
        Trace,
    }
}

#[cfg(feature = "tracing")]
impl From<Level> for EventLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::TRACE => Self::Trace,
        }
    }
}

#[cfg(feature = "tracing")]
impl From<EventLevel> for Level {
    fn from(level: EventLevel) -> Self {
        match level {
            EventLevel::Error => Self::ERROR,
            EventLevel::Warn => Self::WARN,
            EventLevel::Info => Self::INFO,
            EventLevel::Debug => Self::DEBUG,
            EventLevel::Trace => Self::TRACE,
        }
    }
}

#[cfg(all(test, feature = "tracing", not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_the_same_on_both_sides() {
        for level in [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ] {
            assert_eq!(Level::from(EventLevel::from(level)), level);
        }
    }
}
