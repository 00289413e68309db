//! Whether a worker serves, drains or ends.

use std::time::{Duration, Instant};

/// The time limit for storing the outcomes of tasks that were ended.
const END_LIMIT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServingPhase {
    /// It takes tasks.
    Serving,
    /// It takes no tasks, and finishes those that run, until the deadline.
    Draining { until: Option<Instant> },
    /// It has ended the running tasks, and stores their outcomes until the deadline.
    Ending { until: Instant },
    /// It waits for nothing.
    Over,
}

impl ServingPhase {
    /// The worker is to end once the running tasks have ended, or after `limit`.
    pub(super) fn drain(self, limit: Option<Duration>, now: Instant) -> Self {
        match self {
            Self::Serving => Self::Draining {
                until: limit.and_then(|limit| now.checked_add(limit)),
            },
            later => later,
        }
    }

    /// The worker is to end at once.
    pub(super) fn end(self, now: Instant) -> Self {
        match self {
            Self::Serving | Self::Draining { .. } => Self::Ending {
                until: now + END_LIMIT,
            },
            later => later,
        }
    }

    /// Moves to the next phase if the deadline of this one is over.
    pub(super) fn on_deadline(self, now: Instant) -> Self {
        match self {
            Self::Draining { until: Some(until) } if until <= now => self.end(now),
            Self::Ending { until } if until <= now => Self::Over,
            same => same,
        }
    }

    /// The deadline of this phase.
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Self::Draining { until } => until,
            Self::Ending { until } => Some(until),
            Self::Serving | Self::Over => None,
        }
    }

    pub(super) fn is_draining(self) -> bool {
        self != Self::Serving
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_drain_ends_at_its_deadline_and_the_worker_at_a_later_one() {
        let now = Instant::now();
        let limit = Duration::from_secs(3);
        let draining = ServingPhase::Serving.drain(Some(limit), now);
        assert_eq!(draining.until(), Some(now + limit));
        assert_eq!(draining.on_deadline(now), draining);
        let ending = draining.on_deadline(now + limit);
        let until = now + limit + END_LIMIT;
        assert_eq!(ending, ServingPhase::Ending { until });
        assert_eq!(ending.on_deadline(until), ServingPhase::Over);
    }

    #[test]
    fn a_drain_without_a_deadline_waits_until_it_is_to_end_at_once() {
        let now = Instant::now();
        let draining = ServingPhase::Serving.drain(None, now);
        assert_eq!(draining.until(), None);
        assert!(draining.is_draining());
        assert!(matches!(draining.end(now), ServingPhase::Ending { .. }));
    }

    #[test]
    fn no_phase_returns_to_an_earlier_one() {
        let now = Instant::now();
        let ending = ServingPhase::Serving.end(now);
        assert_eq!(ending.drain(None, now), ending);
        assert_eq!(ending.end(now + END_LIMIT / 2), ending);
        assert_eq!(ServingPhase::Over.end(now), ServingPhase::Over);
    }
}
