//! A lock in shared memory that outlives a killed holder, and waiting for changes of what it guards. For the
//! lock alone see [`word`](super::word).
//!
//! A process that changes more than one word of the guarded data follows one rule, *ring first*: take the lock,
//! [`announce`](RobustGuard::announce), change, commit by one atomic store, release the lock. The ring wakes the
//! waiters, which take the lock before they look. So a process that is killed in between leaves either the old
//! or the new state, and every waiter looks at it: the lock is released, by its holder or by the holder's
//! death.
//!
//! The lock and the changes share one bell. A version lets waiters for a change ignore the rings that are meant
//! for the lock: see [`changes`](super::changes).

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::changes::Changes;
use super::word::Word;
use crate::multiprocessing::waiting::bell::Bell;
use crate::multiprocessing::waiting::linger::{linger, linger_in_turn};
use crate::multiprocessing::waiting::mark::Mark;
use crate::multiprocessing::waiting::wait::{
    MOST_ENDED, SeenHolders, blocking_until, end_of, is_over, until,
};
use crate::multiprocessing::waiting::waiter::{BlockingWaiter, Waiter, Woken};
use crate::sys::{ProcessIdentity, SharedMapping};

/// A robust lock. A clone is the same lock.
#[derive(Clone, Debug)]
pub(crate) struct RobustLock {
    memory: Arc<SharedMapping>,
    at: usize,
    bell: Bell,
}

/// The layout: the holder, the mark of waiters for the lock, the mark of waiters for a change, the version.
const HOLDER: usize = 0;
const WAITING: usize = 8;
const LISTENING: usize = 16;
const VERSION: usize = 24;

impl RobustLock {
    /// The memory needed, in bytes. All zeros is a free lock.
    pub(crate) const BYTES: usize = 32;

    /// The lock at offset `at`. All its users have this bell; several locks may share one.
    pub(crate) fn new(memory: Arc<SharedMapping>, at: usize, bell: Bell) -> Self {
        Self { memory, at, bell }
    }

