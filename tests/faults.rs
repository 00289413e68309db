//! Faults other than kills: the system lacks a resource, or a process misbehaves.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;
#[path = "common/methods.rs"]
mod methods;
#[path = "common/nobody.rs"]
mod nobody;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use concurrent_futures::{
    Executor as _, ExecutorExt as _, ProcessPoolExecutor, StartMethod, TaskOptions,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, setrlimit};

use self::alone::{alone, children, descriptors};
use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, within};
use self::methods::{builder, held_by_every_start_method, processes};
use self::nobody::alone_as_nobody;

concurrent_futures::init_before_main!();

held_by_every_start_method! { 2;
    a_worker_that_writes_garbage_is_ended_with_an_error,
    a_stopped_worker_is_ended_by_its_time_out,
}

fn double(x: u64) -> u64 {
    x * 2
}

fn wait_at(gate: Key) {
    gate.wait();
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).expect("a pid")
}

/// Kills the only worker of a pool, and returns the error text for why there is no other.
async fn no_other(pool: &ProcessPoolExecutor) -> String {
    let worker = pool.workers()[0].pid();
    kill_process(pid(worker), Signal::KILL).expect("it is there");
    eventually(|| pool.workers().is_empty()).await;
    let error = within(pool.submit(double, 1)).await.expect_err("no worker");
    assert!(error.is_init_failed() && !error.was_started(), "{error}");
    error.to_string()
}

#[test]
fn without_a_process_left_starts_are_a_typed_error_and_the_pool_lives_on() {
    let test = "without_a_process_left_starts_are_a_typed_error_and_the_pool_lives_on";
    // Root has no limit on its processes.
    alone_as_nobody(test, || async {
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let pool = processes(method, 1);
            within(pool.warm_up()).await.expect("a worker");
            // The process that forks: this one, or the fork server, its only child.
            let forks = match method {
                StartMethod::ForkServer => Some(pid(children()[0])),
                _ => None,
            };
            let before = getrlimit(Resource::Nproc);
            let none = Rlimit {
                current: Some(1),
                ..before
            };
            prlimit(forks, Resource::Nproc, none).expect("it may have fewer");
            let text = no_other(&pool).await;
            prlimit(forks, Resource::Nproc, before).expect("it may have that many");
            let call = match method {
                StartMethod::ForkServer => "fork",
                _ => "posix_spawn",
            };
            let reason = format!("{call}: Resource temporarily unavailable");
            assert!(text.contains(&reason), "{text}");
            assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
            within(pool.shutdown()).await;
            assert_eq!(children(), [0_u32; 0]);
        }
    });
}

#[test]
fn without_a_descriptor_left_starts_are_a_typed_error_and_the_pool_lives_on() {
    let test = "without_a_descriptor_left_starts_are_a_typed_error_and_the_pool_lives_on";
    alone(test, || async {
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let pool = processes(method, 1);
            within(pool.warm_up()).await.expect("a worker");
            let before = getrlimit(Resource::Nofile);
            // From none up to all but one of the resources that a start needs.
            for spare in 0..6 {
                let none = Rlimit {
                    current: Some(descriptors().len() as u64 + spare),
                    ..before
                };
                setrlimit(Resource::Nofile, none).expect("it may have fewer");
                let worker = pool.workers()[0].pid();
                kill_process(pid(worker), Signal::KILL).expect("it is there");
                eventually(|| pool.workers().is_empty()).await;
                // It does not matter whether there were enough; if not, the error must say so.
                if let Err(error) = within(pool.submit(double, 1)).await {
                    assert!(error.is_init_failed() && !error.was_started(), "{error}");
                    assert!(error.to_string().contains("Too many open files"), "{error}");
                }
                setrlimit(Resource::Nofile, before).expect("it may have that many");
                within(pool.warm_up()).await.expect("a worker");
                assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
                eventually(|| pool.workers().len() == 1).await;
            }
            within(pool.shutdown()).await;
            assert_eq!(children(), [0_u32; 0]);
        }
    });
}

