//! What a cancellation token of the user does, on every kind of executor.

#![cfg(feature = "process")]
#[cfg(target_os = "linux")]
#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/kinds.rs"]
mod kinds;
#[path = "common/methods.rs"]
mod methods;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use concurrent_futures::{
    CancellationToken, Executor, ExecutorExt as _, JoinHandle, Shutdown, TaskGroup, TaskOptions,
    ThreadPoolExecutor, worker,
};
use futures::{StreamExt as _, poll};

use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, in_thread, within};
use self::kinds::{Kind, held_by_every_executor};

concurrent_futures::init_before_main!();

held_by_every_executor! { 2;
    a_token_cancels_a_queued_task_before_its_cancel_returns,
    a_running_task_sees_the_cancel_of_its_token_though_its_handle_is_dropped,
    a_task_with_a_cancelled_token_never_runs,
    a_token_that_races_completion_leaves_one_outcome,
    no_task_of_a_cancelled_token_starts_while_its_wakers_run,
    no_task_of_a_group_starts_while_the_wakers_of_its_token_run,
    a_token_ends_a_map_with_one_error,
    a_token_cancels_the_items_of_a_map_that_no_code_polls,
    a_token_cancels_a_group_and_what_is_added_later,
    a_child_token_is_cancelled_with_its_parent,
}

fn double(n: u64) -> u64 {
    n * 2
}

fn pass(gate: Key) {
    gate.wait();
}

fn touch(file: PathBuf) {
    std::fs::write(file, "").expect("the test's directory is there");
}

fn run_until_cancelled(gate: Key, file: PathBuf) {
    gate.wait();
    while !worker::current().is_some_and(|task| task.is_cancelled()) {
        std::thread::yield_now();
    }
    touch(file);
}

/// The functions that a cluster knows.
#[cfg(all(feature = "cluster", target_os = "linux"))]
fn named_tasks() -> concurrent_futures::cluster::Functions {
    concurrent_futures::functions![double, pass, touch, run_until_cancelled]
}

/// The tasks may end by themselves after the cancel.
fn with(token: &CancellationToken) -> TaskOptions {
    let options = TaskOptions::new().grace_period(Duration::from_secs(60));
    options.cancel_token(token.clone())
}

async fn a_token_cancels_a_queued_task_before_its_cancel_returns(kind: Kind) {
    let directory = Folder::new();
    let file = directory.path().join("ran");
    let gate = Gate::new();
    let pool = kind.pool(1);
    let busy = pool.submit(pass, gate.key());
    let guest = gate.guest().await;
    let token = CancellationToken::new();
    let queued: Vec<_> = (0..100)
        .map(|_| pool.submit_with(&with(&token), touch, file.clone()))
        .collect();
    token.cancel();
    kind.settles(|| queued.iter().all(|handle| handle.is_finished()))
        .await;
    guest.let_in().await;
    within(busy).await.expect("another task is not affected");
    for handle in queued {
        let error = within(handle).await.expect_err("cancelled");
        assert!(error.is_cancelled() && !error.was_started(), "{error}");
    }
    within(pool.shutdown()).await;
    assert!(!file.exists());
}

async fn a_running_task_sees_the_cancel_of_its_token_though_its_handle_is_dropped(kind: Kind) {
    let directory = Folder::new();
    let pool = kind.pool(1);
    for keep in [true, false] {
        let file = directory.path().join(format!("{keep}"));
        let gate = Gate::new();
        let token = CancellationToken::new();
        let args = (gate.key(), file.clone());
        let handle = pool.submit_with(&with(&token), run_until_cancelled, args);
        let handle = keep.then_some(handle);
        gate.guest().await.let_in().await;
        token.cancel();
        if let Some(handle) = handle {
            let error = within(handle).await.expect_err("cancelled");
            assert!(error.is_cancelled() && error.was_started(), "{error}");
        }
        eventually(|| file.exists()).await;
    }
    assert_eq!(
        within(pool.submit(double, 2))
            .await
            .expect("its worker stays"),
        4
    );
    assert_eq!(pool.stats().restarts, Default::default());
}

async fn a_task_with_a_cancelled_token_never_runs(kind: Kind) {
    let directory = Folder::new();
    let file = directory.path().join("ran");
    let token = CancellationToken::new();
    token.cancel();
    let pool = kind.pool(2);
    for _ in 0..20 {
        let handle = pool.submit_with(&with(&token), touch, file.clone());
        assert!(handle.is_finished());
        let error = within(handle).await.expect_err("cancelled");
        assert!(error.is_cancelled() && !error.was_started(), "{error}");
    }
    let files = vec![file.clone(); 20];
    let outcomes: Vec<_> = within(pool.map(touch, files).options(with(&token)).collect()).await;
    let [Err(error)] = &outcomes[..] else {
        panic!("one error, not {outcomes:?}");
    };
    assert!(error.is_cancelled() && error.index().is_none(), "{error}");
    within(pool.shutdown()).await;
    assert!(!file.exists());
}

