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
//! for the lock: see [`changes`](crate::multiprocessing::waiting::changes).

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::word::Word;
use crate::multiprocessing::waiting::bell::Bell;
use crate::multiprocessing::waiting::changes::Changes;
use crate::multiprocessing::waiting::crowd::Crowds;
use crate::multiprocessing::waiting::driver::{Driver, InTask, InThread, forever};
use crate::multiprocessing::waiting::mark::Mark;
use crate::multiprocessing::waiting::member::Member;
use crate::multiprocessing::waiting::turns::Turns;
use crate::multiprocessing::waiting::wait::{Interest, wait_for};
use crate::multiprocessing::waiting::waiter::Woken;
use crate::sys::{ProcessIdentity, SharedMapping};

/// A robust lock. A clone is the same lock.
#[derive(Clone, Debug)]
pub(crate) struct RobustLock {
    memory: Arc<SharedMapping>,
    at: usize,
    bell: Bell,
    turns: Turns,
    crowds: Crowds,
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
        Self {
            memory,
            at,
            bell,
            turns: Turns::default(),
            crowds: Crowds::default(),
        }
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
    /// Cancel safe. A dropped future loses its place in the line.
    pub(crate) async fn lock(&self) -> RobustGuard<'_> {
        forever(self.lock_by(&InTask).await)
    }

    /// Like [`lock`](Self::lock), in a thread; returns `None` after `timeout`.
    ///
    /// # Panics
    /// On a thread that drives async code.
    pub(crate) fn blocking_lock(&self, timeout: Option<Duration>) -> Option<RobustGuard<'_>> {
        InThread::run(self.lock_by(&InThread::within(timeout)))
    }

    /// Takes the lock. `None` if time is up.
    pub(crate) async fn lock_by<D: Driver>(&self, driver: &D) -> Option<RobustGuard<'_>> {
        driver.begin().await;
        if self.turns.are_free()
            && let Ok(held) = self.take()
        {
            return Some(held);
        }
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
        wait_for(driver, turn.waiter(&self.bell), |interest| {
            self.word().waiting.raise();
            let taken = self.take().or_else(|_| self.take_or_seize(interest.ended));
            taken.map_err(|holder| interest.watch(holder)).ok()
        })
        .await
    }

    /// Takes the lock if it looks free.
    fn take_if_free(&self) -> Option<RobustGuard<'_>> {
        let looks_free = self.word().holder.load(Ordering::Relaxed) == 0;
        looks_free.then(|| self.take().ok()).flatten()
    }

    /// Calls `look` under the lock until it returns a value: now, after each announced change, and after the
    /// end of each process that `look` watches. Each waiter looks after each change. `None` if time is up.
    ///
    /// # Panics
    /// Like [`lock`](Self::lock), or [`blocking_lock`](Self::blocking_lock).
    ///
    /// # Cancel safety
    /// Cancel safe: a value that `look` returns is returned at once.
    pub(crate) async fn wait_until<D: Driver, T>(
        &self,
        driver: &D,
        mut look: impl FnMut(&mut RobustGuard<'_>) -> Option<T>,
    ) -> Option<T> {
        let mut member = Member::new(driver.crowd(&self.crowds));
        let mut interest = Interest::default();
        loop {
            let held = self.lock_by(driver).await?;
            let version = match held.look(&mut interest, member.leads(), &mut look) {
                Look::Found(found) => return Some(found),
                Look::Version(version) => version,
            };
            let changes = self.changes();
            let changed = member.changed(driver, &self.bell, changes, version, &mut interest);
            changed.await?;
        }
    }

    /// Like [`wait_until`](Self::wait_until), but the waiters of one line look one at a time, because a change is for
    /// one of them. `is_worthwhile` says, without the lock, whether a look may succeed.
    pub(crate) async fn wait_in_turn<D: Driver, T>(
        &self,
        driver: &D,
        turns: &Turns,
        is_worthwhile: impl Fn() -> bool,
        mut look: impl FnMut(&mut RobustGuard<'_>) -> Option<T>,
    ) -> Option<T> {
        driver.begin().await;
        if turns.are_free()
            && is_worthwhile()
            && let Some(mut held) = self.take_if_free()
            && let Some(found) = look(&mut held)
        {
            return Some(found);
        }
        let mut turn = driver.turn(turns).await?;
        if !turn.has_waited {
            driver.linger(&is_worthwhile).await;
        }
        let mut interest = Interest::default();
        loop {
            let held = self.lock_by(driver).await?;
            let version = match held.look(&mut interest, true, &mut look) {
                Look::Found(found) => return Some(found),
                Look::Version(version) => version,
            };
            let waiter = turn.waiter(&self.bell);
            let ended = loop {
                if self.changes().listen() != version {
                    break None;
                }
                if let Woken::Ended(ended) = interest.wait(driver, waiter).await? {
                    break ended;
                }
            };
            interest.renew(ended);
        }
    }

    /// Waits for the next announced change. Call it under the lock, and await the result after the lock is released.
    /// The result is `None` if time is up before.
    ///
    /// # Panics
    /// The result, outside of a tokio runtime, or in one without an I/O driver.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) fn next_change<D: Driver>(&self, driver: &D) -> impl Future<Output = Option<()>> {
        let version = self.changes().version();
        async move {
            driver.begin().await;
            let mut member = Member::new(driver.crowd(&self.crowds));
            let mut interest = Interest::default();
            while self.changes().version() == version {
                let changes = self.changes();
                let changed = member.changed(driver, &self.bell, changes, version, &mut interest);
                changed.await?;
            }
            Some(())
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

    fn held(&self, ended: Option<ProcessIdentity>) -> RobustGuard<'_> {
        RobustGuard {
            robust: self,
            owner: ProcessIdentity::own(),
            ended,
            interest: Interest::default(),
            leads: true,
        }
    }

    /// Releases the lock after [`keep`](RobustGuard::keep), and wakes the waiters for it. Does nothing in a fork of
    /// `owner`, which may hold the lock by a guard of its own.
    pub(crate) fn give_back(&self, owner: ProcessIdentity) {
        if owner == ProcessIdentity::own() {
            self.word().give_back(owner.to_word(), || self.bell.ring());
        }
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
    owner: ProcessIdentity,
    ended: Option<ProcessIdentity>,
    interest: Interest,
    leads: bool,
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
        self.interest.watch(process);
    }

    /// The watched process whose end is the reason for this look.
    pub(crate) fn ended(&self) -> Option<ProcessIdentity> {
        self.interest.ended
    }

    /// Keeps the lock until [`give_back`](RobustLock::give_back). Returns its owner.
    pub(crate) fn keep(self) -> ProcessIdentity {
        let mut kept = ManuallyDrop::new(self);
        drop(std::mem::take(&mut kept.interest));
        kept.owner
    }

    /// Whether this process holds the lock by this guard, which is false in a fork.
    pub(crate) fn is_own(&self) -> bool {
        let own = ProcessIdentity::own();
        self.owner == own && self.robust.holder() == Some(own)
    }

    /// Whether this waiter watches processes for all tasks of its runtime in this wait, so that the others need not.
    pub(crate) fn leads(&self) -> bool {
        self.leads
    }

    fn look<T>(
        mut self,
        interest: &mut Interest,
        leads: bool,
        look: &mut impl FnMut(&mut Self) -> Option<T>,
    ) -> Look<T> {
        // Before the look: a change without the lock is either seen, or makes another version.
        let version = self.robust.changes().version();
        self.leads = leads;
        std::mem::swap(&mut self.interest, interest);
        let found = look(&mut self);
        std::mem::swap(&mut self.interest, interest);
        found.map_or(Look::Version(version), Look::Found)
    }
}

impl Drop for RobustGuard<'_> {
    fn drop(&mut self) {
        self.robust.give_back(self.owner);
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

    fn blocking_wait_until<T>(
        lock: &RobustLock,
        timeout: Option<Duration>,
        look: impl FnMut(&mut RobustGuard<'_>) -> Option<T>,
    ) -> Option<T> {
        InThread::run(lock.wait_until(&InThread::within(timeout), look))
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
            let mut held = other.try_lock().expect("it is free");
            held.announce();
            data(&other).store(to, Ordering::Relaxed);
        };
        let reach = |goal| {
            one.wait_until(&InTask, move |held: &mut RobustGuard<'_>| {
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
        assert_eq!(seen, Some(3));
        let mut process = process();
        let identity = ProcessIdentity::from_word(process.id().into()).expect("not 0");
        let until_it_ends = one.wait_until(&InTask, |held: &mut RobustGuard<'_>| {
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
        let waiting = one.wait_until(&InTask, |held: &mut RobustGuard<'_>| {
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

    #[tokio::test]
    async fn those_behind_a_leader_that_gives_up_beside_a_change_are_all_woken() {
        let (one, other) = two();
        let wait = || {
            Box::pin(one.wait_until(&InTask, |held: &mut RobustGuard<'_>| {
                (data(held.robust).load(Ordering::Relaxed) == 1).then_some(())
            }))
        };
        let [mut leader, mut next, mut last] = [(); 3].map(|()| wait());
        for waits in [&mut leader, &mut next, &mut last] {
            assert!(futures::poll!(waits).is_pending());
        }
        drop(leader); // The next one is woken to lead.
        let mut held = other.try_lock().expect("it is free");
        held.announce();
        data(&other).store(1, Ordering::Relaxed);
        drop(held);
        assert!(
            futures::poll!(next).is_ready(),
            "it finds the change at once"
        );
        let last = tokio::time::timeout(Duration::from_secs(30), last).await;
        last.expect("it was woken");
    }

    #[test]
    fn a_thread_looks_after_the_end_of_whom_it_watches() {
        let (one, _) = two();
        let mut process = process();
        let identity = ProcessIdentity::from_word(process.id().into()).expect("not 0");
        let input = Cell::new(process.stdin.take());
        let looks = Cell::new(0);
        let ended = blocking_wait_until(&one, Some(Duration::from_secs(30)), |held| {
            held.watch(identity);
            looks.set(looks.get() + 1);
            drop(input.take()); // From now on it watches, and waits.
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
            let seen = blocking_wait_until(&one, None, |held| {
                let seen = data(held.robust).load(Ordering::Relaxed);
                (seen == 7).then_some(seen)
            });
            assert_eq!(seen, Some(7));
        });
        assert_eq!(blocking_wait_until(&one, soon, |_| None::<()>), None);
        let held = other.try_lock().expect("it is free");
        assert!(one.blocking_lock(soon).is_none());
        assert_eq!(blocking_wait_until(&one, soon, |_| None::<()>), None);
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
