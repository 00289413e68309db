//! How a worker claims a task whose record another worker may have written. A pure decision from the record, the
//! answers and the clock.
//!
//! ```text
//!              claim it, expecting no record
//!              │ stored                 │ conflict: read the record
//!              ▼                        ▼
//!             run     ended: finish ◄── record ──► a claim: ask its worker ──► runs it: give back
//!              ▲                                                   │
//!              └───── claim again, if a retry is left ◄──────── is lost ──► otherwise: write the loss
//! ```

use std::time::{Duration, Instant};

use crate::cluster::swap::Seq;

/// How long a worker may take to reconnect. It is twice the longest pause between two attempts. If this program lost
/// its connection too, a worker without a subscription counts as lost only after this time.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// How long to wait before the next question.
const PAUSE: Duration = Duration::from_millis(250);

/// A delivery of a task that is not claimed yet.
#[derive(Clone, Debug)]
pub(super) struct ClaimRules {
    /// The server has not delivered the task before, or does not remember it.
    is_first: bool,
    retries: u32,
    lost_after: Duration,
    /// When the worker of the claim was first asked, and about which claim.
    asked: Option<(Seq, Instant)>,
    /// A claim that its worker does not know.
    unknown: Option<Seq>,
}

/// A record, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No record: it was never written, or the server has removed it.
    Nothing,
    /// An outcome, or a cancel.
    Ended,
    /// The record of a worker of another version.
    Foreign,
    Claimed {
        seq: Seq,
        attempt: u32,
        worker: String,
    },
    /// A worker released its claim before the task started. `attempt`: the number of the next claim.
    Released { seq: Seq, attempt: u32 },
}

/// What the worker of a claim answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Running,
    Unknown,
    /// Nothing subscribes to its subject: its program has ended, or is not connected.
    NoResponder,
    /// No answer in time: its program or its machine is stopped.
    Silence,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClaimStep {
    /// Claim the task: replace the record `expected`, 0 for none.
    Claim { expected: Seq, attempt: u32 },
    /// The task has ended: remove it from the stream.
    Finish,
    /// Another worker runs it: let the server deliver it again later.
    GiveBack,
    /// Ask the worker of the claim, after a pause.
    Ask { worker: String, after: Duration },
    /// Read the record again.
    Read,
    /// Write that the worker of the claim was lost, over the claim.
    WriteLoss { expected: Seq, attempt: u32 },
}

impl Found {
    /// Whether it is the record `seq`, 0 for none.
    pub(super) fn is(&self, expected: Seq) -> bool {
        match self {
            Self::Nothing => expected == 0,
            Self::Claimed { seq, .. } | Self::Released { seq, .. } => *seq == expected,
            Self::Ended | Self::Foreign => false,
        }
    }
}

impl ClaimRules {
    /// `delivered`: how often the server has delivered the task, by its own count.
    pub(super) fn new(delivered: u64, retries: u32, lost_after: Duration) -> Self {
        Self {
            is_first: delivered <= 1,
            retries,
            lost_after,
            asked: None,
            unknown: None,
        }
    }

    /// The first step.
    pub(super) fn first_step(&self) -> ClaimStep {
        ClaimStep::Claim {
            expected: 0,
            attempt: 1,
        }
    }

    /// The record was read.
    pub(super) fn on_record(&mut self, found: &Found, now: Instant) -> ClaimStep {
        let (seq, attempt, worker) = match found {
            Found::Nothing => return self.first_step(),
            Found::Ended => return ClaimStep::Finish,
            Found::Foreign => return ClaimStep::GiveBack,
            Found::Released { seq, attempt } => {
                return ClaimStep::Claim {
                    expected: *seq,
                    attempt: *attempt,
                };
            }
            Found::Claimed {
                seq,
                attempt,
                worker,
            } => (*seq, *attempt, worker),
        };
        if self.unknown == Some(seq) {
            return self.lost(seq, attempt); // The record has not changed since the answer.
        }
        if self.asked.is_none_or(|(asked, _)| asked != seq) {
            self.asked = Some((seq, now));
        }
        ClaimStep::Ask {
            worker: worker.clone(),
            after: Duration::ZERO,
        }
    }

