//! The life of a process pool: workers that are kept, dismissed, retired, replaced and ended, and tasks that run again.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use concurrent_futures::{
    Executor as _, ExecutorExt as _, ProcessPoolExecutor, Shutdown, StartMethod, TaskOptions,
    WorkerState, worker,
};
use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};

use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, within};
use self::methods::{builder, for_every_start_method, held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

held_by_every_start_method! {
    1;
    a_shutdown_tells_tasks_with_a_grace_period_before_its_deadline,
    terminated_workers_may_finish_what_they_run_and_begin_nothing,
    a_terminated_chunk_ends_with_the_item_that_ran,
    killed_workers_end_whatever_they_do,
    an_abort_ends_what_does_not_heed_its_termination,
    a_task_is_run_again_as_often_as_it_may_and_no_more,
    each_item_of_a_chunk_is_run_again_by_itself,
    only_a_lost_worker_makes_a_task_run_again,
    a_task_that_waits_to_be_run_again_counts_as_started,
    so_many_workers_are_kept_from_the_start_and_replaced_when_lost,
    a_worker_that_idles_for_long_is_dismissed_unless_it_is_one_of_those_kept,
    workers_that_die_idle_again_and_again_are_no_storm,
    a_retiring_worker_works_until_its_successor_is_ready,
    an_old_worker_works_until_its_successor_is_ready,
    a_worker_whose_successor_cannot_start_stays,
    an_old_idle_worker_is_retired_if_not_needed,
    a_shutdown_that_is_given_up_leaves_running_tasks_their_time,
    a_warm_up_of_kept_workers_that_cannot_start_is_an_error,
    a_warm_up_with_some_workers_ready_is_an_error_that_counts_them,
    a_warm_up_replaces_a_worker_that_is_about_to_end,
    2;
    retirement_by_tasks_age_and_memory_loses_no_task_and_the_replacement_starts_first,
}

fn double(x: u64) -> u64 {
    x * 2
}

fn wait_at(gate: Key) {
    gate.wait();
}

/// Whether the process exists and has not ended.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

static TERMINATED: AtomicBool = AtomicBool::new(false);

#[expect(unsafe_code, reason = "a signal handler has no safe form")]
fn handle_sigterm() {
    extern "C" fn note(_: libc::c_int) {
        TERMINATED.store(true, Ordering::SeqCst);
    }
    let note: extern "C" fn(libc::c_int) = note;
    // SAFETY: the handler does nothing but an atomic store.
    unsafe { libc::signal(libc::SIGTERM, note as libc::sighandler_t) };
}

/// Arrives at the gate, and ends with its number when it gets SIGTERM.
fn end_when_terminated(gate: Key, number: u64) -> u64 {
    handle_sigterm();
    gate.wait();
    while !TERMINATED.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    number
}

fn end_when_cancelled(gate: Key, number: u64) -> u64 {
    gate.wait();
    while !worker::current().is_some_and(|context| context.is_cancelled()) {
        std::thread::yield_now();
    }
    number
}

fn end_never(gate: Key, _: u64) -> u64 {
    handle_sigterm();
    gate.wait();
    loop {
        std::thread::park();
    }
}

async fn a_shutdown_tells_tasks_with_a_grace_period_before_its_deadline(method: StartMethod) {
    let pool = processes(method, 4);
    let gate = Gate::new();
    let period = TaskOptions::new().grace_period(Duration::from_millis(500));
    let handles = [
        pool.submit_with(&period, end_when_cancelled, (gate.key(), 1)),
        pool.submit_with(&period, end_when_terminated, (gate.key(), 2)),
        pool.submit_with(&period, end_never, (gate.key(), 3)),
        pool.submit(end_when_cancelled, (gate.key(), 4)),
    ];
    let mut pids = Vec::new();
    for _ in 0..4 {
        let guest = gate.guest().await;
        pids.push(guest.pid());
        guest.let_in().await;
    }
    let how = Shutdown::new().deadline(Duration::from_millis(1500));
    let report = within(pool.shutdown_with(how)).await;
    assert_eq!((report.finished, report.killed), (2, 2));
    for (number, handle) in (1..).zip(handles) {
        match within(handle).await {
            Ok(result) => assert!(result == number && number <= 2),
            Err(error) => assert!(error.is_shutdown() && number > 2, "{number}: {error}"),
        }
    }
    assert!(!pids.into_iter().any(is_alive));
    assert_eq!(pool.stats().restarts, Default::default());
}

async fn terminated_workers_may_finish_what_they_run_and_begin_nothing(method: StartMethod) {
    let pool = processes(method, 2);
    let gate = Gate::new();
    let finishes = pool.submit(end_when_terminated, (gate.key(), 7));
    let ends = pool.submit(wait_at, gate.key());
    let guests = [gate.guest().await, gate.guest().await];
    let queued: Vec<_> = (0..5).map(|n| pool.submit(double, n)).collect();
    pool.terminate_workers();
    let refused = within(pool.submit(double, 1)).await;
    assert!(refused.expect_err("it is closed").is_shutdown());
    for handle in queued {
        let error = within(handle).await.expect_err("it never begins");
        assert!(error.is_cancelled() && !error.was_started(), "{error}");
    }
    let error = within(ends).await.expect_err("SIGTERM ends it");
    assert!(error.is_shutdown() && error.was_started(), "{error}");
    for guest in guests {
        // One of the two waits at the gate.
        if is_alive(guest.pid()) {
            guest.let_in().await;
        }
    }
    assert_eq!(within(finishes).await.expect("it handles SIGTERM"), 7);
    within(pool.shutdown()).await;
    let stats = pool.stats();
    assert_eq!((stats.workers, stats.finished, stats.failed), (0, 1, 1));
    assert_eq!(stats.restarts, Default::default());
}

async fn a_terminated_chunk_ends_with_the_item_that_ran(method: StartMethod) {
    fn item(gate: Key, number: u64) -> u64 {
        match number {
            1 => end_when_terminated(gate, number),
            number => number,
        }
    }
    let pool = processes(method, 1);
    let gate = Gate::new();
    let items = std::iter::repeat(gate.key()).zip(0..4);
    let results = tokio::spawn(pool.map(item, items).chunk_size(4).collect::<Vec<_>>());
    gate.guest().await.let_in().await;
    pool.terminate_workers();
    let results = within(results).await.expect("no panic");
    for (number, result) in (0..).zip(&results) {
        match result {
            Ok(result) => assert!(*result == number && number < 2),
            Err(error) => assert!(error.is_cancelled() && number >= 2, "{number}: {error}"),
        }
    }
    assert_eq!(results.len(), 4);
    within(pool.shutdown()).await;
}

async fn killed_workers_end_whatever_they_do(method: StartMethod) {
    let pool = processes(method, 3);
    within(pool.warm_up()).await.expect("three workers");
    let gate = Gate::new();
    let handles = [
        pool.submit(end_never, (gate.key(), 1)),
        pool.submit(end_when_terminated, (gate.key(), 2)),
    ];
    let guests = [gate.guest().await, gate.guest().await];
    let pids: Vec<_> = pool.workers().iter().map(|worker| worker.pid()).collect();
    pool.kill_workers();
    for handle in handles {
        let error = within(handle).await.expect_err("it was killed");
        assert!(error.is_shutdown() && error.was_started(), "{error}");
    }
    for guest in guests {
        guest.gone().await;
    }
    let refused = within(pool.submit(double, 1)).await;
    assert!(refused.expect_err("it is closed").is_shutdown());
    within(pool.shutdown()).await;
    assert!(!pids.into_iter().any(is_alive));
    assert_eq!(pool.stats().restarts, Default::default());
}

async fn an_abort_ends_what_does_not_heed_its_termination(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    let handle = pool.submit(end_never, (gate.key(), 1));
    let guest = gate.guest().await;
    pool.terminate_workers();
    handle.abort();
    assert!(within(handle).await.expect_err("aborted").is_cancelled());
    guest.gone().await;
    within(pool.shutdown()).await;
}

/// Leaves a file for this run in the directory, and dies if it is one of the first `deaths` runs.
fn note_and_die(directory: PathBuf, deaths: usize, number: u32) -> u32 {
    let runs = runs(&directory, number);
    fs::write(directory.join(format!("{number}.{runs}")), "").expect("a file");
    if runs < deaths {
        std::process::exit(9);
    }
    number
}

/// How often the task with this number has run.
fn runs(directory: &std::path::Path, number: u32) -> usize {
    let entries = fs::read_dir(directory).expect("it is there").flatten();
    let prefix = format!("{number}.");
    let is_run = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&prefix);
    entries.filter(is_run).count()
}

