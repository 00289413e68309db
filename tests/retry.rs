//! Tasks that are attempted again, on every executor. Each attempt leaves a file, so the test counts attempts in any
//! process.

#![cfg(feature = "process")]
#[cfg(target_os = "linux")]
#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/kinds.rs"]
mod kinds;
#[path = "common/methods.rs"]
mod methods;

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use concurrent_futures::{
    ExecutorExt as _, Retry, Shutdown, TaskError, TaskOptions, ThreadPoolExecutor, as_completed,
    retry, worker,
};
use futures::{StreamExt as _, poll};

use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, in_thread, within};
use self::kinds::{Kind, held_by_every_executor};

concurrent_futures::init_before_main!();

held_by_every_executor! { 2;
    a_task_is_attempted_again_on_what_its_policy_names_and_no_more,
    a_task_is_attempted_again_on_an_error_that_its_predicate_names,
    a_retry_on_a_full_queue_waits_for_room,
    an_error_says_how_many_attempts_there_were,
    an_error_after_an_attempt_that_ran_says_that_it_was_started,
    a_dropped_retry_cancels_its_attempt_and_no_other_begins,
    a_retry_that_is_dropped_in_its_pause_begins_no_attempt,
    a_cancel_and_a_shutdown_are_never_followed_by_another_attempt,
    retries_are_waited_for_beside_handles,
    a_task_knows_the_number_of_its_attempt,
}

const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(30);

/// How an attempt ends.
const RETURN: u8 = 0;
const FAIL: u8 = 1;
const PANIC: u8 = 2;
const HANG: u8 = 3;
#[cfg(target_os = "linux")]
const EXIT: u8 = 4;

/// Records the attempt, and returns its number, from 0.
fn note(folder: &std::path::Path) -> usize {
    let is_new = |number: &usize| {
        let file = folder.join(number.to_string());
        let file = OpenOptions::new().write(true).create_new(true).open(file);
        file.is_ok()
    };
    (0..).find(is_new).expect("there are enough numbers")
}

/// Ends as the plan says for this attempt. Returns its number.
fn follow(folder: PathBuf, plan: Vec<u8>) -> Result<usize, String> {
    let attempt = note(&folder);
    end_by(attempt, plan.get(attempt).copied().unwrap_or(RETURN))
}

fn end_by(attempt: usize, end: u8) -> Result<usize, String> {
    match end {
        FAIL => Err(format!("attempt {attempt}")),
        PANIC => panic!("attempt {attempt}"),
        HANG => {
            while !worker::current().is_some_and(|task| task.is_cancelled()) {
                std::thread::yield_now();
            }
            Ok(attempt)
        }
        #[cfg(target_os = "linux")]
        EXIT => std::process::exit(9),
        _ => Ok(attempt),
    }
}

fn attempts(folder: &Folder) -> usize {
    let entries = fs::read_dir(folder.path()).expect("it is there");
    entries.count()
}

fn wait_at(gate: Key, folder: PathBuf) {
    note(&folder);
    gate.wait();
}

fn nothing() {}

fn attempt(least: u32) -> u32 {
    let attempt = worker::current().expect("a task").attempt();
    assert!(attempt >= least, "attempt {attempt}");
    attempt
}

/// The functions that a cluster knows.
#[cfg(all(feature = "cluster", target_os = "linux"))]
fn named_tasks() -> concurrent_futures::cluster::Functions {
    concurrent_futures::functions![end_by, follow, wait_at, nothing, attempt]
}

