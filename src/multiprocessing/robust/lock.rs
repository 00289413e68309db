//! A lock in shared memory that outlives a killed holder. For its words see [`word`](super::word), for waiting for
//! changes of what it guards see [`wait_until`](super::wait_until).
//!
//! A process that changes more than one word of the guarded data follows one rule, *ring first*: take the lock,
//! [`announce`](RobustGuard::announce), change, commit by one atomic store, release the lock. The ring wakes the
//! waiters, which take the lock before they check. So a process that is killed in between leaves either the old
//! or the new state, and every waiter checks it: the lock is released, by its holder or by the holder's
//! death.
//!
//! The lock and the changes share one bell. A version lets waiters for a change ignore the rings that are meant
//! for the lock: see [`changes`](crate::multiprocessing::waiting::changes).

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::word::Word;
use crate::multiprocessing::waiting::bell::Bell;
use crate::multiprocessing::waiting::changes::Changes;
use crate::multiprocessing::waiting::crowd::Crowds;
use crate::multiprocessing::waiting::driver::{Driver, InTask, InThread, forever};
use crate::multiprocessing::waiting::mark::Mark;
use crate::multiprocessing::waiting::turns::Turns;
use crate::multiprocessing::waiting::wait::wait_for;
use crate::sys::{ProcessIdentity, SharedMapping};

/// A robust lock. A clone is the same lock.
#[derive(Clone, Debug)]
pub(crate) struct RobustLock {
    pub(super) memory: Arc<SharedMapping>,
    at: usize,
    pub(super) bell: Bell,
    turns: Turns,
    pub(super) crowds: Crowds,
}

/// The layout: the holder, the mark of waiters for the lock, the mark of waiters for a change, the version.
const HOLDER: usize = 0;
const WAITING: usize = 1;
const LISTENING: usize = 2;
const VERSION: usize = 3;
const WORDS: usize = 4;

impl RobustLock {
    /// The memory needed, in bytes. All zeros is a free lock.
    pub(crate) const BYTES: usize = 8 * WORDS;

    /// The lock at offset `at`. All its users have this bell; several locks may share one.
    pub(crate) fn new(memory: Arc<SharedMapping>, at: usize, bell: Bell) -> Self {
        Self {
            memory,
            at,
            bell,
            turns: Turns::default(),
            crowds: Crowds::default(),
        }
    }

    /// Its words, found by one check of the bounds.
    fn words(&self) -> &[AtomicU64; WORDS] {
        let words = self.memory.words(self.at, Self::BYTES);
        words.try_into().expect("a whole number of words")
    }

