//! Cancels and timeouts of a running task. In a process, the task is killed, at once or after its grace period. On a
//! thread, the task sees the request.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use concurrent_futures::{
    Executor as _, ExecutorExt as _, JoinHandle, ProcessPoolExecutor, Shutdown, StartMethod,
    TaskOptions, ThreadPoolExecutor, worker,
};
use futures::StreamExt as _;

use self::common::folder::Folder;
use self::common::{Gate, Guest, Key, eventually, within};
use self::methods::{held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 1;
    aborting_a_running_task_kills_and_replaces_its_worker,
    dropping_an_abort_on_drop_handle_frees_the_worker,
    dropping_a_map_stream_frees_the_workers,
    a_task_over_its_time_frees_its_worker,
    a_time_out_in_a_chunk_hits_the_item_that_ran_alone,
    many_time_outs_at_once_end_every_task,
    a_kill_by_the_pool_is_never_reported_as_a_crash,
    a_task_that_ends_within_its_grace_keeps_its_worker,
    after_its_grace_the_rest_of_a_cancelled_chunk_never_runs_and_that_of_a_late_one_does,
    a_task_that_ignores_its_cancel_is_terminated_then_killed,
    many_graces_at_once_end_in_parallel,
    a_late_kill_never_hits_the_next_task,
    a_cancelled_chunk_of_a_map_leaves_the_items_of_others_alone,
    a_task_sent_ahead_is_cancelled_before_it_starts,
    a_task_sent_ahead_that_waits_too_long_is_refused,
    a_task_sent_ahead_is_pending_for_a_shutdown,
    a_higher_priority_comes_before_what_was_sent_ahead,
    a_task_sent_ahead_behind_a_long_task_moves_to_an_idle_worker,
    an_abort_of_a_finished_task_kills_nothing,
}

fn nothing() {}

fn double(x: u64) -> u64 {
    x * 2
}

fn never_end() {
    loop {
        std::thread::park();
    }
}

fn wait_at(gate: Key) {
    gate.wait();
}

/// Whether the process exists and has not ended.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

async fn aborting_a_running_task_kills_and_replaces_its_worker(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    let handle = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    let pid = guest.pid();
    // The place is occupied until the process has ended.
    let next = pool.submit(|before: u32| (is_alive(before), std::process::id()), pid);
    assert!(handle.is_running());
    handle.abort();
    assert!(handle.is_finished() && !handle.is_running());
    let error = within(handle).await.expect_err("it was cancelled");
    assert!(error.is_cancelled() && error.was_started(), "{error}");
    guest.gone().await;
    let (before_is_alive, after) = within(next).await.expect("a new worker runs it");
    assert!(!before_is_alive && after != pid);
    let restarts = pool.stats().restarts;
    assert_eq!((restarts.cancelled, restarts.crashed), (1, 0));
}

async fn dropping_an_abort_on_drop_handle_frees_the_worker(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    let request = pool.submit(wait_at, gate.key()).abort_on_drop();
    let guest = gate.guest().await;
    drop(request);
    guest.gone().await;
    within(pool.submit(nothing, ())).await.expect("it is free");
}

async fn dropping_a_map_stream_frees_the_workers(method: StartMethod) {
    let pool = processes(method, 2);
    let gate = Gate::new();
    let mut map = pool.map(wait_at, std::iter::repeat(gate.key()));
    assert!(futures::poll!(map.next()).is_pending());
    let guests = [gate.guest().await, gate.guest().await];
    drop(map);
    for guest in guests {
        guest.gone().await;
    }
    within(pool.submit(nothing, ())).await.expect("it is free");
}