async fn a_task_is_run_again_as_often_as_it_may_and_no_more(method: StartMethod) {
    let pool = processes(method, 2);
    let directory = Folder::new();
    let path = directory.path().to_owned();
    let twice = TaskOptions::new().retries(2);
    for (number, deaths, options) in [
        (1, 1, TaskOptions::new()),
        (2, 2, twice.clone()),
        (3, 3, twice.clone()),
        (4, 0, twice.clone()),
    ] {
        let handle = pool.submit_with(&options, note_and_die, (path.clone(), deaths, number));
        let outcome = within(handle).await;
        let failed = number == 1 || number == 3;
        let most = if number == 1 { 1 } else { 3 };
        match outcome {
            Ok(result) => assert!(result == number && !failed),
            Err(error) => {
                assert!(error.is_worker_lost() && error.was_started(), "{error}");
                assert_eq!(error.exit_code(), Some(9));
                assert_eq!(error.attempts(), if number == 3 { 3 } else { 1 });
                assert_eq!(error.to_string().contains("each of 3 runs"), number == 3);
                assert!(failed, "{error}");
            }
        }
        assert_eq!(runs(&path, number), (deaths + 1).min(most), "task {number}");
    }
    let stats = pool.stats();
    assert_eq!(
        (stats.finished, stats.failed, stats.restarts.crashed),
        (2, 2, 6)
    );
}

