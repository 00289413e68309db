//! Waits until shared words have a wanted state. A wait repeats a step. The step checks the words, and returns a value
//! or the processes to watch.
//!
//! A step sets the mark before it checks, and the waiter already listens. So it misses no change after the check.

use super::driver::Driver;
use super::waiter::{MOST_WATCHED, Waiter, Woken};
use crate::sys::ProcessIdentity;

/// The number of ended processes after which a thread checks the time.
const MOST_ENDED: usize = 64;

/// The processes whose end wakes a waiter, besides the bell. A step finds them in the words.
#[derive(Debug, Default)]
pub(crate) struct WatchedProcesses {
    /// A watched process that has ended.
    pub(crate) ended: Option<ProcessIdentity>,
    /// Whether this waiter watches processes for all tasks of its runtime in this wait, so that the others need not.
    pub(crate) leads: bool,
    /// The processes whose end is a reason to check again.
    processes: Vec<ProcessIdentity>,
    /// How many of them have ended.
    ends: usize,
}

impl WatchedProcesses {
    /// Checks again when `process` has ended.
    pub(crate) fn watch(&mut self, process: ProcessIdentity) {
        // If there are more, the waiter watches them in turn, and checks at intervals.
        let known = &self.processes[..self.processes.len().min(MOST_WATCHED)];
        if !known.contains(&process) {
            self.processes.push(process);
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

    pub(crate) fn all(&self) -> &[ProcessIdentity] {
        &self.processes
    }

    /// Resets this for the next check.
    pub(crate) fn renew(&mut self, ended: Option<ProcessIdentity>) {
        self.ended = ended;
        self.processes.clear();
    }

    /// Waits for a ring, or for the end of a watched process. `None` if time is up.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn wait<D: Driver>(
        &mut self,
        driver: &D,
        waiter: &mut D::Waiter,
    ) -> Option<Woken> {
        let ended = waiter.watch(&self.processes);
        self.ends += usize::from(ended.is_some());
        // What an ended process held is free now, so a check is worthwhile. But a process may name any number of ended
        // ones.
        if (ended.is_none() || self.ends > MOST_ENDED) && driver.is_over() {
            return None;
        }
        match ended {
            None => Some(waiter.wait(driver.end()).await),
            Some(_) => {
                // A process that names one dead process after another must not keep this task busy.
                driver.pass().await;
                Some(Woken::Ended(ended))
            }
        }
    }
}

/// Repeats `step` until it returns a value: after each ring of the bell, and after the end of each process that the
/// step watches. `None` if time is up.
///
/// # Cancel safety
/// Cancel safe: a value that `step` returns is returned at once.
pub(crate) async fn wait_for<D: Driver, T>(
    driver: &D,
    waiter: &mut D::Waiter,
    mut step: impl FnMut(&mut WatchedProcesses) -> Option<T>,
) -> Option<T> {
    let mut watched = WatchedProcesses::default();
    loop {
        if let Some(found) = step(&mut watched) {
            return Some(found);
        }
        let woken = watched.wait(driver, waiter).await?;
        watched.renew(woken.ended());
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::super::bell::Bell;
    use super::super::driver::{InTask, InThread};
    use super::super::mark::Mark;
    use super::super::waiter::{TaskWaiter, ThreadWaiter};
    use super::*;

    /// A dead process, a different one for each number: no process has an id of 0.
    fn dead(number: usize) -> ProcessIdentity {
        ProcessIdentity::from_word((number as u64 + 1) << 22).expect("it is not 0")
    }

    #[test]
    fn a_thread_that_finds_one_dead_process_after_another_gives_up_in_time() {
        let (bell, mut checks) = (Bell::new().expect("a bell"), 0);
        let driver = InThread::within(Some(Duration::from_millis(1)));
        let mut waiter = ThreadWaiter::new(&bell);
        let found = InThread::run(wait_for(&driver, &mut waiter, |watched| {
            checks += 1;
            watched.watch(dead(checks));
            None::<()>
        }));
        assert!(found.is_none() && checks >= MOST_ENDED);
    }

    #[tokio::test]
    async fn a_task_that_finds_one_dead_process_after_another_lets_others_run() {
        let (bell, mut checks) = (Bell::new().expect("a bell"), 0);
        let mut waiter = TaskWaiter::new(&bell);
        let waits = wait_for(&InTask, &mut waiter, |watched| {
            checks += 1;
            watched.watch(dead(checks));
            None::<()>
        });
        let other = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = waits => unreachable!("no step finds anything"),
            () = other => {}
        }
        assert!(checks >= 50);
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
            word.store(u64::MAX, Ordering::SeqCst);
            Mark(&word).answer(|| rings += 1);
            assert_eq!(rings, 2);
        }
    }
}
