//! Waits that have closed a circle. Each has some time to come to an end by itself: another branch of its
//! task may let go of the lock, or whoever was given the guard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

use super::report::Report;
use super::takes::{Circle, Take, Takes};

/// In the order in which their time is up.
#[derive(Debug, Default)]
pub(super) struct Suspects(BTreeMap<(Instant, u64), Suspect>);

#[derive(Debug)]
struct Suspect {
    wait: Take,
    circle: Circle,
    verdict: Arc<Verdict>,
}

/// What becomes of a suspect; the wait itself looks here.
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

    /// Judges the first one. If others hold what it waits for by now, or others wait, somebody has
    /// gone on, and it has as much time again.
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
    /// One that is known at once.
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

    /// The report, once it is there. Until then, its coming wakes `waker`.
    pub(super) fn take(&self, waker: &Waker) -> Option<Report> {
        self.waker.register(waker); // Before the look, lest it comes in between.
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.take()
    }
}
