//! What the program prints: to a copy of its stdout, because an attempt may have no stdout.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::panic::{self, AssertUnwindSafe};

/// How long an attempt may take, in seconds. It limits a hang, not a speed.
const MOST_TRIES: u32 = 100;

pub(crate) struct Report(File);

impl Report {
    pub(crate) fn new() -> Self {
        let stdout = std::io::stdout();
        let copy = stdout.as_fd().try_clone_to_owned();
        Self(copy.expect("a descriptor").into())
    }

    fn say(&self, text: &str) {
        (&self.0).write_all(text.as_bytes()).expect("a reader");
    }

    /// Reports that this system does not permit this user to change the surroundings.
    pub(crate) fn skip(&self, reason: &str) {
        self.say(&format!("skipped: {reason}\n"));
    }

    /// Makes an attempt and reports the result. Returns whether it succeeded.
    pub(crate) fn attempt(&self, name: &str, attempt: impl FnOnce() -> Result<(), String>) -> bool {
        self.say(&format!("{name}: "));
        // SAFETY: it only sets a timer. Nothing handles the signal, so it ends the process.
        unsafe { libc::alarm(MOST_TRIES) };
        let outcome = panic::catch_unwind(AssertUnwindSafe(attempt));
        // SAFETY: it only stops the timer.
        unsafe { libc::alarm(0) };
        let (is_ok, text) = match outcome {
            Ok(Ok(())) => (true, "ok".to_owned()),
            Ok(Err(text)) => (false, format!("error: {}", text.replace('\n', " "))),
            Err(_) => (false, "PANIC".to_owned()),
        };
        self.say(&format!("{text}\n"));
        is_ok
    }
}
