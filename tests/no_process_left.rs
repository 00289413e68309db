//! Nothing is left: no process, no zombie, no descriptor. Work that waits uses none of them.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::fs;
use std::time::Duration;

use concurrent_futures::{
    Executor, ExecutorExt as _, ProcessPoolExecutor, Shutdown, StartMethod, TaskOptions,
    ThreadPoolExecutor,
};
use futures::StreamExt as _;
use futures::future::join;
use rustix::process::{Pid, Signal, kill_process};

use self::alone::{alone, children, descriptors};
use self::common::{Gate, Key, eventually, within};
use self::methods::{builder, by_fork, held_by_every_start_method, processes, test_of};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 1;
    the_workers_of_a_killed_parent_go_with_it,
}

fn double(x: u64) -> u64 {
    x * 2
}

fn wait_at(gate: Key) {
    gate.wait();
}

fn crash() {
    std::process::abort();
}

fn fail() -> Result<(), String> {
    Err("not today".to_owned())
}

/// Workers that finish, crash, are cancelled, exceed a timeout and retire. The pool ends in the way with that number.
async fn live_and_end(method: StartMethod, route: usize) {
    let builder = builder(method).max_workers(2);
    let pool = builder.max_tasks_per_child(3).build().expect("a pool");
    let gate = Gate::new();
    for n in 0..8 {
        assert_eq!(within(pool.submit(double, n)).await.expect("it ran"), n * 2);
    }
    let crashed = within(pool.submit(crash, ())).await;
    assert!(crashed.expect_err("it crashed").is_worker_lost());
    let short = TaskOptions::new().timeout(Duration::from_millis(20));
    let late = within(pool.submit_with(&short, wait_at, gate.key())).await;
    assert!(late.expect_err("never let in").is_timeout());
    let mut map = pool.map(double, 0..1000);
    assert!(within(map.next()).await.expect("an item").is_ok());
    drop(map);
    let gate = Gate::new();
    let handle = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    match route {
        0 => {
            guest.let_in().await;
            within(pool.shutdown()).await;
        }
        1 => {
            handle.abort();
            drop(pool);
        }
        2 => {
            let how = Shutdown::new().deadline(Duration::ZERO);
            assert_eq!(within(pool.shutdown_with(how)).await.killed, 1);
        }
        _ => {
            drop(pool);
            guest.let_in().await;
            let _ = within(handle).await;
        }
    }
}

const ROUTES: usize = 4;

/// A pool that is dropped while its workers start, and one whose workers never become ready.
async fn end_before_it_lived(method: StartMethod) {
    let pool = processes(method, 2);
    drop(pool.submit(double, 1));
    drop(pool);
    let builder = builder(method).max_workers(1);
    let pool = builder.initializer(fail, ()).build().expect("a pool");
    assert!(within(pool.submit(double, 1)).await.is_err());
    within(pool.shutdown()).await;
}

#[test]
fn after_many_pools_no_process_no_zombie_and_no_descriptor_is_left() {
    let test = "after_many_pools_no_process_no_zombie_and_no_descriptor_is_left";
    alone(test, || async {
        nothing_is_left(StartMethod::Spawn).await;
        nothing_is_left(StartMethod::ForkServer).await;
    });
}

#[test]
fn after_many_forks_no_process_no_zombie_and_no_descriptor_is_left() {
    by_fork(
        "no_process_left::after_many_forks_no_process_no_zombie_and_no_descriptor_is_left",
        nothing_is_left,
    );
}

async fn nothing_is_left(method: StartMethod) {
    live_and_end(method, 0).await; // Everything that is opened once and kept exists after this.
    eventually(|| children().is_empty()).await;
    let before = descriptors().len();
    for route in 0..2 * ROUTES {
        live_and_end(method, route % ROUTES).await;
        end_before_it_lived(method).await;
    }
    eventually(|| children().is_empty()).await;
    eventually(|| descriptors().len() <= before).await;
}

