//! What a lock reports about itself: wanted, waited for, held, released, dropped.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;

use crate::sync::owner::LockOwner;

use super::report::{CodePlace, Finding, Pair, Report, WaitStep};
use super::state::{begin_wait, end_wait, state, tell};
use super::suspects::Verdict;
use super::takes::{LockNumber, Take};

/// Whether detection is on.
pub(super) static IS_ENABLED: AtomicBool = AtomicBool::new(cfg!(debug_assertions));

fn is_enabled() -> bool {
    IS_ENABLED.load(Ordering::Relaxed)
}

/// Identifies a lock; a field of the lock. Its number is assigned on first use.
#[derive(Debug)]
pub(in crate::sync) struct Tag(AtomicU64);

impl Tag {
    pub(in crate::sync) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn number(&self) -> LockNumber {
        static LAST: AtomicU64 = AtomicU64::new(0);
        match self.0.load(Ordering::Relaxed) {
            0 => {
                let new = LAST.fetch_add(1, Ordering::Relaxed) + 1;
                let set = self
                    .0
                    .compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed);
                set.map_or_else(|other| other, |_| new)
            }
            number => number,
        }
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        if let number @ 1.. = *self.0.get_mut() {
            let mut state = state();
            state.takes.forget(number);
            state.order.forget(number);
        }
    }
}

/// Records that a lock is held, until dropped; a field of the guard. It drops before the lock is released:
/// otherwise the next holder would seem to wait for itself.
#[derive(Debug)]
pub(in crate::sync) struct Hold(Option<Take>);

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(hold) = &self.0 {
            state().takes.release(hold);
        }
    }
}

/// One call that takes a lock.
#[derive(Debug)]
pub(in crate::sync) struct Attempt<'a> {
    tag: &'a Tag,
    place: CodePlace,
}

impl<'a> Attempt<'a> {
    pub(in crate::sync) fn new(tag: &'a Tag, place: CodePlace) -> Self {
        Self { tag, place }
    }

    /// Awaits `lock`, the future that takes the lock. Dropping this future drops that one.
    ///
    /// # Panics
    /// If this is a deadlock and deadlocks panic.
    pub(in crate::sync) async fn watch<F: Future>(&self, lock: F) -> F::Output {
        let mut lock = pin!(lock);
        if !is_enabled() {
            return lock.await;
        }
        self.note_order();
        let mut waiting = None;
        let lock = poll_fn(|cx| {
            let output = lock.as_mut().poll(cx);
            if output.is_pending() {
                self.wait(&mut waiting, cx);
            }
            output
        });
        lock.await
    }

    /// Records that the lock is held now.
    pub(in crate::sync) fn hold(&self) -> Hold {
        let owner = is_enabled().then(LockOwner::known).flatten();
        Hold(owner.map(|owner| state().takes.hold(owner, self.tag.number(), self.place)))
    }

    fn note_order(&self) {
        if let Some(report) = LockOwner::known().and_then(|owner| self.opposite(owner)) {
            tell(&report);
        }
    }

    /// The shortest of the opposite orders. Longer ones are most often detours of the same order.
    fn opposite(&self, owner: LockOwner) -> Option<Report> {
        let state = &mut *state();
        let number = self.tag.number();
        let held = state.takes.held_by(owner).iter();
        let opposites = held.filter_map(|held| {
            let before = state.order.note(held, number, self.place)?;
            Some((held.place, before))
        });
        let (held, before) = opposites.min_by_key(|(_, before)| before.len())?;
        let places = Pair {
            held,
            wanted: self.place,
        };
        let now = WaitStep { owner, places };
        Some(Report(Finding::Orders { now, before }))
    }

    /// Called on each poll that finds the lock held.
    fn wait(&self, waiting: &mut Option<WaitingAttempt>, cx: &mut Context<'_>) {
        if waiting.is_none() {
            *waiting = LockOwner::known().map(|owner| {
                let (wait, verdict) = begin_wait(owner, self.tag.number(), self.place);
                WaitingAttempt { wait, verdict }
            });
        }
        let verdict = waiting
            .as_ref()
            .and_then(|waiting| waiting.verdict.as_ref());
        if let Some(report) = verdict.and_then(|verdict| verdict.take(cx.waker())) {
            tell(&report);
        }
    }
}

/// Records that a lock is waited for, until dropped.
struct WaitingAttempt {
    wait: Take,
    verdict: Option<Arc<Verdict>>,
}

impl Drop for WaitingAttempt {
    fn drop(&mut self) {
        end_wait(&self.wait, self.verdict.is_some());
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::pin::pin;
    use std::task::Waker;
    use std::time::Duration;

    use crate::sync::deadlock::Detection;
    use crate::sync::{Lock, RLock};

    use super::*;

    /// Looks only at its own locks, since other tests run at the same time.
    #[tokio::test]
    async fn nothing_is_remembered_of_locks_that_are_gone_and_of_futures_that_were_dropped() {
        if !is_enabled() {
            Detection::new()
                .patience(Duration::from_secs(3600))
                .enable();
        }
        let owner = LockOwner::known().expect("the test");
        let outer = RLock::new(());
        let _outer = outer.lock().await;
        for _ in 0..1000 {
            let inner = Lock::new(());
            let guard = inner.lock().await;
            assert_eq!(state().takes.held_by(owner).len(), 2);
            {
                let mut again = pin!(inner.lock());
                let mut cx = Context::from_waker(Waker::noop());
                assert!(again.as_mut().poll(&mut cx).is_pending());
            }
            drop(guard);
            assert_eq!(state().takes.held_by(owner).len(), 1);
        }
        let state = state();
        assert_eq!(state.takes.waits_of(owner), 0);
        let outer = state.takes.held_by(owner)[0].lock;
        assert_eq!(state.order.after(outer), 0);
    }
}