async fn a_task_is_attempted_again_on_what_its_policy_names_and_no_more(kind: Kind) {
    let pool = kind.pool(2);
    let timeout = TaskOptions::new().timeout(SHORT);
    let plain = TaskOptions::new();
    let none = Retry::new(2);
    let all = none.on_panic().on_timeout();
    for (policy, plan, attempted, succeeds) in [
        (none, vec![PANIC], 1, false),
        (none, vec![HANG], 1, false),
        (none, vec![FAIL], 1, true),
        (none.on_panic(), vec![PANIC], 2, true),
        (none.on_panic(), vec![HANG], 1, false),
        (none.on_panic(), vec![PANIC, PANIC], 3, true),
        (none.on_panic(), vec![PANIC, PANIC, PANIC], 3, false),
        (none.on_timeout(), vec![HANG], 2, true),
        (none.on_timeout(), vec![HANG, PANIC], 2, false),
        (none.on_timeout(), vec![HANG, HANG, HANG], 3, false),
        (all, vec![PANIC, HANG], 3, true),
        (Retry::new(0).on_panic(), vec![PANIC], 1, false),
    ] {
        let mut begun = 0;
        let mut retrying = retry(policy, || {
            let end = plan.get(begun).copied().unwrap_or(RETURN);
            let options = if end == HANG { &timeout } else { &plain };
            begun += 1;
            pool.submit_with(options, end_by, (begun, end))
        });
        let outcome = within(&mut retrying).await;
        assert_eq!(outcome.is_ok(), succeeds, "{plan:?} {outcome:?}");
        assert_eq!(
            retrying.attempts() as usize,
            attempted,
            "{plan:?} {outcome:?}"
        );
        drop(retrying);
        assert_eq!(begun, attempted, "{plan:?} {outcome:?}");
    }
}

async fn a_task_is_attempted_again_on_an_error_that_its_predicate_names(kind: Kind) {
    let pool = kind.pool(1);
    let folder = Folder::new();
    let path = folder.path().to_owned();
    let seen = Mutex::new(Vec::new());
    let plan = vec![FAIL, PANIC, FAIL];
    let policy = Retry::new(5)
        .backoff(Duration::from_millis(1), Duration::from_millis(2))
        .without_jitter();
    let outcome = retry(policy, || pool.submit(follow, (path.clone(), plan.clone())))
        .when(|outcome| match outcome {
            Ok(result) => result.is_err(),
            Err(error) => error.is_panic(),
        })
        .on_retry(|outcome, pause| {
            let text = match outcome {
                Ok(result) => result.clone().expect_err("a success is the last"),
                Err(error) => error.panic_message().expect("it panics").to_owned(),
            };
            seen.lock()
                .expect("no panic")
                .push((text, pause.as_millis()));
        });
    assert_eq!(within(outcome).await.expect("it ran"), Ok(3));
    let seen = seen.into_inner().expect("no panic");
    let seen: Vec<_> = seen.iter().map(|(text, pause)| (&**text, *pause)).collect();
    assert_eq!(seen, [("attempt 0", 1), ("attempt 1", 2), ("attempt 2", 2)]);
    // Without retries left, the last of the task's own errors is the result.
    let folder = Folder::new();
    let path = folder.path().to_owned();
    let outcome = retry(Retry::new(1), || {
        pool.submit(follow, (path.clone(), vec![FAIL; 9]))
    });
    let outcome = within(outcome.when(|outcome| matches!(outcome, Ok(Err(_))))).await;
    assert_eq!(outcome.expect("it ran"), Err("attempt 1".to_owned()));
    assert_eq!(attempts(&folder), 2);
}

async fn a_retry_on_a_full_queue_waits_for_room(kind: Kind) {
    let pool = kind.bounded(1, 1);
    let folder = Folder::new();
    let gate = Gate::new();
    let busy = pool.submit(wait_at, (gate.key(), folder.path().to_owned()));
    let guest = gate.guest().await;
    eventually(|| busy.is_running()).await; // News of a cluster come later.
    let queued = pool.submit(nothing, ());
    let refused = within(retry(Retry::new(9), || pool.submit(nothing, ()))).await;
    let refused = refused.expect_err("the policy does not cover it");
    assert!(refused.is_rejected() && refused.attempts() == 1);
    let (full, is_full) = tokio::sync::oneshot::channel();
    let mut full = Some(full);
    let policy = Retry::new(u32::MAX)
        .on_busy()
        .backoff(Duration::from_millis(1), Duration::from_millis(1));
    let retrying = retry(policy, || pool.submit(nothing, ())).on_retry(|outcome, _| {
        assert!(outcome.as_ref().is_err_and(TaskError::is_rejected));
        full.take().map(|full| full.send(()));
    });
    let let_in = async {
        is_full.await.expect("it is refused first");
        guest.let_in().await;
    };
    let (outcome, ()) = within(futures::future::join(retrying, let_in)).await;
    outcome.expect("there is room");
    within(busy).await.expect("it was let in");
    within(queued).await.expect("it ran");
}

