//! What a lock reports about itself: wanted, waited for, held, released, dropped.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;
use std::thread;

use crate::sync::block::{Blocking, blocking};
use crate::sync::owner::LockOwner;

use super::flow::Flow;
use super::report::CodePlace;
use super::state::{begin_hold, begin_wait, deliver, end_hold, end_wait, note_order, state};
use super::suspects::Verdict;
use super::takes::{LockNumber, Take, Taker};

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

/// Records that a lock is held, until this is dropped. A field of the guard. It is dropped before the lock is released:
/// otherwise the next holder would seem to wait for itself.
#[derive(Debug)]
pub(in crate::sync) struct Hold {
    take: Option<Take>,
    /// Whether the guard has moved to another task, so that its holder is unknown.
    has_moved: AtomicBool,
}

impl Hold {
    /// Call this when the guard is used.
    pub(in crate::sync) fn note_use(&self) {
        if let Some(take) = &self.take
            && !take.by.owner.is_current()
            && !self.has_moved.swap(true, Ordering::Relaxed)
        {
            end_hold(take); // Without a report, because its steps do not count.
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(take) = self.take.take_if(|_| !*self.has_moved.get_mut()) else {
            return;
        };
        // A hook that panics during a panic would abort the process.
        if let Some(report) = end_hold(&take)
            && !thread::panicking()
        {
            deliver(&report);
        }
    }
}

/// One call that takes a lock.
#[derive(Debug)]
pub(in crate::sync) struct Attempt<'a> {
    tag: &'a Tag,
    place: CodePlace,
    flow: Flow,
}

impl<'a> Attempt<'a> {
    pub(in crate::sync) fn new(tag: &'a Tag, place: CodePlace) -> Self {
        let flow = Flow::Unknown;
        Self { tag, place, flow }
    }

    /// Awaits `lock`, the future that takes the lock. Dropping this future drops `lock`.
    ///
    /// # Panics
    /// If this is a deadlock and deadlocks panic.
    pub(in crate::sync) async fn watch<F: Future>(&mut self, lock: F) -> F::Output {
        let mut lock = pin!(lock);
        if !is_enabled() {
            return lock.await;
        }
        let owner = LockOwner::known();
        self.flow = Flow::of(owner, self, &*lock);
        // A wait with a time limit is no deadlock.
        let Some(taker) = owner
            .filter(|_| blocking() != Blocking::Bounded)
            .map(|owner| self.taker(owner))
        else {
            return lock.await;
        };
        let number = self.tag.number();
        note_order(taker, number);
        let mut waiting = None;
        let lock = poll_fn(|cx| {
            let output = lock.as_mut().poll(cx);
            if output.is_pending() {
                wait(taker, number, &mut waiting, cx);
            }
            output
        });
        lock.await
    }

    /// Records that the lock is held now.
    pub(in crate::sync) fn hold(&self) -> Hold {
        let owner = is_enabled().then(LockOwner::known).flatten();
        Hold {
            take: owner.map(|owner| begin_hold(self.taker(owner), self.tag.number())),
            has_moved: AtomicBool::new(false),
        }
    }

    fn taker(&self, owner: LockOwner) -> Taker {
        Taker {
            owner,
            flow: self.flow,
            place: self.place,
        }
    }
}

/// Called on each poll that finds the lock held.
fn wait(
    taker: Taker,
    lock: LockNumber,
    waiting: &mut Option<WaitingAttempt>,
    cx: &mut Context<'_>,
) {
    let waiting = waiting.get_or_insert_with(|| {
        let (wait, verdict) = begin_wait(taker, lock);
        WaitingAttempt { wait, verdict }
    });
    let verdict = waiting.verdict.as_ref();
    if let Some(report) = verdict.and_then(|verdict| verdict.take(cx.waker())) {
        deliver(&report);
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

    /// Checks only its own locks, since other tests run at the same time.
    #[tokio::test]
    async fn dropped_locks_and_dropped_futures_leave_no_record() {
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
