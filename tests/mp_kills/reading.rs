//! A read-write lock: readers never see half a change, and the death of a reader or a writer does not block the others.

use std::time::Duration;

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::RwLock;

use super::board::{Board, Member};
use super::common::within;
use super::crew::{Crew, STEPS, any, leaves_nothing, tasks};

const SHORT: Duration = Duration::from_micros(200);

/// Two words on the board that are equal, except while a writer changes them.
const ONE: usize = 1;
const OTHER: usize = 2;

/// Compares both words. They differ only if a writer was killed.
fn check(member: &Member, abandoned_by: Option<u32>, between: impl FnOnce()) {
    let one = member.board.common(ONE);
    between();
    let other = member.board.common(OTHER);
    assert!(
        one == other || abandoned_by.is_some(),
        "{one} and {other}, and no one has died"
    );
}

fn write(member: &Member, abandoned_by: Option<u32>) {
    check(member, abandoned_by, std::thread::yield_now);
    let next = any();
    member.board.set_common(ONE, next);
    std::thread::yield_now();
    member.board.set_common(OTHER, next);
}

/// Reads or writes, in each way that a thread can use.
fn read_or_write(lock: RwLock, member: Member) {
    while !member.board.is_over() {
        match any() % 8 {
            0 => {
                let guard = lock.blocking_write();
                write(&member, guard.abandoned_by());
                let guard = guard.downgrade();
                check(&member, guard.abandoned_by(), std::thread::yield_now);
            }
            1 => {
                let Some(guard) = lock.blocking_write_timeout(SHORT) else {
                    continue;
                };
                write(&member, guard.abandoned_by());
            }
            2 => {
                let Some(guard) = lock.try_read() else {
                    continue;
                };
                check(&member, guard.abandoned_by(), std::thread::yield_now);
            }
            3 => {
                let Some(guard) = lock.blocking_read_timeout(SHORT) else {
                    continue;
                };
                check(&member, guard.abandoned_by(), std::thread::yield_now);
            }
            _ => {
                let guard = lock.blocking_read();
                check(&member, guard.abandoned_by(), std::thread::yield_now);
            }
        }
        member.count(STEPS);
    }
}

#[test]
fn readers_see_whole_changes_and_no_killed_reader_or_writer_keeps_the_others_waiting() {
    let test = "reading::readers_see_whole_changes_and_no_killed_reader_or_writer_keeps_the_others_waiting";
    leaves_nothing(test, async || {
        let (board, lock) = (Board::new(), RwLock::new().expect("a lock"));
        let serve = |member: Member| {
            let lock = lock.clone();
            async move {
                while !member.board.is_over() {
                    if member.who == 0 {
                        let guard = lock.write().await;
                        write(&member, guard.abandoned_by());
                    } else {
                        let guard = lock.read().await;
                        check(&member, guard.abandoned_by(), || ());
                        tokio::task::yield_now().await;
                        check(&member, guard.abandoned_by(), || ());
                    }
                    member.count(STEPS);
                }
            }
        };
        let mut crew = Crew::new(&board, serve, |pool, member| {
            pool.submit(read_or_write, (lock.clone(), member))
        });
        crew.kill_again_and_again().await;
        board.end();
        crew.end().await;
        let steps: Vec<u64> = tasks(&board).map(|member| member.own(STEPS)).collect();
        assert!(steps.iter().all(|steps| *steps > 0), "{steps:?}");
        let guard = within(lock.write()).await;
        assert!(lock.try_read().is_none());
        drop(guard);
        assert!(lock.try_write().is_some());
        assert_eq!(lock.try_read().expect("it is free").abandoned_by(), None);
    });
}