async fn each_item_of_a_chunk_is_run_again_by_itself(method: StartMethod) {
    let pool = processes(method, 1);
    let directory = Folder::new();
    let path = directory.path().to_owned();
    let key = path.clone();
    // Every third item is lost once, item 4 each time.
    let items = (0..10).map(move |number| {
        let deaths = match number {
            4 => usize::MAX,
            number => usize::from(number % 3 == 0),
        };
        (key.clone(), deaths, number)
    });
    let map = pool.map(note_and_die, items).chunk_size(10);
    let map = map.options(TaskOptions::new().retries(1));
    let results: Vec<_> = within(map.collect()).await;
    for (number, result) in (0..).zip(&results) {
        match result {
            Ok(result) => assert!(*result == number && number != 4),
            Err(error) => assert!(error.is_worker_lost() && number == 4, "{error}"),
        }
        let again = number == 4 || number % 3 == 0;
        assert_eq!(runs(&path, number), 1 + usize::from(again), "item {number}");
    }
    assert_eq!(results.len(), 10);
}

async fn only_a_lost_worker_makes_a_task_run_again(method: StartMethod) {
    fn note_and_fail(directory: PathBuf, number: u32) {
        note_and_die(directory, 0, number);
        match number {
            1 => panic!("no reason to try again"),
            _ => loop {
                std::thread::park();
            },
        }
    }
    let pool = processes(method, 2);
    let directory = Folder::new();
    let path = directory.path().to_owned();
    let often = TaskOptions::new().retries(5);
    let hasty = often.clone().timeout(Duration::from_millis(50));
    let submit = |options, number| pool.submit_with(options, note_and_fail, (path.clone(), number));
    assert!(within(submit(&often, 1)).await.expect_err("1").is_panic());
    assert!(within(submit(&hasty, 2)).await.expect_err("2").is_timeout());
    let cancelled = submit(&often, 3);
    eventually(|| runs(&path, 3) == 1).await;
    cancelled.abort();
    assert!(within(cancelled).await.expect_err("3").is_cancelled());
    let shut_down = submit(&often, 4);
    eventually(|| runs(&path, 4) == 1).await;
    within(pool.shutdown_with(Shutdown::new().deadline(Duration::ZERO))).await;
    assert!(within(shut_down).await.expect_err("4").is_shutdown());
    for number in 1..=4 {
        assert_eq!(runs(&path, number), 1, "task {number}");
    }
}

