//! The atomics of the claim word in this test.

use loom::sync::atomic;
pub(crate) use loom::sync::atomic::Ordering;

/// Loom's own atomics, except that each access is an exchange. Of the loads before a store, loom remembers only the
/// last one, so it would not try each of them after that store; and it would allow a store before an earlier exchange.
/// This loses no order: with only one word, a load that finds an older value is the same as an earlier load.
#[derive(Debug)]
pub(crate) struct AtomicU64(atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) fn new(word: u64) -> Self {
        Self(atomic::AtomicU64::new(word))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.fetch_or(0, order)
    }

    pub(crate) fn store(&self, word: u64, order: Ordering) {
        self.0.swap(word, order);
    }

    pub(crate) fn compare_exchange(
        &self,
        from: u64,
        to: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.0.compare_exchange(from, to, success, failure)
    }
}
