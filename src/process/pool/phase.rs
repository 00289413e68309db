//! How far a pool is on its way to its end. It never goes back.

use std::time::Instant;

/// The phase of a pool's life.
#[derive(Debug, Default)]
pub(super) enum PoolPhase {
    /// Accepts tasks.
    #[default]
    Open,
    /// Accepts no new task, and finishes those that it has.
    Closing(Deadlines),
    /// Begins no further item.
    Stopped(Deadlines),
}

/// The deadlines of the shutdowns in progress.
#[derive(Debug, Default)]
pub(super) struct Deadlines(Vec<Instant>);

/// Where a call that needs a worker comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOrigin {
    Submitted,
    /// From a worker that did not begin it; it was accepted before.
    GivenBack,
}

/// Why a call is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooLate {
    /// The pool is closed to new calls.
    Closed,
    /// The pool begins no call, even one that it accepted.
    Stopped,
}

impl PoolPhase {
    /// Refuses new calls from now on. Returns whether the pool was open.
    #[must_use = "the first to close a pool dismisses its idle workers"]
    pub(super) fn close(&mut self) -> bool {
        let is_news = self.is_open();
        if is_news {
            *self = Self::Closing(Deadlines::default());
        }
        is_news
    }

    /// Begins no item from now on.
    pub(super) fn stop(&mut self) {
        *self = Self::Stopped(match std::mem::take(self) {
            Self::Open => Deadlines::default(),
            Self::Closing(deadlines) | Self::Stopped(deadlines) => deadlines,
        });
    }

    /// Called when a shutdown with a deadline begins. Returns the deadline that now applies to the workers.
    #[must_use = "workers have to know the nearest deadline"]
    pub(super) fn announce(&mut self, deadline: Instant) -> Option<Instant> {
        let _ = self.close();
        if let Self::Closing(deadlines) | Self::Stopped(deadlines) = self {
            deadlines.0.push(deadline);
        }
        self.deadline()
    }

    /// Called when a shutdown with a deadline ends or is dropped. Returns the deadline that now applies to the workers,
    /// if one is left.
    #[must_use = "workers have to know the nearest deadline"]
    pub(super) fn withdraw(&mut self, deadline: Instant) -> Option<Instant> {
        if let Self::Closing(Deadlines(known)) | Self::Stopped(Deadlines(known)) = self
            && let Some(place) = known.iter().position(|other| *other == deadline)
        {
            known.swap_remove(place);
        }
        self.deadline()
    }

    /// The nearest deadline of the shutdowns in progress.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Open => None,
            Self::Closing(Deadlines(known)) | Self::Stopped(Deadlines(known)) => {
                known.iter().min().copied()
            }
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Whether no further item begins.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped(_))
    }

    /// Why a call from this origin is not accepted, if it is not.
    pub(super) fn refusal(&self, origin: CallOrigin) -> Option<TooLate> {
        match (self, origin) {
            (Self::Open, _) | (Self::Closing(_), CallOrigin::GivenBack) => None,
            (Self::Closing(_), CallOrigin::Submitted) => Some(TooLate::Closed),
            (Self::Stopped(_), _) => Some(TooLate::Stopped),
        }
    }
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/process/pool/phase.rs"]
mod tests;
