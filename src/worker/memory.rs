//! Watches how much memory this process uses, for a parent that replaces workers that use too much.

use std::cell::Cell;
use std::fs::File;
use std::time::{Duration, Instant};

use crate::sys;
use crate::wire::page::Page;

/// The shortest time between two checks.
const PAUSE: Duration = Duration::from_millis(10);

/// Reports to the parent when the process uses too much. Without a limit, does nothing.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    /// `Some` if there is a limit: the limit, and the file that tells how much the process uses. The file is opened
    /// once, because an initializer or an isolation may forbid opening files.
    limit: Option<(u64, Option<File>)>,
    looked: Cell<Option<Instant>>,
}

impl MemoryWatch {
    pub(super) fn open(page: &Page) -> Self {
        let limit = page.memory_limit();
        Self {
            limit: limit.map(|limit| (limit, sys::memory_meter().ok())),
            looked: Cell::new(None),
        }
    }

    /// Checks the memory, after a task has ended and before its outcome is sent.
    #[inline]
    pub(super) fn check(&self, page: &Page) {
        if let Some((limit, Some(meter))) = &self.limit {
            self.compare(*limit, meter, page);
        }
    }

    fn compare(&self, limit: u64, meter: &File, page: &Page) {
        if self.looked.get().is_some_and(|then| then.elapsed() < PAUSE) {
            return;
        }
        self.looked.set(Some(Instant::now()));
        if sys::resident_memory(meter).is_some_and(|bytes| bytes > limit) {
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
    fn the_memory_of_this_process_grows_with_its_allocations() {
        const NAME: &str =
            "worker::memory::tests::the_memory_of_this_process_grows_with_its_allocations";
        if !again::is_alone(NAME) {
            return again::start(
                &std::env::current_exe().expect("the test's executable exists"),
                NAME,
            );
        }
        let meter = sys::memory_meter().expect("/proc");
        let before = sys::resident_memory(&meter).expect("/proc");
        let taken = vec![1_u8; 64 << 20];
        let after = sys::resident_memory(&meter).expect("/proc");
        assert!(after >= before + (32 << 20), "{before} {after}");
        drop(taken);
    }
}