async fn a_task_over_its_time_frees_its_worker(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    let short = TaskOptions::new()
        .timeout(Duration::from_millis(100))
        .name("slow");
    let slow = pool.submit_with(&short, never_end, ());
    let next = pool.submit(wait_at, gate.key());
    let error = within(slow).await.expect_err("it never ends");
    assert!(error.is_timeout() && error.was_started(), "{error}");
    let text = error.to_string();
    assert!(text.contains("slow") && text.contains("100ms"), "{text}");
    gate.guest().await.let_in().await;
    within(next).await.expect("it has no timeout");
    let restarts = pool.stats().restarts;
    assert_eq!((restarts.timed_out, restarts.crashed), (1, 0));
}

async fn a_time_out_in_a_chunk_hits_the_item_that_ran_alone(method: StartMethod) {
    fn stall_at_three(gate: Key, n: u64) -> u64 {
        if n == 3 {
            gate.wait();
        }
        n
    }
    let pool = processes(method, 1);
    let gate = Gate::new();
    let items = std::iter::repeat(gate.key()).zip(0..8);
    let map = pool.map(stall_at_three, items).chunk_size(8);
    let map = map.options(TaskOptions::new().timeout(Duration::from_secs(1)));
    let results: Vec<_> = within(map.collect()).await;
    for (n, result) in (0..).zip(results) {
        match result {
            Ok(number) => assert!(number == n && n != 3),
            Err(error) => assert!(error.is_timeout() && n == 3, "{n}: {error}"),
        }
    }
    let restarts = pool.stats().restarts;
    assert_eq!((restarts.timed_out, restarts.crashed), (1, 0));
}

async fn many_time_outs_at_once_end_every_task(method: StartMethod) {
    let pool = processes(method, 4);
    let short = TaskOptions::new().timeout(Duration::from_millis(100));
    let gate = Gate::new();
    let handles = [(); 4].map(|()| pool.submit_with(&short, wait_at, gate.key()));
    for handle in handles {
        let error = within(handle).await.expect_err("it is never let in");
        assert!(error.is_timeout(), "{error}");
    }
    for n in 0..8 {
        assert_eq!(within(pool.submit(double, n)).await.expect("it ran"), n * 2);
    }
}

/// The error for a kill by the pool names its cause.
async fn a_kill_by_the_pool_is_never_reported_as_a_crash(method: StartMethod) {
    let pool = processes(method, 3);
    let gate = Gate::new();
    let short = TaskOptions::new().timeout(Duration::from_millis(200));
    let handles = [
        pool.submit_with(&short, wait_at, gate.key()),
        pool.submit(wait_at, gate.key()),
        pool.submit(wait_at, gate.key()),
    ];
    let guests = [gate.guest().await, gate.guest().await, gate.guest().await];
    handles[1].abort();
    let [timed_out, cancelled, shut_down] = handles;
    assert!(within(timed_out).await.expect_err("killed").is_timeout());
    assert!(within(cancelled).await.expect_err("killed").is_cancelled());
    let report = within(pool.shutdown_with(Shutdown::new().deadline(Duration::ZERO))).await;
    assert_eq!(report.killed, 1);
    let error = within(shut_down).await.expect_err("killed");
    assert!(error.is_shutdown() && error.was_started(), "{error}");
    for guest in guests {
        guest.gone().await;
    }
    assert_eq!(pool.stats().restarts.crashed, 0);
}

/// Longer than a test lasts.
const LONG: Duration = Duration::from_secs(600);

/// Arrives at the first gate, and at the second when it is asked to end.
fn end_when_cancelled(first: Key, second: Key, number: u64) -> u64 {
    first.wait();
    let context = worker::current().expect("inside a task");
    while !context.is_cancelled() {
        std::thread::yield_now();
    }
    second.wait();
    number
}

