//! What a `TaskGroup` promises, on every kind of executor.

#![cfg(feature = "process")]
#[cfg(target_os = "linux")]
#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/kinds.rs"]
mod kinds;
#[path = "common/methods.rs"]
mod methods;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use concurrent_futures::{
    AbortHandle, Executor as _, ExecutorExt as _, JoinHandle, TaskGroup, TaskOptions,
    ThreadPoolExecutor, worker,
};
use futures::{FutureExt as _, poll};

use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, within};
use self::kinds::{Kind, held_by_every_executor};

concurrent_futures::init_before_main!();

held_by_every_executor! { 2;
    a_group_yields_each_outcome_once_with_its_key,
    the_first_error_cancels_the_others_though_no_code_polls_the_group,
    without_cancel_on_error_each_task_ends_by_itself,
    a_cancelled_group_runs_nothing_more,
    a_dropped_group_aborts_its_tasks,
    a_group_bounds_how_many_tasks_are_in_flight,
    a_spawn_waits_for_room_in_the_queue,
    a_dropped_spawn_or_join_loses_no_outcome,
}

fn share(people: u32) -> u32 {
    12 / people
}

fn pass(gate: Key) -> u32 {
    gate.wait();
    7
}

fn touch(file: PathBuf) -> u32 {
    std::fs::write(file, "").expect("the test's directory is there");
    1
}

/// Runs until it is cancelled, and reports that.
fn run_until_cancelled(gate: Key, file: PathBuf) -> u32 {
    gate.wait();
    while !worker::current().is_some_and(|task| task.is_cancelled()) {
        std::thread::yield_now();
    }
    touch(file)
}

fn fail(gate: Key) -> u32 {
    gate.wait();
    panic!("the first error")
}

/// The functions that a cluster knows.
#[cfg(all(feature = "cluster", target_os = "linux"))]
fn named_tasks() -> concurrent_futures::cluster::Functions {
    concurrent_futures::functions![share, pass, touch, run_until_cancelled, fail]
}

fn grace() -> TaskOptions {
    TaskOptions::new().grace_period(Duration::from_secs(60))
}

async fn a_group_yields_each_outcome_once_with_its_key(kind: Kind) {
    let pool = kind.pool(2);
    let mut group = TaskGroup::new().cancel_on_error(false).max_in_flight(3);
    for people in (0..40).rev() {
        within(group.spawn_keyed(people, &*pool, share, people)).await;
        assert!(group.in_flight() <= 3);
    }
    assert_eq!(group.len(), 40);
    let mut outcomes = BTreeMap::new();
    while let Some((people, outcome)) = within(group.join_next()).await {
        assert!(outcomes.insert(people, outcome).is_none());
    }
    assert!(group.is_empty() && outcomes.len() == 40);
    for (people, outcome) in outcomes {
        match outcome {
            Ok(each) => assert_eq!(each, 12 / people),
            Err(error) => assert!(people == 0 && error.is_panic(), "{error}"),
        }
    }
    assert!(within(group.join_next()).await.is_none());
    within(group.spawn_keyed(50, &pool, share, 3)).await;
    let outcomes = within(group.join_all()).await;
    assert_eq!(*outcomes[0].1.as_ref().expect("4"), 4);
}

async fn the_first_error_cancels_the_others_though_no_code_polls_the_group(kind: Kind) {
    let directory = Folder::new();
    let (gate, fails) = (Gate::new(), Gate::new());
    let pool = kind.pool(2);
    let mut group = TaskGroup::new();
    let file = directory.path().join("cancelled");
    let args = (gate.key(), file.clone());
    within(group.spawn_with(&pool, &grace(), run_until_cancelled, args)).await;
    gate.guest().await.let_in().await;
    within(group.spawn(&pool, fail, fails.key())).await;
    let queued = directory.path().join("queued");
    within(group.spawn(&pool, touch, queued.clone())).await;
    fails.guest().await.let_in().await;
    eventually(|| group.in_flight() == 0).await;
    eventually(|| file.exists()).await; // The task saw the cancel, and its worker continues.
    let first = group.first_error().expect("an error");
    assert_eq!(first.panic_message(), Some("the first error"));
    let outcomes = within(group.join_all()).await;
    let cancelled = outcomes.iter().flat_map(|outcome| outcome.as_ref().err());
    let cancelled = cancelled.filter(|error| error.is_cancelled()).count();
    within(pool.shutdown()).await;
    match kind.asks_a_server() {
        true => assert!(cancelled >= 1), // The queued one may start before its cancel arrives.
        false => assert!(cancelled == 2 && !queued.exists()),
    }
}

async fn without_cancel_on_error_each_task_ends_by_itself(kind: Kind) {
    let pool = kind.pool(1);
    let mut group = TaskGroup::new().cancel_on_error(false);
    for people in [0, 3, 0, 4] {
        within(group.spawn(&pool, share, people)).await;
    }
    let outcomes = within(group.join_all()).await;
    let mut shares: Vec<_> = outcomes.into_iter().flatten().collect();
    shares.sort_unstable();
    assert_eq!(shares, [3, 4]);
}

