//! Waits that have closed a cycle. Each has some time to end by itself: another branch of its task, or the task
//! that the guard moved to, may release the lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

use super::report::Report;
use super::takes::{Circle, Take, Takes};

/// Ordered by the end of their time.
#[derive(Debug, Default)]
pub(super) struct Suspects(BTreeMap<(Instant, u64), Suspect>);

#[derive(Debug)]
struct Suspect {
    wait: Take,
    circle: Circle,
    verdict: Arc<Verdict>,
}

/// The decision about a suspect; the wait itself reads it.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    report: Mutex<Option<Report>>,
    waker: AtomicWaker,
}

impl Suspects {
    pub(super) fn add(&mut self, due: Instant, wait: Take, circle: Circle) -> Arc<Verdict> {
        let verdict = Arc::new(Verdict::default());
        let suspect = Suspect {
            wait,
            circle,
            verdict: verdict.clone(),
        };
        self.0.insert((due, wait.number), suspect);
        verdict
    }

    pub(super) fn remove(&mut self, wait: &Take) {
        self.0.retain(|(_, number), _| *number != wait.number);
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.keys().next().map(|(due, _)| *due)
    }

    /// Judges the first suspect. If the cycle has changed since then, some task has made progress, and the suspect gets
    /// the same time again.
    pub(super) fn judge_next(&mut self, takes: &Takes, patience: Duration) -> Option<Arc<Verdict>> {
        let ((due, number), mut suspect) = self.0.pop_first()?;
        let circle = takes.circle(&suspect.wait)?;
        if circle == suspect.circle {
            suspect.verdict.pass(circle.report());
            return Some(suspect.verdict);
        }
        suspect.circle = circle;
        self.0.insert((due + patience, number), suspect);
        None
    }
}

impl Verdict {
    /// A verdict that is passed at once.
    pub(super) fn new(report: Report) -> Self {
        let verdict = Self::default();
        verdict.pass(report);
        verdict
    }

    fn pass(&self, report: Report) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// The report, once there is one. Until then, registers `waker` for it.
    pub(super) fn take(&self, waker: &Waker) -> Option<Report> {
        self.waker.register(waker); // Before the read: otherwise a report in between would not wake the task.
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.take()
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::panic::Location;

    use futures::task::noop_waker;

    use crate::sync::deadlock::flow::Flow;
    use crate::sync::deadlock::takes::Taker;
    use crate::sync::owner::LockOwner;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[track_caller]
    fn taker() -> Taker {
        Taker {
            owner: LockOwner::current(),
            flow: Flow::Thread,
            place: Location::caller(),
        }
    }

    #[test]
    fn a_suspect_whose_circle_has_changed_has_as_much_time_again() {
        let (mut takes, mut suspects) = (Takes::default(), Suspects::default());
        let by = taker();
        let first = takes.hold(by, 1);
        let wait = takes.wait(by, 1);
        let due = Instant::now();
        let circle = takes.circle(&wait).expect("the task waits for itself");
        let verdict = suspects.add(due, wait, circle);
        takes.release(&first);
        takes.hold(by, 1); // Another branch of the task takes it.
        assert!(suspects.judge_next(&takes, PATIENCE).is_none());
        assert_eq!(suspects.next_due(), Some(due + PATIENCE));
        assert!(verdict.take(&noop_waker()).is_none());
        assert!(
            suspects.judge_next(&takes, PATIENCE).is_some(),
            "no task has made progress"
        );
        assert!(verdict.take(&noop_waker()).is_some());
        assert_eq!(suspects.next_due(), None);
    }

    #[test]
    fn a_suspect_whose_lock_is_released_is_none() {
        let (mut takes, mut suspects) = (Takes::default(), Suspects::default());
        let by = taker();
        let hold = takes.hold(by, 1);
        let wait = takes.wait(by, 1);
        let circle = takes.circle(&wait).expect("the task waits for itself");
        let verdict = suspects.add(Instant::now(), wait, circle);
        takes.release(&hold);
        assert!(suspects.judge_next(&takes, PATIENCE).is_none());
        assert!(verdict.take(&noop_waker()).is_none());
        assert_eq!(suspects.next_due(), None);
    }
}