    /// The worker of the claim `found` was asked. `reconnected`: when this program connected again, if it ever did.
    pub(super) fn on_reply(
        &mut self,
        found: &Found,
        reply: Reply,
        reconnected: Option<Instant>,
        now: Instant,
    ) -> ClaimStep {
        let Found::Claimed {
            seq,
            attempt,
            worker,
        } = found
        else {
            return ClaimStep::Read;
        };
        let since = match self.asked {
            Some((asked, since)) if asked == *seq => since,
            _ => now,
        };
        let lost_at = match reply {
            Reply::Running => return ClaimStep::GiveBack,
            // It may have stored its outcome just before it answered.
            Reply::Unknown => {
                self.unknown = Some(*seq);
                return ClaimStep::Read;
            }
            // A first delivery of a claimed task: the server has lost its count, so it was restarted. Its workers
            // reconnect at different times, so wait as for a silent one.
            Reply::NoResponder if !self.is_first => match reconnected {
                Some(reconnected) => (reconnected + SETTLE).max(since),
                None => since + PAUSE, // AskAnswer twice: a server may have started just before this program.
            },
            Reply::NoResponder | Reply::Silence => since + self.lost_after,
        };
        match lost_at.checked_duration_since(now) {
            None | Some(Duration::ZERO) => self.lost(*seq, *attempt),
            Some(left) => ClaimStep::Ask {
                worker: worker.clone(),
                after: left.min(PAUSE),
            },
        }
    }

    /// The worker of a claim is lost. The task may have started there.
    fn lost(&self, expected: Seq, attempt: u32) -> ClaimStep {
        if !may_run_again(attempt, self.retries) {
            return ClaimStep::WriteLoss { expected, attempt };
        }
        ClaimStep::Claim {
            expected,
            attempt: attempt + 1,
        }
    }
}