    fn word(&self) -> Word<'_> {
        Word {
            holder: self.memory.word(self.at + HOLDER),
            waiting: Mark(self.memory.word(self.at + WAITING)),
        }
    }

    fn changes(&self) -> Changes<'_> {
        Changes {
            version: self.memory.word(self.at + VERSION),
            listening: Mark(self.memory.word(self.at + LISTENING)),
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
    /// Cancel safe. There is no queue, so no place in one is lost.
    pub(crate) async fn lock(&self) -> RobustGuard<'_> {
        // A task that takes a free lock in a loop lets other tasks run.
        tokio::task::coop::consume_budget().await;
        let mut held = self.take().ok();
        if held.is_none() {
            held = linger_in_turn(|| self.take_if_free()).await;
        }
        match held {
            Some(held) => held,
            None => until(&self.bell, self.word().waiting, |seen| self.look(seen)).await,
        }
    }

    /// Like [`lock`](Self::lock), in a thread; returns `None` after `timeout`.
    ///
    /// # Panics
    /// If it has to wait on a thread that drives async code.
    pub(crate) fn blocking_lock(&self, timeout: Option<Duration>) -> Option<RobustGuard<'_>> {
        match self.take() {
            Ok(held) => Some(held),
            Err(_) => self.blocking_lock_until(end_of(timeout)),
        }
    }

    fn blocking_lock_until(&self, end: Option<Instant>) -> Option<RobustGuard<'_>> {
        let waiting = self.word().waiting;
        linger(|| self.take_if_free())
            .or_else(|| blocking_until(&self.bell, waiting, end, |seen| self.look(seen)))
    }

    /// Takes the lock if it looks free.
    fn take_if_free(&self) -> Option<RobustGuard<'_>> {
        let looks_free = self.word().holder.load(Ordering::Relaxed) == 0;
        looks_free.then(|| self.take().ok()).flatten()
    }

    /// Calls `look` under the lock until it returns a value: now, after each announced change, and after the
    /// end of each process that `look` watches.
    ///
    /// # Panics
    /// Like [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Cancel safe: a value that `look` returns is returned at once.
    pub(crate) async fn wait_until<T>(
        &self,
        mut look: impl FnMut(&mut RobustGuard<'_>) -> Option<T>,
    ) -> T {
        if let Some(found) = look(&mut self.lock().await) {
            return found;
        }
        let (mut waiter, mut seen) = (Waiter::new(&self.bell), SeenHolders::default());
        loop {
            let version = match self.lock().await.look(&mut seen, &mut look) {
                Look::Found(found) => return found,
                Look::Version(version) => version,
            };
            let ended = waiter.watch(seen.watched());
            if ended.is_some() {
                // A process that names one dead process after another must not keep this task busy.
                tokio::task::yield_now().await;
            } else {
                while waiter.wait().await == Woken::Rang && !self.changes().are_after(version) {}
            }
            seen.renew(ended);
        }
    }

    /// Like [`wait_until`](Self::wait_until), in a thread; returns `None` after `timeout`.
    ///
    /// # Panics
    /// Like [`blocking_lock`](Self::blocking_lock).
    pub(crate) fn blocking_wait_until<T>(
        &self,
        timeout: Option<Duration>,
        mut look: impl FnMut(&mut RobustGuard<'_>) -> Option<T>,
    ) -> Option<T> {
        let end = end_of(timeout);
        if let Some(found) = look(&mut self.blocking_lock_by(end)?) {
            return Some(found);
        }
        let (mut waiter, mut seen) = (BlockingWaiter::new(&self.bell), SeenHolders::default());
        for looks in 0.. {
            let version = match self.blocking_lock_by(end)?.look(&mut seen, &mut look) {
                Look::Found(found) => return Some(found),
                Look::Version(version) => version,
            };
            let ended = waiter.watch(seen.watched());
            if ended.is_some() && looks >= MOST_ENDED && is_over(end) {
                return None;
            }
            if ended.is_none() {
                loop {
                    if is_over(end) {
                        return None;
                    }
                    if waiter.wait(end) == Woken::Ended || self.changes().are_after(version) {
                        break;
                    }
                }
            }
            seen.renew(ended);
        }
        None
    }

    fn blocking_lock_by(&self, end: Option<Instant>) -> Option<RobustGuard<'_>> {
        match self.take() {
            Ok(held) => Some(held),
            Err(_) => self.blocking_lock_until(end),
        }
    }

    /// Waits for the next announced change. It listens from this call on. Call it under the lock, and await the
    /// result after the lock is released. It may return without a change.
    ///
    /// # Panics
    /// The call itself, outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) fn next_change(&self) -> impl Future<Output = ()> + Send {
        let mut waiter = Waiter::new(&self.bell);
        let version = self.changes().listen();
        async move { while waiter.wait().await == Woken::Rang && !self.changes().are_after(version) {} }
    }

    /// Like [`next_change`](Self::next_change), in a thread, until `end` at the latest. It waits when the
    /// returned function is called.
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub(crate) fn next_change_by(&self, end: Option<Instant>) -> impl FnOnce() {
        let mut waiter = BlockingWaiter::new(&self.bell);
        let version = self.changes().listen();
        move || {
            while !is_over(end)
                && waiter.wait(end) == Woken::Rang
                && !self.changes().are_after(version)
            {}
        }
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

    fn take(&self) -> Result<RobustGuard<'_>, ProcessIdentity> {
        match self.word().take(ProcessIdentity::own().to_word()) {
            Ok(()) => Ok(self.held(None)),
            Err(holder) => {
                Err(ProcessIdentity::from_word(holder).unwrap_or(ProcessIdentity::own()))
            }
        }
    }

    fn take_or_seize(
        &self,
        ended: Option<ProcessIdentity>,
    ) -> Result<RobustGuard<'_>, ProcessIdentity> {
        let own = ProcessIdentity::own().to_word();
        match self
            .word()
            .take_or_seize(own, ended.map(ProcessIdentity::to_word))
        {
            Ok(seized) => Ok(self.held(ended.filter(|_| seized))),
            Err(holder) => {
                Err(ProcessIdentity::from_word(holder).unwrap_or(ProcessIdentity::own()))
            }
        }
    }

    /// One look at the word by a waiter for the lock.
    fn look(&self, seen: &mut SeenHolders) -> Option<RobustGuard<'_>> {
        let taken = self.take().or_else(|_| self.take_or_seize(seen.ended));
        taken.map_err(|holder| seen.watch(holder)).ok()
    }

    fn held(&self, ended: Option<ProcessIdentity>) -> RobustGuard<'_> {
        RobustGuard {
            robust: self,
            ended,
            seen: SeenHolders::default(),
        }
    }

    /// Releases the lock after [`keep`](RobustGuard::keep), and wakes the waiters for it.
    pub(crate) fn give_back(&self) {
        let own = ProcessIdentity::own().to_word();
        self.word().give_back(own, || self.bell.ring());
    }
}

enum Look<T> {
    Found(T),
    /// Not found in this version of the guarded data.
    Version(u64),
}

/// Holds the lock. Dropping it releases the lock and wakes the waiters for it.
#[derive(Debug)]
pub(crate) struct RobustGuard<'a> {
    robust: &'a RobustLock,
    ended: Option<ProcessIdentity>,
    seen: SeenHolders,
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

    /// Waiters look again when `process` has ended.
    pub(crate) fn watch(&mut self, process: ProcessIdentity) {
        self.seen.watch(process);
    }

    /// The watched process whose end is the reason for this look.
    pub(crate) fn ended(&self) -> Option<ProcessIdentity> {
        self.seen.ended
    }

    /// Keeps the lock until [`give_back`](RobustLock::give_back).
    pub(crate) fn keep(self) {
        let mut kept = ManuallyDrop::new(self);
        drop(std::mem::take(&mut kept.seen));
    }

    fn look<T>(
        mut self,
        seen: &mut SeenHolders,
        look: &mut impl FnMut(&mut Self) -> Option<T>,
    ) -> Look<T> {
        // Before the look: a change without the lock is either seen, or makes another version.
        let version = self.robust.changes().listen();
        std::mem::swap(&mut self.seen, seen);
        let found = look(&mut self);
        std::mem::swap(&mut self.seen, seen);
        found.map_or(Look::Version(version), Look::Found)
    }
}

