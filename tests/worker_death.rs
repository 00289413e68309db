//! A worker exits, crashes or is killed: one task is lost, and its error says why.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use concurrent_futures::{
    Executor as _, ExecutorExt as _, ProcessPoolExecutor, StartMethod, TaskError, TaskOptions,
};
use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};

use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, within};
use self::methods::{builder, held_by_every_start_method, processes};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 1;
    a_killed_idle_worker_costs_nothing,
    all_idle_workers_killed_at_once_cost_nothing,
    a_killed_busy_worker_fails_exactly_the_task_it_ran,
    tasks_behind_the_one_that_dies_run_elsewhere_once,
    quick_tasks_sent_ahead_to_a_dying_worker_run_once,
    an_exit_in_a_task_is_an_error_for_that_task_and_its_place_is_filled_again,
    a_death_in_the_middle_of_writing_a_result_throws_the_part_away,
    the_error_says_signal_pid_task_name_and_last_words,
    the_last_words_in_an_error_do_nothing_to_a_terminal,
    an_out_of_memory_death_is_recognised,
    an_abort_costs_one_task,
    a_segmentation_fault_costs_one_task,
    a_stack_overflow_costs_one_task,
    a_panic_that_aborts_is_a_death_whose_last_words_hold_the_panic,
    a_crashing_item_of_a_map_is_that_items_error,
    the_items_of_a_chunk_that_did_not_crash_run_once,
    a_failing_initializer_fails_every_task_with_its_own_error_and_a_bounded_number_of_starts,
    while_one_worker_works_the_failing_starts_of_others_are_no_storm,
    a_panic_in_an_initializer_is_reported_with_its_message,
    a_death_in_an_initializer_is_reported_with_its_signal,
    a_worker_that_never_gets_ready_is_killed_at_the_spawn_time_out,
    a_worker_retires_after_its_tasks_and_every_task_finishes,
    a_kill_takes_the_workers_own_children_along,
    a_grandchild_that_holds_a_pipe_open_hangs_nothing,
    an_interrupt_leaves_the_workers_alone,
    kills_at_any_point_cost_only_the_tasks_that_ran,
}

fn double(x: u64) -> u64 {
    x * 2
}

fn wait_at(gate: Key) {
    gate.wait();
}

/// Appends a line to a file, which later shows how often it ran.
fn note(file: PathBuf, line: u32) -> u32 {
    let file = File::options().append(true).create(true).open(file);
    // In one piece, because other tasks write there too.
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.expect("the test's directory is there");
    line
}

fn lines(file: &Path) -> Vec<u32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| line.parse().expect("a number"))
        .collect()
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid");
    kill_process(pid, Signal::KILL).expect("the worker is there");
}

fn kill_myself(signal: Signal) {
    kill_process(rustix::process::getpid(), signal).expect("it is there");
    // A signal that a process sends to itself arrives before `kill` returns.
}

/// Checks that the pool has one worker, and that it works.
async fn still_works(pool: &ProcessPoolExecutor) -> u32 {
    within(pool.submit(std::process::id, ()))
        .await
        .expect("it runs")
}

async fn a_killed_idle_worker_costs_nothing(method: StartMethod) {
    let pool = processes(method, 1);
    for _ in 0..20 {
        let pid = still_works(&pool).await;
        kill(pid);
        // The death may be detected before the next task is sent, or only after.
        assert_ne!(still_works(&pool).await, pid);
    }
    let pid = still_works(&pool).await;
    kill(pid);
    eventually(|| pool.stats().restarts.crashed == 21).await;
    assert_ne!(still_works(&pool).await, pid);
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.workers), (0, 1));
}

async fn all_idle_workers_killed_at_once_cost_nothing(method: StartMethod) {
    let pool = processes(method, 3);
    within(pool.warm_up()).await.expect("three workers");
    let workers = pool.workers();
    assert_eq!(workers.len(), 3);
    for worker in workers {
        kill(worker.pid());
    }
    let handles: Vec<_> = (0..30).map(|n| pool.submit(double, n)).collect();
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(within(handle).await.expect("it ran"), n * 2);
    }
}