#[test]
fn a_warm_up_with_too_few_descriptors_is_an_error_that_counts_the_ready_workers() {
    let test = "a_warm_up_with_too_few_descriptors_is_an_error_that_counts_the_ready_workers";
    alone(test, || async {
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let before = getrlimit(Resource::Nofile);
            let few = Rlimit {
                current: Some(100),
                ..before
            };
            setrlimit(Resource::Nofile, few).expect("it may have fewer");
            let pool = processes(method, 30);
            let error = within(pool.warm_up()).await.expect_err("100 are too few");
            assert!(error.is_init_failed() && !error.was_started(), "{error}");
            let ready = pool.workers().len();
            assert!((1..30).contains(&ready), "{ready} workers");
            let text = error.to_string();
            assert!(
                text.contains(&format!("{ready} of 30 workers are ready")),
                "{text}"
            );
            assert!(text.contains("Too many open files"), "{text}");
            assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
            setrlimit(Resource::Nofile, before).expect("it may have that many");
            within(pool.warm_up()).await.expect("thirty workers");
            assert_eq!(pool.workers().len(), 30);
            within(pool.shutdown()).await;
            assert_eq!(children(), [0_u32; 0]);
        }
    });
}

fn slow_number(number: u32) -> u32 {
    std::thread::sleep(Duration::from_millis(2)); // The work of the task.
    number
}

fn slow_start() {
    std::thread::sleep(Duration::from_millis(200)); // The work of the initializer.
}

#[test]
fn with_few_descriptors_tasks_run_on_as_many_workers_as_fit() {
    let test = "with_few_descriptors_tasks_run_on_as_many_workers_as_fit";
    alone(test, || async {
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            for is_slow in [false, true] {
                let before = getrlimit(Resource::Nofile);
                let few = Rlimit {
                    current: Some(64),
                    ..before
                };
                setrlimit(Resource::Nofile, few).expect("it may have fewer");
                let mut builder = builder(method).max_workers(40);
                if is_slow {
                    builder = builder.initializer(slow_start, ());
                }
                let pool = builder.build().expect("a pool");
                let tasks: Vec<_> = (0..160)
                    .map(|number| pool.submit(slow_number, number))
                    .collect();
                for (number, task) in (0..).zip(tasks) {
                    let returned = within(task).await.expect("some workers fit");
                    assert_eq!(returned, number);
                }
                let ready = pool.workers().len();
                assert!((2..40).contains(&ready), "{ready} workers");
                let failed = pool.stats().restarts.failed_to_start;
                assert!(failed < 200, "{failed} starts have failed");
                within(pool.shutdown()).await;
                setrlimit(Resource::Nofile, before).expect("it may have that many");
                assert_eq!(children(), [0_u32; 0]);
            }
        }
    });
}

async fn a_worker_that_writes_garbage_is_ended_with_an_error(method: StartMethod) {
    #[expect(unsafe_code, reason = "writes to a descriptor that is not its own")]
    fn write_garbage() {
        let stderr = fs::read_link("/proc/self/fd/2").expect("/proc");
        let mut written = 0;
        for entry in fs::read_dir("/proc/self/fd").expect("/proc").flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let fd = entry.file_name().to_str().and_then(|fd| fd.parse().ok());
            // Answers go by a pipe.
            let is_answers = target.to_string_lossy().starts_with("pipe:") && target != stderr;
            if let Some(fd) = fd.filter(|_| is_answers) {
                // SAFETY: writing there harms only the protocol.
                let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
                // A fork may have a pipe of its parent's beside it, whose other end is closed.
                written += usize::from(rustix::io::write(fd, &[0xff; 64]).is_ok());
            }
        }
        assert!(written > 0, "there is a pipe of answers");
        std::thread::park(); // The pool will end it.
    }
    let pool = processes(method, 1);
    let error = within(pool.submit(write_garbage, ())).await;
    let error = error.expect_err("it made no sense");
    assert!(error.is_worker_lost() && error.was_started(), "{error}");
    assert!(
        error.to_string().contains("was ended by the pool"),
        "{error}"
    );
    assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
}

async fn a_stopped_worker_is_ended_by_its_time_out(method: StartMethod) {
    let pool = processes(method, 1);
    let gate = Gate::new();
    for grace in [0, 20] {
        let options = TaskOptions::new().timeout(Duration::from_millis(300));
        let options = options.grace_period(Duration::from_millis(grace));
        let handle = pool.submit_with(&options, wait_at, gate.key());
        let guest = gate.guest().await;
        kill_process(pid(guest.pid()), Signal::STOP).expect("it is there");
        let error = within(handle).await.expect_err("it does nothing");
        assert!(error.is_timeout(), "{error}");
        guest.gone().await;
        assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
    }
}

fn crash() {
    std::process::abort();
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid");
    kill_process(pid, signal).expect("it is there");
}

fn fail_if_there(file: PathBuf) -> Result<(), String> {
    if file.exists() {
        Err("it is there".into())
    } else {
        Ok(())
    }
}

