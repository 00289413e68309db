//! How much the task of a worker does before the other tasks of its runtime run. A worker may write without end, so
//! after each turn the task checks its deadlines and at the worker's death.

/// The rest of a turn. Every cost is given as the number of bytes that can be copied in the same time.
#[derive(Debug)]
pub(super) struct Turn {
    left: usize,
}

impl Turn {
    /// The cost of a whole turn, which takes a fraction of a millisecond.
    const WHOLE: usize = 256 * 1024;
    /// The least cost of a system call. Tokio allows 128 of them before a task must yield.
    const CALL: usize = 4 * 1024;
    /// The cost of a message, a line or a failure.
    const MESSAGE: usize = 128;
    /// The cost of a value beside its bytes.
    const VALUE: usize = 8;
    /// The most values to handle in one step.
    pub(super) const VALUES: u32 = (Self::WHOLE / Self::VALUE) as u32;

    pub(super) fn new() -> Self {
        Self { left: Self::WHOLE }
    }

    /// A turn without an end, for when no other task can run.
    pub(super) fn endless() -> Self {
        Self { left: usize::MAX }
    }

    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Counts a system call that moved bytes, or a copy of memory.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.spend(bytes.max(Self::CALL));
    }

    pub(super) fn handled_messages(&mut self, count: usize) {
        self.spend(count.saturating_mul(Self::MESSAGE));
    }

    pub(super) fn handled_values(&mut self, count: usize) {
        self.spend(count.saturating_mul(Self::VALUE));
    }

    fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_whatever_it_is_spent_on() {
        let mut spent = [Turn::new(), Turn::new(), Turn::new(), Turn::new()];
        let [calls, copies, messages, values] = &mut spent;
        for _ in 0..64 {
            assert!(!calls.is_over());
            calls.moved(0);
        }
        copies.moved(1 << 20);
        for _ in 0..2048 {
            assert!(!messages.is_over());
            messages.handled_messages(1);
        }
        values.handled_values(usize::MAX);
        assert!(spent.iter().all(Turn::is_over));
    }
}
