//! How workers leave. A place becomes free when its process has ended. The calls of its worker are settled after that.

use std::time::Instant;

use super::Pool;
use super::places::{PoolPlace, StartReason};
use super::starts::pause_after;
use crate::process::link::{Dismissal, Link};

/// Why a worker has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::process) enum Departure {
    Crashed,
    /// Crashed before it began anything.
    CrashedUnused,
    TimedOut,
    Cancelled,
    Retired,
    Idle,
    /// Dismissed or killed by a shutdown.
    ShutDown,
}

impl Departure {
    /// Its name in metrics.
    pub(in crate::process) fn name(self) -> &'static str {
        match self {
            Self::Crashed | Self::CrashedUnused => "crashed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Retired => "retired",
            Self::Idle => "idle",
            Self::ShutDown => "shutdown",
        }
    }
}

impl Pool {
    /// Retires a worker because of its age or its memory. It continues to work until its successor is ready; if it is
    /// not needed, it just leaves.
    pub(in crate::process) fn retire(&self, link: &Link) {
        let mut state = self.lock();
        if !state.phase.is_open() || state.places.is_replaced(link.id) {
            return;
        }
        if state.spare_idle(link, &self.config) {
            link.dismiss(Dismissal::Retired);
            return;
        }
        if state.starts.refusal().is_some() {
            drop(state);
            return link.retire_later(pause_after);
        }
        let successor = state.places.add(StartReason::Replaces(link.id));
        drop(state);
        self.hire_all(vec![successor]);
    }

    /// Frees the place of a worker whose process has ended.
    pub(in crate::process) fn free_place(&self, id: u64, departure: Departure) {
        let mut state = self.lock();
        if departure == Departure::CrashedUnused {
            state.starts.died_unused(Instant::now());
        }
        let place = state.vacate(id);
        drop(state);
        drop(place); // Dropped without the lock.
    }

    /// Records that a worker has done some work.
    pub(in crate::process) fn worker_proved(&self) {
        self.lock().starts.worked();
    }

    /// Dismisses a worker that has been idle for too long, unless it is one of those that are kept.
    pub(in crate::process) fn dismiss_idle(&self, link: &Link) {
        let mut state = self.lock();
        if state.spare_idle(link, &self.config) {
            link.dismiss(Dismissal::Idle);
        } else {
            link.rest_on();
        }
    }

    /// Counts the end of a worker that was ready.
    pub(in crate::process) fn worker_ended(&self, why: Departure) {
        self.terms.meter().worker_ended(why.name());
    }

    /// Called when a worker has ended and its calls are settled.
    pub(in crate::process) fn worker_gone(
        &self,
        id: u64,
        departure: Option<Departure>,
        lost: usize,
    ) {
        match departure {
            Some(Departure::ShutDown) | None => self.counts.items_killed(lost),
            Some(_) => self.counts.items_cut_short(lost),
        }
        let mut state = self.lock();
        let place = state.vacate(id); // The place may be free already.
        if let Some(PoolPlace::Starting(StartReason::Wanted) | PoolPlace::Retrying) = &place {
            state.starts.cut_off();
        }
        state.settled();
        match departure {
            Some(Departure::Crashed | Departure::CrashedUnused) => state.restarts.crashed += 1,
            Some(Departure::TimedOut) => state.restarts.timed_out += 1,
            Some(Departure::Cancelled) => state.restarts.cancelled += 1,
            Some(Departure::Retired) => state.restarts.retired += 1,
            Some(Departure::Idle) => state.restarts.idle += 1,
            Some(Departure::ShutDown) | None => {}
        }
        self.start_workers(state);
        drop(place); // Dropped without the lock.
        self.changed.notify_waiters();
    }
}
