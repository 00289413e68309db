//! When workers may start, and how the pool reacts when a start fails or a worker dies unused. Decided from
//! counts and the clock alone: this file has no lock, no timer and no process.

use std::time::{Duration, Instant};

use crate::executor::error::InitFailure;
use crate::process::start::FailureKind;

/// The number of consecutive failed starts after which a place is given up.
const MOST_FAILURES: u32 = 3;
/// The pause after the first failure. It doubles with each further one.
const BACK_OFF: Duration = Duration::from_millis(50);
/// The maximal number of doublings of the pause.
const MOST_DOUBLINGS: u32 = 10;

/// The history of a pool's starts, as far as it affects the next ones.
#[derive(Debug, Default)]
pub(super) struct Starts {
    permission: Permission,
    /// Set after a place was given up. Before this instant, no worker starts in addition to others.
    delayed_until: Option<Instant>,
    /// The number of failed starts since the last successful one. Refusals of the system to several starts at the same
    /// time count as one.
    failures: u32,
    /// Until this instant, another refusal of the system does not count.
    refused_until: Option<Instant>,
    last_failure: Option<InitFailure>,
    unused: Option<UnusedDeaths>,
    /// How often a place was given up, or kept after its tries had failed, since the pool was created.
    missed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Permission {
    /// Workers start when the pool wants them.
    #[default]
    Granted,
    /// No worker could be started. The next one starts only for new work.
    GaveUp,
    /// Every start would fail in the same way. None starts before `warm_up`.
    Broken,
}

/// The workers that died unused since a worker last did some work.
#[derive(Debug)]
struct UnusedDeaths {
    count: u32,
    /// No worker starts before this instant.
    starts_after: Instant,
}

/// A failed start, and the pool at that moment.
#[derive(Debug)]
pub(super) struct FailedStart {
    pub(super) failure: InitFailure,
    pub(super) kind: FailureKind,
    /// The number of other places: ready, starting or ending.
    pub(super) others: usize,
    /// Whether any other worker is ready.
    pub(super) works: bool,
    /// Whether the pool keeps a worker in this place, even without work.
    pub(super) is_kept: bool,
    /// Whether the pool is open or has waiting calls.
    pub(super) is_needed: bool,
}

/// The pool's reaction to a failed start.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum StartVerdict {
    /// The same place tries again after this pause.
    TryAgain(Duration),
    /// All tries of the place have failed. It tries again after this pause, since the pool keeps its worker.
    KeepTrying(Duration),
    /// The place is given up. After this pause, the pool checks whether it wants another worker.
    Release(Duration),
    /// The place is given up, and no other worker will run the waiting calls: they fail.
    FailWaiting,
}

/// Which workers may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) struct StartPermit {
    /// Whether also the workers may start that the pool keeps without work.
    pub(super) for_kept: bool,
    /// Whether only the first worker of a pool without workers may start.
    pub(super) first_only: bool,
}

impl Starts {
    /// Which workers may start now, if any.
    pub(super) fn permit(&self, now: Instant) -> Option<StartPermit> {
        (self.permission != Permission::Broken).then(|| StartPermit {
            for_kept: self.permission == Permission::Granted,
            first_only: self.delayed_until.is_some_and(|until| now < until),
        })
    }

    /// Records a failed start.
    pub(super) fn failed(&mut self, start: FailedStart, now: Instant) -> StartVerdict {
        if self.counts(start.kind, now) {
            self.failures += 1;
        }
        let verdict = self.verdict(&start);
        self.missed += u64::from(!matches!(verdict, StartVerdict::TryAgain(_)));
        match verdict {
            StartVerdict::TryAgain(_) | StartVerdict::KeepTrying(_) => {}
            StartVerdict::Release(pause) => self.delayed_until = Some(now + pause),
            StartVerdict::FailWaiting => {
                (self.failures, self.refused_until) = (0, None);
                self.permission = match start.kind == FailureKind::Permanent || self.is_broken() {
                    true => Permission::Broken,
                    false => Permission::GaveUp,
                };
            }
        }
        self.last_failure = Some(start.failure);
        verdict
    }

