//! The latest count of workers.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::observe::Meter;

/// How many workers and slots answered last.
#[derive(Debug)]
pub(super) struct Present {
    workers: AtomicUsize,
    slots: AtomicUsize,
    meter: Meter,
}

impl Present {
    pub(super) fn new(meter: Meter) -> Self {
        Self {
            workers: AtomicUsize::new(0),
            slots: AtomicUsize::new(0),
            meter,
        }
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, workers: usize, slots: usize) {
        self.slots.store(slots, Ordering::Relaxed);
        self.workers.store(workers, Ordering::Relaxed);
        self.meter.workers_are(workers);
    }
}
