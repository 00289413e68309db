//! How workers start: executed, forked by a fork server, or forked from this process.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use concurrent_futures::{
    ExecutorExt as _, ProcessPoolExecutor, StartMethod, TaskOptions, ThreadPoolExecutor,
};
use rustix::process::{Pid, Signal, kill_process};

use self::alone::{alone, children, descriptors};
use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, within};
use self::methods::{builder, by_fork, held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 2;
    a_worker_that_is_asked_to_end_is_lost_by_that_signal,
    a_worker_knows_no_handler_of_its_parents,
    a_pool_inside_a_worker_works_or_says_why_not,
    surroundings_with_a_zero_byte_are_refused_before_anything_starts,
}

fn double(x: u64) -> u64 {
    x * 2
}

fn wait_at(gate: Key) {
    gate.wait();
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid");
    kill_process(pid, signal).expect("it is there");
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// A worker that was forked within a runtime still seems to be in it, except on its other threads.
fn in_another_runtime<F: Future>(work: impl FnOnce() -> F + Send + 'static) -> F::Output
where
    F::Output: Send + 'static,
{
    let thread = std::thread::spawn(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(async { work().await })
    });
    thread.join().expect("no panic")
}

/// The fork server: the only child of this process, while it runs alone.
fn fork_server() -> u32 {
    let children = children();
    assert_eq!(children.len(), 1, "{children:?}");
    children[0]
}

fn words(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// Appends to a file, in one piece.
fn note(file: &Path, text: &str) {
    let file = File::options().append(true).create(true).open(file);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.expect("the test's directory is there");
}

static LOADED: OnceLock<Vec<u64>> = OnceLock::new();

fn load(file: PathBuf, numbers: u64) {
    note(&file, "loaded\n");
    LOADED.get_or_init(|| (0..numbers).collect());
}

fn sum_of_loaded() -> Option<u64> {
    LOADED.get().map(|numbers| numbers.iter().sum())
}

#[test]
fn the_fork_server_is_the_default_and_all_methods_are_available() {
    assert_eq!(StartMethod::default(), StartMethod::ForkServer);
    let available: Vec<_> = StartMethod::available().collect();
    for method in [
        StartMethod::Spawn,
        StartMethod::ForkServer,
        StartMethod::Fork,
    ] {
        assert!(available.contains(&method), "{method:?}");
    }
}

async fn a_preload_runs_once_and_every_worker_has_its_result(method: StartMethod) {
    let directory = Folder::new();
    let file = directory.path().join("loads");
    let builder = builder(method).preload(load, (file.clone(), 1000));
    let pool = builder.max_workers(3).build().expect("a pool");
    within(pool.warm_up()).await.expect("three workers");
    let gate = Gate::new();
    let sum_at = |gate: Key| {
        gate.wait();
        sum_of_loaded()
    };
    let handles = [(); 3].map(|()| pool.submit(sum_at, gate.key()));
    let mut pids = Vec::new();
    for _ in 0..3 {
        let guest = gate.guest().await;
        pids.push(guest.pid());
        guest.let_in().await;
    }
    for handle in handles {
        assert_eq!(within(handle).await.expect("it ran"), Some(499_500));
    }
    pids.dedup();
    assert_eq!((pids.len(), &*words(&file)), (3, "loaded\n"));
    within(pool.shutdown()).await;
    assert_eq!(sum_of_loaded(), None, "it was loaded elsewhere");
}

#[tokio::test]
async fn a_preload_runs_once_in_the_fork_server_and_every_worker_has_its_result() {
    a_preload_runs_once_and_every_worker_has_its_result(StartMethod::ForkServer).await;
}

#[test]
fn a_preload_runs_once_before_forks_and_every_worker_has_its_result() {
    by_fork(
        "start_methods::a_preload_runs_once_before_forks_and_every_worker_has_its_result",
        a_preload_runs_once_and_every_worker_has_its_result,
    );
}

/// The private memory of a process, in KiB.
fn private_memory() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("/proc");
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    let sizes = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    sizes.sum()
}

#[tokio::test]
async fn preloaded_memory_is_shared_until_a_process_writes_to_it() {
    const NUMBERS: u64 = 4 << 20; // 32 MiB of them.
    let directory = Folder::new();
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let builder = builder.preload(load, (directory.path().join("loads"), NUMBERS));
    let pool = builder.build().expect("a pool");
    let sum_and_measure = || (sum_of_loaded(), private_memory());
    let (sum, private) = within(pool.submit(sum_and_measure, ()))
        .await
        .expect("it ran");
    assert_eq!(sum, Some(NUMBERS * (NUMBERS - 1) / 2));
    assert!(private < NUMBERS * 8 / 1024 / 4, "{private} KiB for itself");
}

#[tokio::test]
async fn a_preload_that_fails_is_reported_and_breaks_the_pool_until_a_reset() {
    fn load_if_there(file: PathBuf) -> Result<(), String> {
        if file.exists() {
            Ok(())
        } else {
            Err(format!("no {}", file.display()))
        }
    }
    let directory = Folder::new();
    let file = directory.path().join("table");
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let pool = builder.preload(load_if_there, file.clone()).build();
    let pool = pool.expect("a pool");
    let error = within(pool.submit(double, 1)).await.expect_err("no table");
    assert!(error.is_init_failed() && !error.was_started(), "{error}");
    assert!(
        error.to_string().contains("the preload failed: no "),
        "{error}"
    );
    let error = within(pool.submit(double, 1)).await.expect_err("no table");
    assert!(error.to_string().contains("the pool is broken"), "{error}");
    File::create(&file).expect("a table");
    within(pool.warm_up()).await.expect("now there is one");
    assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
}

#[tokio::test]
async fn a_panic_in_a_preload_is_reported_with_its_message() {
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let pool = builder
        .preload(|| -> () { panic!("the table is torn") }, ())
        .build();
    let pool = pool.expect("a pool");
    let error = within(pool.submit(double, 1)).await.expect_err("a panic");
    assert!(error.is_init_failed(), "{error}");
    assert_eq!(error.panic_message(), Some("the table is torn"));
    assert!(
        error.to_string().contains("the preload panicked at"),
        "{error}"
    );
}

#[tokio::test]
async fn a_death_in_a_preload_is_reported_with_its_signal() {
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let pool = builder
        .preload(|| -> () { std::process::abort() }, ())
        .build();
    let pool = pool.expect("a pool");
    let error = within(pool.submit(double, 1)).await.expect_err("a death");
    assert!(error.is_init_failed(), "{error}");
    assert_eq!(error.signal(), Some(Signal::ABORT.as_raw()));
}

#[tokio::test]
async fn a_preload_that_leaves_threads_is_refused_by_their_names() {
    fn leave_a_thread() {
        let thread = std::thread::Builder::new().name("loader".to_owned());
        thread.spawn(std::thread::park).expect("a thread");
    }
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let pool = builder.preload(leave_a_thread, ()).build().expect("a pool");
    let error = within(pool.submit(double, 1)).await.expect_err("a thread");
    assert!(error.is_init_failed(), "{error}");
    assert!(error.to_string().contains("loader"), "{error}");
}

#[test]
fn a_preload_that_never_ends_is_killed_at_the_spawn_time_out() {
    let test = "a_preload_that_never_ends_is_killed_at_the_spawn_time_out";
    alone(test, || async {
        let gate = Gate::new();
        let builder = ProcessPoolExecutor::builder().max_workers(1);
        let builder = builder.spawn_timeout(Duration::from_millis(50));
        let pool = builder
            .preload(wait_at, gate.key())
            .build()
            .expect("a pool");
        let error = within(pool.submit(double, 1)).await.expect_err("not ready");
        assert!(error.is_init_failed(), "{error}");
        assert!(error.to_string().contains("50ms"), "{error}");
        assert!(children().is_empty());
    });
}

#[test]
fn a_shutdown_in_the_middle_of_a_preload_leaves_no_process() {
    let test = "a_shutdown_in_the_middle_of_a_preload_leaves_no_process";
    alone(test, || async {
        let gate = Gate::new();
        let builder = ProcessPoolExecutor::builder().max_workers(2);
        let pool = builder
            .preload(wait_at, gate.key())
            .build()
            .expect("a pool");
        let handle = pool.submit(double, 1);
        let guest = gate.guest().await;
        handle.abort();
        within(pool.shutdown()).await;
        guest.gone().await;
        assert!(children().is_empty());
    });
}

#[tokio::test]
async fn a_preload_for_workers_that_share_nothing_is_refused() {
    let builder = builder(StartMethod::Spawn).preload(double_nothing, ());
    let error = builder.build().expect_err("nothing to load into");
    assert!(error.is_invalid_setting(), "{error}");
    assert!(error.to_string().contains("preload"), "{error}");
}

fn double_nothing() {}

#[test]
fn a_dead_fork_server_is_replaced_without_failing_a_task() {
    alone(
        "a_dead_fork_server_is_replaced_without_failing_a_task",
        || async {
            let pool = processes(StartMethod::ForkServer, 2);
            let gate = Gate::new();
            let busy = pool.submit(wait_at, gate.key());
            let guest = gate.guest().await;
            for _ in 0..3 {
                let old = fork_server();
                kill(old, Signal::KILL);
                eventually(|| !is_alive(old)).await;
                // One worker is busy and continues; the other is lost, and another is forked elsewhere.
                let idle = within(pool.submit(std::process::id, ()))
                    .await
                    .expect("it ran");
                kill(idle, Signal::KILL);
                let next = within(pool.submit(std::process::id, ()))
                    .await
                    .expect("it ran");
                assert_ne!(next, idle);
                eventually(|| children().len() == 1).await; // The dead one has been reaped.
                assert_ne!(fork_server(), old);
            }
            guest.let_in().await;
            within(busy)
                .await
                .expect("the death of a fork server is none of its workers'");
            within(pool.shutdown()).await;
            assert!(children().is_empty());
        },
    );
}

#[test]
fn the_fork_server_ends_with_its_pool() {
    alone("the_fork_server_ends_with_its_pool", || async {
        let before = descriptors().len();
        let pool = processes(StartMethod::ForkServer, 2);
        within(pool.warm_up()).await.expect("two workers");
        assert!(is_alive(fork_server()));
        within(pool.shutdown()).await;
        assert!(children().is_empty());
        eventually(|| descriptors().len() <= before).await;
        let pool = processes(StartMethod::ForkServer, 2);
        within(pool.warm_up()).await.expect("two workers");
        let old = fork_server();
        drop(pool);
        eventually(|| !is_alive(old)).await;
        eventually(|| children().is_empty()).await;
    });
}

#[test]
fn forking_a_process_with_other_threads_is_refused_by_their_names() {
    let test = "forking_a_process_with_other_threads_is_refused_by_their_names";
    alone(test, || async {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let onlooker = std::thread::Builder::new().name("onlooker".to_owned());
        let look_on = move || {
            ready.send(()).expect("the test waits"); // The process has its name now.
            std::thread::park();
        };
        onlooker.spawn(look_on).expect("a thread");
        is_ready.recv().expect("it looks on");
        let builder = builder(StartMethod::Fork);
        let error = builder
            .max_workers(1)
            .build()
            .expect_err("there are threads");
        assert!(error.is_unsupported(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("onlooker") && text.contains("ForkServer"),
            "{text}"
        );
        assert!(children().is_empty());
    });
}

static SET_UP: AtomicU64 = AtomicU64::new(0);

async fn a_fork_finds_what_the_program_has_set_up(method: StartMethod) {
    SET_UP.store(17, Ordering::Relaxed);
    let pool = processes(method, 1);
    SET_UP.store(18, Ordering::Relaxed);
    let look = || SET_UP.load(Ordering::Relaxed);
    assert_eq!(within(pool.submit(look, ())).await.expect("it ran"), 17);
}

#[test]
fn a_forked_worker_finds_the_state_that_the_program_set_up() {
    by_fork(
        "start_methods::a_forked_worker_finds_the_state_that_the_program_set_up",
        a_fork_finds_what_the_program_has_set_up,
    );
}

async fn without_its_fork_server_a_forked_pool_runs_on_with_what_it_has(method: StartMethod) {
    let pool = processes(method, 2);
    let first = within(pool.submit(std::process::id, ()))
        .await
        .expect("it ran");
    let fork_server = fork_server();
    kill(fork_server, Signal::KILL);
    eventually(|| !is_alive(fork_server)).await;
    let again = within(pool.submit(std::process::id, ()))
        .await
        .expect("it ran");
    assert_eq!(again, first);
    kill(first, Signal::KILL);
    let error = within(pool.submit(double, 1)).await.expect_err("no worker");
    assert!(error.is_init_failed() && !error.was_started(), "{error}");
    assert!(error.to_string().contains("StartMethod::Fork"), "{error}");
    within(pool.shutdown()).await;
    assert!(children().is_empty());
}

#[test]
fn the_death_of_a_fork_is_a_typed_error_when_another_worker_is_needed() {
    by_fork(
        "start_methods::the_death_of_a_fork_is_a_typed_error_when_another_worker_is_needed",
        without_its_fork_server_a_forked_pool_runs_on_with_what_it_has,
    );
}

/// Its directory is relative, and there is no directory of that name where the program is for a while.
async fn a_request_that_cannot_be_made_leaves_the_fork_server(method: StartMethod) {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    fs::create_dir(folder.path().join("inner")).expect("it is ours");
    std::env::set_current_dir(folder.path()).expect("it is there");
    let pool = builder(method).max_workers(1).current_dir("inner");
    let pool = pool.build().expect("a pool");
    std::env::set_current_dir(elsewhere.path()).expect("it is there");
    let error = within(pool.submit(double, 1)).await;
    let text = error.expect_err("there is no such directory").to_string();
    assert!(text.contains("inner"), "{text}");
    std::env::set_current_dir(folder.path()).expect("it is there");
    assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
    within(pool.shutdown()).await;
    std::env::set_current_dir("/").expect("it is there");
}

#[test]
fn a_request_that_cannot_be_made_costs_no_fork_server() {
    by_fork(
        "start_methods::a_request_that_cannot_be_made_costs_no_fork_server",
        a_request_that_cannot_be_made_leaves_the_fork_server,
    );
}

/// Closes low descriptors as if they were its own, and opens files that always have something to read.
fn replace_low_descriptors() {
    let low = descriptors().into_iter().map(|(fd, _)| fd);
    for fd in low.filter(|fd| (3..300).contains(fd)) {
        #[expect(unsafe_code, reason = "closes descriptors that are not its own")]
        // SAFETY: the owner of each of these descriptors detects its loss.
        unsafe {
            rustix::io::close(fd);
        }
    }
    for _ in 0..50 {
        std::mem::forget(File::open("/dev/null").expect("a file"));
    }
}

async fn a_preload_that_replaces_low_descriptors_harms_no_worker(method: StartMethod) {
    let pool = builder(method).max_workers(1);
    let pool = pool
        .preload(replace_low_descriptors, ())
        .build()
        .expect("a pool");
    for _ in 0..3 {
        let worker = within(pool.submit(std::process::id, ()))
            .await
            .expect("it runs");
        kill(worker, Signal::KILL);
        eventually(|| pool.workers().iter().all(|other| other.pid() != worker)).await;
    }
    within(pool.shutdown()).await;
}

#[test]
fn a_file_that_a_preload_opens_is_not_mistaken_for_the_parent() {
    methods::run(
        2,
        a_preload_that_replaces_low_descriptors_harms_no_worker(StartMethod::ForkServer),
    );
}

async fn its_pools_are_of_no_use_in_a_worker(method: StartMethod) {
    static POOL: OnceLock<ProcessPoolExecutor> = OnceLock::new();
    POOL.get_or_init(|| processes(StartMethod::ForkServer, 1));
    let pool = processes(method, 1);
    let use_parents = || {
        let pool = POOL.get().expect("a worker finds it");
        let outcome = in_another_runtime(|| pool.submit(double, 1));
        outcome.expect_err("it is the parent's").to_string()
    };
    let text = within(pool.submit(use_parents, ())).await.expect("it ran");
    assert!(text.contains("forked from"), "{text}");
}

async fn its_threads_are_of_no_use_in_a_worker(method: StartMethod) {
    static POOL: OnceLock<ThreadPoolExecutor> = OnceLock::new();
    POOL.get_or_init(|| ThreadPoolExecutor::with_workers(1).expect("a pool"));
    let pool = processes(method, 1);
    let use_parents = || {
        let pool = POOL.get().expect("a worker finds it");
        let limit = TaskOptions::new().timeout(Duration::from_millis(1));
        let outcome = in_another_runtime(move || pool.submit_with(&limit, wait_forever, ()));
        let error = outcome.expect_err("it is the parent's");
        (error.is_rejected(), error.to_string())
    };
    let outcome = within(pool.submit(use_parents, ())).await;
    let (is_rejected, text) = outcome.expect("it ran");
    assert!(is_rejected && text.contains("forked from"), "{text}");
}

fn wait_forever() {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_thread_pool_of_the_process_it_was_forked_from_is_refused_in_a_worker() {
    by_fork(
        "start_methods::a_thread_pool_of_the_process_it_was_forked_from_is_refused_in_a_worker",
        its_threads_are_of_no_use_in_a_worker,
    );
}

#[test]
fn a_pool_of_the_process_it_was_forked_from_is_refused_in_a_worker() {
    by_fork(
        "start_methods::a_pool_of_the_process_it_was_forked_from_is_refused_in_a_worker",
        its_pools_are_of_no_use_in_a_worker,
    );
}

/// Output that was printed before a fork, and not yet written, is written once.
#[test]
fn no_output_that_waits_for_a_fork_is_written_twice() {
    const PART: &str = "CONCURRENT_FUTURES_TEST_PART";
    let test = "no_output_that_waits_for_a_fork_is_written_twice";
    if std::env::var_os(PART).is_some() {
        // The harness captures what tests print, but not what they write directly.
        let mut stdout = std::io::stdout();
        return methods::alone_in_one_thread(test, || {
            methods::run(1, async {
                stdout.write_all(b"half a line").expect("it takes it");
                let pool = processes(StartMethod::Fork, 2);
                within(pool.warm_up()).await.expect("two workers");
                within(pool.shutdown()).await;
            });
        });
    }
    let output = Command::new(std::env::current_exe().expect("it is there"))
        .args(["--exact", test, "--nocapture"])
        .env(PART, "1")
        .env("CONCURRENT_FUTURES_TEST_ALONE", test)
        .output()
        .expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(text.matches("half a line").count(), 1, "{text}");
}

async fn a_worker_that_is_asked_to_end_is_lost_by_that_signal(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    let handle = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    kill(guest.pid(), Signal::TERM);
    let error = within(handle).await.expect_err("it was asked to end");
    assert_eq!(error.signal(), Some(Signal::TERM.as_raw()));
}

async fn a_worker_knows_no_handler_of_its_parents(method: StartMethod) {
    let mut ours = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1())
        .expect("a handler");
    let pool = processes(method, 1);
    let kill_myself = || {
        kill_process(rustix::process::getpid(), Signal::USR1).expect("it is there");
    };
    let error = within(pool.submit(kill_myself, ())).await;
    let error = error.expect_err("it has no handler");
    assert_eq!(error.signal(), Some(Signal::USR1.as_raw()));
    let told = futures::poll!(std::pin::pin!(ours.recv()));
    assert!(told.is_pending(), "the signal was another process's");
}

async fn a_pool_inside_a_worker_works_or_says_why_not(method: StartMethod) {
    async fn double_elsewhere(method: StartMethod) -> Result<u64, String> {
        let pool = builder(method).max_workers(1).build();
        let pool = pool.map_err(|error| error.to_string())?;
        let answer = pool.submit(double, 21).await;
        pool.shutdown().await;
        answer.map_err(|error| error.to_string())
    }
    let within_a_worker = |forked: bool| {
        in_another_runtime(move || {
            double_elsewhere(if forked {
                StartMethod::Fork
            } else {
                StartMethod::default()
            })
        })
    };
    let pool = processes(method, 1);
    assert_eq!(
        within(pool.submit(within_a_worker, false))
            .await
            .expect("it ran"),
        Ok(42)
    );
    let why = within(pool.submit(within_a_worker, true))
        .await
        .expect("it ran");
    let why = why.expect_err("a worker has two threads");
    assert!(why.contains("parent-watch"), "{why}");
}

/// The parent is killed while the preload runs, or while its fork server and workers idle.
#[tokio::test]
async fn the_fork_server_of_a_killed_parent_goes_with_it() {
    const GATES: &str = "CONCURRENT_FUTURES_TEST_GATES";
    if let Some(gates) = std::env::var_os(GATES) {
        let [loading, working] = Key::split(&gates);
        let builder = ProcessPoolExecutor::builder().max_workers(1);
        let pool = builder.preload(wait_at, loading).build().expect("a pool");
        return within(pool.submit(wait_at, working)).await.expect("it ran");
    }
    for ready in [false, true] {
        let (loading, working) = (Gate::new(), Gate::new());
        let gates = Key::join(&[loading.key(), working.key()]);
        let mut parent = Command::new(std::env::current_exe().expect("it is there"))
            .args(["--exact", "the_fork_server_of_a_killed_parent_goes_with_it"])
            .env(GATES, gates)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        let fork_server = loading.guest().await;
        let pid = fork_server.pid();
        let mut worker = None;
        if ready {
            fork_server.let_in().await;
            worker = Some(working.guest().await);
        }
        parent.kill().expect("it is there");
        parent.wait().expect("it is there");
        eventually(|| !is_alive(pid)).await;
        if let Some(worker) = worker {
            worker.gone().await;
        }
    }
}

async fn surroundings_with_a_zero_byte_are_refused_before_anything_starts(method: StartMethod) {
    let pools = [
        builder(method).env("ZERO\0NAME", "value"),
        builder(method).env("ZERO_VALUE", "secret\0value"),
        builder(method).current_dir("/zero\0folder"),
    ];
    for (pool, name) in pools.into_iter().zip(["ZERO", "ZERO_VALUE", "folder"]) {
        let error = pool.build().expect_err("it has a zero byte");
        assert!(error.is_invalid_setting(), "{error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("NUL"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn a_default_start_method_is_set_once_for_pools_and_processes() {
    let test = "a_default_start_method_is_set_once_for_pools_and_processes";
    alone(test, || async {
        let before = ProcessPoolExecutor::builder().max_workers(1);
        StartMethod::set_default(StartMethod::Spawn).expect("it is the first");
        StartMethod::set_default(StartMethod::Spawn).expect("it is the same");
        assert_eq!(StartMethod::default(), StartMethod::Spawn);
        let error = StartMethod::set_default(StartMethod::ForkServer).expect_err("it is another");
        assert!(error.is_invalid_setting(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("Spawn") && text.contains("ForkServer"),
            "{text}"
        );
        let own = std::process::id();
        let parent = || std::os::unix::process::parent_id();
        let pool = ProcessPoolExecutor::builder().max_workers(1).build();
        let pool = pool.expect("a pool");
        assert_eq!(within(pool.submit(parent, ())).await.expect("it ran"), own);
        within(pool.shutdown()).await;
        #[cfg(feature = "multiprocessing")]
        {
            let process = concurrent_futures::multiprocessing::Process::spawn(parent, ());
            let process = within(process).await.expect("it starts");
            assert_eq!(within(process.join()).await.expect("it ran"), own);
        }
        // A builder's own setting counts. A builder from before keeps the earlier default.
        let builder = ProcessPoolExecutor::builder().start_method(StartMethod::ForkServer);
        for builder in [before, builder.max_workers(1)] {
            let pool = builder.build().expect("a pool");
            let parent = within(pool.submit(parent, ())).await.expect("it ran");
            assert_eq!(parent, fork_server());
            within(pool.shutdown()).await;
        }
    });
}
