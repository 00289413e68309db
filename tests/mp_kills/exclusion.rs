//! Only one member at a time holds the lock, whichever process is killed, and the death is reported to the next owner.

use std::time::Duration;

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::{
    Array, BoundedSemaphore, Condition, Lock, RLock, RwLock, Value,
};
use serde::{Deserialize, Serialize};

use super::board::{Board, Member};
use super::crew::{Crew, STEPS, any, leaves_nothing};

/// The objects that one member at a time holds.
#[derive(Clone, Serialize, Deserialize)]
enum Exclusive {
    Lock(Lock),
    RLock(RLock),
    RwLock(RwLock),
    Condition(Condition),
    Permit(BoundedSemaphore),
    Value(Value<u64>),
    Array(Array<u64>),
}

const SHORT: Duration = Duration::from_micros(200);

/// Enters in one of the ways that a thread can use.
macro_rules! enter {
    ($object:expr, $blocking:ident, $timeout:ident, $try:ident) => {
        loop {
            let guard = match any() % 4 {
                0 => $object.$try(),
                1 => $object.$timeout(SHORT),
                _ => Some($object.$blocking()),
            };
            match guard {
                Some(guard) => break guard,
                None => std::thread::yield_now(),
            }
        }
    };
}

impl Exclusive {
    fn blocking(&self, visit: Visit<'_>) {
        match self {
            Self::Lock(lock) => {
                let guard = enter!(lock, blocking_lock, blocking_lock_timeout, try_lock);
                visit.blocking(guard.abandoned_by());
            }
            Self::RLock(lock) => {
                let guard = enter!(lock, blocking_lock, blocking_lock_timeout, try_lock);
                let _again = lock.blocking_lock();
                visit.blocking(guard.abandoned_by());
            }
            Self::RwLock(lock) => {
                let guard = enter!(lock, blocking_write, blocking_write_timeout, try_write);
                visit.blocking(guard.abandoned_by());
            }
            Self::Condition(condition) => {
                let guard = condition.blocking_lock();
                condition.notify_one(&guard); // No task waits.
                visit.blocking(guard.abandoned_by());
            }
            Self::Permit(permits) => {
                let permit = enter!(
                    permits,
                    blocking_acquire,
                    blocking_acquire_timeout,
                    try_acquire
                );
                visit.blocking(permit.abandoned_by());
            }
            Self::Value(value) => {
                let guard = enter!(value, blocking_lock, blocking_lock_timeout, try_lock);
                visit.blocking(guard.abandoned_by());
            }
            Self::Array(array) => {
                let guard = enter!(array, blocking_lock, blocking_lock_timeout, try_lock);
                visit.blocking(guard.abandoned_by());
            }
        }
    }

    async fn visit(&self, visit: Visit<'_>) {
        match self {
            Self::Lock(lock) => {
                let guard = lock.lock().await;
                visit.visit(guard.abandoned_by()).await;
            }
            Self::RLock(lock) => {
                let guard = lock.lock().await;
                let _again = lock.lock().await;
                visit.visit(guard.abandoned_by()).await;
            }
            Self::RwLock(lock) => {
                let guard = lock.write().await;
                visit.visit(guard.abandoned_by()).await;
            }
            Self::Condition(condition) => {
                let guard = condition.lock().await;
                visit.visit(guard.abandoned_by()).await;
            }
            Self::Permit(permits) => {
                let permit = permits.acquire().await;
                visit.visit(permit.abandoned_by()).await;
            }
            Self::Value(value) => {
                let guard = value.lock().await;
                visit.visit(guard.abandoned_by()).await;
            }
            Self::Array(array) => {
                let guard = array.lock().await;
                visit.visit(guard.abandoned_by()).await;
            }
        }
    }
}

/// The member that is inside, and the number of visits so far, on the board.
const INSIDE: usize = 1;
const VISITS: usize = 2;

/// A member's visit: no other member may be inside.
struct Visit<'a>(&'a Member);