async fn an_error_says_how_many_attempts_there_were(kind: Kind) {
    let pool = kind.pool(1);
    let policy = Retry::new(3).on_panic();
    let named = TaskOptions::new().name("hopeless");
    for (plan, count) in [(vec![PANIC; 9], 4), (vec![FAIL, PANIC, PANIC, PANIC], 4)] {
        let folder = Folder::new();
        let path = folder.path().to_owned();
        let retrying = retry(policy, || {
            pool.submit_with(&named, follow, (path.clone(), plan.clone()))
        });
        let error = within(retrying.when(|outcome| matches!(outcome, Ok(Err(_))))).await;
        let error = error.expect_err("it panics");
        assert_eq!(error.attempts(), count);
        let text = error.to_string();
        assert!(text.contains("`hopeless` (attempt 4) "), "{text}");
        assert!(text.contains(" panicked"), "{text}");
    }
    let error = within(pool.submit_with(&named, end_by, (0, PANIC))).await;
    let error = error.expect_err("it panics");
    assert_eq!(error.attempts(), 1);
    let text = error.to_string();
    assert!(text.contains("`hopeless` "), "{text}");
    assert!(!text.contains("attempt 1)"), "{text}");
}

async fn an_error_after_an_attempt_that_ran_says_that_it_was_started(kind: Kind) {
    let pool = kind.pool(1);
    let other = kind.bounded(1, 1);
    within(other.shutdown()).await;
    let folder = Folder::new();
    let path = folder.path().to_owned();
    let mut number = 0;
    let retrying = retry(Retry::new(1).on_panic(), || {
        number += 1;
        let pool = if number == 1 { &pool } else { &other };
        pool.submit(follow, (path.clone(), vec![PANIC]))
    });
    let error = within(retrying).await.expect_err("it was refused");
    assert!(error.is_shutdown() && error.was_started(), "{error}");
    assert_eq!(error.attempts(), 2);
}

async fn a_dropped_retry_cancels_its_attempt_and_no_other_begins(kind: Kind) {
    let pool = kind.pool(1);
    let folder = Folder::new();
    let path = folder.path().to_owned();
    let gate = Gate::new();
    let policy = Retry::new(5).on_panic().on_timeout();
    let mut retrying =
        Box::pin(retry(policy, || pool.submit(wait_at, (gate.key(), path.clone()))).when(|_| true));
    assert!(poll!(&mut retrying).is_pending());
    let guest = gate.guest().await;
    assert!(poll!(&mut retrying).is_pending());
    drop(retrying);
    if matches!(kind, Kind::Threads) {
        guest.let_in().await; // A thread cannot be killed.
    } else {
        guest.gone().await;
    }
    within(pool.submit(nothing, ()))
        .await
        .expect("a worker is free");
    let report = within(pool.shutdown()).await;
    assert_eq!(report.cancelled, 0);
    assert_eq!(attempts(&folder), 1);
}

async fn a_retry_that_is_dropped_in_its_pause_begins_no_attempt(kind: Kind) {
    let pool = kind.pool(1);
    let folder = Folder::new();
    let path = folder.path().to_owned();
    let policy = Retry::new(5)
        .on_panic()
        .backoff(HOUR, HOUR)
        .without_jitter();
    let (paused, is_paused) = tokio::sync::oneshot::channel();
    let mut paused = Some(paused);
    let retrying = retry(policy, || {
        pool.submit(follow, (path.clone(), vec![PANIC; 9]))
    });
    let retrying = retrying.on_retry(|_, pause| {
        assert_eq!(pause, HOUR);
        paused.take().map(|paused| paused.send(()));
    });
    tokio::select! {
        outcome = within(retrying) => panic!("it pauses for an hour: {outcome:?}"),
        paused = is_paused => paused.expect("it pauses"),
    }
    within(pool.submit(nothing, ())).await.expect("it ran");
    assert_eq!(attempts(&folder), 1);
}

async fn a_cancel_and_a_shutdown_are_never_followed_by_another_attempt(kind: Kind) {
    let pool = kind.pool(1);
    let mut retrying = retry(Retry::new(5).on_panic(), || {
        let handle = pool.submit(nothing, ());
        handle.abort();
        handle
    });
    retrying = retrying.when(|_| true);
    match within(&mut retrying).await {
        // The attempt may have ended before the abort.
        Ok(()) => assert_eq!(retrying.attempts(), 6),
        Err(error) => assert!(error.is_cancelled(), "{error}"),
    }
    within(pool.shutdown_with(Shutdown::new())).await;
    let mut retrying = retry(Retry::new(5), || pool.submit(nothing, ())).when(|_| true);
    let error = within(&mut retrying).await.expect_err("it was refused");
    assert!(error.is_shutdown() && error.attempts() == 1, "{error}");
    assert_eq!(retrying.attempts(), 1);
}

