//! How many items of this client ended, and how. A shutdown reports the difference.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::executor::options::ShutdownReport;

/// How an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemEnd {
    /// Its function returned.
    Returned,
    /// Its function panicked.
    Panicked,
    /// It started and has no result: its worker was lost, it took too long, or it was cancelled.
    CutShort,
    /// It did not start, for another reason than a cancel.
    Refused,
    Cancelled,
    /// It ran at the deadline of a shutdown.
    Killed,
}

/// The number of each end.
#[derive(Debug, Default)]
pub(super) struct ClientCounts([AtomicU64; 6]);

/// The counts at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientCountsBefore([u64; 6]);

impl ClientCounts {
    pub(super) fn add(&self, end: ItemEnd, items: usize) {
        self.0[end as usize].fetch_add(items as u64, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> ClientCountsBefore {
        ClientCountsBefore(self.0.each_ref().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Those that returned or panicked.
    pub(super) fn finished(&self) -> u64 {
        self.now().of(&[ItemEnd::Returned, ItemEnd::Panicked])
    }

    /// Those that started and have no result.
    pub(super) fn failed(&self) -> u64 {
        self.now()
            .of(&[ItemEnd::Panicked, ItemEnd::CutShort, ItemEnd::Killed])
    }

    pub(super) fn since(&self, before: &ClientCountsBefore) -> ShutdownReport {
        let now = self.now();
        let count = |ends: &[ItemEnd]| (now.of(ends) - before.of(ends)) as usize;
        ShutdownReport {
            finished: count(&[
                ItemEnd::Returned,
                ItemEnd::Panicked,
                ItemEnd::CutShort,
                ItemEnd::Refused,
            ]),
            cancelled: count(&[ItemEnd::Cancelled]),
            killed: count(&[ItemEnd::Killed]),
        }
    }
}

impl ClientCountsBefore {
    fn of(&self, ends: &[ItemEnd]) -> u64 {
        ends.iter().map(|end| self.0[*end as usize]).sum()
    }
}