async fn a_cancelled_group_runs_nothing_more(kind: Kind) {
    let directory = Folder::new();
    let file = directory.path().join("ran");
    let pool = kind.pool(1);
    let mut group = TaskGroup::new();
    within(group.spawn(&pool, share, 0)).await;
    assert!(within(group.join_next()).await.expect("one").is_err());
    within(group.spawn(&pool, touch, file.clone())).await;
    let outcome = within(group.join_next()).await.expect("another");
    let error = outcome.expect_err("it never runs");
    assert!(error.is_cancelled() && !error.was_started(), "{error}");
    assert!(error.task_name().ends_with("touch"), "{error}");
    let gate = Gate::new();
    group.add(pool.submit(pass, gate.key()));
    assert!(
        within(group.join_next())
            .await
            .expect("one")
            .expect_err("aborted")
            .is_cancelled()
    );
    assert!(group.first_error().expect("the first").is_panic());
    drop(gate); // A thread may have arrived before the abort.
    within(pool.shutdown()).await;
    assert!(!file.exists());
}

async fn a_dropped_group_aborts_its_tasks(kind: Kind) {
    let directory = Folder::new();
    let file = directory.path().join("cancelled");
    let pool = kind.pool(1);
    let gate = Gate::new(); // After the pool: a fork of this process would keep the gate open.
    let args = (gate.key(), file.clone());
    let running = pool.submit_with(&grace(), run_until_cancelled, args);
    let waiting = pool.submit(pass, gate.key());
    let aborts: [AbortHandle; 2] = [running.abort_handle(), waiting.abort_handle()];
    let mut group = TaskGroup::new();
    group.add(running);
    group.add(waiting);
    gate.guest().await.let_in().await;
    drop(group);
    kind.settles(|| aborts.iter().all(AbortHandle::is_finished))
        .await;
    eventually(|| file.exists()).await;
}

async fn a_group_bounds_how_many_tasks_are_in_flight(kind: Kind) {
    let pool = kind.pool(4);
    let gate = Gate::new(); // After the pool: a fork of this process would keep the gate open.
    let mut group = TaskGroup::new().max_in_flight(2);
    for _ in 0..2 {
        within(group.spawn(&pool, pass, gate.key())).await;
    }
    let (first, _second) = (gate.guest().await, gate.guest().await);
    {
        let mut third = Box::pin(group.spawn(&pool, pass, gate.key()));
        assert!(poll!(&mut third).is_pending());
        first.let_in().await;
        within(third).await;
    }
    let third = gate.guest().await;
    assert_eq!((group.in_flight(), group.len()), (2, 3));
    third.let_in().await;
    within(group.ready()).await;
    drop(gate);
}

async fn a_spawn_waits_for_room_in_the_queue(kind: Kind) {
    let pool = kind.bounded(1, 1);
    let gate = Gate::new(); // After the pool: a fork of this process would keep the gate open.
    let mut group = TaskGroup::new();
    within(group.spawn(&*pool, pass, gate.key())).await;
    let guest = gate.guest().await;
    within(group.spawn(&*pool, pass, gate.key())).await;
    {
        let mut third = Box::pin(group.spawn(&*pool, pass, gate.key()));
        assert!(poll!(&mut third).is_pending());
        guest.let_in().await;
        within(third).await;
    }
    drop(gate);
    let outcomes = within(group.join_all()).await;
    assert!(
        outcomes
            .into_iter()
            .all(|outcome| outcome.is_ok_and(|seven| seven == 7))
    );
}

async fn a_dropped_spawn_or_join_loses_no_outcome(kind: Kind) {
    let pool = kind.pool(2);
    let gate = Gate::new(); // After the pool: a fork of this process would keep the gate open.
    let mut group = TaskGroup::new().max_in_flight(1);
    within(group.spawn(&pool, pass, gate.key())).await;
    assert!(group.spawn(&pool, share, 1).now_or_never().is_none());
    assert!(group.join_next().now_or_never().is_none());
    drop(gate);
    assert_eq!(within(group.join_next()).await.expect("one").expect("7"), 7);
    assert!(within(group.join_next()).await.is_none());
}

/// Without a runtime, as in a program that is not async.
#[test]
fn a_group_is_joined_on_a_thread_that_blocks() {
    let pool = ThreadPoolExecutor::with_workers(2).expect("threads");
    let mut group = TaskGroup::new().max_in_flight(2);
    for n in 0..10_u32 {
        group.blocking_ready();
        assert!(group.in_flight() < 2);
        group.add(pool.submit(|n| n * n, n).with(n));
    }
    let (n, square) = group.blocking_join_next().expect("one of ten");
    assert_eq!(square.expect("a result"), n * n);
    assert_eq!(group.blocking_join_all().len(), 9);
    let mut group = TaskGroup::new();
    group.add(pool.submit(share, 0));
    assert!(group.blocking_join_next().expect("one").is_err());
    assert!(group.blocking_join_next().is_none());
}

#[tokio::test]
#[should_panic = "Cannot block the current thread from within a runtime"]
async fn a_group_is_not_joined_by_blocking_in_async_code() {
    TaskGroup::<JoinHandle<()>>::new().blocking_join_next();
}

#[tokio::test]
#[should_panic = "max_in_flight is 0"]
async fn a_group_needs_room_for_a_task() {
    drop(TaskGroup::<JoinHandle<()>>::new().max_in_flight(0));
}

/// Tasks of different executors may be in one group.
#[tokio::test]
async fn a_group_spans_executors() {
    let pools = [1, 2].map(|workers| ThreadPoolExecutor::with_workers(workers).expect("threads"));
    let mut group = TaskGroup::new();
    for (n, pool) in pools.iter().enumerate() {
        group.add(pool.submit(move || n, ()).with(pool.max_workers()));
    }
    let mut outcomes: Vec<_> = within(group.join_all()).await;
    outcomes.sort_by_key(|(workers, _)| *workers);
    assert_eq!(outcomes[1].1.as_ref().ok(), Some(&1));
}
