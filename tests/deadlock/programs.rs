//! Random programs. Nothing is reported of a program that has no schedule with a deadlock. Two tasks that can deadlock
//! are reported, although they run one after the other.

use std::time::Duration;

use concurrent_futures::sync::deadlock::Detection;
use concurrent_futures::sync::{Lock, LockGuard};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::model::{Branch, Dice, LOCKS, Program, Step};
use crate::{Detected, TIME_LIMIT};

type Locks = &'static [Lock<()>; LOCKS];
type Guard = LockGuard<'static, ()>;

/// Guards move between tasks, so the locks are leaked.
fn locks() -> Locks {
    Box::leak(Box::new(std::array::from_fn(|_| Lock::new(()))))
}

async fn run_branch(branch: Branch, locks: Locks, other: UnboundedSender<Guard>, pauses: bool) {
    let mut guards: [Option<Guard>; LOCKS] = [const { None }; LOCKS];
    for step in branch {
        match step {
            Step::Lock(lock) => guards[lock] = Some(locks[lock].lock().await),
            Step::Unlock(lock) => guards[lock] = None,
            Step::Give(lock) => other
                .send(guards[lock].take().expect("it is held"))
                .expect("it receives"),
            Step::Pause => yield_now().await,
        }
        if pauses {
            yield_now().await;
        }
    }
}

async fn run_task(
    branches: Vec<Branch>,
    locks: Locks,
    other: UnboundedSender<Guard>,
    pauses: bool,
) {
    let run = |branch| run_branch(branch, locks, other.clone(), pauses);
    let mut branches = branches.into_iter();
    match (branches.next(), branches.next()) {
        (Some(one), None) => run(one).await,
        (Some(one), Some(other)) => drop(tokio::join!(run(one), run(other))),
        _ => unreachable!("it has one or two"),
    }
}

/// Drops what it receives, a little later.
async fn drop_guards(mut guards: UnboundedReceiver<Guard>) {
    while let Some(guard) = guards.recv().await {
        for _ in 0..3 {
            yield_now().await;
        }
        drop(guard);
    }
}

/// Runs the tasks side by side, or one after the other.
async fn run(program: &Program, side_by_side: bool) {
    let locks = locks();
    let (other, guards) = unbounded_channel();
    let dropper = tokio::spawn(drop_guards(guards));
    let mut tasks = Vec::new();
    for branches in program.0.iter().cloned() {
        let mut task = tokio::spawn(run_task(branches, locks, other.clone(), side_by_side));
        if !side_by_side {
            (&mut task).await.expect("no panic");
            continue;
        }
        tasks.push(task);
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    drop(other);
    dropper.await.expect("no panic");
}

fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
}

#[test]
fn nothing_is_reported_of_a_program_that_no_schedule_brings_into_a_deadlock() {
    let (runtime, mut dice, mut runs) = (runtime(), Dice(1), 0);
    while runs < 500 {
        let program = Program::random(&mut dice);
        if program.may_deadlock() {
            continue;
        }
        runs += 1;
        // A guard that another task does not use seems to stay where it was taken, so allow some time.
        let patience = if program.gives() {
            TIME_LIMIT
        } else {
            Duration::ZERO
        };
        let detected = Detected::by(Detection::new().patience(patience));
        for side_by_side in [false, true] {
            let run = async { timeout(TIME_LIMIT, run(&program, side_by_side)).await };
            runtime
                .block_on(run)
                .unwrap_or_else(|_| panic!("it hangs: {program:?}"));
            let reports = detected.reports();
            assert!(reports.is_empty(), "{reports:#?} of {program:#?}");
        }
    }
}

#[test]
fn two_tasks_that_a_schedule_brings_into_a_deadlock_are_reported() {
    let (runtime, mut dice, mut runs) = (runtime(), Dice(2), 0);
    while runs < 500 {
        let program = Program::simple(&mut dice);
        if !program.may_deadlock() {
            continue;
        }
        runs += 1;
        let detected = Detected::at_once();
        runtime.block_on(run(&program, false));
        let reports = detected.reports();
        assert!(!reports.is_empty(), "{program:#?}");
        assert!(reports.iter().all(|report| !report.is_deadlock()));
    }
}