async fn a_token_that_races_completion_leaves_one_outcome(kind: Kind) {
    let pool = kind.bounded(2, 8);
    for round in 0..200 {
        let token = CancellationToken::new();
        let handles: Vec<_> = (0..4_u64)
            .map(|n| pool.submit_with(&with(&token), double, n))
            .collect();
        let canceller = std::thread::spawn(move || {
            (0..round % 50).for_each(|_| std::thread::yield_now());
            token.cancel();
        });
        for (n, handle) in (0..).zip(handles) {
            match within(handle).await {
                Ok(value) => assert_eq!(value, n * 2),
                Err(error) => assert!(error.is_cancelled(), "{error}"),
            }
        }
        canceller.join().expect("no panic");
    }
    assert_eq!(within(pool.submit(double, 2)).await.expect("it goes on"), 4);
}

async fn no_task_of_a_cancelled_token_starts_while_its_wakers_run(kind: Kind) {
    if kind.asks_a_server() {
        return; // The server decides after the cancel returns, and callbacks must not block.
    }
    let token = CancellationToken::new();
    let options = with(&token);
    let keep = |handle| drop::<JoinHandle<()>>(handle);
    nothing_starts_while_wakers_run(kind, token, &options, keep).await;
}

async fn no_task_of_a_group_starts_while_the_wakers_of_its_token_run(kind: Kind) {
    if kind.asks_a_server() {
        return; // As above.
    }
    let token = CancellationToken::new();
    let mut group = TaskGroup::new().cancel_token(token.clone());
    let options = TaskOptions::new().grace_period(Duration::from_secs(60));
    nothing_starts_while_wakers_run(kind, token, &options, |handle| group.add(handle)).await;
    assert_eq!(group.in_flight(), 0);
}

/// The first waker of the token frees the only worker. The callback delays the other wakers until the worker has
/// reached everything that was queued.
async fn nothing_starts_while_wakers_run(
    kind: Kind,
    token: CancellationToken,
    options: &TaskOptions,
    mut keep: impl FnMut(JoinHandle<()>),
) {
    let directory = Folder::new();
    let (ended, started) = (
        directory.path().join("ended"),
        directory.path().join("started"),
    );
    let pool = kind.pool(1);
    let gate = Gate::new(); // After the pool: a fork of this process would keep the gate open.
    for n in 0..100 {
        within(pool.submit(double, n)).await.expect("quick"); // From now on, calls are sent ahead.
    }
    let busy = pool.submit(pass, gate.key());
    let guest = gate.guest().await;
    let args = (gate.key(), ended.clone());
    let first = pool.submit_with(options, run_until_cancelled, args);
    let worker = pool.clone();
    let (held_up, outcome) = tokio::sync::oneshot::channel();
    first.on_done(move |_| {
        let last = worker.submit(double, 4);
        drop(held_up.send(last.blocking_join()));
    });
    keep(first);
    for _ in 0..100 {
        keep(pool.submit_with(options, touch, started.clone()));
    }
    guest.let_in().await;
    within(busy).await.expect("it has no token");
    gate.guest().await.let_in().await;
    within(in_thread(move || token.cancel())).await;
    let last = within(outcome).await.expect("called").expect("a result");
    assert_eq!(last, 8);
    assert!(ended.exists() && !started.exists());
    let report = within(pool.shutdown_with(Shutdown::new())).await;
    assert_eq!(report.killed, 0);
    assert!(!started.exists());
}

async fn a_token_ends_a_map_with_one_error(kind: Kind) {
    let pool = kind.pool(1);
    let gate = Gate::new();
    let token = CancellationToken::new();
    let endless = std::iter::repeat(gate.key());
    let mut results = pool.map(pass, endless).options(with(&token)).unordered();
    assert!(poll!(results.next()).is_pending());
    let guest = gate.guest().await;
    let canceller = std::thread::spawn(move || token.cancel());
    let error = within(results.next()).await.expect("an error");
    let error = error.expect_err("cancelled");
    assert!(error.is_cancelled() && error.index().is_none(), "{error}");
    assert!(within(results.next()).await.is_none());
    canceller.join().expect("no panic");
    drop((gate, guest));
    // One that waits for its source ends, too.
    let token = CancellationToken::new();
    let source = futures::stream::pending::<u64>();
    let mut results = pool.map_stream(double, source).options(with(&token));
    assert!(poll!(results.next()).is_pending());
    token.cancel();
    assert!(within(results.next()).await.expect("an error").is_err());
    assert!(within(results.next()).await.is_none());
}

