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

/// The place in the source where a task panicked. Displays as `file:line:column`.
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

    /// Returns the source file, as the compiler was given it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the line, counted from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Returns the column, counted from 1.
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Leaves out the backtrace, which is long: the message of an `unwrap` should be readable.
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
    /// Whether a panic on this thread is expected, so that the hook prints nothing.
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// What the hook recorded of the latest panic on this thread.
    static SEEN: RefCell<Option<(Option<Location>, Option<String>)>> = const { RefCell::new(None) };
}

/// Calls `function` and returns its panic as a report. The process's panic hook runs as usual, so the
/// program prints or logs the panic too.
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
        drop_payload(payload);
        report
    })
}

/// Runs code of the user that has no result. Its panic ends here, after the panic hook has run.
pub(crate) fn contain_panic(code: impl FnOnce()) {
    if let Err(payload) = std::panic::catch_unwind(AssertUnwindSafe(code)) {
        drop_payload(payload);
    }
}

/// Drops a value of the user. A panic of its destructor ends here.
pub(crate) fn contain_drop<T>(value: T) {
    if std::mem::needs_drop::<T>() {
        contain_panic(|| drop(value));
    }
}

/// Drops values of the user one by one, so that several destructors may panic. (A second panic while the
/// first one unwinds would abort the process.)
pub(crate) fn contain_drops<T>(values: impl IntoIterator<Item = T>) {
    if std::mem::needs_drop::<T>() {
        values.into_iter().for_each(contain_drop);
    }
}

/// Drops a panic's payload, whose own destructor may panic with another payload, and so on.
fn drop_payload(payload: Box<dyn Any + Send>) {
    let mut payload = Some(payload);
    // A payload whose drop panics with another such payload, without end, is leaked.
    for _ in 0..MOST_PAYLOADS {
        let Some(value) = payload.take() else { return };
        payload = std::panic::catch_unwind(AssertUnwindSafe(|| drop(value))).err();
    }
    std::mem::forget(payload);
}

/// How many payloads of one panic are dropped.
const MOST_PAYLOADS: usize = 8;

/// A value of the user. Dropping it contains a panic of the value's destructor.
pub(crate) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    pub(crate) fn get(&self) -> &T {
        self.0.as_ref().expect("only the drop takes it")
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        contain_drop(self.0.take());
    }
}

/// Calls `function` and swallows its panic: nothing is printed. For calls into libraries that report a failure only
/// by a panic. If the program has replaced this crate's hook, its own hook runs.
pub(crate) fn quietly<R>(function: impl FnOnce() -> R) -> Result<R, Panicked> {
    install_hook();
    QUIET.set(true);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(function));
    QUIET.set(false);
    outcome.map_err(|_| Panicked)
}

/// A call panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Only a hook sees where a panic happened, so ours runs before the existing one. A hook set later
/// replaces it; then reports have no location and no backtrace.
#[inline]
fn install_hook() {
    static INSTALLED: Once = Once::new();
    if !INSTALLED.is_completed() {
        install_hook_once(&INSTALLED);
    }
}

#[cold]
fn install_hook_once(installed: &Once) {
    installed.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                return;
            }
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

/// Whether to take backtraces: unless the environment disables them.
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
