//! The atomics of the lock word in this test.

pub(crate) use loom::sync::atomic::Ordering;
use std::cell::Cell;

use loom::model::Builder;
use loom::sync::atomic::{self, fence};

thread_local! {
    /// On which side of an access its fence is. (Loom runs all threads of a model on one.)
    static FENCE_BEFORE: Cell<bool> = const { Cell::new(false) };
}

/// Loom's own atomics. Loom treats a sequentially consistent access like one that only acquires and releases, but it
/// models fences. A fence between a write and a read keeps them in order, whether it belongs to the first or to the
/// second. Each test runs both ways, so that each access needs its order.
#[derive(Debug)]
pub(crate) struct AtomicU64(atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) fn new(word: u64) -> Self {
        Self(atomic::AtomicU64::new(word))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        fenced(order, || self.0.load(order))
    }

    pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        fenced(order, || self.0.fetch_add(value, order))
    }

    pub(crate) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        fenced(order, || self.0.fetch_sub(value, order))
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        fenced(order, || self.0.store(value, order));
    }

    pub(crate) fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        fenced(order, || self.0.fetch_or(bits, order))
    }

    pub(crate) fn compare_exchange(
        &self,
        from: u64,
        to: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        fenced(success, || {
            self.0.compare_exchange(from, to, success, failure)
        })
    }
}

/// Runs a model in every order, with at most `preemptions` switches between threads that could have continued.
pub(crate) fn explore(preemptions: usize, model: impl Fn() + Copy + Send + Sync + 'static) {
    for before in [false, true] {
        FENCE_BEFORE.set(before);
        let mut builder = Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(model);
    }
}

fn fenced<T>(order: Ordering, access: impl FnOnce() -> T) -> T {
    let (strict, before) = (order == Ordering::SeqCst, FENCE_BEFORE.get());
    if strict && before {
        fence(order);
    }
    let outcome = access();
    if strict && !before {
        fence(order);
    }
    outcome
}
