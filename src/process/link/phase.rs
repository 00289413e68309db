//! The phases of a worker from its first call to its end. It never returns to an earlier one:
//!
//! ```text
//!  Serving ───► Dismissed ───► Terminating ───► Terminating ───► Condemned ───► Dead
//!            it is asked to    SIGTERM, and no   SIGTERM, and     SIGKILL      its process
//!              exit, idle       time limit      later SIGKILL                   has ended
//! ```
//!
//! A dismissed worker that does not exit in time is condemned. A worker may skip any of these phases. Each phase after
//! `Serving` has an [`Ending`]. Once an ending kills the worker, at once or at a later time, no later ending replaces
//! it.
//!
//! Independently of its phase, a worker may lose its place in the pool to another worker. If it still serves then, it
//! is *leaving*: it gets no further calls, finishes its own, and is dismissed.

use std::io;
use std::time::{Duration, Instant};

/// Why an idle worker is asked to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) enum Dismissal {
    /// The pool is closed.
    Closed,
    /// It has served for long enough.
    Retired,
    /// It was idle for long enough.
    Idle,
}

/// Why the pool ends a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::process) enum Ending {
    /// The worker was idle, and is asked to exit.
    Dismissed(Dismissal),
    /// The worker ran an item for too long.
    TimedOut { limit: Duration },
    /// The worker runs a call that was cancelled.
    Cancelled,
    /// The worker still runs a call at the deadline of a shutdown.
    Shutdown,
    /// The user of the pool ends its workers; a worker may still finish its item.
    Terminated,
    /// The worker sent something invalid.
    Protocol(String),
}

impl Ending {
    /// Its socket failed.
    pub(in crate::process) fn failed(error: &io::Error) -> Self {
        Self::Protocol(format!("a connection that failed: {error}"))
    }
}

/// How long a worker may take to exit after it was asked to.
pub(in crate::process) const EXIT_GRACE: Duration = Duration::from_secs(5);

/// What the supervisor does with its worker, and when it checks the clock again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) enum Fate {
    /// Serve the worker.
    Serve(Option<Instant>),
    /// Send the request to exit, once.
    Dismiss(Instant),
    /// Ask the worker to end by a signal, once.
    Terminate(Option<Instant>),
    /// Wait until the worker exits, since it was asked to.
    Wait(Option<Instant>),
    Kill,
}

#[derive(Debug)]
pub(super) struct WorkerPhase {
    state: PhaseState,
    /// Whether another worker has its place in the pool, or may take it. Never becomes false again.
    has_left_place: bool,
}

#[derive(Debug)]
enum PhaseState {
    Serving,
    Dismissed {
        why: Dismissal,
        /// Set when the supervisor sends the request.
        leaves_by: Option<Instant>,
    },
    /// Without `kill_at`, the worker may finish its item, unless the item has a time limit of its own.
    Terminating {
        why: Ending,
        kill_at: Option<Instant>,
        /// The supervisor has sent the signal.
        is_asked: bool,
    },
    Condemned(Ending),
    Dead(Option<Ending>),
}

/// The actions after a step of a [`WorkerPhase`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the worker or its supervisor must act on it"]
pub(super) enum PhaseStep {
    /// Nothing: the phase did not change.
    Stays,
    /// The supervisor acts on the new phase.
    Moves,
    /// As `Moves`, and a message asks the worker to exit.
    AsksToExit,
}

impl WorkerPhase {
    pub(super) fn new() -> Self {
        Self {
            state: PhaseState::Serving,
            has_left_place: false,
        }
    }

    /// Whether the worker still receives the calls that were assigned to it.
    pub(super) fn is_serving(&self) -> bool {
        matches!(self.state, PhaseState::Serving)
    }

    /// Whether the worker may be chosen for further calls.
    pub(super) fn takes_more(&self) -> bool {
        self.is_serving() && !self.has_left_place
    }

    /// Whether another worker has its place in the pool, or may take it.
    pub(super) fn has_vacated(&self) -> bool {
        self.has_left_place
    }

    /// Leaves the place in the pool to another worker.
    pub(super) fn vacate(&mut self) {
        self.has_left_place = true;
    }

    /// Dismisses a worker that is idle.
    pub(super) fn dismiss(&mut self, why: Dismissal) -> PhaseStep {
        match self.state {
            PhaseState::Serving => {
                let leaves_by = None;
                self.move_to(
                    PhaseState::Dismissed { why, leaves_by },
                    PhaseStep::AsksToExit,
                )
            }
            _ => PhaseStep::Stays,
        }
    }

