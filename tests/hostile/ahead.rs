//! Workers that forge the claims of calls that were sent ahead to them, and of their own call when they die.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use concurrent_futures::{ExecutorExt as _, StartMethod};
use rustix::process::{Signal, getpid, kill_process};

use super::common::folder::Folder;
use super::common::{Key, within};
use super::inside::{self, CANCELLED, Claim, DONE, Inside, LAST, OFFERED, REVOKED, RUNNING};
use super::methods::{builder, held_by_every_start_method};
use super::trial::{Trial, double};

held_by_every_start_method! { 1;
    a_dying_worker_spoils_no_call_that_it_has_ahead,
    a_worker_that_takes_the_objects_of_calls_ahead_spoils_none,
    a_dying_worker_has_its_own_task_run_a_bounded_number_of_times,
}

/// The number of calls ahead of a hostile task.
const AHEAD: usize = 20;

fn die() {
    kill_process(getpid(), Signal::KILL).expect("it is there");
}

/// Waits until the calls behind its own have been submitted, and then until they have arrived.
fn ahead(inside: &Inside, gate: &Key) -> Vec<Claim> {
    gate.wait();
    let seq = inside.own().seq;
    loop {
        // Whenever the parent reads a message, it sends more calls.
        inside.send(&inside::message(inside::PROGRESS, &inside::one_number(seq)));
        let ahead = inside.calls_ahead();
        if ahead.len() >= AHEAD {
            return ahead;
        }
        std::thread::yield_now();
    }
}

/// Sets all calls ahead to this stage, and dies.
fn forge_ahead(stage: u8, gate: Key) {
    let inside = Inside::find();
    for claim in ahead(&inside, &gate) {
        let word = Claim { stage, ..claim }.to_word();
        inside.claim(claim.seq).store(word, Ordering::Release);
    }
    die();
}

/// Claims to have taken the objects of all calls ahead, and continues.
fn take_ahead(gate: Key) {
    let inside = Inside::find();
    for claim in ahead(&inside, &gate) {
        let stage = RUNNING;
        let word = Claim { stage, ..claim }.to_word();
        inside.claim(claim.seq).store(word, Ordering::Release);
        inside.send(&inside::message(
            inside::TAKEN,
            &inside::one_number(claim.seq),
        ));
    }
    gate.wait();
}

/// Makes the pool measure how short its tasks are, so that it sends many ahead.
async fn learn(trial: &Trial) {
    for number in 0..50 {
        let doubled = within(trial.pool.submit(double, number)).await;
        assert_eq!(doubled.expect("it is honest"), 2 * number);
    }
}

async fn a_dying_worker_spoils_no_call_that_it_has_ahead(method: StartMethod) {
    let mut trial = Trial::new(builder(method).max_workers(1));
    for stage in [RUNNING, DONE, REVOKED, LAST, CANCELLED, 99] {
        learn(&trial).await;
        let hostile = trial.pool.submit(forge_ahead, (stage, trial.key()));
        let guest = trial.hostile().await;
        trial.submit_honest(AHEAD as u32);
        guest.let_in().await;
        let error = within(hostile).await.expect_err("it died");
        assert!(error.is_worker_lost(), "{error}");
        trial.all_honest().await;
    }
    trial.harms_no_other().await;
}

async fn a_worker_that_takes_the_objects_of_calls_ahead_spoils_none(method: StartMethod) {
    let mut trial = Trial::new(builder(method).max_workers(1));
    learn(&trial).await;
    let hostile = trial.pool.submit(take_ahead, trial.key());
    let guest = trial.hostile().await;
    trial.submit_with_objects(AHEAD as u32);
    guest.let_in().await;
    let error = within(hostile).await.expect_err("it broke the protocol");
    super::trial::is_breach(&error, "objects");
    trial.harms_no_other().await;
}

/// Records that it runs, sets its own call to this stage, and dies.
fn die_as(stage: u8, runs: PathBuf) {
    let file = File::options().append(true).create(true).open(runs);
    let noted = file.and_then(|mut file| file.write_all(b"."));
    noted.expect("the test's folder is there");
    Inside::find().claim_as(|own| Claim { stage, ..own });
    die();
}

async fn a_dying_worker_has_its_own_task_run_a_bounded_number_of_times(method: StartMethod) {
    let (mut trial, runs) = (Trial::new(builder(method).max_workers(1)), Folder::new());
    // If a worker reports that it has not started a call, the parent accepts that three times.
    for (stage, most) in [(REVOKED, 1), (DONE, 1), (LAST, 1), (200, 1), (OFFERED, 3)] {
        let file = runs.path().join(stage.to_string());
        let hostile = trial.pool.submit(die_as, (stage, file.clone()));
        let error = within(hostile).await.expect_err("it died");
        assert!(error.is_worker_lost(), "{error}");
        let ran = fs::read(file).expect("it ran").len();
        assert!(ran <= most, "it ran {ran} times with stage {stage}");
        trial.submit_honest(20);
    }
    trial.harms_no_other().await;
}
