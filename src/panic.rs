//! Runs a function and turns its panic into a report: message, location, backtrace.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::env;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::sync::{Once, OnceLock};

#[cfg(feature = "serde")]
use crate::record::record;

/// A caught panic.
#[derive(Clone)]
pub(crate) struct PanicReport {
    pub(crate) message: String,
    pub(crate) location: Option<Location>,
    pub(crate) backtrace: Option<String>,
}

#[cfg(feature = "serde")]
record!(PanicReport as "PanicReport" { message, location = None, backtrace = None });

/// Where in the source a task panicked; displays as `file:line:column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    file: String,
    line: u32,
    column: u32,
}

#[cfg(feature = "serde")]
record!(Location as "Location" { file, line, column });

impl Location {
    pub(crate) fn new(file: impl Into<String>, line: u32, column: u32) -> Self {
        Self {
            file: file.into(),
            line,
            column,
        }
    }

    /// The source file, as the compiler was given it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, counted from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column, counted from 1.
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Without the backtrace, of which one is long: an error that is unwrapped should be readable.
impl fmt::Debug for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PanicReport")
            .field("message", &self.message)
            .field("location", &self.location.as_ref().map(ToString::to_string))
            .finish_non_exhaustive()
    }
}

impl fmt::Display for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "panicked at {location}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

thread_local! {
    /// How many calls of `catch` are on this thread's stack.
    static WATCHED: Cell<usize> = const { Cell::new(0) };
    /// What the hook saw of the latest panic on this thread.
    static SEEN: RefCell<Option<(Option<Location>, Option<String>)>> = const { RefCell::new(None) };
}

/// Calls `function`; a panic comes back as a report. The process's panic hook runs as usual, so
/// the panic is also printed or logged as the program has it.
pub(crate) fn catch<R>(function: impl FnOnce() -> R) -> Result<R, PanicReport> {
    install_hook();
    WATCHED.set(WATCHED.get() + 1);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(function));
    WATCHED.set(WATCHED.get() - 1);
    outcome.map_err(|payload| {
        let (location, backtrace) = SEEN.take().unwrap_or_default();
        let report = PanicReport {
            message: message_of(payload.as_ref()),
            location,
            backtrace,
        };
        // A payload may panic as it is dropped; the report is what counts.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
        report
    })
}

/// Only the hook is told where a panic was raised, so ours goes in front of the one that is there.
/// A hook set later replaces it: then reports come without location and backtrace.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if WATCHED.get() > 0 {
                SEEN.set(Some(observe(info)));
            }
            next(info);
        }));
    });
}

fn observe(info: &PanicHookInfo<'_>) -> (Option<Location>, Option<String>) {
    let location = info
        .location()
        .map(|at| Location::new(at.file(), at.line(), at.column()));
    let backtrace = backtraces_enabled().then(|| Backtrace::force_capture().to_string());
    (location, backtrace)
}

/// Backtraces are taken unless the program's environment refuses them.
fn backtraces_enabled() -> bool {
    static WANTED: OnceLock<bool> = OnceLock::new();
    *WANTED.get_or_init(|| {
        let setting = env::var_os("RUST_LIB_BACKTRACE").or_else(|| env::var_os("RUST_BACKTRACE"));
        setting.is_none_or(|value| value != "0")
    })
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(the payload is not a string)".to_owned()
    }
}