async fn a_task_knows_the_number_of_its_attempt(kind: Kind) {
    let pool = kind.pool(1);
    assert_eq!(within(pool.submit(attempt, 0)).await.expect("it ran"), 1);
    for least in 1..=3 {
        let retrying = retry(Retry::new(5).on_panic(), || pool.submit(attempt, least));
        assert_eq!(within(retrying).await.expect("it ran"), least);
    }
    assert_eq!(within(pool.submit(attempt, 0)).await.expect("it ran"), 1);
}

async fn retries_are_waited_for_beside_handles(kind: Kind) {
    let pool = kind.pool(2);
    let folders: Vec<Folder> = (0..4).map(|_| Folder::new()).collect();
    let retries = folders.iter().map(|folder| {
        let path = folder.path().to_owned();
        let (policy, pool) = (Retry::new(2).on_panic(), &pool);
        retry(policy, move || {
            pool.submit(follow, (path.clone(), vec![PANIC, PANIC]))
        })
    });
    let results: Vec<_> = within(as_completed(retries).collect()).await;
    assert_eq!(results.len(), 4);
    for result in results {
        assert_eq!(result.expect("the third succeeds"), Ok(2));
    }
}

#[cfg(target_os = "linux")]
mod lost {
    use concurrent_futures::{ProcessPoolExecutor, StartMethod};

    use super::methods::{held_by_every_start_method, processes};
    use super::{EXIT, FAIL, Folder, PANIC, Retry, TaskOptions, attempts, follow, retry, within};
    use concurrent_futures::ExecutorExt as _;

    held_by_every_start_method! { 1;
        a_retry_covers_a_lost_worker_unless_the_policy_says_not,
        attempts_of_the_pool_and_of_the_caller_are_counted_together,
        an_error_counts_the_runs_whose_workers_were_lost,
    }

    async fn attempt(
        pool: &ProcessPoolExecutor,
        policy: Retry,
        options: &TaskOptions,
        plan: Vec<u8>,
    ) -> (Result<usize, (u32, String)>, usize) {
        let folder = Folder::new();
        let path = folder.path().to_owned();
        let retrying = retry(policy, || {
            pool.submit_with(options, follow, (path.clone(), plan.clone()))
        });
        let outcome = within(retrying).await;
        let outcome = outcome.map_err(|error| (error.attempts(), error.to_string()));
        let outcome = outcome.map(|result| result.expect("no error of its own"));
        (outcome, attempts(&folder))
    }

    async fn a_retry_covers_a_lost_worker_unless_the_policy_says_not(method: StartMethod) {
        let pool = processes(method, 1);
        let plain = TaskOptions::new();
        let (outcome, runs) = attempt(&pool, Retry::new(2), &plain, vec![EXIT, EXIT]).await;
        assert_eq!((outcome, runs), (Ok(2), 3));
        let (outcome, runs) = attempt(&pool, Retry::new(2), &plain, vec![EXIT; 9]).await;
        assert!(outcome.is_err_and(|(attempts, _)| attempts == 3) && runs == 3);
        let without = Retry::new(2).not_on_lost_worker();
        let (outcome, runs) = attempt(&pool, without, &plain, vec![EXIT]).await;
        assert!(outcome.is_err_and(|(attempts, _)| attempts == 1) && runs == 1);
    }

    async fn attempts_of_the_pool_and_of_the_caller_are_counted_together(method: StartMethod) {
        let pool = processes(method, 1);
        let twice = TaskOptions::new().retries(1);
        let (outcome, runs) = attempt(&pool, Retry::new(2), &twice, vec![EXIT; 99]).await;
        let (attempts, text) = outcome.expect_err("each worker is lost");
        assert_eq!((attempts, runs), (6, 6), "{text}");
        let policy = Retry::new(1).on_panic();
        let plan = vec![EXIT, PANIC, EXIT, PANIC];
        let (outcome, runs) = attempt(&pool, policy, &twice, plan).await;
        let (attempts, text) = outcome.expect_err("it panics");
        assert_eq!((attempts, runs), (4, 4), "{text}");
        assert!(text.contains("(attempt 4) panicked"), "{text}");
    }