async fn a_killed_busy_worker_fails_exactly_the_task_it_ran(method: StartMethod) {
    let pool = processes(method, 3);
    let gate = Gate::new();
    let pid_of = |gate: Key| {
        gate.wait();
        std::process::id()
    };
    let handles = [(); 3].map(|()| pool.submit(pid_of, gate.key()));
    let (first, second, third) = (gate.guest().await, gate.guest().await, gate.guest().await);
    let queued: Vec<_> = (0..10).map(|n| pool.submit(double, n)).collect();
    let victim = second.pid();
    let survivors = [first.pid(), third.pid()];
    kill(victim);
    second.gone().await;
    for (n, handle) in (0..).zip(queued) {
        assert_eq!(within(handle).await.expect("it ran"), n * 2);
    }
    first.let_in().await;
    third.let_in().await;
    let mut finished = Vec::new();
    let mut lost = Vec::new();
    for handle in handles {
        match within(handle).await {
            Ok(pid) => finished.push(pid),
            Err(error) => lost.push(error),
        }
    }
    assert!(survivors.iter().all(|pid| finished.contains(pid)));
    assert_eq!(lost.len(), 1);
    assert!(
        lost[0].is_worker_lost() && lost[0].was_started(),
        "{}",
        lost[0]
    );
    assert_eq!(lost[0].worker_pid(), Some(victim));
    assert_eq!(lost[0].signal(), Some(Signal::KILL.as_raw()));
    assert_eq!(pool.stats().restarts.crashed, 1);
}

async fn tasks_behind_the_one_that_dies_run_elsewhere_once(method: StartMethod) {
    let directory = Folder::new();
    let file = directory.path().join("lines");
    let pool = processes(method, 2);
    let gate = Gate::new();
    let dying = [(); 2].map(|()| pool.submit(wait_at, gate.key()));
    let guests = [gate.guest().await, gate.guest().await];
    let handles: Vec<_> = (0..50)
        .map(|line| pool.submit(note, (file.clone(), line)))
        .collect();
    for guest in guests {
        kill(guest.pid());
        guest.gone().await;
    }
    for handle in dying {
        assert!(within(handle).await.expect_err("killed").is_worker_lost());
    }
    for (line, handle) in (0..).zip(handles) {
        assert_eq!(within(handle).await.expect("it ran elsewhere"), line);
    }
    let mut lines = lines(&file);
    lines.sort_unstable();
    assert_eq!(lines, (0..50).collect::<Vec<_>>());
}

async fn quick_tasks_sent_ahead_to_a_dying_worker_run_once(method: StartMethod) {
    fn note_or_die(file: PathBuf, line: u32) -> u32 {
        note(file, line);
        if line % 10 == 9 {
            kill_myself(Signal::KILL);
        }
        line
    }
    let directory = Folder::new();
    let file = directory.path().join("lines");
    let pool = processes(method, 1);
    let handles: Vec<_> = (0..50)
        .map(|line| pool.submit(note_or_die, (file.clone(), line)))
        .collect();
    for (line, handle) in (0..).zip(handles) {
        match within(handle).await {
            Ok(number) => assert!(number == line && line % 10 != 9),
            Err(error) => assert!(error.is_worker_lost() && line % 10 == 9, "{line}: {error}"),
        }
    }
    assert_eq!(lines(&file), (0..50).collect::<Vec<_>>());
}

async fn an_exit_in_a_task_is_an_error_for_that_task_and_its_place_is_filled_again(
    method: StartMethod,
) {
    let pool = processes(method, 1);
    for code in [0, 1, 7] {
        let before = still_works(&pool).await;
        let exit = within(pool.submit(|code: i32| -> () { std::process::exit(code) }, code)).await;
        let error = exit.expect_err("it never returned");
        assert!(error.is_worker_lost() && error.was_started(), "{error}");
        assert_eq!((error.exit_code(), error.signal()), (Some(code), None));
        assert_eq!(error.worker_pid(), Some(before));
        assert!(
            error.to_string().contains(&format!("code {code}")),
            "{error}"
        );
        assert_ne!(still_works(&pool).await, before);
    }
}

