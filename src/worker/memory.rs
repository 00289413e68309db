//! Watches how much memory this process uses, for a parent that replaces workers that use too much.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::sys;
use crate::wire::page::Page;

/// The shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Reports to the parent when the process uses too much. Without a limit, does nothing.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    limit: Option<u64>,
    looked: Cell<Option<Instant>>,
}

impl MemoryWatch {
    pub(super) fn new(page: &Page) -> Self {
        Self {
            limit: page.memory_limit(),
            looked: Cell::new(None),
        }
    }

    /// Looks, after a task has ended and before its outcome is sent.
    #[inline]
    pub(super) fn look(&self, page: &Page) {
        if let Some(limit) = self.limit {
            self.compare(limit, page);
        }
    }

    fn compare(&self, limit: u64, page: &Page) {
        if self.looked.get().is_some_and(|then| then.elapsed() < PAUSE) {
            return;
        }
        self.looked.set(Some(Instant::now()));
        if sys::resident_memory().is_some_and(|bytes| bytes > limit) {
            page.report_memory_excess();
        }
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;
    use crate::sys::again;

    /// Runs in a process of its own: other tests allocate and free memory in this one.
    #[test]
    fn what_this_process_holds_grows_with_what_it_takes() {
        const NAME: &str =
            "worker::memory::tests::what_this_process_holds_grows_with_what_it_takes";
        if !again::is_alone(NAME) {
            return again::start(&std::env::current_exe().expect("it is there"), NAME);
        }
        let before = sys::resident_memory().expect("/proc");
        let taken = vec![1_u8; 64 << 20];
        let after = sys::resident_memory().expect("/proc");
        assert!(after >= before + (32 << 20), "{before} {after}");
        drop(taken);
    }
}