    /// Whether this is another failure, rather than the last one again. Several starts at the same time compete for
    /// what the system has left. So refusals count once in the pause that follows the first.
    fn counts(&mut self, kind: FailureKind, now: Instant) -> bool {
        if kind != FailureKind::Refused {
            return true;
        }
        if self.refused_until.is_some_and(|until| now < until) {
            return false;
        }
        self.refused_until = Some(now + pause_after(self.failures));
        true
    }

    fn verdict(&self, start: &FailedStart) -> StartVerdict {
        if self.failures < MOST_FAILURES && !self.is_broken() && start.is_needed {
            return StartVerdict::TryAgain(pause_after(self.failures - 1));
        }
        let is_hopeless = !start.works && self.failures >= most(start.others);
        if start.others == 0 || is_hopeless {
            return StartVerdict::FailWaiting;
        }
        let pause = pause_after(self.failures);
        if start.works && start.is_kept && start.is_needed {
            StartVerdict::KeepTrying(pause)
        } else {
            StartVerdict::Release(pause)
        }
    }

    /// Records that a start ended early, because its runtime has ended or the pool is closed. If the pool is broken,
    /// the reason for that stays its last failure.
    pub(super) fn cut_off(&mut self) {
        self.missed += 1;
        if self.is_broken() {
            return;
        }
        self.last_failure = Some(InitFailure {
            reason: "the system has no thread or descriptor left to start it with; raise the limits of this process \
                     (`ulimit -n`, `ulimit -u`), or permit clone3 if a filter (seccomp) denies it"
                .to_owned(),
            ..InitFailure::default()
        });
    }

    /// Records that a worker is ready.
    pub(super) fn ready(&mut self) {
        (self.failures, self.refused_until) = (0, None);
        self.permission = Permission::Granted;
        self.delayed_until = None;
    }

    /// Records that a worker did some work.
    pub(super) fn worked(&mut self) {
        self.unused = None;
    }

    /// Records that a worker died before it did any work.
    pub(super) fn died_unused(&mut self, now: Instant) {
        let before = self.unused.as_ref().map_or(0, |deaths| deaths.count);
        self.unused = Some(UnusedDeaths {
            count: before + 1,
            starts_after: now + pause_after(before),
        });
    }

    /// The instant before which no worker starts, because workers have died unused.
    pub(super) fn starts_after(&self) -> Option<Instant> {
        self.unused.as_ref().map(|deaths| deaths.starts_after)
    }

    /// Records that new work arrived.
    pub(super) fn work_arrived(&mut self) {
        if self.permission == Permission::GaveUp {
            self.permission = Permission::Granted;
        }
    }

    /// Resets the history, because `warm_up` tries everything again.
    pub(super) fn warm_up(&mut self) {
        self.ready();
    }

    /// Why calls are refused, if they are: the pool is broken.
    pub(super) fn refusal(&self) -> Option<InitFailure> {
        self.is_broken().then(|| self.last_failure())
    }

    fn is_broken(&self) -> bool {
        self.permission == Permission::Broken
    }

    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    /// Why a start last failed.
    pub(super) fn last_failure(&self) -> InitFailure {
        InitFailure {
            broken: self.is_broken(),
            ..self.last_failure.clone().unwrap_or_default()
        }
    }
}

/// The number of consecutive failures after which the pool expects no further worker, while `others` other places are
/// taken.
fn most(others: usize) -> u32 {
    let places = u32::try_from(others).unwrap_or(u32::MAX).saturating_add(2);
    MOST_FAILURES.saturating_mul(places)
}

/// The pause after this number of failures.
pub(super) fn pause_after(failures: u32) -> Duration {
    BACK_OFF * 2_u32.pow(failures.min(MOST_DOUBLINGS))
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/process/pool/starts.rs"]
mod tests;
