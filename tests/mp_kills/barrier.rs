//! A barrier: either all parties pass together, or none does. The death of a waiting process breaks it.

use concurrent_futures::multiprocessing::Barrier;
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};

use super::board::{Board, Member};
use super::common::{eventually, in_thread, within};
use super::crew::{Crew, STEPS, TASKS, WORKERS, kill, leaves_nothing, tasks};

/// Passes the barrier, and resets it if it is broken: a process was killed there, perhaps in the middle of a reset.
fn pass(barrier: Barrier, member: Member) {
    while !member.board.is_over() {
        match barrier.blocking_wait() {
            Ok(_) => member.count(STEPS),
            Err(_) if barrier.is_broken() && !member.board.is_over() => barrier.blocking_reset(),
            Err(_) => {}
        }
    }
}

#[test]
fn all_or_none_pass_a_barrier_though_some_are_killed_there() {
    let test = "barrier::all_or_none_pass_a_barrier_though_some_are_killed_there";
    leaves_nothing(test, async || {
        let board = Board::new();
        let barrier = Barrier::new(WORKERS + TASKS).expect("a barrier");
        let serve = |member: Member| {
            let barrier = barrier.clone();
            async move {
                while !member.board.is_over() {
                    match barrier.wait().await {
                        Ok(_) => member.count(STEPS),
                        Err(_) if barrier.is_broken() && !member.board.is_over() => {
                            barrier.reset().await;
                        }
                        Err(_) => {}
                    }
                }
            }
        };
        let mut crew = Crew::new(&board, serve, |pool, member| {
            pool.submit(pass, (barrier.clone(), member))
        });
        crew.kill_again_and_again().await;
        board.end();
        // Another member may have been about to reset it.
        let break_all = async {
            while !crew.has_ended() {
                barrier.abort().await;
                tokio::task::yield_now().await;
            }
        };
        within(break_all).await;
        crew.end().await;
        // The members that were never replaced have passed equally often.
        let passed: Vec<u64> = tasks(&board).map(|member| member.own(STEPS)).collect();
        assert!(passed.iter().all(|times| *times == passed[0]), "{passed:?}");
    });
}

/// No other process arrives, so only the waiters can detect the death.
#[test]
fn a_task_or_a_thread_at_a_barrier_gets_an_error_after_the_death_of_another() {
    fn wait(barrier: Barrier) {
        let _ = barrier.blocking_wait();
    }
    let test = "barrier::a_task_or_a_thread_at_a_barrier_gets_an_error_after_the_death_of_another";
    leaves_nothing(test, async || {
        let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
        let barrier = Barrier::new(3).expect("a barrier");
        for is_thread in [false, true] {
            let waiting = pool.submit(wait, barrier.clone());
            let other = barrier.clone();
            let other = if is_thread {
                tokio::spawn(in_thread(move || other.blocking_wait()))
            } else {
                tokio::spawn(async move { other.wait().await })
            };
            eventually(|| barrier.waiting() == 2).await;
            kill(pool.workers()[0].pid());
            let outcome = within(other).await.expect("it ends");
            assert!(outcome.is_err() && barrier.is_broken());
            within(waiting).await.expect_err("it was killed");
            barrier.reset().await;
        }
        within(pool.shutdown()).await;
    });
}
