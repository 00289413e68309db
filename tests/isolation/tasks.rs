//! What works in an isolated worker as in any other.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use concurrent_futures::multiprocessing::Process;
use concurrent_futures::{
    ExecutorExt as _, Isolation, SharedArg, StartMethod, TaskError, TaskOptions, worker,
};
use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};

use super::common::folder::Folder;
use super::common::{Gate, Key, eventually, in_thread, within};
use super::methods::{held_by_every_start_method, test_of};
use super::{can_leave_the_network, done, isolated, isolated_builder, read, ready};

held_by_every_start_method! { 1;
    an_isolated_worker_runs_tasks_as_any_other,
    an_isolated_worker_sends_and_receives_large_payloads,
    an_isolated_worker_reads_a_shared_argument,
    an_isolated_worker_drives_futures_and_drops_them,
    a_panic_in_an_isolated_worker_has_a_backtrace_with_names,
    an_isolated_worker_is_replaced_when_it_uses_too_much_memory,
    an_isolated_worker_is_killed_at_its_timeout_with_its_children,
    an_isolated_worker_ends_with_its_parent_and_its_children_do_too,
    an_isolated_process_returns_its_value_and_reaches_nothing,
}

async fn an_isolated_worker_runs_tasks_as_any_other(method: StartMethod) {
    let Some(pool) = isolated(method, Isolation::new()).await else {
        return;
    };
    assert_eq!(done(pool.submit(u64::pow, (2, 8))).await, 256);
    let threads = || {
        let threads = [1_u64, 2, 3].map(|number| std::thread::spawn(move || number * number));
        let squares = threads.map(|thread| thread.join().expect("no panic"));
        squares.iter().sum::<u64>()
    };
    assert_eq!(done(pool.submit(threads, ())).await, 14);
    let report = || worker::current().expect("a task").report_progress(3, 4);
    let handle = pool.submit(report, ());
    let mut progress = handle.progress();
    done(handle).await;
    let last = within(progress.next()).await.expect("a report");
    assert_eq!((last.done, last.total), (3, 4));
    let results = pool.map(|number: u64| number + 1, 0..1000);
    let results: Vec<Result<u64, TaskError>> = within(results.collect()).await;
    let results: Result<Vec<u64>, TaskError> = results.into_iter().collect();
    assert!(results.expect("values").into_iter().eq(1..=1000));
}

async fn an_isolated_worker_drives_futures_and_drops_them(method: StartMethod) {
    async fn pause(millis: u64) -> u64 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        millis
    }
    let Some(pool) = isolated(method, Isolation::new()).await else {
        return;
    };
    assert_eq!(done(pool.submit_async(pause, 1)).await, 1);
    let id = done(pool.submit(std::process::id, ())).await;
    let options = TaskOptions::new()
        .timeout(Duration::from_millis(30))
        .grace_period(Duration::from_secs(3600));
    let late = within(pool.submit_async_with(&options, pause, 3_600_000)).await;
    assert!(late.expect_err("an hour is too long").is_timeout());
    assert_eq!(done(pool.submit(std::process::id, ())).await, id);
}

async fn an_isolated_worker_sends_and_receives_large_payloads(method: StartMethod) {
    let Some(pool) = isolated(method, Isolation::new()).await else {
        return;
    };
    let reverse = |mut bytes: Vec<u8>| {
        bytes.reverse();
        bytes
    };
    let payload: Vec<u8> = (0..4 << 20)
        .map(|number: u32| (number % 251) as u8)
        .collect();
    for _ in 0..3 {
        let received = done(pool.submit(reverse, payload.clone())).await;
        assert!(received.iter().rev().eq(&payload));
    }
}

async fn an_isolated_worker_reads_a_shared_argument(method: StartMethod) {
    let Some(pool) = isolated(method, Isolation::new()).await else {
        return;
    };
    let table: Vec<u64> = (0..200_000).collect();
    let shared = SharedArg::new(table);
    let sum = |table: SharedArg<Vec<u64>>, from: usize| table[from..].iter().sum::<u64>();
    let whole = done(pool.submit(sum, (shared.clone(), 0))).await;
    assert_eq!(whole, 199_999 * 100_000);
    let items = (0..100).map(move |from| (shared.clone(), from));
    let sums: Vec<Result<u64, TaskError>> = within(pool.map(sum, items).collect()).await;
    assert_eq!(sums.len(), 100);
    for (from, sum) in (0_u64..).zip(sums) {
        assert_eq!(
            sum.expect("it ran"),
            whole - from * from.saturating_sub(1) / 2
        );
    }
}

#[inline(never)]
fn the_function_that_panics() {
    panic!("in an isolated worker");
}

