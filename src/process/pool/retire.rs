//! How workers leave. A place becomes free when its process has ended; the calls of the worker are settled
//! after that.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Pool;
use super::hire::pause_after;
use crate::process::link::{Dismissal, Link};

/// Why a worker has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::process) enum Departure {
    Crashed,
    /// Crashed before it began anything.
    Stillborn,
    TimedOut,
    Cancelled,
    Retired,
    Idle,
    /// Dismissed, or killed by a shutdown.
    Sent,
}

impl Departure {
    /// Its name in metrics.
    pub(in crate::process) fn name(self) -> &'static str {
        match self {
            Self::Crashed | Self::Stillborn => "crashed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Retired => "retired",
            Self::Idle => "idle",
            Self::Sent => "shutdown",
        }
    }
}

impl Pool {
    /// Retires a worker for its age or its memory. It works on until its successor is ready; if it is not
    /// needed, it just leaves.
    pub(in crate::process) fn retire(&self, link: &Link) {
        let mut state = self.lock();
        if state.closed || state.successors.values().any(|old| *old == link.id) {
            return;
        }
        if state.serving() > self.config.min_workers && state.idle.contains(&link.id) {
            state.idle.retain(|id| *id != link.id);
            return link.dismiss(Dismissal::Retired);
        }
        if state.broken {
            return link.retire_later(pause_after);
        }
        let successor = state.add_place();
        state.successors.insert(successor, link.id);
        drop(state);
        self.hire_all(vec![successor]);
    }

    /// The process of a worker has ended; its place is free.
    pub(in crate::process) fn free_place(&self, id: u64, departure: Departure) {
        let mut state = self.lock();
        if departure == Departure::Stillborn {
            let pause = pause_after(state.stillborn);
            state.stillborn += 1;
            state.starts_after = Some(Instant::now() + pause);
        }
        let place = state.remove(id);
        state.settling += usize::from(place.is_some());
        drop(state);
        drop(place); // Not under the lock.
    }

    /// A worker has done some work.
    pub(in crate::process) fn worker_proved(&self) {
        let mut state = self.lock();
        state.stillborn = 0;
        state.starts_after = None;
    }

    /// A worker has been idle for too long: it leaves, unless it is one of those that are kept.
    pub(in crate::process) fn dismiss_idle(&self, link: &Link) {
        let mut state = self.lock();
        if state.serving() > self.config.min_workers && state.idle.contains(&link.id) {
            state.idle.retain(|id| *id != link.id);
            link.dismiss(Dismissal::Idle);
        } else {
            link.start_idle_time();
        }
    }

    /// A worker that was ready has ended.
    pub(in crate::process) fn worker_ended(&self, why: Departure) {
        self.terms.meter().worker_ended(why.name());
    }

    /// A worker has ended, and its calls are settled.
    pub(in crate::process) fn worker_gone(
        &self,
        id: u64,
        departure: Option<Departure>,
        lost: usize,
    ) {
        let mut state = self.lock();
        let place = state.remove(id);
        state.settling -= usize::from(place.is_none()); // Its place was freed before.
        self.failed.fetch_add(lost as u64, Ordering::Relaxed);
        match departure {
            Some(Departure::Crashed | Departure::Stillborn) => state.restarts.crashed += 1,
            Some(Departure::TimedOut) => state.restarts.timed_out += 1,
            Some(Departure::Cancelled) => state.restarts.cancelled += 1,
            Some(Departure::Retired) => state.restarts.retired += 1,
            Some(Departure::Idle) => state.restarts.idle += 1,
            Some(Departure::Sent) => state.killed += lost as u64,
            None => {}
        }
        self.start_workers(state);
        drop(place); // Not under the lock.
        self.changed.notify_waiters();
    }
}