/// The worker dies while it waits for the parent, which does not read, to take a part of its result.
async fn a_death_in_the_middle_of_writing_a_result_throws_the_part_away(method: StartMethod) {
    const LOOKS: u32 = 20;
    fn die_when_the_worker_waits() {
        let worker = format!("/proc/self/task/{}/stat", std::process::id());
        let sleeps = || fs::read_to_string(&worker).is_ok_and(|stat| state(&stat) == Some('S'));
        let mut asleep = 0;
        while asleep < LOOKS {
            asleep = if sleeps() { asleep + 1 } else { 0 };
            std::thread::yield_now();
        }
        kill_myself(Signal::KILL);
    }
    fn write_much(gate: Key) -> Vec<String> {
        gate.wait();
        std::thread::spawn(die_when_the_worker_waits);
        vec!["many bytes".to_owned(); 500_000]
    }
    let pool = processes(method, 1);
    for _ in 0..3 {
        let gate = Gate::new();
        let handle = pool.submit(write_much, gate.key());
        let guest = gate.guest().await;
        let pid = guest.pid();
        guest.let_in().await;
        // Only this thread drives the pool, and during this loop no task reads.
        while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !has_ended(&stat)) {
            std::thread::yield_now();
        }
        let error = within(handle).await.expect_err("it died");
        assert!(error.is_worker_lost(), "{error}");
        assert_eq!(error.signal(), Some(Signal::KILL.as_raw()));
        assert_ne!(still_works(&pool).await, pid);
    }
}

/// Whether a process with this line in `/proc` is a zombie.
fn has_ended(stat: &str) -> bool {
    matches!(state(stat), Some('Z' | 'X'))
}

fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

async fn the_last_words_in_an_error_do_nothing_to_a_terminal(method: StartMethod) {
    const WORDS: &str = "\u{1b}]0;title\u{7}\u{1b}[2J\rsecond\u{202e}\n\tthird";
    fn last_words() {
        eprint!("{WORDS}");
        kill_myself(Signal::TERM);
    }
    let pool = processes(method, 1);
    let error = within(pool.submit(last_words, ())).await;
    let error = error.expect_err("it died");
    assert_eq!(error.stderr_tail(), Some(WORDS));
    let shown = error.to_string();
    let acts = |found: char| found.is_control() && found != '\n' && found != '\t';
    assert!(
        !shown.contains(acts) && !shown.contains('\u{202e}'),
        "{shown:?}"
    );
    assert!(shown.ends_with("\\rsecond\\u{202e}\n\tthird"), "{shown}");
}

async fn the_error_says_signal_pid_task_name_and_last_words(method: StartMethod) {
    fn last_words() {
        for line in 0..10_000 {
            eprintln!("line {line}");
        }
        eprintln!("these are my last words");
        kill_myself(Signal::TERM);
    }
    let pool = processes(method, 1);
    let pid = still_works(&pool).await;
    let named = TaskOptions::new().name("report of June");
    let error = within(pool.submit_with(&named, last_words, ())).await;
    let error = error.expect_err("it died");
    assert!(error.is_worker_lost() && !error.is_out_of_memory());
    assert_eq!(error.signal(), Some(Signal::TERM.as_raw()));
    assert_eq!(error.exit_code(), None);
    assert_eq!(error.worker_pid(), Some(pid));
    assert_eq!(error.task_name(), "report of June");
    let tail = error.stderr_tail().expect("a tail");
    assert!(
        tail.trim_end().ends_with("these are my last words"),
        "{tail}"
    );
    assert!(
        tail.contains("line 9999") && tail.len() <= 16 * 1024,
        "{tail}"
    );
    let text = error.to_string();
    for part in ["report of June", "SIGTERM", &pid.to_string(), "last words"] {
        assert!(text.contains(part), "no {part} in: {text}");
    }
}