    async fn an_error_counts_the_runs_whose_workers_were_lost(method: StartMethod) {
        let pool = processes(method, 1);
        let options = TaskOptions::new().retries(2);
        let plans = [
            vec![EXIT, PANIC],
            vec![EXIT; 9],
            vec![PANIC],
            vec![EXIT, FAIL],
        ];
        let folders = plans.each_ref().map(|_| Folder::new());
        let wanted = [Some(2), Some(3), Some(1), None];
        let paths = folders.each_ref().map(|folder| folder.path().to_owned());
        for (path, plan) in paths.iter().zip(&plans) {
            let handle = pool.submit_with(&options, follow, (path.clone(), plan.clone()));
            let found = within(handle).await.err().map(|error| error.attempts());
            let place = plans.iter().position(|other| other == plan).expect("there");
            assert_eq!(found, wanted[place], "{plan:?}");
        }
        // The items of a chunk count separately.
        let folders = plans.each_ref().map(|_| Folder::new());
        let paths = folders.each_ref().map(|folder| folder.path().to_owned());
        let items: Vec<_> = paths.into_iter().zip(plans).collect();
        let map = pool.map(follow, items).chunk_size(4).options(options);
        let results: Vec<_> = within(futures::StreamExt::collect(map)).await;
        let found: Vec<_> = results
            .into_iter()
            .map(|result| result.err().map(|error| error.attempts()))
            .collect();
        assert_eq!(found, wanted);
    }
}

/// A pause needs no runtime.
#[tokio::test]
async fn a_thread_that_blocks_waits_for_attempts_and_pauses() {
    let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let folder = Folder::new();
    let path = folder.path().to_owned();
    let blocks = in_thread(move || {
        let began = Instant::now();
        let pause = Duration::from_millis(5);
        let policy = Retry::new(3)
            .on_panic()
            .backoff(pause, pause)
            .without_jitter();
        let retrying = retry(policy, || {
            pool.submit(follow, (path.clone(), vec![PANIC; 3]))
        });
        let outcome = retrying.blocking_join();
        assert!(began.elapsed() >= 3 * pause);
        outcome
    });
    assert_eq!(within(blocks).await.expect("the fourth succeeds"), Ok(3));
    assert_eq!(attempts(&folder), 4);
}

/// With the number of attempts at `u32::MAX`, and no pause, one poll does not occupy the caller's thread.
#[tokio::test(flavor = "current_thread")]
async fn a_task_that_is_always_refused_keeps_no_thread_from_other_tasks() {
    let pool = ThreadPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(1);
    let pool = pool.build().expect("a pool");
    let gate = Gate::new();
    let folder = Folder::new();
    let busy = pool.submit(wait_at, (gate.key(), folder.path().to_owned()));
    let guest = gate.guest().await;
    let queued = pool.submit(nothing, ());
    let retrying = retry(Retry::new(u32::MAX).on_busy(), || pool.submit(nothing, ()));
    let mut retrying = pin!(retrying);
    for attempt in 1..=3 {
        assert!(poll!(&mut retrying).is_pending());
        assert_eq!(retrying.attempts(), attempt);
    }
    guest.let_in().await;
    let outcomes = futures::future::join3(retrying, busy, queued);
    let (outcome, busy, queued) = within(outcomes).await;
    outcome.and(busy).and(queued).expect("all ran");
}

/// Time is paused: the future keeps the limit of its policy by the runtime's clock.
#[tokio::test(start_paused = true)]
async fn no_attempt_begins_after_the_time_to_give_up() {
    let pool = ThreadPoolExecutor::with_workers(1).expect("a pool");
    let policy = Retry::new(99)
        .on_panic()
        .backoff(HOUR, HOUR)
        .without_jitter()
        .give_up_after(3 * HOUR + HOUR / 2);
    let mut retrying = retry(policy, || pool.submit(|| panic!("no"), ()));
    let begin = tokio::time::Instant::now();
    let error: Result<(), TaskError> = (&mut retrying).await;
    assert_eq!(error.expect_err("it panics").attempts(), 4);
    let hours = begin.elapsed().as_secs() / HOUR.as_secs();
    assert_eq!((retrying.attempts(), hours), (4, 3));
}