async fn a_token_cancels_the_items_of_a_map_that_no_code_polls(kind: Kind) {
    let directory = Folder::new();
    let file = directory.path().join("cancelled");
    let pool = kind.pool(1);
    let gate = Gate::new();
    let token = CancellationToken::new();
    let items = vec![(gate.key(), file.clone()); 8];
    let mut results = pool
        .map(run_until_cancelled, items)
        .options(with(&token))
        .chunk_size(4);
    assert!(poll!(results.next()).is_pending());
    gate.guest().await.let_in().await;
    token.cancel();
    eventually(|| file.exists()).await;
    assert_eq!(
        within(pool.submit(double, 2))
            .await
            .expect("its worker is free"),
        4
    );
    let error = within(results.next()).await.expect("an error");
    assert!(error.expect_err("cancelled").is_cancelled());
    assert!(within(results.next()).await.is_none());
}

async fn a_token_cancels_a_group_and_what_is_added_later(kind: Kind) {
    let directory = Folder::new();
    let file = directory.path().join("cancelled");
    let gate = Gate::new();
    let pool = kind.pool(1);
    let token = CancellationToken::new();
    let mut group = TaskGroup::new().cancel_token(token.clone());
    let options = TaskOptions::new().grace_period(Duration::from_secs(60));
    let args = (gate.key(), file.clone());
    within(group.spawn_with(&pool, &options, run_until_cancelled, args)).await;
    gate.guest().await.let_in().await;
    let late = directory.path().join("late");
    within(group.spawn(&pool, touch, late.clone())).await;
    token.cancel();
    kind.settles(|| group.in_flight() == 0).await;
    within(group.spawn(&pool, touch, late.clone())).await;
    for outcome in within(group.join_all()).await {
        assert!(outcome.expect_err("cancelled").is_cancelled());
    }
    eventually(|| file.exists()).await;
    within(pool.shutdown()).await;
    assert!(!late.exists());
}

async fn a_child_token_is_cancelled_with_its_parent(kind: Kind) {
    let gate = Gate::new();
    let pool = kind.pool(1);
    let parent = CancellationToken::new();
    let handle = pool.submit_with(&with(&parent.child_token()), pass, gate.key());
    let seen = parent.clone();
    handle.on_done(move |outcome| {
        // User code may use the tokens, because no lock of theirs is held.
        assert!(outcome.is_err() && seen.is_cancelled() && seen.child_token().is_cancelled());
        drop(seen);
    });
    let cancel = std::thread::spawn(move || parent.cancel());
    eventually(|| cancel.is_finished()).await;
    assert!(within(handle).await.expect_err("cancelled").is_cancelled());
}

/// A token among the options of a pool stands for all its tasks.
#[tokio::test]
async fn a_token_of_a_whole_pool_cancels_each_task() {
    let token = CancellationToken::new();
    let builder = ThreadPoolExecutor::builder().max_workers(1);
    let pool = builder.task_options(with(&token)).build().expect("threads");
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let running = pool.submit(move || gate.recv().is_ok(), ());
    eventually(|| running.is_running()).await;
    let waiting = pool.submit(|| true, ());
    token.cancel();
    assert!(within(running).await.expect_err("cancelled").is_cancelled());
    assert!(within(waiting).await.expect_err("cancelled").is_cancelled());
    drop(release);
    let outcomes: Vec<_> = within(pool.map(double, 0..10).collect()).await;
    let indices = outcomes.into_iter().map(|outcome| {
        let error = outcome.expect_err("cancelled");
        assert!(error.is_cancelled(), "{error}");
        error.index().expect("an item")
    });
    assert!(indices.eq(0..10));
}

/// A long-lived token keeps no part of tasks that have ended.
#[tokio::test]
async fn a_token_keeps_no_task_that_has_ended() {
    let token = CancellationToken::new();
    let pool = ThreadPoolExecutor::with_workers(1).expect("threads");
    let result = Arc::new(());
    for _ in 0..10 {
        let shared = result.clone();
        let handle = pool.submit_with(&with(&token), move || shared, ());
        let abort = handle.abort_handle();
        within(handle).await.expect("a result");
        eventually(|| Arc::strong_count(&result) == 1).await;
        assert!(abort.is_finished());
    }
}
