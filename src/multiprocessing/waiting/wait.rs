//! Waits in a task or in a thread until shared words have a wanted state. A waiter listens first, then sets its
//! mark, then looks: so it misses nothing that happens after the look.

use std::time::{Duration, Instant};

use super::bell::Bell;
use super::mark::Mark;
use super::waiter::{BlockingWaiter, MOST_WATCHED, Waiter};
use crate::sys::ProcessIdentity;

/// The processes that a waiter found in the words.
#[derive(Debug, Default)]
pub(crate) struct SeenHolders {
    /// A watched process that has ended.
    pub(crate) ended: Option<ProcessIdentity>,
    /// The processes whose end is a reason to look again.
    watched: Vec<ProcessIdentity>,
}

impl SeenHolders {
    /// Looks again when `process` has ended.
    pub(crate) fn watch(&mut self, process: ProcessIdentity) {
        // With more, the waiter watches them in turn, and looks at intervals.
        let known = &self.watched[..self.watched.len().min(MOST_WATCHED)];
        if !known.contains(&process) {
            self.watched.push(process);
        }
    }

    /// Like [`watch`](Self::watch), for the word of a process. Returns the process if it has ended.
    pub(crate) fn watch_word(&mut self, word: u64) -> Option<ProcessIdentity> {
        let process = ProcessIdentity::from_word(word)?;
        if self.ended != Some(process) {
            self.watch(process);
        }
        self.ended.filter(|ended| *ended == process)
    }

    pub(crate) fn watched(&self) -> &[ProcessIdentity] {
        &self.watched
    }

    /// Resets this for the next look.
    pub(crate) fn renew(&mut self, ended: Option<ProcessIdentity>) {
        self.ended = ended;
        self.watched.clear();
    }
}

/// Calls `look` until it returns a value: again after each ring of the bell, and after the end of each process
/// that `look` watches.
///
/// # Panics
/// Outside of a tokio runtime, or in one without an I/O driver.
///
/// # Cancel safety
/// Cancel safe: a value that `look` returns is returned at once.
pub(crate) async fn until<T>(
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
        match ended {
            None => drop(waiter.wait().await),
            // A process that names one dead process after another must not keep this task busy.
            Some(_) => tokio::task::yield_now().await,
        }
        seen.renew(ended);
    }
}

/// The number of ended processes that a thread finds in a row before it looks at the time.
pub(crate) const MOST_ENDED: usize = 64;

/// Like [`until`], in a thread, and gives up at `end`.
pub(crate) fn blocking_until<T>(
    bell: &Bell,
    mark: Mark<'_>,
    end: Option<Instant>,
    mut look: impl FnMut(&mut SeenHolders) -> Option<T>,
) -> Option<T> {
    let (mut waiter, mut seen) = (BlockingWaiter::new(bell), SeenHolders::default());
    for looks in 0.. {
        mark.raise();
        if let Some(found) = look(&mut seen) {
            return Some(found);
        }
        let ended = waiter.watch(seen.watched());
        // The lock of one that has ended is free, so that deserves a look. But a process may name any number of them.
        if (ended.is_none() || looks >= MOST_ENDED) && is_over(end) {
            return None;
        }
        if ended.is_none() {
            waiter.wait(end);
        }
        seen.renew(ended);
    }
    None
}

/// The deadline of a wait that begins now, if it has one.
pub(crate) fn end_of(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

pub(crate) fn is_over(end: Option<Instant>) -> bool {
    end.is_some_and(|end| end <= Instant::now())
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// A dead process, another one each time: no process has an id of 0.
    fn dead(number: u64) -> ProcessIdentity {
        ProcessIdentity::from_word((number + 1) << 22).expect("it is not 0")
    }

    #[test]
    fn a_thread_that_finds_one_dead_process_after_another_gives_up_in_time() {
        let (bell, word, mut looks) = (Bell::new().expect("a bell"), AtomicU64::new(0), 0);
        let end = end_of(Some(Duration::from_millis(1)));
        let found = blocking_until(&bell, Mark(&word), end, |seen| {
            looks += 1;
            seen.watch(dead(looks));
            None::<()>
        });
        assert!(found.is_none() && looks >= MOST_ENDED as u64);
    }

    #[tokio::test]
    async fn a_task_that_finds_one_dead_process_after_another_lets_others_run() {
        let (bell, word, mut looks) = (Bell::new().expect("a bell"), AtomicU64::new(0), 0);
        let waits = until(&bell, Mark(&word), |seen| {
            looks += 1;
            seen.watch(dead(looks));
            None::<()>
        });
        let other = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = waits => unreachable!("it finds nothing"),
            () = other => {}
        }
        assert!(looks >= 50);
    }

    #[test]
    fn a_mark_of_any_value_is_set_and_answered() {
        for seen in [0, 1, u64::MAX - 2, u64::MAX - 1, u64::MAX] {
            let word = AtomicU64::new(seen);
            let mut rings = 0;
            Mark(&word).raise();
            for _ in 0..2 {
                Mark(&word).answer(|| rings += 1);
            }
            assert_eq!(rings, 1);
            word.store(u64::MAX, std::sync::atomic::Ordering::SeqCst);
            Mark(&word).answer(|| rings += 1);
            assert_eq!(rings, 2);
        }
    }
}