async fn an_out_of_memory_death_is_recognised(method: StartMethod) {
    fn allocate() {
        let layout = std::alloc::Layout::new::<[u8; 4096]>();
        std::alloc::handle_alloc_error(layout);
    }
    let pool = processes(method, 1);
    let error = within(pool.submit(allocate, ()))
        .await
        .expect_err("it died");
    assert!(
        error.is_worker_lost() && error.is_out_of_memory(),
        "{error}"
    );
    assert!(error.to_string().contains("out of memory"), "{error}");
    still_works(&pool).await;
}

/// Runs a function that kills its worker, between two tasks that must not be affected.
async fn costs_one_task(
    method: StartMethod,
    deadly: fn(&ProcessPoolExecutor) -> concurrent_futures::JoinHandle<()>,
) -> TaskError {
    let pool = processes(method, 2);
    let gate = Gate::new();
    let neighbour = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    let handle = deadly(&pool);
    let next: Vec<_> = (0..5).map(|n| pool.submit(double, n)).collect();
    let error = within(handle).await.expect_err("it died");
    assert!(error.is_worker_lost() && error.was_started(), "{error}");
    for (n, handle) in (0..).zip(next) {
        assert_eq!(within(handle).await.expect("it ran"), n * 2);
    }
    guest.let_in().await;
    within(neighbour).await.expect("it was not touched");
    assert_eq!(pool.stats().restarts.crashed, 1);
    error
}

async fn an_abort_costs_one_task(method: StartMethod) {
    fn abort() {
        std::process::abort();
    }
    let error = costs_one_task(method, |pool| pool.submit(abort, ())).await;
    assert_eq!(error.signal(), Some(Signal::ABORT.as_raw()), "{error}");
}

async fn a_segmentation_fault_costs_one_task(method: StartMethod) {
    #[expect(unsafe_code, reason = "a bug in a task, as C code would have it")]
    fn write_to_nowhere() {
        let nowhere = std::ptr::without_provenance_mut::<u8>(1);
        // SAFETY: none. The page is never mapped: the access must fail.
        unsafe { nowhere.write_volatile(1) };
    }
    let error = costs_one_task(method, |pool| pool.submit(write_to_nowhere, ())).await;
    assert_eq!(error.signal(), Some(Signal::SEGV.as_raw()), "{error}");
    assert!(error.to_string().contains("SIGSEGV"), "{error}");
}

async fn a_stack_overflow_costs_one_task(method: StartMethod) {
    #[expect(unconditional_recursion, reason = "it overflows the stack")]
    fn recurse(depth: u64) -> u64 {
        std::hint::black_box(recurse(std::hint::black_box(depth + 1))) + 1
    }
    fn overflow() {
        recurse(0);
    }
    let error = costs_one_task(method, |pool| pool.submit(overflow, ())).await;
    // Rust's own handler, which reports an overflow by SIGABRT, exists only once `main` has started.
    let signals = [Signal::ABORT, Signal::SEGV].map(|signal| Some(signal.as_raw()));
    assert!(signals.contains(&error.signal()), "{error}");
}

/// As every panic in a program that is built with `panic = "abort"`.
async fn a_panic_that_aborts_is_a_death_whose_last_words_hold_the_panic(method: StartMethod) {
    fn abort_by_panic() {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            print(panic);
            std::process::abort();
        }));
        panic!("the last panic");
    }
    let builder = builder(method).max_workers(1);
    let pool = builder.env("RUST_BACKTRACE", "0").build().expect("a pool");
    let error = within(pool.submit(abort_by_panic, ())).await;
    let error = error.expect_err("it died");
    assert!(error.is_worker_lost() && !error.is_panic(), "{error}");
    assert_eq!(error.signal(), Some(Signal::ABORT.as_raw()), "{error}");
    let tail = error.stderr_tail().expect("a tail");
    assert!(
        tail.contains("the last panic") && tail.contains("worker_death.rs"),
        "{tail}"
    );
    still_works(&pool).await;
}