#[test]
fn a_stopped_fork_server_holds_up_neither_a_death_nor_a_start_nor_a_shutdown() {
    alone(
        "a_stopped_fork_server_holds_up_neither_a_death_nor_a_start_nor_a_shutdown",
        async || {
            let before = descriptors();
            let pool = ProcessPoolExecutor::builder()
                .start_method(StartMethod::ForkServer)
                .max_workers(1)
                .spawn_timeout(Duration::from_secs(2))
                .build()
                .expect("a pool");
            assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
            let fork_server = children();
            assert_eq!(fork_server.len(), 1);
            kill(fork_server[0], Signal::STOP);
            let error = within(pool.submit(crash, ()))
                .await
                .expect_err("it crashed");
            assert!(error.is_worker_lost());
            assert_eq!(within(pool.submit(double, 5)).await.expect("it ran"), 10);
            within(pool.shutdown()).await;
            eventually(|| children().is_empty() && descriptors() == before).await;
        },
    );
}

#[tokio::test]
async fn a_place_whose_starts_failed_is_filled_again_though_nothing_else_happens() {
    let directory = Folder::new();
    let file = directory.path().join("fails");
    let pool = ProcessPoolExecutor::builder()
        .max_workers(2)
        .initializer(fail_if_there, file.clone())
        .build()
        .expect("a pool");
    let gate = Gate::new();
    let busy = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    std::fs::write(&file, "").expect("a file");
    let waits = pool.submit(double, 4);
    while pool.stats().restarts.failed_to_start < 3 || pool.stats().workers > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::fs::remove_file(&file).expect("no file");
    assert_eq!(within(waits).await.expect("it ran"), 8);
    guest.let_in().await;
    within(busy).await.expect("it ran");
    within(pool.shutdown()).await;
}

/// After six failures a kept worker pauses for more than three seconds.
#[tokio::test]
async fn a_warm_up_does_not_wait_for_the_pause_of_a_kept_worker() {
    let directory = Folder::new();
    let file = directory.path().join("fails");
    let pool = ProcessPoolExecutor::builder()
        .max_workers(2)
        .min_workers(2)
        .initializer(fail_if_there, file.clone())
        .build()
        .expect("a pool");
    within(pool.warm_up()).await.expect("two workers");
    let gate = Gate::new();
    let options = TaskOptions::new().timeout(Duration::from_millis(1));
    std::fs::write(&file, "").expect("a file");
    let busy = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    let late = within(pool.submit_with(&options, wait_at, gate.key())).await;
    assert!(late.expect_err("it waits").is_timeout());
    eventually(|| pool.stats().restarts.failed_to_start == 6).await;
    std::fs::remove_file(&file).expect("it is there");
    let begun = Instant::now();
    within(pool.warm_up()).await.expect("two workers");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    guest.let_in().await;
    within(busy).await.expect("it ran");
    within(pool.shutdown()).await;
}

fn start_slowly() {
    std::thread::sleep(Duration::from_millis(500));
}

#[tokio::test]
async fn the_successor_of_a_worker_that_has_its_last_task_is_the_only_one() {
    let pool = ProcessPoolExecutor::builder()
        .max_workers(1)
        .min_workers(1)
        .max_tasks_per_child(1)
        .max_age_per_child(Duration::from_millis(100))
        .initializer(start_slowly, ())
        .build()
        .expect("a pool");
    let gate = Gate::new();
    // When it gets its last task, it is due, and a successor starts.
    eventually(|| pool.stats().workers == 2).await;
    let handles = [(); 3].map(|()| pool.submit(wait_at, gate.key()));
    let last = gate.guest().await;
    assert_eq!(pool.stats().workers, 2);
    last.let_in().await;
    drop(gate);
    for handle in handles {
        within(handle).await.expect("it ran");
    }
    within(pool.shutdown()).await;
}

#[tokio::test]
async fn stealing_from_a_leaving_worker_does_not_make_it_stay() {
    let pool = ProcessPoolExecutor::builder()
        .max_workers(1)
        .max_tasks_per_child(13)
        .build()
        .expect("a pool");
    for x in 0..10 {
        within(pool.submit(double, x)).await.expect("it ran");
    }
    // The last calls that it may have: one that it runs, and one that is sent ahead because all calls were short.
    let gate = Gate::new();
    let short = pool.submit(double, 1);
    let handles = [(); 2].map(|()| pool.submit(wait_at, gate.key()));
    let third = pool.submit(double, 2);
    let first = gate.guest().await;
    let second = gate.guest().await; // In the other worker, which was idle.
    within(short).await.expect("it ran");
    within(third).await.expect("it ran");
    assert_ne!(first.pid(), second.pid());
    first.let_in().await;
    second.let_in().await;
    for handle in handles {
        within(handle).await.expect("it ran");
    }
    eventually(|| pool.stats().workers == 1).await;
    within(pool.shutdown()).await;
}

