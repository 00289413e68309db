//! The permits of a semaphore: no more are held than exist, and those of dead processes are released.

use std::fs;
use std::time::Duration;

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::{BoundedSemaphore, Semaphore};

use super::board::{Board, Member};
use super::crew::{Crew, STEPS, any, leaves_nothing, tasks};

const PERMITS: usize = 3;
const SHORT: Duration = Duration::from_micros(200);

/// Two words of each member: odd while it holds a permit, and its process id.
const HAS: usize = 1;
const PID: usize = 2;

fn is_alive(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// How many members held a permit at one moment. `None` if a member took or released a permit meanwhile.
fn at_one_moment(board: &Board) -> Option<usize> {
    let before = board.all(HAS);
    if board.all(HAS) != before {
        return None;
    }
    // The records of dead members remain: each held a permit, and no longer does.
    let members = before.into_iter().zip(board.all(PID));
    let have = members.filter(|(has, pid)| has % 2 == 1 && is_alive(*pid));
    Some(have.count())
}

/// Holds a permit, and checks how many others do.
fn have(member: &Member) {
    member.count(HAS);
    if let Some(count) = at_one_moment(&member.board) {
        assert!(count <= PERMITS, "{count} have a permit");
    }
    member.count(HAS);
}

fn use_permits(permits: Semaphore, member: Member) {
    member.set_own(PID, std::process::id().into());
    while !member.board.is_over() {
        let permit = permits.blocking_acquire();
        have(&member);
        drop(permit);
        member.count(STEPS);
    }
}

#[test]
fn no_more_have_a_permit_than_there_are_and_those_of_the_killed_come_back() {
    let test = "permits::no_more_have_a_permit_than_there_are_and_those_of_the_killed_come_back";
    leaves_nothing(test, async || {
        let (board, permits) = (Board::new(), Semaphore::new(PERMITS).expect("permits"));
        let serve = |member: Member| {
            let permits = permits.clone();
            async move {
                member.set_own(PID, std::process::id().into());
                while !member.board.is_over() {
                    let permit = permits.acquire().await;
                    have(&member);
                    tokio::task::yield_now().await;
                    drop(permit);
                    member.count(STEPS);
                }
            }
        };
        let mut crew = Crew::new(&board, serve, |pool, member| {
            pool.submit(use_permits, (permits.clone(), member))
        });
        crew.kill_again_and_again().await;
        board.end();
        crew.end().await;
        let all: Vec<_> = (0..PERMITS).map(|_| permits.try_acquire()).collect();
        assert!(all.iter().all(Option::is_some), "all have come back");
        assert!(permits.try_acquire().is_none(), "and no more");
    });
}

/// How many permits a member takes at once.
fn share(who: usize) -> usize {
    1 + who % PERMITS
}

/// How many permits were held at one moment: see [`at_one_moment`].
fn held_at_one_moment(board: &Board) -> Option<usize> {
    let before = board.all(HAS);
    if board.all(HAS) != before {
        return None;
    }
    let members = before.into_iter().zip(board.all(PID)).enumerate();
    let have = members.filter(|(_, (has, pid))| has % 2 == 1 && is_alive(*pid));
    Some(have.map(|(who, _)| share(who)).sum())
}

fn have_several(member: &Member) {
    member.count(HAS);
    if let Some(count) = held_at_one_moment(&member.board) {
        assert!(count <= PERMITS, "{count} are held");
    }
    member.count(HAS);
}

fn use_several_permits(permits: BoundedSemaphore, member: Member) {
    let several = share(member.who);
    member.set_own(PID, std::process::id().into());
    while !member.board.is_over() {
        let permit = match any() % 4 {
            0 => permits.try_acquire_many(several),
            1 => permits.blocking_acquire_many_timeout(several, SHORT),
            _ => Some(permits.blocking_acquire_many(several)),
        };
        if permit.is_some() {
            have_several(&member);
            drop(permit);
            member.count(STEPS);
        } else {
            std::thread::yield_now();
        }
    }
}

#[test]
fn callers_that_each_want_several_permits_get_all_of_them_though_some_are_killed_with_a_part() {
    let test = "permits::callers_that_each_want_several_permits_get_all_of_them_though_some_are_killed_with_a_part";
    leaves_nothing(test, async || {
        let (board, permits) = (
            Board::new(),
            BoundedSemaphore::new(PERMITS).expect("permits"),
        );
        let serve = |member: Member| {
            let permits = permits.clone();
            async move {
                member.set_own(PID, std::process::id().into());
                while !member.board.is_over() {
                    let permit = permits.acquire_many(share(member.who)).await;
                    have_several(&member);
                    tokio::task::yield_now().await;
                    drop(permit);
                    member.count(STEPS);
                }
            }
        };
        let mut crew = Crew::new(&board, serve, |pool, member| {
            pool.submit(use_several_permits, (permits.clone(), member))
        });
        crew.kill_again_and_again().await;
        board.end();
        crew.end().await;
        let steps: Vec<u64> = tasks(&board).map(|member| member.own(STEPS)).collect();
        assert!(steps.iter().all(|steps| *steps > 0), "{steps:?}");
        let all = permits
            .try_acquire_many(PERMITS)
            .expect("all have come back");
        assert!(permits.try_acquire().is_none(), "and no more");
        drop(all);
    });
}

/// Two words of each member: how many permits it has taken permanently, and how many it has added.
const TAKEN: usize = 1;
const ADDED: usize = 2;

/// Not too many, so that the search for a free one stays short.
fn add(permits: &Semaphore, member: &Member) {
    if permits.available_permits() < 20 {
        permits.add_permits(1).expect("there is room");
        member.count(ADDED);
    }
}

/// Every other member adds permits; the others take them permanently.
fn count_by_permits(permits: Semaphore, member: Member) {
    while !member.board.is_over() {
        if member.who.is_multiple_of(2) {
            add(&permits, &member);
            std::thread::yield_now();
        } else {
            permits.blocking_acquire().forget();
            member.count(TAKEN);
            member.count(STEPS);
        }
    }
}

#[test]
fn an_added_permit_is_taken_once_at_any_kill() {
    let test = "permits::an_added_permit_is_taken_once_at_any_kill";
    leaves_nothing(test, async || {
        let (board, permits) = (Board::new(), Semaphore::new(0).expect("permits"));
        let serve = |member: Member| {
            let permits = permits.clone();
            async move {
                while !member.board.is_over() {
                    if member.who == 0 {
                        add(&permits, &member); // At least one member always adds.
                        tokio::task::yield_now().await;
                    } else {
                        permits.acquire().await.forget();
                        member.count(TAKEN);
                        member.count(STEPS);
                    }
                }
            }
        };
        let mut crew = Crew::new(&board, serve, |pool, member| {
            pool.submit(count_by_permits, (permits.clone(), member))
        });
        crew.kill_again_and_again().await;
        board.end();
        permits.add_permits(100).expect("there is room");
        let killed = crew.end().await;
        let mut left = 0;
        while let Some(permit) = permits.try_acquire() {
            permit.forget();
            left += 1;
        }
        // Each killed member may have added or taken one permit that it has not recorded.
        let (added, gone) = (board.sum(ADDED) + 100, board.sum(TAKEN) + left);
        assert!(
            gone <= added + killed && added <= gone + killed,
            "{added} {gone}"
        );
    });
}