async fn a_task_that_waits_to_be_run_again_counts_as_started(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    let again = TaskOptions::new().retries(1).priority(-1);
    let lost = pool.submit_with(&again, wait_at, gate.key());
    let guest = gate.guest().await;
    let busy = pool.submit(wait_at, gate.key());
    kill(guest.pid());
    guest.gone().await;
    let guest = gate.guest().await; // This is the other task, which is more urgent.
    assert!(!lost.is_finished());
    lost.abort();
    let error = within(lost).await.expect_err("aborted");
    assert!(error.is_cancelled() && error.was_started(), "{error}");
    assert_eq!(error.attempts(), 2);
    guest.let_in().await;
    within(busy).await.expect("it ran");
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid");
    kill_process(pid, Signal::KILL).expect("the worker is there");
}

fn pids(pool: &ProcessPoolExecutor) -> Vec<u32> {
    pool.workers().iter().map(|worker| worker.pid()).collect()
}

/// A worker that idles or lives for this long is replaced or dismissed. Workers keep real time, so this is short.
const SPAN: Duration = Duration::from_millis(100);

async fn so_many_workers_are_kept_from_the_start_and_replaced_when_lost(method: StartMethod) {
    let builder = builder(method).max_workers(3).min_workers(2);
    let pool = builder.build().expect("a pool");
    eventually(|| pids(&pool).len() == 2).await;
    let before = pids(&pool);
    for pid in &before {
        kill(*pid);
    }
    let are_new = |pid: &u32| !before.contains(pid);
    eventually(|| pids(&pool).iter().filter(|pid| are_new(pid)).count() == 2).await;
    let stats = pool.stats();
    assert_eq!((stats.workers, stats.restarts.crashed), (2, 2));
    within(pool.shutdown()).await;
    assert_eq!(pool.stats().workers, 0);
}

#[test]
fn without_a_runtime_kept_workers_start_with_the_first_task() {
    for_every_start_method(
        "without_a_runtime_kept_workers_start_with_the_first_task",
        kept_workers_start_with_the_first_task,
    );
}

fn kept_workers_start_with_the_first_task(method: StartMethod) {
    let builder = builder(method).max_workers(3).min_workers(2);
    let pool = builder.build().expect("a pool");
    assert_eq!(pool.stats().workers, 0);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        assert_eq!(within(pool.submit(double, 2)).await.expect("it ran"), 4);
        eventually(|| pids(&pool).len() == 2).await;
        within(pool.shutdown()).await;
    });
}

#[test]
fn more_kept_workers_than_there_may_be_are_refused() {
    let builder = ProcessPoolExecutor::builder().max_workers(1).min_workers(2);
    let error = builder.build().expect_err("two are more than one");
    assert!(error.is_invalid_setting(), "{error}");
    let builder = ProcessPoolExecutor::builder().idle_timeout(Duration::ZERO);
    let error = builder.build().expect_err("no worker could stay");
    assert!(error.is_invalid_setting(), "{error}");
}

async fn a_worker_that_idles_for_long_is_dismissed_unless_it_is_one_of_those_kept(
    method: StartMethod,
) {
    let pool = builder(method)
        .max_workers(4)
        .min_workers(2)
        .idle_timeout(SPAN)
        .build()
        .expect("a pool");
    within(pool.warm_up()).await.expect("four workers");
    let gate = Gate::new();
    let busy = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    eventually(|| pool.stats().workers == 2).await;
    tokio::time::sleep(3 * SPAN).await; // The worker stays, however long it is idle.
    let after = within(pool.submit(double, 2)).await;
    assert_eq!(after.expect("an idle one was kept"), 4);
    guest.let_in().await;
    within(busy).await.expect("it was busy, not idle");
    let stats = pool.stats();
    assert_eq!((stats.workers, stats.restarts.idle), (2, 2));
    assert_eq!(stats.restarts.crashed, 0);
    within(pool.shutdown()).await;
}