async fn a_crashing_item_of_a_map_is_that_items_error(method: StartMethod) {
    fn crash_on_seven(n: u32) -> u32 {
        if n == 7 {
            std::process::abort();
        }
        n
    }
    let pool = processes(method, 2);
    for chunk in [1, 5, 20] {
        let map = pool.map(crash_on_seven, 0..20).chunk_size(chunk);
        let results: Vec<_> = within(map.collect()).await;
        assert_eq!(results.len(), 20);
        for (n, result) in (0..).zip(results) {
            match result {
                Ok(number) => assert!(number == n && n != 7),
                Err(error) => {
                    assert_eq!(n, 7, "chunks of {chunk}: {error}");
                    assert!(error.is_worker_lost() && error.was_started(), "{error}");
                }
            }
        }
    }
    assert_eq!(pool.stats().restarts.crashed, 3);
}

async fn the_items_of_a_chunk_that_did_not_crash_run_once(method: StartMethod) {
    fn note_or_crash(file: PathBuf, n: u32) -> u32 {
        note(file, n);
        if n % 4 == 1 {
            std::process::exit(3);
        }
        n
    }
    let directory = Folder::new();
    let file = directory.path().join("lines");
    let pool = processes(method, 1);
    let items = std::iter::repeat(file.clone()).zip(0..12);
    let results: Vec<_> = within(pool.map(note_or_crash, items).chunk_size(12).collect()).await;
    for (n, result) in (0..).zip(&results) {
        assert_eq!(result.is_err(), n % 4 == 1, "item {n}: {result:?}");
    }
    assert_eq!(lines(&file), (0..12).collect::<Vec<_>>());
}

/// Leaves a line for each start, and fails unless the file `good` is there.
fn start_if_good(directory: PathBuf) -> Result<(), String> {
    note(directory.join("starts"), std::process::id());
    if directory.join("good").exists() {
        Ok(())
    } else {
        Err("no model in the directory".to_owned())
    }
}

async fn a_failing_initializer_fails_every_task_with_its_own_error_and_a_bounded_number_of_starts(
    method: StartMethod,
) {
    let directory = Folder::new();
    let starts = || lines(&directory.path().join("starts")).len();
    let pool = builder(method)
        .max_workers(2)
        .initializer(start_if_good, directory.path().to_owned())
        .build()
        .expect("a pool");
    let handles: Vec<_> = (0..20).map(|n| pool.submit(double, n)).collect();
    for handle in handles {
        let error = within(handle).await.expect_err("no worker is ready");
        assert!(error.is_init_failed() && !error.was_started(), "{error}");
        assert!(
            error.to_string().contains("no model in the directory"),
            "{error}"
        );
    }
    // At some point the pool gives up, and reports it.
    let broken = within(async {
        loop {
            let error = pool.submit(double, 1).await.expect_err("no worker");
            assert!(error.is_init_failed(), "{error}");
            if error.to_string().contains("the pool is broken") {
                break error;
            }
        }
    })
    .await;
    assert!(
        broken.to_string().contains("no model in the directory"),
        "{broken}"
    );
    let tried = starts();
    assert!((1..=20).contains(&tried), "{tried} starts");
    let next = within(pool.submit(double, 1)).await;
    assert!(next.expect_err("it is broken").is_init_failed());
    assert_eq!(starts(), tried, "a broken pool starts nothing");

    // A further attempt fails as before, and succeeds as soon as it can.
    let error = within(pool.warm_up()).await.expect_err("still no model");
    assert!(
        error.to_string().contains("no model in the directory"),
        "{error}"
    );
    File::create(directory.path().join("good")).expect("a file");
    within(pool.warm_up()).await.expect("a model");
    assert_eq!(within(pool.submit(double, 4)).await.expect("it works"), 8);
}