async fn a_task_that_ends_within_its_grace_keeps_its_worker(method: StartMethod) {
    let pool = processes(method, 1);
    let gates = [Gate::new(), Gate::new()];
    let long = TaskOptions::new().grace_period(LONG);
    let hasty = long.clone().timeout(Duration::from_millis(20));
    for (round, options, aborts) in [(1, long, true), (2, hasty, false)] {
        let args = (gates[0].key(), gates[1].key(), 1);
        let handle = pool.submit_with(&options, end_when_cancelled, args);
        let next = pool.submit(std::process::id, ());
        let guest = gates[0].guest().await;
        let pid = guest.pid();
        guest.let_in().await;
        if aborts {
            handle.abort();
            assert!(handle.is_finished(), "its caller has not to wait");
        }
        let error = within(handle).await.expect_err("it was cancelled");
        assert!(error.was_started(), "{error}");
        assert!(error.is_cancelled() == aborts && error.is_timeout() != aborts);
        // The task was asked to end, and still runs.
        let guest = gates[1].guest().await;
        assert!(is_alive(pid) && !next.is_finished());
        let stats = pool.stats();
        assert_eq!((stats.running, stats.queued, stats.failed), (1, 1, round));
        guest.let_in().await;
        assert_eq!(within(next).await.expect("it ran"), pid);
    }
    let stats = pool.stats();
    assert_eq!(stats.restarts, Default::default());
    assert_eq!((stats.failed, stats.finished), (2, 2));
}

/// Writes its number to the directory. Number 1 then waits until it is asked to end.
fn note_and_wait(gate: Key, directory: PathBuf, number: u64) -> u64 {
    std::fs::write(directory.join(number.to_string()), "").expect("a file");
    if number == 1 {
        gate.wait();
        let context = worker::current().expect("inside a task");
        while !context.is_cancelled() {
            std::thread::yield_now();
        }
    }
    number
}

async fn after_its_grace_the_rest_of_a_cancelled_chunk_never_runs_and_that_of_a_late_one_does(
    method: StartMethod,
) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    for limit in [None, Some(Duration::from_millis(100))] {
        let directory = Folder::new();
        let path = directory.path().to_owned();
        let key = gate.key();
        let items = (0..4).map(move |number| (key.clone(), path.clone(), number));
        let mut options = TaskOptions::new().grace_period(LONG);
        if let Some(limit) = limit {
            options = options.timeout(limit);
        }
        let mut map = pool
            .map(note_and_wait, items)
            .chunk_size(4)
            .options(options);
        let first = within(map.next()).await.expect("an item");
        assert_eq!(first.expect("it ran"), 0);
        let guest = gate.guest().await;
        let pid = guest.pid();
        guest.let_in().await;
        let ran = if limit.is_some() {
            let error = within(map.next()).await.expect("an item");
            assert!(error.expect_err("it is over its time").is_timeout());
            for number in 2..4 {
                let item = within(map.next()).await.expect("an item");
                assert_eq!(item.expect("it ran"), number);
            }
            4
        } else {
            drop(map);
            2
        };
        let after = within(pool.submit(std::process::id, ())).await;
        assert_eq!(after.expect("it ran"), pid);
        let files = std::fs::read_dir(directory.path()).expect("it is there");
        assert_eq!(files.count(), ran);
    }
    assert_eq!(pool.stats().restarts, Default::default());
}

static TERMINATED: AtomicBool = AtomicBool::new(false);

/// Ignores its cancel, arrives at the second gate when it gets SIGTERM, and never ends.
#[expect(unsafe_code, reason = "a signal handler has no safe form")]
fn end_never(first: Key, second: Key) {
    extern "C" fn note(_: libc::c_int) {
        TERMINATED.store(true, Ordering::SeqCst);
    }
    let note: extern "C" fn(libc::c_int) = note;
    // SAFETY: the handler does nothing but an atomic store.
    unsafe { libc::signal(libc::SIGTERM, note as libc::sighandler_t) };
    first.wait();
    while !TERMINATED.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    second.wait();
    never_end();
}