async fn workers_that_die_idle_again_and_again_are_no_storm(method: StartMethod) {
    fn die_soon(directory: PathBuf) {
        let number = fs::read_dir(&directory).expect("it is there").count();
        fs::write(directory.join(number.to_string()), "").expect("a file");
        std::thread::spawn(|| {
            // Long enough to become ready, too short to be useful.
            std::thread::sleep(Duration::from_millis(30));
            std::process::abort();
        });
    }
    let directory = Folder::new();
    let starts = || fs::read_dir(directory.path()).expect("it is there").count();
    let begun = Instant::now();
    let pool = builder(method)
        .max_workers(1)
        .min_workers(1)
        .initializer(die_soon, directory.path().to_owned())
        .build()
        .expect("a pool");
    eventually(|| starts() == 4).await;
    // There are pauses of 50, 100 and 200 ms between the starts.
    assert!(begun.elapsed() >= Duration::from_millis(350));
    assert!(pool.stats().restarts.crashed >= 3);
    // A pause does not delay the shutdown.
    within(pool.shutdown()).await;
    assert_eq!(pool.stats().workers, 0);
}

/// Leaves a file that shows that it ran, keeps a megabyte, and takes about a millisecond.
fn note_and_leak(directory: PathBuf, number: u32) -> u32 {
    let file = directory.join(number.to_string());
    fs::File::create_new(file).expect("a task runs once");
    vec![1_u8; 1 << 20].leak();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1) {
        std::hint::spin_loop();
    }
    number
}

async fn retirement_by_tasks_age_and_memory_loses_no_task_and_the_replacement_starts_first(
    method: StartMethod,
) {
    let builder = || builder(method).max_workers(2);
    for builder in [
        builder().max_tasks_per_child(20),
        builder().max_age_per_child(Duration::from_millis(60)),
        builder().max_memory_per_child(64 << 20),
    ] {
        let pool = builder.build().expect("a pool");
        let directory = Folder::new();
        let path = directory.path().to_owned();
        let handles: Vec<_> = (0..400)
            .map(|number| pool.submit(note_and_leak, (path.clone(), number)))
            .collect();
        let (mut most, mut most_in_use) = (0, 0);
        for (number, mut handle) in (0..).zip(handles) {
            let result = loop {
                most = pool.stats().workers.max(most);
                let workers = pool.workers().into_iter();
                let in_use = workers.filter(|worker| worker.state() != WorkerState::Ending);
                most_in_use = in_use.count().max(most_in_use);
                tokio::select! {
                    result = within(&mut handle) => break result,
                    () = tokio::task::yield_now() => {}
                }
            };
            assert_eq!(result.expect("no task is lost"), number);
        }
        assert!((3..=12).contains(&most), "{most} processes at once");
        // Each of the two may have a successor. A worker with a successor may still run its last call, and the system
        // decides how long that takes.
        assert!(most_in_use <= 8, "{most_in_use} workers at once");
        within(pool.shutdown()).await;
        let stats = pool.stats();
        assert_eq!((stats.finished, stats.failed, stats.workers), (400, 0, 0));
        let restarts = stats.restarts;
        assert!(restarts.retired >= 2, "{restarts:?}");
        assert_eq!((restarts.crashed, restarts.failed_to_start), (0, 0));
    }
}

/// As `wait_at`, with more memory than the pool of the test below allows.
fn leak_and_wait(gate: Key) {
    vec![1_u8; 128 << 20].leak();
    gate.wait();
}