impl Visit<'_> {
    fn begin(&self, abandoned_by: Option<u32>) -> u64 {
        let (board, own) = (&self.0.board, self.0.who as u64 + 1);
        let before = board.common(INSIDE);
        assert!(
            before == 0 || abandoned_by.is_some(),
            "{own} did not learn that another was killed inside, or is there"
        );
        board.set_common(INSIDE, own);
        board.common(VISITS)
    }

    fn end(&self, visits: u64) {
        let (board, own) = (&self.0.board, self.0.who as u64 + 1);
        assert_eq!(board.common(INSIDE), own, "another is in there, too");
        board.set_common(VISITS, visits + 1);
        board.set_common(INSIDE, 0);
    }

    fn blocking(self, abandoned_by: Option<u32>) {
        let visits = self.begin(abandoned_by);
        std::thread::yield_now();
        self.end(visits);
    }

    async fn visit(self, abandoned_by: Option<u32>) {
        let visits = self.begin(abandoned_by);
        tokio::task::yield_now().await;
        self.end(visits);
    }
}

fn work(exclusive: Exclusive, member: Member) {
    while !member.board.is_over() {
        exclusive.blocking(Visit(&member));
        member.count(STEPS);
    }
}

async fn one_at_a_time(exclusive: Exclusive) {
    let board = Board::new();
    let serve = |member: Member| {
        let exclusive = exclusive.clone();
        async move {
            while !member.board.is_over() {
                exclusive.visit(Visit(&member)).await;
                member.count(STEPS);
            }
        }
    };
    let mut crew = Crew::new(&board, serve, |pool, member| {
        pool.submit(work, (exclusive.clone(), member))
    });
    crew.kill_again_and_again().await;
    board.end();
    let killed = crew.end().await;
    // A visit whose count was overwritten would be missing. A visit whose member was killed may not be counted.
    let (visits, steps) = (board.common(VISITS), board.sum(STEPS));
    assert!(
        (steps..=steps + killed).contains(&visits),
        "{visits} {steps}"
    );
}

#[test]
fn one_at_a_time_has_a_lock_though_holders_are_killed() {
    let test = "exclusion::one_at_a_time_has_a_lock_though_holders_are_killed";
    leaves_nothing(test, async || {
        one_at_a_time(Exclusive::Lock(Lock::new().expect("a lock"))).await;
    });
}

#[test]
fn one_at_a_time_has_a_lock_again_and_again_though_holders_are_killed() {
    let test = "exclusion::one_at_a_time_has_a_lock_again_and_again_though_holders_are_killed";
    leaves_nothing(test, async || {
        one_at_a_time(Exclusive::RLock(RLock::new().expect("a lock"))).await;
    });
}

#[test]
fn one_at_a_time_writes_under_a_read_write_lock_though_holders_are_killed() {
    let test = "exclusion::one_at_a_time_writes_under_a_read_write_lock_though_holders_are_killed";
    leaves_nothing(test, async || {
        one_at_a_time(Exclusive::RwLock(RwLock::new().expect("a lock"))).await;
    });
}

#[test]
fn one_at_a_time_has_the_lock_of_a_condition_though_holders_are_killed() {
    let test = "exclusion::one_at_a_time_has_the_lock_of_a_condition_though_holders_are_killed";
    leaves_nothing(test, async || {
        one_at_a_time(Exclusive::Condition(Condition::new().expect("a lock"))).await;
    });
}

#[test]
fn one_at_a_time_has_the_only_permit_though_holders_are_killed() {
    let test = "exclusion::one_at_a_time_has_the_only_permit_though_holders_are_killed";
    leaves_nothing(test, async || {
        let permits = BoundedSemaphore::new(1).expect("a permit");
        one_at_a_time(Exclusive::Permit(permits.clone())).await;
        let permit = permits.try_acquire().expect("it has come back");
        assert!(permits.try_acquire().is_none(), "there is one");
        drop(permit);
    });
}

#[test]
fn one_at_a_time_has_a_value_or_an_array_though_holders_are_killed() {
    let test = "exclusion::one_at_a_time_has_a_value_or_an_array_though_holders_are_killed";
    leaves_nothing(test, async || {
        one_at_a_time(Exclusive::Value(Value::new(0).expect("memory"))).await;
        one_at_a_time(Exclusive::Array(Array::new(&[0, 0]).expect("memory"))).await;
    });
}