async fn a_task_that_ignores_its_cancel_is_terminated_then_killed(method: StartMethod) {
    let pool = processes(method, 1);
    let gates = [Gate::new(), Gate::new()];
    let options = TaskOptions::new().grace_period(Duration::from_millis(700));
    let hasty = options.clone().timeout(Duration::from_millis(20));
    for options in [options, hasty] {
        let handle = pool.submit_with(&options, end_never, (gates[0].key(), gates[1].key()));
        let guest = gates[0].guest().await;
        let pid = guest.pid();
        let next = pool.submit(|pid: u32| (is_alive(pid), std::process::id()), pid);
        guest.let_in().await;
        handle.abort();
        let error = within(handle).await.expect_err("it was cancelled");
        assert!(error.is_cancelled() || error.is_timeout(), "{error}");
        assert!(is_alive(pid), "its caller has not to wait");
        let guest = gates[1].guest().await; // The task has received SIGTERM.
        assert!(is_alive(pid) && !next.is_finished());
        guest.gone().await;
        let (is_alive, after) = within(next).await.expect("it ran");
        assert!(!is_alive && after != pid, "the place was taken until then");
    }
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.restarts.crashed), (2, 0));
    assert_eq!(stats.restarts.cancelled + stats.restarts.timed_out, 2);
}

async fn many_graces_at_once_end_in_parallel(method: StartMethod) {
    let pool = processes(method, 6);
    within(pool.warm_up()).await.expect("six workers");
    let options = TaskOptions::new().grace_period(Duration::from_millis(300));
    let mut took = Vec::new();
    for count in [1, 6] {
        let gate = Gate::new();
        let mut handles = Vec::new();
        let mut guests = Vec::new();
        for _ in 0..count {
            handles.push(pool.submit_with(&options, wait_at, gate.key()));
            guests.push(gate.guest().await);
        }
        let begun = Instant::now();
        handles.iter().for_each(JoinHandle::abort);
        for guest in guests {
            guest.gone().await; // SIGTERM is enough.
        }
        took.push(begun.elapsed());
        for handle in handles {
            assert!(within(handle).await.expect_err("aborted").is_cancelled());
        }
    }
    assert!(took[0] >= Duration::from_millis(300), "{took:?}");
    assert!(took[1] < took[0] * 3, "{took:?}");
}

async fn a_late_kill_never_hits_the_next_task(method: StartMethod) {
    for grace in [Duration::ZERO, Duration::from_millis(1)] {
        a_late_kill_after(method, grace).await;
    }
}

