//! Shortens the texts of messages. A text of the user may have any length, but a message has a limit.

use crate::panic::{Location, PanicReport};

/// The most bytes of each text in a message.
const TEXT: usize = 64 * 1024;

/// Shortens a text of a message if it is very long.
pub(crate) fn short(mut text: String) -> String {
    text.truncate(char_boundary(&text, TEXT));
    text
}

/// Shortens the texts of a panic report.
pub(super) fn short_report(report: PanicReport) -> PanicReport {
    let location = report.location.map(|at| {
        let (line, column) = (at.line(), at.column());
        Location::new(short(at.file().to_owned()), line, column)
    });
    PanicReport {
        message: short(report.message),
        location,
        backtrace: report.backtrace.map(short),
    }
}

/// The text, cut at a character if it has more than `most` bytes.
#[cfg(feature = "tracing")]
pub(crate) fn cut(text: &str, most: usize) -> String {
    text[..char_boundary(text, most)].to_owned()
}

/// The last boundary of a character in the first `most` bytes.
fn char_boundary(text: &str, most: usize) -> usize {
    let mut ends = (0..=most.min(text.len())).rev();
    ends.find(|end| text.is_char_boundary(*end)).unwrap_or(0)
}
