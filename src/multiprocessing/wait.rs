//! Looking at shared words until they say what one waits for, in a task or in a thread. Who waits listens
//! first, then says so, then looks: nothing that happens after the look goes unheard.

use std::time::{Duration, Instant};

use super::bell::Bell;
use super::waiter::{BlockingWaiter, Waiter};
use super::word::Mark;
use crate::sys::ProcessIdentity;

/// What somebody saw who looked and did not find what he waits for.
#[derive(Debug, Default)]
pub(super) struct SeenHolders {
    /// A process, of those seen before, that has ended.
    pub(super) ended: Option<ProcessIdentity>,
    /// Whose end is a reason to look again.
    watched: Vec<ProcessIdentity>,
}

impl SeenHolders {
    /// The end of `process` is a reason to look again.
    pub(super) fn watch(&mut self, process: ProcessIdentity) {
        if !self.watched.contains(&process) {
            self.watched.push(process);
        }
    }

    /// As [`watch`](Self::watch), for a process as a word has it. If it has ended, gives it instead.
    pub(super) fn watch_word(&mut self, word: u64) -> Option<ProcessIdentity> {
        let process = ProcessIdentity::from_word(word)?;
        if self.ended != Some(process) {
            self.watch(process);
        }
        self.ended.filter(|ended| *ended == process)
    }

    pub(super) fn watched(&self) -> &[ProcessIdentity] {
        &self.watched
    }

    /// As before the next look.
    pub(super) fn renew(&mut self, ended: Option<ProcessIdentity>) {
        self.ended = ended;
        self.watched.clear();
    }
}

/// Looks until `look` gives something: again when the bell has rung, and when a process has ended that it
/// has told to watch.
///
/// # Panics
/// Outside of a tokio runtime, or in one without an I/O driver.
///
/// # Cancel safety
/// Cancel safe: what `look` has given is returned at once.
pub(super) async fn until<T>(
    bell: &Bell,
    mark: Mark<'_>,
    mut look: impl FnMut(&mut SeenHolders) -> Option<T>,
) -> T {
    let (mut waiter, mut seen) = (Waiter::new(bell), SeenHolders::default());
    loop {
        mark.raise();
        if let Some(found) = look(&mut seen) {
            return found;
        }
        let ended = waiter.watch(seen.watched());
        if ended.is_none() {
            waiter.wait().await;
        }
        seen.renew(ended);
    }
}

/// As [`until`], in a thread, and gives up at `end`.
pub(super) fn blocking_until<T>(
    bell: &Bell,
    mark: Mark<'_>,
    end: Option<Instant>,
    mut look: impl FnMut(&mut SeenHolders) -> Option<T>,
) -> Option<T> {
    let (mut waiter, mut seen) = (BlockingWaiter::new(bell), SeenHolders::default());
    loop {
        mark.raise();
        if let Some(found) = look(&mut seen) {
            return Some(found);
        }
        let ended = waiter.watch(seen.watched());
        if ended.is_none() {
            if is_over(end) {
                return None;
            }
            waiter.wait(end);
        }
        seen.renew(ended);
    }
}

/// When a wait that begins now is over, if ever.
pub(super) fn end_of(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

pub(super) fn is_over(end: Option<Instant>) -> bool {
    end.is_some_and(|end| end <= Instant::now())
}