    fn word(&self) -> Word<'_> {
        let words = self.words();
        Word {
            holder: &words[HOLDER],
            waiting: Mark(&words[WAITING]),
        }
    }

    pub(super) fn changes(&self) -> Changes<'_> {
        let words = self.words();
        Changes {
            version: &words[VERSION],
            listening: Mark(&words[LISTENING]),
        }
    }

    /// Takes the lock if it is free or its holder has ended. It costs no system call, unless another process
    /// holds the lock; then it checks whether that process is alive.
    pub(crate) fn try_lock(&self) -> Option<RobustGuard<'_>> {
        match self.take() {
            Ok(held) => Some(held),
            Err(holder) if holder.has_ended() => self.take_or_seize(Some(holder)).ok(),
            Err(_) => None,
        }
    }

    /// Takes the lock. Waits until it is free. It costs no system call if the lock is free.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe. A dropped future loses its place in the line.
    pub(crate) async fn lock(&self) -> RobustGuard<'_> {
        InTask.begin().await;
        match self.at_once() {
            Some(held) => held,
            None => forever(self.take_in_turn(&InTask).await),
        }
    }

    /// Like [`lock`](Self::lock), in a thread; returns `None` after `timeout`.
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[inline]
    pub(crate) fn blocking_lock(&self, timeout: Option<Duration>) -> Option<RobustGuard<'_>> {
        let wait = async |driver: &InThread| self.take_in_turn(driver).await;
        InThread::wait(timeout, || self.at_once(), wait)
    }

    /// Takes the lock if it is free, and no task or thread of this process waits for it.
    #[inline]
    pub(crate) fn at_once(&self) -> Option<RobustGuard<'_>> {
        self.turns.at_once(|| self.take().ok())
    }

    /// Takes the lock. `None` if time is up.
    pub(crate) async fn lock_by<D: Driver>(&self, driver: &D) -> Option<RobustGuard<'_>> {
        driver.begin().await;
        self.take_by(driver).await
    }

    /// Like [`lock_by`](Self::lock_by), in a wait that has called `begin`.
    pub(crate) async fn take_by<D: Driver>(&self, driver: &D) -> Option<RobustGuard<'_>> {
        match self.at_once() {
            Some(held) => Some(held),
            None => self.take_in_turn(driver).await,
        }
    }

    /// Takes the lock, in the line of the caller's runtime, or of the threads. `None` if time is up.
    pub(crate) async fn take_in_turn<D: Driver>(&self, driver: &D) -> Option<RobustGuard<'_>> {
        let mut turn = driver.turn(&self.turns).await?;
        let mut held = None;
        let take = || {
            held = self.take_if_free();
            held.is_some()
        };
        driver.linger(take).await;
        if held.is_some() {
            return held;
        }
        wait_for(driver, turn.waiter(&self.bell), |watched| {
            self.word().waiting.raise();
            let taken = self.take().or_else(|_| self.take_or_seize(watched.ended));
            taken.map_err(|holder| watched.watch(holder)).ok()
        })
        .await
    }

    /// Takes the lock if it seems free.
    pub(super) fn take_if_free(&self) -> Option<RobustGuard<'_>> {
        let looks_free = self.word().holder.load(Ordering::Relaxed) == 0;
        looks_free.then(|| self.take().ok()).flatten()
    }

    /// The process that holds the lock.
    pub(crate) fn holder(&self) -> Option<ProcessIdentity> {
        ProcessIdentity::from_word(self.word().holder.load(Ordering::SeqCst))
    }

    /// Wakes the waiters for a change that was made without the lock, by one atomic instruction. The waiters
    /// have to watch every process that can make such a change, since it may be killed before this call.
    pub(crate) fn announce(&self) {
        self.changes().announce(|| self.bell.ring());
    }

    #[inline]
    fn take(&self) -> Result<RobustGuard<'_>, ProcessIdentity> {
        let own = ProcessIdentity::own();
        match self.word().take(own.to_word()) {
            Ok(()) => Ok(self.held(own, None)),
            Err(holder) => Err(ProcessIdentity::from_word(holder).unwrap_or(own)),
        }
    }

    fn take_or_seize(
        &self,
        ended: Option<ProcessIdentity>,
    ) -> Result<RobustGuard<'_>, ProcessIdentity> {
        let own = ProcessIdentity::own();
        let dead = ended.map(ProcessIdentity::to_word);
        match self.word().take_or_seize(own.to_word(), dead) {
            Ok(seized) => Ok(self.held(own, ended.filter(|_| seized))),
            Err(holder) => Err(ProcessIdentity::from_word(holder).unwrap_or(own)),
        }
    }

    fn held(&self, owner: ProcessIdentity, ended: Option<ProcessIdentity>) -> RobustGuard<'_> {
        RobustGuard {
            robust: self,
            owner,
            ended,
        }
    }

    /// Releases the lock after [`keep`](RobustGuard::keep), and wakes the waiters for it. Does nothing in a fork of
    /// `owner`, which may hold the lock by a guard of its own.
    #[inline]
    pub(crate) fn give_back(&self, owner: ProcessIdentity) {
        if owner == ProcessIdentity::own() {
            self.word().give_back(owner.to_word(), || self.bell.ring());
        }
    }
}