/// Whether a task may run again after this attempt.
pub(super) fn may_run_again(attempt: u32, retries: u32) -> bool {
    attempt <= retries
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/cluster/claim_rules.rs"]
mod properties;

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    const LOST_AFTER: Duration = Duration::from_secs(10);

    fn claimed(seq: Seq, attempt: u32) -> Found {
        Found::Claimed {
            seq,
            attempt,
            worker: "w1".to_owned(),
        }
    }

    /// A delivery whose claim met the claim 7 of another worker, and the time it asked.
    fn asking(delivered: u64, retries: u32) -> (ClaimRules, Instant) {
        let mut rules = ClaimRules::new(delivered, retries, LOST_AFTER);
        let now = Instant::now();
        let ask = ClaimStep::Ask {
            worker: "w1".to_owned(),
            after: Duration::ZERO,
        };
        assert_eq!(rules.on_record(&claimed(7, 1), now), ask);
        (rules, now)
    }

    fn long_ago(now: Instant) -> Option<Instant> {
        Some(now - 10 * SETTLE)
    }

    #[test]
    fn an_ended_task_is_removed_from_the_stream() {
        let mut rules = ClaimRules::new(2, 3, LOST_AFTER);
        assert_eq!(
            rules.first_step(),
            ClaimStep::Claim {
                expected: 0,
                attempt: 1
            }
        );
        assert_eq!(
            rules.on_record(&Found::Ended, Instant::now()),
            ClaimStep::Finish
        );
    }

    #[test]
    fn a_task_that_another_worker_runs_is_given_back() {
        let (mut rules, now) = asking(2, 3);
        let step = rules.on_reply(&claimed(7, 1), Reply::Running, long_ago(now), now);
        assert_eq!(step, ClaimStep::GiveBack);
    }

    #[test]
    fn a_lost_worker_uses_up_a_retry_and_without_one_the_loss_is_the_outcome() {
        for (retries, attempt, step) in [
            (
                0,
                1,
                ClaimStep::WriteLoss {
                    expected: 7,
                    attempt: 1,
                },
            ),
            (
                1,
                1,
                ClaimStep::Claim {
                    expected: 7,
                    attempt: 2,
                },
            ),
            (
                1,
                2,
                ClaimStep::WriteLoss {
                    expected: 7,
                    attempt: 2,
                },
            ),
        ] {
            let (mut rules, now) = asking(2, retries);
            let found = claimed(7, attempt);
            let next = rules.on_reply(&found, Reply::NoResponder, long_ago(now), now);
            assert_eq!(next, step, "{retries} retries, attempt {attempt}");
        }
    }

    #[test]
    fn an_absent_worker_is_not_lost_while_all_workers_reconnect() {
        let (mut rules, now) = asking(2, 0);
        let connected = Some(now);
        let step = rules.on_reply(&claimed(7, 1), Reply::NoResponder, connected, now);
        assert!(matches!(step, ClaimStep::Ask { after, .. } if after == PAUSE));
        let later = now + SETTLE;
        let step = rules.on_reply(&claimed(7, 1), Reply::NoResponder, connected, later);
        assert!(matches!(step, ClaimStep::WriteLoss { .. }));
    }

    #[test]
    fn a_program_that_never_reconnected_asks_an_absent_worker_twice() {
        let (mut rules, now) = asking(2, 0);
        let step = rules.on_reply(&claimed(7, 1), Reply::NoResponder, None, now);
        assert!(matches!(step, ClaimStep::Ask { after, .. } if after == PAUSE));
        let later = now + PAUSE;
        let step = rules.on_reply(&claimed(7, 1), Reply::NoResponder, None, later);
        assert!(matches!(step, ClaimStep::WriteLoss { .. }));
    }

    #[test]
    fn an_absent_worker_has_time_if_the_server_lost_its_count_of_deliveries() {
        let (mut rules, now) = asking(1, 0);
        let connected = long_ago(now);
        let soon = now + LOST_AFTER / 2;
        let step = rules.on_reply(&claimed(7, 1), Reply::NoResponder, connected, soon);
        assert!(matches!(step, ClaimStep::Ask { .. }));
        let late = now + LOST_AFTER;
        let step = rules.on_reply(&claimed(7, 1), Reply::NoResponder, connected, late);
        assert!(matches!(step, ClaimStep::WriteLoss { .. }));
    }

    #[test]
    fn a_silent_worker_is_lost_after_the_time_and_another_claim_starts_it_again() {
        let (mut rules, now) = asking(2, 0);
        let almost = now + LOST_AFTER - Duration::from_millis(1);
        let step = rules.on_reply(&claimed(7, 1), Reply::Silence, long_ago(now), almost);
        assert!(matches!(step, ClaimStep::Ask { after, .. } if after == Duration::from_millis(1)));
        // Meanwhile a third worker has claimed it.
        let step = rules.on_record(&claimed(9, 2), almost);
        assert!(matches!(step, ClaimStep::Ask { .. }));
        let step = rules.on_reply(&claimed(9, 2), Reply::Silence, long_ago(now), almost);
        assert!(matches!(step, ClaimStep::Ask { .. }));
        let late = almost + LOST_AFTER;
        let step = rules.on_reply(&claimed(9, 2), Reply::Silence, long_ago(now), late);
        assert_eq!(
            step,
            ClaimStep::WriteLoss {
                expected: 9,
                attempt: 2
            }
        );
    }

    #[test]
    fn a_worker_that_does_not_know_its_claim_may_have_stored_the_outcome_just_before() {
        let (mut rules, now) = asking(2, 0);
        let connected = long_ago(now);
        let step = rules.on_reply(&claimed(7, 1), Reply::Unknown, connected, now);
        assert_eq!(step, ClaimStep::Read);
        assert_eq!(
            rules.clone().on_record(&Found::Ended, now),
            ClaimStep::Finish
        );
        let step = rules.on_record(&claimed(7, 1), now);
        assert_eq!(
            step,
            ClaimStep::WriteLoss {
                expected: 7,
                attempt: 1
            }
        );
    }

    #[test]
    fn a_claim_that_was_given_back_uses_up_no_retry() {
        let mut rules = ClaimRules::new(2, 0, LOST_AFTER);
        let released = Found::Released { seq: 8, attempt: 1 };
        assert_eq!(
            rules.on_record(&released, Instant::now()),
            ClaimStep::Claim {
                expected: 8,
                attempt: 1
            }
        );
    }

    #[test]
    fn a_record_that_the_server_has_removed_is_claimed_as_if_there_were_none() {
        let (mut rules, now) = asking(2, 0);
        assert_eq!(
            rules.on_record(&Found::Nothing, now),
            ClaimStep::Claim {
                expected: 0,
                attempt: 1
            }
        );
    }
}
