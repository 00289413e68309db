//! How a task reports its progress, and which handle receives it.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/kinds.rs"]
mod kinds;
#[path = "common/methods.rs"]
mod methods;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use concurrent_futures::{
    Executor, ExecutorExt as _, Progress, ProgressStream, StartMethod, TaskOptions, worker,
};
use futures::StreamExt as _;

use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, within};
use self::kinds::{Kind, held_by_every_executor};
use self::methods::{held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

held_by_every_executor! {
    1;
    a_task_sees_by_its_context_until_when_it_may_run,
    a_task_sees_by_its_context_that_it_was_cancelled,
    2;
    progress_reaches_the_handle_while_the_task_runs,
    a_late_subscriber_gets_the_latest_report_also_when_the_task_has_ended,
    the_last_report_before_the_end_is_never_lost,
    a_report_that_was_made_by_another_thread_of_the_task_counts_too,
    progress_ends_with_its_task_however_that_ends,
    progress_after_the_end_is_dropped,
    a_million_reports_block_no_task,
    progress_of_items_of_a_map_is_dropped,
}

held_by_every_start_method! { 1;
    the_last_progress_of_a_dying_worker_arrives,
    a_million_unread_reports_cost_one_frame,
}

/// Runs a test on an executor, and shuts the executor down after it.
async fn on(executor: Arc<dyn Executor>, test: impl AsyncFn(Arc<dyn Executor>)) {
    test(executor.clone()).await;
    within(executor.shutdown()).await;
}

fn wait_at(gate: Key) {
    gate.wait();
}

fn report(done: u64, total: u64) {
    let me = worker::current().expect("inside a task");
    me.report_progress(done, total);
}

fn pair(progress: Progress) -> (u64, u64) {
    (progress.done, progress.total)
}

/// The next report.
async fn next(stream: &mut ProgressStream) -> Option<(u64, u64)> {
    within(stream.next()).await.map(pair)
}

/// All reports up to the end of the stream.
async fn rest(stream: ProgressStream) -> Vec<(u64, u64)> {
    within(stream.map(pair).collect()).await
}

fn report_at(gate: Key, before: u64, after: u64) -> u64 {
    for done in 1..=before {
        report(done, 10);
    }
    gate.wait();
    for done in before + 1..=before + after {
        report(done, 10);
    }
    before
}

fn report_21(task: u64) {
    for done in 0..=20 {
        report(done, task);
    }
}

fn report_by_threads() {
    let me = worker::current().expect("inside a task");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..100).for_each(|done| me.report_progress(done, 0)));
        }
    });
    me.report_progress(100, 0);
}

fn fail() {
    report(1, 3);
    panic!("as it should");
}

fn leave_a_helper(start: Key, end: Key) {
    let me = worker::current().expect("inside a task");
    me.report_progress(1, 1);
    std::thread::spawn(move || {
        start.wait();
        for done in 0..1000 {
            me.report_progress(99, done);
        }
        end.wait();
    });
}

fn report_up_to(n: u64) -> u64 {
    for done in 0..n {
        report(done, n);
    }
    n
}

fn time_left() -> Option<Duration> {
    let deadline = worker::current().expect("inside a task").deadline()?;
    deadline.checked_duration_since(Instant::now())
}

fn until_cancelled(gate: Key, file: PathBuf) {
    let me = worker::current().expect("inside a task");
    assert!(!me.is_cancelled());
    gate.wait();
    while !me.is_cancelled() {
        std::thread::yield_now();
    }
    std::fs::write(file, "").expect("the test's directory is there");
}

/// The functions that a cluster knows.
#[cfg(all(feature = "cluster", target_os = "linux"))]
fn named_tasks() -> concurrent_futures::cluster::Functions {
    concurrent_futures::functions![
        wait_at,
        report_at,
        report_21,
        report_by_threads,
        fail,
        leave_a_helper,
        report_up_to,
        time_left,
        until_cancelled,
        flood,
        u64::pow
    ]
}

async fn progress_reaches_the_handle_while_the_task_runs(kind: Kind) {
    on(kind.pool(1), async |executor: Arc<dyn Executor>| {
        let gate = Gate::new();
        let handle = executor.submit(report_at, (gate.key(), 1, 9));
        let mut progress = handle.progress();
        assert_eq!(next(&mut progress).await, Some((1, 10)));
        eventually(|| handle.is_running()).await;
        gate.guest().await.let_in().await;
        // The stream exists independently of the handle.
        let (outcome, reports) = tokio::join!(within(handle), rest(progress));
        assert_eq!(outcome.expect("it ran"), 1);
        assert_eq!(reports.last(), Some(&(10, 10)));
        assert!(reports.is_sorted(), "{reports:?}");
    })
    .await;
}

