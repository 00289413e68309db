//! How many items ended, and how, since the pool was made. A shutdown reports the difference.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::executor::options::ShutdownReport;

/// The counts of a pool. Each accepted item ends in exactly one of `finished`, `cut_short`, `refused`, `cancelled` and
/// `killed`.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Items whose functions returned or panicked.
    finished: AtomicU64,
    /// Items that began and have no result: they panicked, or are in `cut_short` or `killed`.
    failed: AtomicU64,
    /// Items that began, and ended by a crash, a timeout or an abort.
    cut_short: AtomicU64,
    /// Items that did not begin, and got an error other than a cancel.
    refused: AtomicU64,
    /// Items that were cancelled before they began.
    cancelled: AtomicU64,
    /// Items that began, and ended by a shutdown.
    killed: AtomicU64,
}

/// The counts at one moment, for a report about the time since.
#[derive(Debug)]
pub(super) struct CountsBefore {
    ended: u64,
    cancelled: u64,
    killed: u64,
}

impl Counts {
    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Counts items whose functions have ended, and how many of them returned no value.
    pub(super) fn items_ended(&self, items: usize, failed: u64) {
        add(&self.finished, items);
        self.failed.fetch_add(failed, Ordering::Relaxed);
    }

    /// Counts items that ended by a crash, a timeout or an abort. Their functions may still run.
    pub(super) fn items_cut_short(&self, items: usize) {
        add(&self.failed, items);
        add(&self.cut_short, items);
    }

    /// Counts items that were lost with a worker that a shutdown ended.
    pub(super) fn items_killed(&self, items: usize) {
        add(&self.failed, items);
        add(&self.killed, items);
    }

    pub(super) fn items_refused(&self, items: usize) {
        add(&self.refused, items);
    }

    pub(super) fn items_cancelled(&self, items: usize) {
        add(&self.cancelled, items);
    }

    pub(super) fn now(&self) -> CountsBefore {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CountsBefore {
            ended: load(&self.finished) + load(&self.cut_short) + load(&self.refused),
            cancelled: load(&self.cancelled),
            killed: load(&self.killed),
        }
    }

    pub(super) fn since(&self, before: &CountsBefore) -> ShutdownReport {
        let now = self.now();
        ShutdownReport {
            finished: (now.ended - before.ended) as usize,
            cancelled: (now.cancelled - before.cancelled) as usize,
            killed: (now.killed - before.killed) as usize,
        }
    }
}

fn add(count: &AtomicU64, items: usize) {
    count.fetch_add(items as u64, Ordering::Relaxed);
}