async fn while_one_worker_works_the_failing_starts_of_others_are_no_storm(method: StartMethod) {
    fn only_one(directory: PathBuf) -> Result<(), String> {
        note(directory.join("starts"), std::process::id());
        match File::create_new(directory.join("one")) {
            Ok(_) => Ok(()),
            Err(_) => Err("there is a licence for one".to_owned()),
        }
    }
    let directory = Folder::new();
    let pool = builder(method)
        .max_workers(2)
        .initializer(only_one, directory.path().to_owned())
        .build()
        .expect("a pool");
    let gate = Gate::new();
    let busy = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    let waiting: Vec<_> = (0..10).map(|n| pool.submit(double, n)).collect();
    let starts = || lines(&directory.path().join("starts")).len();
    eventually(|| starts() >= 2).await;
    // Time passes in which no other worker can run.
    let clock = TaskOptions::new().queue_timeout(Duration::from_secs(1));
    let clock = within(pool.submit_with(&clock, double, 1)).await;
    assert!(clock.expect_err("none is free").is_rejected());
    let starts = starts();
    assert!(starts <= 12, "{starts} starts in a second");
    guest.let_in().await;
    within(busy).await.expect("it was let in");
    for (n, handle) in (0..).zip(waiting) {
        assert_eq!(within(handle).await.expect("one worker is enough"), n * 2);
    }
}

async fn a_panic_in_an_initializer_is_reported_with_its_message(method: StartMethod) {
    fn panic_at_start() {
        panic!("the table is empty");
    }
    let builder = builder(method).max_workers(1);
    let pool = builder
        .initializer(panic_at_start, ())
        .build()
        .expect("a pool");
    let error = within(pool.submit(double, 1)).await.expect_err("no worker");
    assert!(error.is_init_failed() && !error.is_panic(), "{error}");
    assert_eq!(error.panic_message(), Some("the table is empty"));
    let location = error.panic_location().expect("a location");
    assert!(location.file().ends_with("worker_death.rs"), "{location}");
}

async fn a_death_in_an_initializer_is_reported_with_its_signal(method: StartMethod) {
    fn die_at_start() {
        eprintln!("no licence found");
        kill_myself(Signal::KILL);
    }
    let builder = builder(method).max_workers(1);
    let pool = builder
        .initializer(die_at_start, ())
        .build()
        .expect("a pool");
    let error = within(pool.submit(double, 1)).await.expect_err("no worker");
    assert!(error.is_init_failed() && !error.was_started(), "{error}");
    assert_eq!(error.signal(), Some(Signal::KILL.as_raw()));
    assert!(error.to_string().contains("no licence found"), "{error}");
}

async fn a_worker_that_never_gets_ready_is_killed_at_the_spawn_time_out(method: StartMethod) {
    let gate = Gate::new();
    let pool = builder(method)
        .max_workers(1)
        .initializer(wait_at, gate.key())
        .spawn_timeout(Duration::from_secs(1))
        .build()
        .expect("a pool");
    let handle = pool.submit(double, 1);
    let guest = gate.guest().await;
    let error = within(handle).await.expect_err("it is never ready");
    assert!(error.is_init_failed() && !error.was_started(), "{error}");
    assert!(error.to_string().contains("1s"), "{error}");
    guest.gone().await;
}

async fn a_worker_retires_after_its_tasks_and_every_task_finishes(method: StartMethod) {
    let builder = builder(method).max_workers(2);
    let pool = builder.max_tasks_per_child(5).build().expect("a pool");
    let handles: Vec<_> = (0..53).map(|_| pool.submit(std::process::id, ())).collect();
    let mut tasks_of = std::collections::HashMap::<u32, u32>::new();
    for handle in handles {
        *tasks_of
            .entry(within(handle).await.expect("it ran"))
            .or_default() += 1;
    }
    assert!(tasks_of.values().all(|tasks| *tasks <= 5), "{tasks_of:?}");
    within(pool.shutdown()).await;
    let restarts = pool.stats().restarts;
    assert_eq!((restarts.crashed, restarts.failed_to_start), (0, 0));
    assert!(restarts.retired >= 9, "{restarts:?}");
}

/// Whether the process exists and has not ended.
fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !has_ended(&stat))
}