#[test]
fn a_fork_server_without_descriptors_refuses_and_lives() {
    alone(
        "a_fork_server_without_descriptors_refuses_and_lives",
        async || {
            let pool = processes(StartMethod::ForkServer, 1);
            assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
            let fork_server = children();
            let limit = |limit| prlimit(Some(pid(fork_server[0])), Resource::Nofile, limit);
            let none = Rlimit {
                current: Some(3),
                maximum: getrlimit(Resource::Nofile).maximum,
            };
            let before = limit(none).expect("it is a child");
            let error = no_other(&pool).await;
            assert!(error.contains("open files"), "{error}");
            within(pool.submit(double, 4)).await.expect_err("no worker");
            assert_eq!((fork_server.len(), children()), (1, fork_server.clone()));
            limit(before).expect("it lives");
            within(pool.warm_up()).await.expect("a worker");
            assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
            assert_eq!(children(), fork_server, "it is the same");
            within(pool.shutdown()).await;
        },
    );
}

#[test]
fn fork_servers_that_are_killed_and_stopped_at_any_moment_cost_no_answer() {
    alone(
        "fork_servers_that_are_killed_and_stopped_at_any_moment_cost_no_answer",
        async || {
            let before = descriptors();
            let pool = ProcessPoolExecutor::builder()
                .start_method(StartMethod::ForkServer)
                .max_workers(4)
                .spawn_timeout(Duration::from_millis(500))
                .build()
                .expect("a pool");
            for round in 0..40_u64 {
                let crashes = [(); 4].map(|()| pool.submit(crash, ()));
                let works = [(); 8].map(|()| pool.submit(double, round));
                tokio::time::sleep(Duration::from_micros(round * 137 % 4000)).await;
                let signal = if round % 16 == 3 {
                    Signal::STOP
                } else {
                    Signal::KILL
                };
                for child in children() {
                    if signal == Signal::STOP && !is_executed(child) {
                        continue; // The thread that starts it would wait for it forever.
                    }
                    let child = Pid::from_raw(child.cast_signed()).expect("a pid");
                    let _ = kill_process(child, signal); // It may have just ended.
                }
                for handle in crashes {
                    within(handle).await.expect_err("it crashes");
                }
                for handle in works {
                    let _ = within(handle).await; // All starts may have failed.
                }
            }
            within(pool.shutdown()).await;
            eventually(|| children().is_empty() && descriptors() == before).await;
        },
    );
}

/// Whether a child is past its `exec`: until then it has the arguments of this process.
fn is_executed(child: u32) -> bool {
    let arguments = |process: &str| fs::read(format!("/proc/{process}/cmdline"));
    let own = arguments("self").expect("/proc");
    arguments(&child.to_string()).is_ok_and(|arguments| arguments != own)
}

fn same(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

#[test]
fn a_limit_of_file_sizes_costs_a_pool_its_shared_memory_and_the_program_no_signal() {
    let test = "a_limit_of_file_sizes_costs_a_pool_its_shared_memory_and_the_program_no_signal";
    alone(test, || async {
        let large: Vec<u8> = (0..3 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
        let before = getrlimit(Resource::Fsize);
        let limit = |bytes| {
            let limit = Rlimit {
                current: Some(bytes),
                ..before
            };
            setrlimit(Resource::Fsize, limit).expect("it may have less");
        };
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            // There is room for some of a worker's memory, but not for all.
            for bytes in [2000 * 1024, 64 * 1024] {
                limit(bytes);
                let pool = processes(method, 1);
                let echo = within(pool.submit(same, large.clone())).await;
                assert!(echo.expect("it ran") == large, "{bytes}");
                within(pool.shutdown()).await;
            }
            // There is no memory at all.
            for bytes in [64 * 1024 - 1, 0] {
                limit(bytes);
                let pool = processes(method, 1);
                let error = within(pool.submit(double, 1)).await.expect_err("no memory");
                assert!(error.is_init_failed() && !error.was_started(), "{error}");
                for part in ["RLIMIT_FSIZE", "ulimit -f", "65536", &bytes.to_string()] {
                    assert!(error.to_string().contains(part), "{part}: {error}");
                }
                // The pool continues to work.
                setrlimit(Resource::Fsize, before).expect("it may have that much");
                within(pool.warm_up()).await.expect("a worker");
                assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
                within(pool.shutdown()).await;
            }
        }
    });
}