async fn a_retiring_worker_works_until_its_successor_is_ready(method: StartMethod) {
    let builder = || builder(method).max_workers(1);
    let bloated = builder().max_memory_per_child(64 << 20);
    let last = builder().max_tasks_per_child(2);
    for builder in [bloated, last] {
        let pool = builder.build().expect("a pool");
        let gate = Gate::new();
        let first = pool.submit(leak_and_wait, gate.key());
        let second = pool.submit(wait_at, gate.key());
        let third = pool.submit(std::process::id, ());
        gate.guest().await.let_in().await;
        within(first).await.expect("it ran");
        let guest = gate.guest().await;
        // Another worker takes over while the old one is busy.
        let successor = within(third).await.expect("it ran");
        assert!(successor != guest.pid() && is_alive(guest.pid()));
        assert_eq!(pool.stats().workers, 2);
        let old = guest.pid();
        guest.let_in().await;
        within(second).await.expect("it ends what it has");
        eventually(|| pool.stats().restarts.retired == 1).await;
        assert_eq!(pids(&pool), [successor]);
        assert!(!is_alive(old));
        within(pool.shutdown()).await;
    }
}

async fn an_old_worker_works_until_its_successor_is_ready(method: StartMethod) {
    let builder = builder(method).max_workers(1).max_age_per_child(SPAN);
    let pool = builder.build().expect("a pool");
    let gate = Gate::new();
    let first = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    let successor = within(pool.submit(std::process::id, ())).await;
    assert_ne!(successor.expect("it ran"), guest.pid());
    let old = guest.pid();
    assert!(is_alive(old));
    guest.let_in().await;
    within(first).await.expect("it ends what it has");
    eventually(|| pool.stats().restarts.retired >= 1 && !is_alive(old)).await;
    assert_eq!(pool.stats().failed, 0);
    within(pool.shutdown()).await;
}

async fn a_worker_whose_successor_cannot_start_stays(method: StartMethod) {
    fn only_two(directory: PathBuf) -> Result<(), String> {
        let starts = fs::read_dir(&directory).expect("it is there").count();
        let file = directory.join(starts.to_string());
        fs::write(file, "").expect("a file");
        match starts {
            1 | 2 => Err("not now".to_owned()),
            _ => Ok(()),
        }
    }
    let directory = Folder::new();
    let pool = builder(method)
        .max_workers(1)
        .min_workers(1)
        .max_age_per_child(SPAN)
        .initializer(only_two, directory.path().to_owned())
        .build()
        .expect("a pool");
    let old = within(pool.submit(std::process::id, ())).await;
    let old = old.expect("it ran");
    eventually(|| pool.stats().restarts.failed_to_start >= 1).await;
    assert_eq!(within(pool.submit(double, 1)).await.expect("it stays"), 2);
    // The start is tried again, and finally succeeds.
    eventually(|| pool.stats().restarts.retired >= 1).await;
    eventually(|| pids(&pool).len() == 1).await;
    assert_ne!(pids(&pool), [old]);
    let stats = pool.stats();
    assert_eq!((stats.restarts.failed_to_start, stats.failed), (2, 0));
    within(pool.shutdown()).await;
}

async fn an_old_idle_worker_is_retired_if_not_needed(method: StartMethod) {
    let builder = builder(method).max_workers(2).min_workers(1);
    let pool = builder.max_age_per_child(SPAN).build().expect("a pool");
    within(pool.warm_up()).await.expect("two workers");
    let before = pids(&pool);
    // One leaves, the other gets a successor.
    eventually(|| pool.stats().restarts.retired >= 2).await;
    eventually(|| pool.stats().workers == 1).await;
    assert!(pids(&pool).iter().all(|pid| !before.contains(pid)));
    within(pool.shutdown()).await;
}

async fn a_shutdown_that_is_given_up_leaves_running_tasks_their_time(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    let grace = Duration::from_secs(1);
    let options = TaskOptions::new().grace_period(grace);
    let handle = pool.submit_with(&options, end_when_cancelled, (gate.key(), 5));
    gate.guest().await.let_in().await;
    let how = Shutdown::new().deadline(2 * grace + SPAN);
    let given_up = tokio::time::timeout(Duration::ZERO, pool.shutdown_with(how)).await;
    assert!(given_up.is_err(), "the task is not asked to end yet");
    tokio::time::sleep(2 * grace + 2 * SPAN).await;
    assert!(!handle.is_finished() && pool.stats().running == 1);
    // The next shutdown warns it at once, because its deadline is nearer than two periods, and the task ends.
    let how = Shutdown::new().deadline(2 * grace - SPAN);
    let report = within(pool.shutdown_with(how)).await;
    assert_eq!((report.finished, report.killed), (1, 0));
    assert_eq!(within(handle).await.expect("it ended in time"), 5);
}