async fn a_late_subscriber_gets_the_latest_report_also_when_the_task_has_ended(kind: Kind) {
    on(kind.pool(1), async |executor: Arc<dyn Executor>| {
        let gate = Gate::new();
        let handle = executor.submit(report_at, (gate.key(), 5, 1));
        let guest = gate.guest().await;
        let mut first = handle.progress();
        while next(&mut first).await != Some((5, 10)) {}
        let mut late = handle.progress();
        assert_eq!(next(&mut late).await, Some((5, 10)));
        guest.let_in().await;
        assert_eq!(rest(first).await, [(6, 10)]);
        assert_eq!(rest(late).await, [(6, 10)]);
        assert_eq!(rest(handle.progress()).await, [(6, 10)]);
        within(handle).await.expect("it ran");
    })
    .await;
}

async fn the_last_report_before_the_end_is_never_lost(kind: Kind) {
    on(kind.pool(2), async |executor: Arc<dyn Executor>| {
        let handles: Vec<_> = (0..400)
            .map(|task| executor.submit(report_21, task))
            .collect();
        for (task, handle) in (0..).zip(handles) {
            let reports = rest(handle.progress()).await;
            assert_eq!(reports.last(), Some(&(20, task)));
            assert!(reports.iter().all(|(_, of)| *of == task), "{reports:?}");
            assert!(reports.is_sorted(), "{reports:?}");
            within(handle).await.expect("it ran");
        }
    })
    .await;
}

async fn a_report_that_was_made_by_another_thread_of_the_task_counts_too(kind: Kind) {
    on(kind.pool(2), async |executor: Arc<dyn Executor>| {
        let handles = [(); 50].map(|()| executor.submit(report_by_threads, ()));
        for handle in handles {
            let reports = rest(handle.progress()).await;
            assert_eq!(reports.last(), Some(&(100, 0)), "{reports:?}");
        }
    })
    .await;
}

async fn progress_ends_with_its_task_however_that_ends(kind: Kind) {
    on(kind.bounded(1, 1), async |executor: Arc<dyn Executor>| {
        let panicking = executor.submit(fail, ());
        assert_eq!(rest(panicking.progress()).await, [(1, 3)]);
        assert!(within(panicking).await.expect_err("it failed").is_panic());

        let silent = executor.submit(u64::pow, (2, 8));
        assert_eq!(rest(silent.progress()).await, []);
        assert_eq!(within(silent).await.expect("it ran"), 256);

        let gate = Gate::new();
        let running = executor.submit(wait_at, gate.key());
        let guest = gate.guest().await;
        eventually(|| running.is_running()).await; // News of a cluster come later.
        let waiting = executor.submit(wait_at, gate.key());
        let refused = executor.submit(wait_at, gate.key());
        assert_eq!(rest(refused.progress()).await, []);
        assert!(within(refused).await.expect_err("it is full").is_rejected());
        for handle in [running, waiting] {
            let progress = handle.progress();
            handle.abort();
            assert_eq!(rest(progress).await, []);
            assert!(within(handle).await.expect_err("cancelled").is_cancelled());
        }
        drop(guest);

        let short = TaskOptions::new().timeout(Duration::from_millis(50));
        let gate = Gate::new();
        let late = executor.submit_with(&short, report_at, (gate.key(), 1, 0));
        assert_eq!(rest(late.progress()).await, [(1, 10)]);
        assert!(within(late).await.expect_err("too late").is_timeout());
    })
    .await;
}

async fn the_last_progress_of_a_dying_worker_arrives(method: StartMethod) {
    fn die(done: u64) {
        for done in 0..=done {
            report(done, 100);
        }
        std::process::abort();
    }
    let pool = processes(method, 1);
    for done in 0..10 {
        let handle = pool.submit(die, done);
        let reports = rest(handle.progress()).await;
        assert_eq!(reports.last(), Some(&(done, 100)));
        assert!(within(handle).await.expect_err("it died").is_worker_lost());
    }
}