    /// Ends the worker as soon as its item has ended.
    pub(super) fn terminate(&mut self) -> PhaseStep {
        let step = match self.state {
            PhaseState::Serving => PhaseStep::AsksToExit,
            PhaseState::Dismissed { .. } => PhaseStep::Moves, // It was asked to exit before.
            _ => return PhaseStep::Stays,
        };
        let state = PhaseState::Terminating {
            why: Ending::Terminated,
            kill_at: None,
            is_asked: false,
        };
        self.move_to(state, step)
    }

    /// Ends the worker by `kill_at`.
    pub(super) fn terminate_by(&mut self, why: Ending, kill_at: Instant) -> PhaseStep {
        if self.will_be_killed() {
            return PhaseStep::Stays;
        }
        let state = PhaseState::Terminating {
            why,
            kill_at: Some(kill_at),
            is_asked: matches!(self.state, PhaseState::Terminating { is_asked: true, .. }),
        };
        self.move_to(state, PhaseStep::Moves)
    }

    /// Kills the worker, unless an earlier ending kills it anyway.
    pub(super) fn condemn(&mut self, why: Ending) -> PhaseStep {
        if self.will_be_killed() {
            return PhaseStep::Stays;
        }
        self.move_to(PhaseState::Condemned(why), PhaseStep::Moves)
    }

    /// Kills the worker now, even if it has some time left. If an earlier ending would have killed it, that one's
    /// reason counts.
    pub(super) fn kill(&mut self, why: Ending) -> PhaseStep {
        let why = match &self.state {
            PhaseState::Condemned(_) | PhaseState::Dead(_) => return PhaseStep::Stays,
            PhaseState::Terminating {
                why: first,
                kill_at: Some(_),
                ..
            } => first.clone(),
            _ => why,
        };
        self.move_to(PhaseState::Condemned(why), PhaseStep::Moves)
    }

    /// Records that its process has ended.
    pub(super) fn die(&mut self) {
        self.state = PhaseState::Dead(self.ending());
    }

    /// Whether the worker is killed, at once or at a later time.
    fn will_be_killed(&self) -> bool {
        match self.state {
            PhaseState::Serving | PhaseState::Dismissed { .. } => false,
            PhaseState::Terminating { kill_at, .. } => kill_at.is_some(),
            PhaseState::Condemned(_) | PhaseState::Dead(_) => true,
        }
    }

    fn move_to(&mut self, state: PhaseState, step: PhaseStep) -> PhaseStep {
        self.state = state;
        step
    }

    /// Why the pool ends the worker, if it does.
    pub(super) fn ending(&self) -> Option<Ending> {
        match &self.state {
            PhaseState::Serving => None,
            PhaseState::Dismissed { why, .. } => Some(Ending::Dismissed(*why)),
            PhaseState::Terminating { why, .. } | PhaseState::Condemned(why) => Some(why.clone()),
            PhaseState::Dead(why) => why.clone(),
        }
    }

    /// What to do with a worker that no longer serves. `item_ends` is the end of the time of an item that was asked to
    /// end.
    pub(super) fn fate(
        &mut self,
        item_ends: Option<Instant>,
        now: impl Fn() -> Instant,
    ) -> Option<Fate> {
        let fate = match &mut self.state {
            PhaseState::Serving => return None,
            PhaseState::Dismissed { leaves_by, .. } => match *leaves_by {
                None => Fate::Dismiss(*leaves_by.insert(now() + EXIT_GRACE)),
                Some(end) if end > now() => Fate::Wait(Some(end)),
                Some(_) => Fate::Kill,
            },
            PhaseState::Terminating {
                kill_at, is_asked, ..
            } => match *kill_at {
                Some(end) if end <= now() => Fate::Kill,
                end => {
                    let moment = end.or(item_ends);
                    match std::mem::replace(is_asked, true) {
                        false => Fate::Terminate(moment),
                        true => Fate::Wait(moment),
                    }
                }
            },
            PhaseState::Condemned(_) | PhaseState::Dead(_) => Fate::Kill,
        };
        if let (Fate::Kill, PhaseState::Dismissed { why, .. }) = (fate, &self.state) {
            self.state = PhaseState::Condemned(Ending::Dismissed(*why));
        }
        Some(fate)
    }
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/process/link/phase.rs"]
mod tests;
