//! Events and conditions: a waiter is woken, whichever process is killed while it sets, notifies or waits.

use std::time::Duration;

use concurrent_futures::ExecutorExt as _;
use concurrent_futures::multiprocessing::{Condition, Event};

use super::board::{Board, Member};
use super::common::within;
use super::crew::{Crew, STEPS, any, leaves_nothing};

const SHORT: Duration = Duration::from_micros(200);

/// Waits for the event, and sets or clears it.
fn set_and_clear(event: Event, member: Member) {
    while !member.board.is_over() {
        if any().is_multiple_of(2) {
            event.blocking_wait();
        } else if !event.blocking_wait_timeout(SHORT) {
            event.set();
            continue;
        }
        event.clear();
        member.count(STEPS);
    }
}

#[test]
fn an_event_wakes_its_waiters_though_processes_that_set_and_clear_it_are_killed() {
    let test =
        "waits::an_event_wakes_its_waiters_though_processes_that_set_and_clear_it_are_killed";
    leaves_nothing(test, async || {
        let (board, event) = (Board::new(), Event::new().expect("an event"));
        let serve = |member: Member| {
            let event = event.clone();
            async move {
                while !member.board.is_over() {
                    if member.who == 0 {
                        event.set(); // At least one member always sets it.
                    } else {
                        event.wait().await;
                        member.count(STEPS);
                    }
                    tokio::task::yield_now().await;
                }
            }
        };
        let mut crew = Crew::new(&board, serve, |pool, member| {
            pool.submit(set_and_clear, (event.clone(), member))
        });
        crew.kill_again_and_again().await;
        board.end();
        let all_end = async {
            while !crew.has_ended() {
                event.set(); // Another member may be about to clear it.
                tokio::task::yield_now().await;
            }
        };
        within(all_end).await;
        crew.end().await;
    });
}

/// How many things exist, on the board, and how many may exist.
const THINGS: usize = 1;
const MOST: u64 = 4;

/// Two words of each member: how many things it has made, and how many it has taken.
const MADE: usize = 1;
const TAKEN: usize = 2;

/// Whether a member that makes things can continue, or a member that takes them.
fn can(member: &Member, makes: bool) -> bool {
    let things = member.board.common(THINGS);
    member.board.is_over() || if makes { things < MOST } else { things > 0 }
}

/// Makes or takes a thing, under the lock and with an announcement.
fn change(member: &Member, makes: bool) {
    let things = member.board.common(THINGS);
    let (things, what) = if makes {
        (things + 1, MADE)
    } else {
        (things.saturating_sub(1), TAKEN)
    };
    if !member.board.is_over() {
        member.board.set_common(THINGS, things);
        member.count(what);
        member.count(STEPS);
    }
}

fn make_or_take(condition: Condition, member: Member) {
    let makes = member.who.is_multiple_of(2);
    while !member.board.is_over() {
        let mut guard = condition.blocking_lock();
        if any().is_multiple_of(2) {
            guard = condition.blocking_wait_for(guard, || can(&member, makes));
        } else {
            let (again, result) =
                condition.blocking_wait_for_timeout(guard, SHORT, || can(&member, makes));
            guard = again;
            if result.timed_out() {
                continue;
            }
        }
        condition.notify_all(&guard);
        change(&member, makes);
    }
}

#[test]
fn a_condition_wakes_its_waiters_though_processes_that_notify_are_killed() {
    let test = "waits::a_condition_wakes_its_waiters_though_processes_that_notify_are_killed";
    leaves_nothing(test, async || {
        let (board, condition) = (Board::new(), Condition::new().expect("a lock"));
        let serve = |member: Member| {
            let condition = condition.clone();
            async move {
                let makes = member.who.is_multiple_of(2);
                while !member.board.is_over() {
                    let guard = condition.lock().await;
                    let can = || can(&member, makes);
                    let guard = condition.wait_for(guard, can).await;
                    condition.notify_all(&guard);
                    change(&member, makes);
                }
            }
        };
        let mut crew = Crew::new(&board, serve, |pool, member| {
            pool.submit(make_or_take, (condition.clone(), member))
        });
        crew.kill_again_and_again().await;
        let guard = within(condition.lock()).await;
        condition.notify_all(&guard);
        board.end();
        drop(guard);
        let killed = crew.end().await;
        // A member that was killed in between has changed the number without recording it.
        let made = board.sum(MADE);
        let found = board.sum(TAKEN) + board.common(THINGS);
        assert!(
            made <= found + killed && found <= made + killed,
            "{made} {found}"
        );
    });
}