impl Drop for RobustGuard<'_> {
    fn drop(&mut self) {
        self.robust.give_back();
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::cell::Cell;
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// The same lock, as two processes see it.
    fn two() -> (RobustLock, RobustLock) {
        let bell = Bell::new().expect("a bell");
        let (one, fd) = SharedMapping::create(4096).expect("memory");
        let other = SharedMapping::open(fd, 4096).expect("the same memory");
        let lock = |memory| RobustLock::new(Arc::new(memory), 64, bell.clone());
        (lock(one), lock(other))
    }

    fn data(lock: &RobustLock) -> &AtomicU64 {
        lock.memory.word(0)
    }

    fn process() -> Child {
        let mut process = Command::new("cat");
        process.stdin(Stdio::piped()).spawn().expect("a process")
    }

    fn give_to(process: &Child, lock: &RobustLock) {
        let holder = lock.memory.word(lock.at + HOLDER);
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
    async fn who_waits_for_a_change_looks_after_each_and_after_the_end_of_whom_it_watches() {
        let (one, other) = two();
        let change = |to| {
            let mut held = other.blocking_lock(None).expect("no timeout");
            held.announce();
            data(&other).store(to, Ordering::Relaxed);
        };
        let reach = |goal| {
            one.wait_until(move |held| {
                let seen = data(held.robust).load(Ordering::Relaxed);
                (seen >= goal).then_some(seen)
            })
        };
        let (seen, ()) = tokio::join!(reach(3), async {
            for to in 1..=3 {
                change(to);
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(seen, 3);
        let mut process = process();
        let identity = ProcessIdentity::from_word(process.id().into()).expect("not 0");
        let until_it_ends = one.wait_until(|held| {
            held.watch(identity);
            identity.has_ended().then_some(())
        });
        tokio::join!(until_it_ends, async { drop(process.stdin.take()) });
        process.wait().expect("it has ended");
    }

    #[tokio::test]
    async fn who_was_woken_for_what_he_has_seen_is_woken_for_the_next_change_too() {
        let (one, other) = two();
        let looks = Cell::new(0);
        let waiting = one.wait_until(|held| {
            looks.set(looks.get() + 1);
            (data(held.robust).load(Ordering::Relaxed) == 2).then_some(())
        });
        let changes = async {
            let until = async |is_so: &dyn Fn() -> bool| {
                while !is_so() {
                    tokio::task::yield_now().await;
                }
            };
            let changes = other.changes();
            let listens = || changes.listening.0.load(Ordering::SeqCst) & 1 == 1;
            until(&listens).await;
            // A process announces a change that was made without the lock, and is slow: the other one wakes and
            // looks in between.
            let before = looks.get();
            data(&other).store(1, Ordering::Relaxed);
            changes.version.fetch_add(1, Ordering::SeqCst);
            other.bell.ring();
            until(&|| looks.get() > before).await;
            changes.listening.answer(|| other.bell.ring());
            assert!(!listens());
            until(&listens).await;
            assert_eq!(looks.get(), before + 1, "it had seen that change");
            let mut held = other.try_lock().expect("it is free");
            held.announce();
            data(&other).store(2, Ordering::Relaxed);
        };
        let both = async { tokio::join!(waiting, changes) };
        let both = tokio::time::timeout(Duration::from_secs(30), both).await;
        both.expect("it was woken");
    }

    #[test]
    fn a_thread_looks_after_the_end_of_whom_it_watches() {
        let (one, _) = two();
        let mut process = process();
        let identity = ProcessIdentity::from_word(process.id().into()).expect("not 0");
        let input = Cell::new(process.stdin.take());
        let looks = Cell::new(0);
        let ended = one.blocking_wait_until(Some(Duration::from_secs(30)), |held| {
            held.watch(identity);
            looks.set(looks.get() + 1);
            if looks.get() == 2 {
                drop(input.take()); // From now on it watches, and waits.
            }
            held.ended()
        });
        assert_eq!(ended, Some(identity));
        process.wait().expect("it has ended");
    }

    #[test]
    fn a_thread_waits_for_a_change_or_gives_up() {
        let (one, other) = two();
        let soon = Some(Duration::from_millis(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut held = other.blocking_lock(None).expect("no timeout");
                held.announce();
                data(&other).store(7, Ordering::Relaxed);
            });
            let seen = one.blocking_wait_until(None, |held| {
                let seen = data(held.robust).load(Ordering::Relaxed);
                (seen == 7).then_some(seen)
            });
            assert_eq!(seen, Some(7));
        });
        assert_eq!(one.blocking_wait_until(soon, |_| None::<()>), None);
        let held = other.try_lock().expect("it is free");
        assert!(one.blocking_lock(soon).is_none());
        assert_eq!(one.blocking_wait_until(soon, |_| None::<()>), None);
        drop(held);
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