async fn a_panic_in_an_isolated_worker_has_a_backtrace_with_names(method: StartMethod) {
    let builder = isolated_builder(method, Isolation::new()).env("RUST_BACKTRACE", "1");
    let Some(pool) = ready(builder).await else {
        return;
    };
    for _ in 0..2 {
        let error = within(pool.submit(the_function_that_panics, ())).await;
        let error = error.expect_err("it panics");
        assert!(error.is_panic(), "{error}");
        let backtrace = error.panic_backtrace().expect("a backtrace");
        assert!(
            backtrace.contains("the_function_that_panics"),
            "{backtrace}"
        );
    }
}

async fn an_isolated_worker_is_replaced_when_it_uses_too_much_memory(method: StartMethod) {
    const LIMIT: u64 = 256 << 20;
    let builder = isolated_builder(method, Isolation::new()).max_memory_per_child(LIMIT);
    let Some(pool) = ready(builder).await else {
        return;
    };
    let first = done(pool.submit(std::process::id, ())).await;
    let take = || Vec::leak(vec![1_u8; LIMIT as usize]).len() as u64;
    assert_eq!(done(pool.submit(take, ())).await, LIMIT);
    while done(pool.submit(std::process::id, ())).await == first {}
}

fn start_another_and_never_end() {
    let child = Command::new("/bin/sleep")
        .arg("3600")
        .stdin(Stdio::null())
        .spawn();
    let mut child = child.expect("it starts");
    worker::current()
        .expect("a task")
        .report_progress(child.id().into(), 0);
    let _ = child.wait();
}

/// A zombie has ended too.
fn has_ended(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.is_empty() || status.contains("\nState:\tZ")
}

async fn an_isolated_worker_is_killed_at_its_timeout_with_its_children(method: StartMethod) {
    let Some(pool) = isolated(method, Isolation::new().allow_execute("/")).await else {
        return;
    };
    let options = TaskOptions::new().timeout(Duration::from_millis(500));
    let handle = pool.submit_with(&options, start_another_and_never_end, ());
    let mut progress = handle.progress();
    let child = within(progress.next()).await.expect("a report").done;
    let error = within(handle).await.expect_err("it never ends");
    assert!(error.is_timeout(), "{error}");
    eventually(|| has_ended(&child.to_string())).await;
    assert_eq!(done(pool.submit(u64::pow, (2, 8))).await, 256);
}

/// A separate process has an isolated worker with a child, until this process kills it.
async fn an_isolated_worker_ends_with_its_parent_and_its_children_do_too(method: StartMethod) {
    const GATE: &str = "CONCURRENT_FUTURES_TEST_GATE";
    const IDS: &str = "CONCURRENT_FUTURES_TEST_IDS";
    if let Some(gate) = std::env::var_os(GATE) {
        let pool = isolated(method, Isolation::new().allow_execute("/")).await;
        let pool = pool.expect("the test has asked");
        let worker = pool.workers()[0].pid();
        let handle = pool.submit(start_another_and_never_end, ());
        let child = within(handle.progress().next())
            .await
            .expect("a report")
            .done;
        let ids = std::env::var_os(IDS).expect("a path");
        fs::write(ids, format!("{worker} {child}")).expect("it may write it");
        let [lives] = Key::split(&gate);
        lives.wait(); // It waits here until it is killed.
        return;
    }
    if !can_leave_the_network() {
        return;
    }
    let (lives, folder) = (Gate::new(), Folder::new());
    let ids = folder.path().join("ids");
    let test = test_of(
        method,
        "an_isolated_worker_ends_with_its_parent_and_its_children_do_too",
    );
    let mut started = Command::new(std::env::current_exe().expect("it is there"))
        .args(["--exact", &format!("tasks::{test}")])
        .env(GATE, Key::join(&[lives.key()]))
        .env(IDS, &ids)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    // The process may be a fork of the one that was started.
    let guest = lives.guest().await;
    let ids = fs::read_to_string(&ids).expect("it has written it");
    let parent = Pid::from_raw(guest.pid().cast_signed()).expect("an id");
    kill_process(parent, Signal::KILL).expect("it is there");
    for id in ids.split(' ') {
        eventually(|| has_ended(id)).await;
    }
    within(in_thread(move || started.wait()))
        .await
        .expect("it is there");
}

async fn an_isolated_process_returns_its_value_and_reaches_nothing(method: StartMethod) {
    if !can_leave_the_network() {
        return; // As the tests of a pool show.
    }
    let builder = || {
        Process::builder()
            .start_method(method)
            .isolation(Isolation::new())
    };
    let process = within(builder().spawn(read, PathBuf::from("/etc/passwd"))).await;
    let outcome = within(process.expect("it starts").join()).await;
    assert_eq!(outcome.expect("a value"), libc::EACCES);
    let daemon = within(builder().daemon(true).spawn(u64::pow, (2, 8))).await;
    assert_eq!(
        within(daemon.expect("it starts").join())
            .await
            .expect("a value"),
        256
    );
}