/// Holds the lock. Dropping it releases the lock and wakes the waiters for it.
#[derive(Debug)]
pub(crate) struct RobustGuard<'a> {
    pub(super) robust: &'a RobustLock,
    owner: ProcessIdentity,
    ended: Option<ProcessIdentity>,
}

impl RobustGuard<'_> {
    /// The process that ended while it held the lock, if the lock was taken over from it. The guarded data may
    /// be half changed.
    pub(crate) fn abandoned_by(&self) -> Option<u32> {
        self.ended.map(ProcessIdentity::pid)
    }

    /// Wakes the waiters for a change. Call it before the change.
    pub(crate) fn announce(&mut self) {
        self.robust.announce();
    }

    /// Keeps the lock until [`give_back`](RobustLock::give_back). Returns its owner.
    pub(crate) fn keep(self) -> ProcessIdentity {
        ManuallyDrop::new(self).owner
    }

    /// Whether this process holds the lock by this guard, which is false in a fork.
    pub(crate) fn is_own(&self) -> bool {
        let own = ProcessIdentity::own();
        self.owner == own && self.robust.holder() == Some(own)
    }
}

impl Drop for RobustGuard<'_> {
    fn drop(&mut self) {
        self.robust.give_back(self.owner);
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::process::Child;

    use super::super::two::tests::{data, process, two};
    use super::*;

    fn give_to(process: &Child, lock: &RobustLock) {
        let holder = lock.word().holder;
        holder.store(process.id().into(), Ordering::SeqCst);
    }

    #[test]
    fn one_at_a_time_has_it_be_it_a_task_or_a_thread() {
        const ROUNDS: u64 = 300;
        let (one, other) = two();
        let add = |lock: &RobustLock| {
            let seen = data(lock).load(Ordering::Relaxed);
            std::thread::yield_now();
            data(lock).store(seen + 1, Ordering::Relaxed);
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build();
        let runtime = runtime.expect("a runtime");
        std::thread::scope(|scope| {
            for lock in [&one, &other] {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let held = lock.blocking_lock(None).expect("no timeout");
                        assert!(lock.try_lock().is_none());
                        add(lock);
                        drop(held);
                    }
                });
            }
            let tasks = (0..10).map(|_| async {
                for _ in 0..ROUNDS {
                    let held = other.lock().await;
                    add(&other);
                    tokio::task::yield_now().await;
                    drop(held);
                }
            });
            runtime.block_on(futures::future::join_all(tasks));
        });
        assert_eq!(data(&one).load(Ordering::Relaxed), 12 * ROUNDS);
    }

    #[tokio::test]
    async fn the_next_one_has_what_a_process_left_and_knows_it() {
        let (lock, _) = two();
        let mut process = process();
        give_to(&process, &lock);
        assert!(lock.try_lock().is_none());
        let (held, ()) = tokio::join!(lock.lock(), async {
            drop(process.stdin.take());
        });
        assert_eq!(held.abandoned_by(), Some(process.id()));
        drop(held);
        assert_eq!(lock.lock().await.abandoned_by(), None);
        process.wait().expect("it has ended");
        give_to(&process, &lock);
        // Not in this thread, which drives a runtime.
        let held = std::thread::scope(|scope| scope.spawn(|| lock.blocking_lock(None)).join());
        let held = held.expect("no panic").expect("no timeout");
        assert_eq!(held.abandoned_by(), Some(process.id()));
        give_to(&process, &lock);
        drop(held); // As in a fork of the holder: the fork does not hold the lock.
        let held = lock.try_lock().expect("it is free again");
        assert_eq!(held.abandoned_by(), Some(process.id()));
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_the_lock_to_others() {
        let (one, other) = two();
        let held = one.lock().await;
        {
            let mut waiting = std::pin::pin!(other.lock());
            assert!(futures::poll!(waiting.as_mut()).is_pending());
        }
        drop(held);
        assert!(other.try_lock().is_some() && one.try_lock().is_some());
    }
}