#[test]
fn pools_whose_runtime_ends_leave_no_process() {
    alone("pools_whose_runtime_ends_leave_no_process", || async {
        let gate = Gate::new();
        for _ in 0..5 {
            let key = gate.key();
            let own = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build();
            let own = own.expect("a runtime");
            let spawned = own.spawn(async {
                let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
                let handle = pool.submit(wait_at, key);
                (pool, handle)
            });
            let (pool, handle) = within(spawned).await.expect("no panic");
            let guest = gate.guest().await;
            own.shutdown_background();
            guest.let_in().await;
            within(handle).await.expect("it outlives the runtime");
            drop(pool);
        }
        eventually(|| children().is_empty()).await;
    });
}

/// Whether the process exists and has not ended.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// A separate process has a busy and an idle worker, until this process kills it.
async fn the_workers_of_a_killed_parent_go_with_it(method: StartMethod) {
    const GATES: &str = "CONCURRENT_FUTURES_TEST_GATES";
    if let Some(gates) = std::env::var_os(GATES) {
        let [lives, works] = Key::split(&gates);
        let pool = processes(method, 2);
        within(pool.warm_up()).await.expect("two workers");
        let handles = [(); 2].map(|()| pool.submit(wait_at, works.clone()));
        lives.wait(); // It waits here until it is killed.
        return drop(futures::future::join_all(handles).await);
    }
    let (lives, works) = (Gate::new(), Gate::new());
    let gates = Key::join(&[lives.key(), works.key()]);
    let test = test_of(method, "the_workers_of_a_killed_parent_go_with_it");
    let mut started = std::process::Command::new(std::env::current_exe().expect("it is there"))
        .args(["--exact", &test])
        .env(GATES, gates)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let parent = lives.guest().await;
    let (idle, busy) = (works.guest().await, works.guest().await);
    let idle_pid = idle.pid();
    idle.let_in().await;
    // The process may be a fork of the one that was started.
    let pid = Pid::from_raw(parent.pid().cast_signed()).expect("a pid");
    kill_process(pid, Signal::KILL).expect("it is there");
    busy.gone().await;
    eventually(|| !is_alive(idle_pid)).await;
    within(tokio::task::spawn_blocking(move || started.wait()))
        .await
        .expect("no panic")
        .expect("it is there");
}

/// The memory that this process has in use, in bytes.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages = statm.split(' ').nth(1).map(str::parse::<usize>);
    pages.expect("a field").expect("a number") * rustix::param::page_size()
}

#[test]
fn a_million_queued_tasks_take_no_descriptor_and_at_most_300_bytes_each() {
    let test = "a_million_queued_tasks_take_no_descriptor_and_at_most_300_bytes_each";
    alone(test, || async {
        a_million_wait(&ProcessPoolExecutor::with_workers(1).expect("a pool")).await;
    });
}

/// Separate from the other test, whose memory may not have been returned to the system yet.
#[test]
fn a_million_tasks_that_wait_for_a_thread_take_at_most_300_bytes_each() {
    let test = "a_million_tasks_that_wait_for_a_thread_take_at_most_300_bytes_each";
    alone(test, || async {
        a_million_wait(&ThreadPoolExecutor::with_workers(1).expect("a pool")).await;
    });
}

/// Besides the size of their arguments, which is zero. (The memory that the system counts includes that of the
/// allocator itself.)
async fn a_million_wait(pool: &impl Executor) {
    const TASKS: usize = 1_000_000;
    let gate = Gate::new();
    let busy = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    let before = (descriptors().len(), resident());
    let handles: Vec<_> = (0..TASKS).map(|_| pool.submit(|| (), ())).collect();
    let each = (resident() - before.1) / TASKS;
    assert_eq!(descriptors().len(), before.0);
    assert!(each <= 300, "{each} bytes for a task");
    let shutdown = pool.shutdown_with(Shutdown::new().cancel_pending(true));
    let (_, busy) = within(join(shutdown, async {
        guest.let_in().await;
        busy.await
    }))
    .await;
    busy.expect("it was let in");
    for handle in handles {
        let cancelled = within(handle).await.expect_err("it never started");
        assert!(cancelled.is_cancelled(), "{cancelled}");
    }
}