fn sleep_at(gate: Key, group: Option<i32>) {
    let mut sleep = std::process::Command::new("sleep");
    if let Some(group) = group {
        sleep.process_group(group);
    }
    let sleep = sleep.arg("1000").spawn().expect("it starts");
    gate.wait_as(sleep.id());
    std::process::exit(5);
}

async fn a_kill_takes_the_workers_own_children_along(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    let handle = pool.submit(sleep_at, (gate.key(), None));
    let guest = gate.guest().await;
    let sleep = guest.pid();
    assert!(is_alive(sleep));
    handle.abort();
    eventually(|| !is_alive(sleep)).await;
    guest.gone().await;
    // The same for a worker that ends by itself.
    let handle = pool.submit(sleep_at, (gate.key(), None));
    let guest = gate.guest().await;
    let sleep = guest.pid();
    guest.let_in().await;
    let error = within(handle).await.expect_err("it exits");
    assert_eq!(error.exit_code(), Some(5));
    eventually(|| !is_alive(sleep)).await;
}

async fn a_grandchild_that_holds_a_pipe_open_hangs_nothing(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    // In a group of its own it outlives the worker, whose stderr it has open.
    let handle = pool.submit(sleep_at, (gate.key(), Some(0)));
    let guest = gate.guest().await;
    let sleep = guest.pid();
    guest.let_in().await;
    let error = within(handle).await.expect_err("it exits");
    assert_eq!(error.exit_code(), Some(5));
    still_works(&pool).await;
    within(pool.shutdown()).await;
    assert!(is_alive(sleep), "no other process ended it");
    kill(sleep);
}

async fn an_interrupt_leaves_the_workers_alone(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    let handle = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    let pid = Pid::from_raw(guest.pid().cast_signed()).expect("a pid");
    kill_process(pid, Signal::INT).expect("the worker is there");
    // Nor are they in the group that a terminal interrupts.
    let group = rustix::process::getpgid(Some(pid)).expect("a group");
    assert_eq!(group, pid);
    guest.let_in().await;
    within(handle).await.expect("it was not interrupted");
    assert_eq!(
        still_works(&pool).await.cast_signed(),
        pid.as_raw_nonzero().get()
    );
}

/// A small version of ten thousand kills: whenever a worker dies, each task has one outcome, and the pool is complete
/// afterwards.
async fn kills_at_any_point_cost_only_the_tasks_that_ran(method: StartMethod) {
    let directory = Folder::new();
    let pool = processes(method, 2);
    for round in 0..40 {
        let file = directory.path().join(round.to_string());
        let handles: Vec<_> = (0..20)
            .map(|line| pool.submit(note, (file.clone(), line)))
            .collect();
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        let victims = pool.workers();
        if let Some(victim) = victims.get(round % 2) {
            let pid = Pid::from_raw(victim.pid().cast_signed()).expect("a pid");
            let _ = kill_process(pid, Signal::KILL); // It may have ended already.
        }
        let mut lost = Vec::new();
        for (line, handle) in (0..).zip(handles) {
            match within(handle).await {
                Ok(number) => assert_eq!(number, line),
                Err(error) => {
                    assert!(error.is_worker_lost() && error.was_started(), "{error}");
                    lost.push(line);
                }
            }
        }
        assert!(lost.len() <= 1, "one worker runs one task: {lost:?}");
        let mut ran = lines(&file);
        ran.sort_unstable();
        // A task that was lost may or may not have left its line; no other line is missing or duplicated.
        ran.extend(
            lost.iter()
                .filter(|line| !ran.contains(line))
                .copied()
                .collect::<Vec<_>>(),
        );
        ran.sort_unstable();
        assert_eq!(ran, (0..20).collect::<Vec<_>>());
    }
    let gate = Gate::new();
    let handles = [(); 2].map(|()| pool.submit(wait_at, gate.key()));
    for guest in [gate.guest().await, gate.guest().await] {
        guest.let_in().await;
    }
    for handle in handles {
        within(handle).await.expect("both places are there");
    }
    assert!(pool.workers().len() <= 2);
}
