//! What the claim word is made of here.

use loom::sync::atomic;
pub(crate) use loom::sync::atomic::Ordering;

/// Loom's own, but that each access is an exchange. Of the loads before a store loom remembers the last
/// one only, so it would not try each of them after that store; and it would let a store come before an
/// exchange that was made before it. Nothing is lost: a load that finds an older value is, where there
/// is one word only, a load that comes earlier.
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
