//! The stores that change a queue. A process may be killed after each of them; tests cut a run off before each of them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A word of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Store<'a>(pub(super) &'a AtomicU64);

impl Store<'_> {
    #[inline]
    pub(super) fn load(self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    #[inline]
    pub(super) fn store(self, value: u64, order: Ordering) {
        step();
        self.0.store(value, order);
    }
}

/// Called before each change that other processes can see.
#[inline]
pub(super) fn step() {
    #[cfg(test)]
    tests::step();
}

#[cfg(all(test, not(properties)))]
pub(super) use tests::Cut;
#[cfg(test)]
pub(super) use tests::{cut_after, stores};

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    /// The panic that cuts a run off.
    #[derive(Debug)]
    pub(crate) struct Cut;

    thread_local! {
        /// The number of steps that may still be done.
        static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    }

    pub(super) fn step() {
        match LEFT.get() {
            0 => resume_unwind(Box::new(Cut)), // The panic hook does not run.
            left => LEFT.set(left - 1),
        }
    }

    /// Runs `work`, and cuts it off before the step that follows this number of steps.
    pub(crate) fn cut_after<R>(steps: u64, work: impl FnOnce() -> R) -> Result<R, Cut> {
        LEFT.set(steps);
        let outcome = catch_unwind(AssertUnwindSafe(work));
        LEFT.set(u64::MAX);
        outcome.map_err(|panic| match panic.downcast::<Cut>() {
            Ok(cut) => *cut,
            Err(panic) => resume_unwind(panic),
        })
    }

    /// The number of steps of `work`.
    pub(crate) fn stores(work: impl FnOnce()) -> u64 {
        LEFT.set(u64::MAX);
        work();
        u64::MAX - LEFT.replace(u64::MAX)
    }
}
