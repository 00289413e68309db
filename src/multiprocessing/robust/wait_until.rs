//! Waits for changes of what a [robust lock](super::lock) guards: a check under the lock, again after each announced
//! change, and after the end of each process that the check watches.

use super::lock::{RobustGuard, RobustLock};
use crate::multiprocessing::waiting::driver::Driver;
use crate::multiprocessing::waiting::member::Member;
use crate::multiprocessing::waiting::turns::Turns;
use crate::multiprocessing::waiting::wait::WatchedProcesses;
use crate::multiprocessing::waiting::waiter::Woken;

impl RobustLock {
    /// Calls `check` under the lock until it returns a value: now, after each announced change, and after the
    /// end of each process that `check` watches. Each waiter checks after each change. `None` if time is up.
    ///
    /// # Panics
    /// Like [`lock`](Self::lock), or [`blocking_lock`](Self::blocking_lock).
    ///
    /// # Cancel safety
    /// Cancel safe: a value that `check` returns is returned at once.
    pub(crate) async fn wait_until<D: Driver, T>(
        &self,
        driver: &D,
        mut check: impl FnMut(&mut RobustGuard<'_>, &mut WatchedProcesses) -> Option<T>,
    ) -> Option<T> {
        let mut member = Member::new(driver.crowd(&self.crowds));
        let mut watched = WatchedProcesses::default();
        loop {
            let mut held = self.lock_by(driver).await?;
            // Before the check: a change without the lock is either seen, or makes another version.
            let version = self.changes().version();
            watched.leads = member.leads();
            if let Some(found) = check(&mut held, &mut watched) {
                return Some(found);
            }
            drop(held);
            let changes = self.changes();
            let changed = member.changed(driver, &self.bell, changes, version, &mut watched);
            changed.await?;
        }
    }

    /// What `check` finds under the lock, unless a task or thread of this process stands in a line, of these or of the
    /// lock, or another one holds the lock.
    #[inline]
    pub(crate) fn check_at_once<T>(
        &self,
        turns: &Turns,
        check: impl FnOnce(&mut RobustGuard<'_>) -> Option<T>,
    ) -> Option<T> {
        turns.at_once(|| check(&mut self.at_once()?))
    }

    /// Like [`wait_until`](Self::wait_until), but the waiters of one line check one at a time, because a change is for
    /// one of them. `is_worthwhile` says, without the lock, whether a check may succeed. For a wait that has started,
    /// and has [checked at once](Self::check_at_once).
    pub(crate) async fn check_in_turn<D: Driver, T>(
        &self,
        driver: &D,
        turns: &Turns,
        is_worthwhile: impl Fn() -> bool,
        mut check: impl FnMut(&mut RobustGuard<'_>) -> Option<T>,
    ) -> Option<T> {
        let mut turn = driver.turn(turns).await?;
        if !turn.has_waited {
            driver.linger(&is_worthwhile).await;
        }
        let mut watched = WatchedProcesses::default();
        loop {
            let mut held = self.take_by(driver).await?;
            let version = self.changes().version();
            if let Some(found) = check(&mut held) {
                return Some(found);
            }
            drop(held);
            let waiter = turn.waiter(&self.bell);
            while self.changes().listen() == version {
                if let Woken::Ended(_) = watched.wait(driver, waiter).await? {
                    break;
                }
            }
            driver.begin().await; // A process that announces all the time must not keep this task busy.
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
            let mut watched = WatchedProcesses::default();
            while self.changes().version() == version {
                let changes = self.changes();
                let changed = member.changed(driver, &self.bell, changes, version, &mut watched);
                changed.await?;
            }
            Some(())
        }
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::super::two::tests::{data, process, two};
    use super::*;
    use crate::multiprocessing::waiting::driver::{InTask, InThread};
    use crate::sys::ProcessIdentity;

    fn blocking_wait_until<T>(
        lock: &RobustLock,
        timeout: Option<Duration>,
        check: impl FnMut(&mut RobustGuard<'_>, &mut WatchedProcesses) -> Option<T>,
    ) -> Option<T> {
        InThread::run(lock.wait_until(&InThread::within(timeout), check))
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
            one.wait_until(
                &InTask,
                move |held: &mut RobustGuard<'_>, _: &mut WatchedProcesses| {
                    let seen = data(held.robust).load(Ordering::Relaxed);
                    (seen >= goal).then_some(seen)
                },
            )
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
        let until_it_ends = one.wait_until(
            &InTask,
            |_: &mut RobustGuard<'_>, watched: &mut WatchedProcesses| {
                watched.watch(identity);
                identity.has_ended().then_some(())
            },
        );
        tokio::join!(until_it_ends, async { drop(process.stdin.take()) });
        process.wait().expect("it has ended");
    }

    #[tokio::test]
    async fn who_was_woken_for_what_he_has_seen_is_woken_for_the_next_change_too() {
        let (one, other) = two();
        let checks = Cell::new(0);
        let waiting = one.wait_until(
            &InTask,
            |held: &mut RobustGuard<'_>, _: &mut WatchedProcesses| {
                checks.set(checks.get() + 1);
                (data(held.robust).load(Ordering::Relaxed) == 2).then_some(())
            },
        );
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
            // checks in between.
            let before = checks.get();
            data(&other).store(1, Ordering::Relaxed);
            changes.version.fetch_add(1, Ordering::SeqCst);
            other.bell.ring();
            until(&|| checks.get() > before).await;
            changes.listening.answer(|| other.bell.ring());
            assert!(!listens());
            until(&listens).await;
            assert_eq!(checks.get(), before + 1, "it saw that change");
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
            Box::pin(one.wait_until(
                &InTask,
                |held: &mut RobustGuard<'_>, _: &mut WatchedProcesses| {
                    (data(held.robust).load(Ordering::Relaxed) == 1).then_some(())
                },
            ))
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
        let checks = Cell::new(0);
        let ended = blocking_wait_until(&one, Some(Duration::from_secs(30)), |_, watched| {
            watched.watch(identity);
            checks.set(checks.get() + 1);
            drop(input.take()); // From now on it watches, and waits.
            watched.ended
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
            let seen = blocking_wait_until(&one, None, |held, _| {
                let seen = data(held.robust).load(Ordering::Relaxed);
                (seen == 7).then_some(seen)
            });
            assert_eq!(seen, Some(7));
        });
        assert_eq!(blocking_wait_until(&one, soon, |_, _| None::<()>), None);
        let held = other.try_lock().expect("it is free");
        assert!(one.blocking_lock(soon).is_none());
        assert_eq!(blocking_wait_until(&one, soon, |_, _| None::<()>), None);
        drop(held);
    }
}