async fn a_warm_up_of_kept_workers_that_cannot_start_is_an_error(method: StartMethod) {
    fn only_one(directory: PathBuf) -> Result<(), String> {
        match fs::File::create_new(directory.join("one")) {
            Ok(_) => Ok(()),
            Err(_) => Err("there is a licence for one".to_owned()),
        }
    }
    let directory = Folder::new();
    let pool = builder(method)
        .max_workers(2)
        .min_workers(2)
        .initializer(only_one, directory.path().to_owned())
        .build()
        .expect("a pool");
    let error = within(pool.warm_up()).await.expect_err("one cannot start");
    assert!(error.is_init_failed(), "{error}");
    assert_eq!(
        within(pool.submit(double, 1)).await.expect("the other can"),
        2
    );
    within(pool.shutdown()).await;
}

async fn a_warm_up_with_some_workers_ready_is_an_error_that_counts_them(method: StartMethod) {
    fn only_two(directory: PathBuf, gate: Key) -> Result<(), String> {
        let take = |licence| fs::File::create_new(directory.join(licence)).is_ok();
        if take("one") {
            return Ok(());
        }
        if take("two") {
            gate.wait();
            return Ok(());
        }
        Err("there are two licences".to_owned())
    }
    let directory = Folder::new();
    let gate = Gate::new();
    let pool = builder(method)
        .max_workers(4)
        .initializer(only_two, (directory.path().to_owned(), gate.key()))
        .build()
        .expect("a pool");
    // The second worker becomes ready after the pool has given up on the third and the fourth.
    let second = async {
        let guest = gate.guest().await;
        eventually(|| pool.stats().workers == 2).await;
        guest.let_in().await;
    };
    let (warm, ()) = futures::join!(within(pool.warm_up()), second);
    let error = warm.expect_err("two are missing");
    assert!(error.is_init_failed() && !error.was_started(), "{error}");
    let text = error.to_string();
    assert!(text.contains("2 of 4 workers are ready"), "{text}");
    assert!(text.contains("there are two licences"), "{text}");
    assert_eq!(pool.workers().len(), 2);
    assert_eq!(within(pool.submit(double, 2)).await.expect("it ran"), 4);

    for licence in ["one", "two"] {
        fs::remove_file(directory.path().join(licence)).expect("it is taken");
    }
    let second = async { gate.guest().await.let_in().await };
    let (warm, ()) = futures::join!(within(pool.warm_up()), second);
    warm.expect("there are licences again");
    assert_eq!(pool.workers().len(), 4);
    within(pool.shutdown()).await;
}

/// The task ignores the SIGTERM of its abort until its gate opens, and keeps its place until then.
fn stay_terminated(gate: Key) {
    handle_sigterm();
    gate.wait();
    loop {
        std::thread::park();
    }
}

async fn a_warm_up_replaces_a_worker_that_is_about_to_end(method: StartMethod) {
    let pool = processes(method, 2);
    within(pool.warm_up()).await.expect("two workers");
    let gate = Gate::new();
    let options = TaskOptions::new().grace_period(Duration::from_millis(300));
    let aborted = pool.submit_with(&options, stay_terminated, gate.key());
    let guest = gate.guest().await;
    aborted.abort();
    let is_ending = || {
        let workers = pool.workers();
        let mut ending = workers
            .iter()
            .filter(|worker| worker.state() == WorkerState::Ending);
        ending.any(|worker| worker.pid() == guest.pid())
    };
    eventually(is_ending).await;
    within(pool.warm_up()).await.expect("two workers");
    let pids = pids(&pool);
    assert!(pids.len() == 2 && !pids.contains(&guest.pid()), "{pids:?}");
    within(pool.shutdown()).await;
}