async fn a_late_kill_after(method: StartMethod, grace: Duration) {
    let pool = processes(method, 1);
    let options = TaskOptions::new().grace_period(grace);
    for round in 0..100_u64 {
        // Its timeout ends at about the same time as the task, and so does its cancel.
        let limit = Duration::from_micros(10 * round);
        let hasty = pool.submit_with(&options.clone().timeout(limit), double, round);
        let aborted = pool.submit_with(&options, double, round);
        let next = pool.submit(double, round);
        match within(hasty).await {
            Ok(doubled) => assert_eq!(doubled, round * 2),
            Err(error) => assert!(error.is_timeout(), "{error}"),
        }
        aborted.abort();
        match within(aborted).await {
            Ok(doubled) => assert_eq!(doubled, round * 2),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
        assert_eq!(within(next).await.expect("not cancelled"), round * 2);
    }
    let stats = pool.stats();
    assert_eq!(
        (stats.restarts.crashed, stats.running, stats.queued),
        (0, 0, 0)
    );
    within(pool.shutdown()).await;
}

async fn a_cancelled_chunk_of_a_map_leaves_the_items_of_others_alone(method: StartMethod) {
    let pool = processes(method, 1);
    for round in 0..20 {
        let mut map = pool.map(double, 0..1000).chunk_size(50);
        for n in 0..round {
            assert_eq!(
                within(map.next()).await.expect("an item").expect("it ran"),
                n * 2
            );
        }
        let next = pool.submit(double, round);
        drop(map);
        assert_eq!(within(next).await.expect("not cancelled"), round * 2);
    }
    assert_eq!(pool.stats().restarts.crashed, 0);
}

/// A worker whose task waits at a gate, with other tasks behind it. Quick tasks before it made the pool send those
/// ahead.
struct Crowded {
    pool: ProcessPoolExecutor,
    guest: Guest,
    gate: Gate,
    behind: Vec<JoinHandle<()>>,
}

impl Crowded {
    async fn new(
        method: StartMethod,
        behind: usize,
        task: impl Fn(&ProcessPoolExecutor) -> JoinHandle<()>,
    ) -> Self {
        let pool = processes(method, 1);
        let (first, gate) = (Gate::new(), Gate::new());
        drop(pool.submit(wait_at, first.key()));
        let guest = first.guest().await;
        let quick: Vec<_> = (0..200).map(|n| pool.submit(double, n)).collect();
        drop(pool.submit(wait_at, gate.key()));
        let behind = (0..behind).map(|_| task(&pool)).collect();
        guest.let_in().await;
        let guest = gate.guest().await;
        for handle in quick {
            within(handle).await.expect("it ran");
        }
        Self {
            pool,
            guest,
            gate,
            behind,
        }
    }
}

async fn a_task_sent_ahead_is_cancelled_before_it_starts(method: StartMethod) {
    let directory = Folder::new();
    let file = directory.path().join("ran");
    let touch = |pool: &ProcessPoolExecutor| {
        let write = |file: std::path::PathBuf| std::fs::write(file, "").expect("a file");
        pool.submit(write, file.clone())
    };
    let crowded = Crowded::new(method, 10, touch).await;
    let stats = crowded.pool.stats();
    assert_eq!((stats.running, stats.queued), (1, 10));
    let last = crowded.pool.submit(double, 2);
    for handle in crowded.behind {
        assert!(!handle.is_running());
        handle.abort();
        let error = within(handle).await.expect_err("it was cancelled");
        assert!(error.is_cancelled() && !error.was_started(), "{error}");
    }
    let stats = crowded.pool.stats();
    assert_eq!((stats.running, stats.queued), (1, 1));
    crowded.guest.let_in().await;
    assert_eq!(within(last).await.expect("it ran"), 4);
    assert_eq!(crowded.pool.stats().restarts, Default::default());
    assert!(!file.exists());
    drop(crowded.gate);
}

async fn a_task_sent_ahead_that_waits_too_long_is_refused(method: StartMethod) {
    let hasty = |pool: &ProcessPoolExecutor| {
        let options = TaskOptions::new().queue_timeout(Duration::from_millis(300));
        pool.submit_with(&options, nothing, ())
    };
    let crowded = Crowded::new(method, 10, hasty).await;
    for handle in crowded.behind {
        let error = within(handle).await.expect_err("it waits in vain");
        assert!(error.is_rejected() && !error.was_started(), "{error}");
    }
    crowded.guest.let_in().await;
    let next = within(crowded.pool.submit(double, 2)).await;
    assert_eq!(next.expect("it ran"), 4);
    drop(crowded.gate);
}

async fn a_task_sent_ahead_is_pending_for_a_shutdown(method: StartMethod) {
    let crowded = Crowded::new(method, 10, |pool| pool.submit(nothing, ())).await;
    let how = Shutdown::new().cancel_pending(true);
    let mut shutdown = std::pin::pin!(crowded.pool.shutdown_with(how));
    assert!(futures::poll!(&mut shutdown).is_pending());
    for handle in crowded.behind {
        let error = within(handle).await.expect_err("it was cancelled");
        assert!(error.is_cancelled() && !error.was_started(), "{error}");
    }
    crowded.guest.let_in().await;
    let report = within(shutdown).await;
    assert_eq!((report.finished, report.cancelled), (1, 10));
    drop(crowded.gate);
}

async fn a_higher_priority_comes_before_what_was_sent_ahead(method: StartMethod) {
    let crowded = Crowded::new(method, 10, |pool| pool.submit(nothing, ())).await;
    let urgent = TaskOptions::new().priority(1);
    let urgent = crowded
        .pool
        .submit_with(&urgent, wait_at, crowded.gate.key());
    crowded.guest.let_in().await;
    let guest = crowded.gate.guest().await;
    assert!(urgent.is_running());
    assert!(!crowded.behind.iter().any(JoinHandle::is_finished));
    guest.let_in().await;
    for handle in crowded.behind {
        within(handle).await.expect("it ran");
    }
}

async fn a_task_sent_ahead_behind_a_long_task_moves_to_an_idle_worker(method: StartMethod) {
    let pool = processes(method, 2);
    let gate = Gate::new();
    let quick: Vec<_> = (0..200).map(|n| pool.submit(double, n)).collect();
    drop(pool.submit(wait_at, gate.key()));
    let behind: Vec<_> = (0..50).map(|n| pool.submit(double, n)).collect();
    let guest = gate.guest().await;
    for handle in quick.into_iter().chain(behind) {
        within(handle).await.expect("the other worker runs it");
    }
    guest.let_in().await;
}

/// A task on a thread that has arrived at a gate, and then waits until it is asked to end.
struct Deaf {
    handle: JoinHandle<()>,
    guest: Guest,
    _gate: Gate,
    told: Arc<AtomicBool>,
}

impl Deaf {
    async fn new(pool: &ThreadPoolExecutor, options: &TaskOptions) -> Self {
        let gate = Gate::new();
        let (key, told) = (gate.key(), Arc::new(AtomicBool::new(false)));
        let tell = told.clone();
        let run = move || {
            key.wait();
            let context = worker::current().expect("inside a task");
            tell.store(context.is_cancelled(), Ordering::SeqCst);
        };
        let handle = pool.submit_with(options, run, ());
        let guest = gate.guest().await;
        Self {
            handle,
            guest,
            _gate: gate,
            told,
        }
    }
}

#[tokio::test]
async fn a_thread_past_its_deadline_keeps_its_place_until_it_returns_and_sees_its_cancellation() {
    let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let short = TaskOptions::new().timeout(Duration::from_millis(50));
    let deaf = Deaf::new(&pool, &short).await;
    let next = pool.submit(nothing, ());
    let error = within(deaf.handle).await.expect_err("it does not end");
    assert!(error.is_timeout() && error.was_started(), "{error}");
    // The caller has its outcome; the seat is still taken.
    let stats = pool.stats();
    assert_eq!((stats.running, stats.queued), (1, 1));
    assert!(!next.is_running() && !next.is_finished());
    deaf.guest.let_in().await;
    within(next).await.expect("the place is free");
    assert!(deaf.told.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_cancelled_thread_keeps_its_place_until_it_returns_and_sees_its_cancellation() {
    let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let deaf = Deaf::new(&pool, &TaskOptions::new()).await;
    let next = pool.submit(nothing, ());
    deaf.handle.abort();
    let error = within(deaf.handle).await.expect_err("it was cancelled");
    assert!(error.is_cancelled() && error.was_started(), "{error}");
    let stats = pool.stats();
    assert_eq!((stats.running, stats.queued), (1, 1));
    deaf.guest.let_in().await;
    within(next).await.expect("the place is free");
    assert!(deaf.told.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_thread_that_is_not_cancelled_sees_no_cancellation() {
    let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let deaf = Deaf::new(&pool, &TaskOptions::new()).await;
    deaf.guest.let_in().await;
    within(deaf.handle).await.expect("it was let in");
    assert!(!deaf.told.load(Ordering::SeqCst));
}

async fn an_abort_of_a_finished_task_kills_nothing(method: StartMethod) {
    let pool = processes(method, 1);
    let pid = within(pool.submit(std::process::id, ())).await;
    let handle = pool.submit(double, 1);
    eventually(|| handle.is_finished()).await;
    handle.abort();
    assert_eq!(within(handle).await.expect("it was done"), 2);
    let after = within(pool.submit(std::process::id, ())).await;
    assert_eq!(pid.expect("a pid"), after.expect("the same worker"));
}
