//! Workers that forge times, or make no progress. The parent's own clock decides. Each test takes the ten seconds after
//! which a worker counts as stalled, so it runs with only one start method: all of them lead to the same worker.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, TaskOptions};
use rustix::process::{Pid, Signal, kill_process};

use super::common::folder::Folder;
use super::common::{Key, in_thread, within};
use super::inside::{
    CONDEMNED, Claim, DONE, Inside, OFFERED, OVERDUE, REVOKED, call, outcomes, value,
};
use super::trial::Trial;

/// The ways in which a worker forges the state of a task that continues.
const LIES: [&str; 9] = [
    "offered",
    "done",
    "revoked",
    "condemned",
    "overdue",
    "another call's",
    "begins in the future",
    "begins again and again",
    "half a frame",
];

/// Forges its state, and never ends. If it runs again, it is honest.
fn lie(number: usize, gate: Key, runs: PathBuf) {
    if File::create_new(runs).is_ok() {
        tell(LIES[number]);
    }
    gate.wait();
}

fn tell(lie: &str) {
    let inside = Inside::find();
    let own = inside.own();
    let stage = |stage| inside.claim_as(|own| Claim { stage, ..own });
    let begun = inside.begun(own.seq);
    match lie {
        "offered" => stage(OFFERED),
        "done" => stage(DONE),
        "revoked" => stage(REVOKED),
        "condemned" => stage(CONDEMNED),
        "overdue" => stage(OVERDUE),
        "another call's" => inside.claim_as(|own| Claim {
            seq: own.seq + 1,
            ..own
        }),
        "begins in the future" => begun.store(u64::MAX, Ordering::Relaxed),
        "begins again and again" => drop(std::thread::spawn(move || {
            loop {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
                let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
                begun.store(now, Ordering::Relaxed);
            }
        })),
        "half a frame" => inside.send(&[200, 0, 0, 0, 67, 64]),
        _ => unreachable!("{lie}"),
    }
}

/// Each forgery, with a task that is ended at once and with one that has a grace period.
fn liars() -> impl Iterator<Item = (usize, Duration)> {
    let graces = [Duration::ZERO, Duration::from_millis(20)];
    (0..LIES.len()).flat_map(move |number| graces.map(|grace| (number, grace)))
}

fn trial() -> (Trial, Folder) {
    let workers = liars().count() + 1;
    (
        Trial::new(ProcessPoolExecutor::builder().max_workers(workers)),
        Folder::new(),
    )
}

#[tokio::test]
async fn a_time_out_ends_a_task_whatever_its_worker_says() {
    let (mut trial, runs) = trial();
    let mut tasks = Vec::new();
    for (place, (number, grace)) in liars().enumerate() {
        let options = TaskOptions::new().timeout(Duration::from_millis(50));
        let options = options.grace_period(grace);
        let runs = runs.path().join(place.to_string());
        let task = trial
            .pool
            .submit_with(&options, lie, (number, trial.key(), runs));
        tasks.push((number, task, trial.hostile().await));
    }
    trial.submit_honest(50);
    for (number, task, guest) in tasks {
        let error = within(task).await.expect_err("its time is over");
        let is_ended = error.is_timeout() || error.is_worker_lost();
        assert!(is_ended, "{}: {error}", LIES[number]);
        guest.gone().await; // Its worker was killed.
    }
    trial.harms_no_other().await;
}

#[tokio::test]
async fn an_abort_ends_a_task_whatever_its_worker_says() {
    let (mut trial, runs) = trial();
    let mut guests = Vec::new();
    for (place, (number, grace)) in liars().enumerate() {
        let options = TaskOptions::new().grace_period(grace);
        let runs = runs.path().join(place.to_string());
        let task = trial
            .pool
            .submit_with(&options, lie, (number, trial.key(), runs));
        guests.push((number, trial.hostile().await));
        let aborted = in_thread(move || {
            task.abort();
            task
        });
        let error = within(aborted).await.await.expect_err("it was cancelled");
        assert!(error.is_cancelled(), "{}: {error}", LIES[number]);
    }
    for (_, guest) in guests {
        guest.gone().await; // Its worker was killed.
    }
    trial.submit_honest(50);
    trial.harms_no_other().await;
}

#[tokio::test]
async fn a_call_to_a_stopped_worker_runs_in_another() {
    let mut trial = Trial::new(ProcessPoolExecutor::builder().max_workers(3));
    within(trial.pool.warm_up()).await.expect("three workers");
    for worker in &trial.pool.workers()[..2] {
        let pid = Pid::from_raw(worker.pid().cast_signed()).expect("a pid");
        kill_process(pid, Signal::STOP).expect("it is there");
    }
    let options = TaskOptions::new().timeout(Duration::from_secs(20));
    let timed = trial.pool.submit_with(&options, std::process::id, ());
    trial.submit_honest(50);
    within(timed).await.expect("it ran in another worker");
    trial.harms_no_other().await;
}

#[tokio::test]
async fn a_worker_that_only_pretends_to_accept_bytes_stands_still() {
    /// Posts its own outcome and never returns. Meanwhile it makes its ring look as if it accepted bytes all the time.
    fn answer_and_stay() -> u64 {
        let inside = Inside::find();
        let own = inside.own();
        inside.claim_as(|own| Claim { stage: DONE, ..own });
        inside.send(&outcomes(&[call(own.seq, own.item), value(7)].concat()));
        for held in (1..1 << 20).cycle() {
            let read = 0_u32.wrapping_sub(held);
            inside.ring(0, 128).store(read.into(), Ordering::SeqCst);
            std::thread::yield_now();
        }
        0
    }
    let mut trial = Trial::new(ProcessPoolExecutor::builder().max_workers(1));
    let answered = trial.pool.submit(answer_and_stay, ());
    assert_eq!(within(answered).await.expect("it says so"), 7);
    trial.submit_honest(5);
    trial.harms_no_other().await;
}
