//! What goes wrong around a worker and its zygote, and must not cost more than that.

#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
#[path = "common/alone.rs"]
mod alone;
mod common;

use std::path::PathBuf;
use std::time::Duration;

use concurrent_futures::{Executor as _, ExecutorExt as _, ProcessPoolExecutor, StartMethod};
use rustix::process::{Pid, Signal, kill_process};

use self::alone::{alone, children, descriptors};
use self::common::{Gate, Key, eventually, within};

concurrent_futures::init_before_main!();

fn double(x: u64) -> u64 {
    x * 2
}

fn wait_at(gate: Key) {
    gate.wait();
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
fn a_stopped_zygote_holds_up_neither_a_death_nor_a_start_nor_a_shutdown() {
    alone(
        "a_stopped_zygote_holds_up_neither_a_death_nor_a_start_nor_a_shutdown",
        async || {
            let before = descriptors();
            let pool = ProcessPoolExecutor::builder()
                .start_method(StartMethod::ForkServer)
                .max_workers(1)
                .spawn_timeout(Duration::from_secs(2))
                .build()
                .expect("a pool");
            assert_eq!(within(pool.submit(double, 4)).await.expect("it ran"), 8);
            let zygote = children();
            assert_eq!(zygote.len(), 1);
            kill(zygote[0], Signal::STOP);
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
    let directory = tempfile::tempdir().expect("a directory");
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
    // It is due, and has a successor that starts, when it gets its last task.
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
async fn what_is_stolen_from_a_worker_that_leaves_does_not_make_it_stay() {
    let pool = ProcessPoolExecutor::builder()
        .max_workers(1)
        .max_tasks_per_child(13)
        .build()
        .expect("a pool");
    for x in 0..10 {
        within(pool.submit(double, x)).await.expect("it ran");
    }
    // The last it may have: one that it runs, and one that is sent ahead because all were short.
    let gate = Gate::new();
    let short = pool.submit(double, 1);
    let handles = [(); 2].map(|()| pool.submit(wait_at, gate.key()));
    let third = pool.submit(double, 2);
    let first = gate.guest().await;
    let second = gate.guest().await; // In the other one, which had nothing to do.
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

/// Takes all descriptors that this process may have but two.
fn use_up_descriptors() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let few = Rlimit {
        current: Some(64),
        maximum: Some(64),
    };
    setrlimit(Resource::Nofile, few).expect("fewer than there may be");
    let mut files: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    files.truncate(files.len().saturating_sub(2));
    std::mem::forget(files);
}

#[test]
fn a_zygote_without_descriptors_refuses_and_lives() {
    alone(
        "a_zygote_without_descriptors_refuses_and_lives",
        async || {
            let pool = ProcessPoolExecutor::builder()
                .start_method(StartMethod::ForkServer)
                .max_workers(1)
                .preload(use_up_descriptors, ())
                .build()
                .expect("a pool");
            let error = within(pool.submit(double, 4)).await.expect_err("no worker");
            let zygote = children();
            assert!(error.to_string().contains("open files"), "{error}");
            within(pool.submit(double, 4)).await.expect_err("no worker");
            assert_eq!((zygote.len(), children()), (1, zygote));
            within(pool.shutdown()).await;
        },
    );
}

#[test]
fn zygotes_that_are_killed_and_stopped_at_any_moment_cost_no_answer() {
    alone(
        "zygotes_that_are_killed_and_stopped_at_any_moment_cost_no_answer",
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