async fn progress_after_the_end_is_dropped(kind: Kind) {
    on(kind.pool(1), async |executor: Arc<dyn Executor>| {
        let (start, end) = (Gate::new(), Gate::new());
        let handle = executor.submit(leave_a_helper, (start.key(), end.key()));
        let early = handle.progress();
        assert_eq!(rest(early).await, [(1, 1)]);
        let gate = Gate::new();
        let neighbour = executor.submit(report_at, (gate.key(), 2, 1));
        let guest = gate.guest().await;
        start.guest().await.let_in().await;
        end.guest().await.let_in().await;
        guest.let_in().await;
        let reports = rest(neighbour.progress()).await;
        assert_eq!(reports.last(), Some(&(3, 10)));
        assert!(reports.iter().all(|(done, _)| *done <= 3), "{reports:?}");
        assert_eq!(rest(handle.progress()).await, [(1, 1)]);
    })
    .await;
}

const MANY: u64 = 1_000_000;

fn flood(done: Option<PathBuf>, gate: Key) {
    for done in 1..=MANY {
        report(done, MANY);
    }
    if let Some(file) = done {
        std::fs::write(file, "").expect("the test's directory is there");
    }
    gate.wait();
}

/// Blocks this thread until the file exists, so that the pool is not driven meanwhile.
fn until_there(file: &Path) {
    let patience = Instant::now() + Duration::from_secs(30);
    while !file.exists() {
        assert!(Instant::now() < patience, "the worker is stuck");
        std::thread::yield_now();
    }
}

/// Only this thread drives the pool. While it reads nothing, a worker that sent a frame for each report would soon
/// block on a full socket.
async fn a_million_unread_reports_cost_one_frame(method: StartMethod) {
    let directory = Folder::new();
    let file = directory.path().join("done");
    let pool = processes(method, 1);
    within(pool.warm_up()).await.expect("a worker");
    let gate = Gate::new();
    let handle = pool.submit(flood, (Some(file.clone()), gate.key()));
    let mut progress = handle.progress();
    until_there(&file);
    assert_eq!(next(&mut progress).await, Some((MANY, MANY)));
    gate.guest().await.let_in().await;
    assert_eq!(rest(progress).await, [], "it was one frame");
    within(handle).await.expect("it ran");
}

async fn a_million_reports_block_no_task(kind: Kind) {
    on(kind.pool(2), async |executor: Arc<dyn Executor>| {
        let gate = Gate::new();
        let handle = executor.submit(flood, (None, gate.key()));
        for n in 0..10 {
            let power = within(executor.submit(u64::pow, (n, 2))).await;
            assert_eq!(power.expect("it ran"), n * n);
        }
        let mut progress = handle.progress();
        while next(&mut progress).await != Some((MANY, MANY)) {}
        gate.guest().await.let_in().await;
        within(handle).await.expect("it ran");
    })
    .await;
}

async fn progress_of_items_of_a_map_is_dropped(kind: Kind) {
    on(kind.pool(2), async |executor: Arc<dyn Executor>| {
        for chunk in [1, 7] {
            let map = executor.map(report_up_to, 0..100).chunk_size(chunk);
            let results: Vec<u64> = within(map.map(Result::unwrap).collect()).await;
            assert!(results.into_iter().eq(0..100));
        }
    })
    .await;
}

async fn a_task_sees_by_its_context_until_when_it_may_run(kind: Kind) {
    on(kind.pool(1), async |executor: Arc<dyn Executor>| {
        let hour = Duration::from_secs(3600);
        let limited = TaskOptions::new().timeout(hour);
        let left = within(executor.submit_with(&limited, time_left, ())).await;
        let left = left.expect("it ran").expect("it has a deadline");
        assert!(left <= hour && left > hour / 2, "{left:?}");
        let left = within(executor.submit(time_left, ())).await;
        assert_eq!(left.expect("it ran"), None);
    })
    .await;
}

/// Only this thread drives the pools: a process is killed for a cancel only once this test waits for something.
async fn a_task_sees_by_its_context_that_it_was_cancelled(kind: Kind) {
    on(kind.pool(1), async |executor: Arc<dyn Executor>| {
        let directory = Folder::new();
        let file = directory.path().join("seen");
        let gate = Gate::new();
        let options = match kind.asks_a_server() {
            true => TaskOptions::new().grace_period(Duration::from_secs(60)),
            false => TaskOptions::new(),
        };
        let args = (gate.key(), file.clone());
        let handle = executor.submit_with(&options, until_cancelled, args);
        gate.guest().await.let_in().await;
        assert!(!file.exists());
        handle.abort();
        until_there(&file);
        assert!(within(handle).await.expect_err("cancelled").is_cancelled());
    })
    .await;
}
