//! Invalid claims.

use std::time::Duration;

use concurrent_futures::{Executor as _, ExecutorExt as _, StartMethod, TaskOptions};
use futures::StreamExt as _;

use super::common::{Gate, Key, eventually, in_thread, within};
use super::inside::{CONDEMNED, Claim, Inside, RUNNING};
use super::methods::{builder, held_by_every_start_method};
use super::trial::{Trial, is_breach};

held_by_every_start_method! { 1;
    a_claim_that_makes_no_sense_holds_up_no_cancel,
    a_claim_that_changes_all_the_time_holds_up_no_cancel,
    a_claim_that_makes_no_sense_holds_up_no_dropped_map,
    a_claim_that_makes_no_sense_holds_up_no_shutdown,
    an_item_below_those_that_were_answered_is_a_breach,
}

/// How a task forges its claim.
fn forge(claim: Claim, how: u8) -> Claim {
    match how {
        8..=255 => Claim {
            stage: how,
            ..claim
        },
        0 => Claim {
            seq: claim.seq + 1,
            ..claim
        },
        1 => Claim {
            seq: claim.seq.wrapping_sub(64),
            ..claim
        },
        2 => Claim {
            item: (1 << 24) - 1,
            ..claim
        },
        _ => Claim {
            item: claim.item + 1,
            ..claim
        },
    }
}

const FORGERIES: [u8; 7] = [0, 1, 2, 3, 8, 100, 255];

/// Forges its claim, and continues to run.
fn forge_claim(how: u8, gate: Key) {
    Inside::find().claim_as(|own| forge(own, how));
    gate.wait();
}

/// Changes its claim again and again, faster than the parent can follow.
fn flicker(gate: Key) {
    let inside = Inside::find();
    let own = inside.own();
    let claim = inside.claim(own.seq);
    std::thread::spawn(move || {
        loop {
            for stage in [RUNNING, CONDEMNED] {
                let word = Claim { stage, ..own }.to_word();
                claim.store(word, std::sync::atomic::Ordering::Release);
            }
        }
    });
    gate.wait();
}

async fn a_claim_that_makes_no_sense_holds_up_no_cancel(method: StartMethod) {
    let mut trial = Trial::new(builder(method).max_workers(2));
    for how in FORGERIES {
        for grace in [Duration::ZERO, Duration::from_millis(10)] {
            let options = TaskOptions::new().grace_period(grace);
            let pool = &trial.pool;
            let hostile = pool.submit_with(&options, forge_claim, (how, trial.key()));
            let guest = trial.hostile().await;
            trial.submit_honest(20);
            let aborted = within(in_thread(move || {
                hostile.abort();
                hostile
            }));
            let error = aborted.await.await.expect_err("it was cancelled");
            assert!(error.is_cancelled(), "{error}");
            guest.gone().await; // Its worker was killed.
        }
    }
    trial.harms_no_other().await;
}

async fn a_claim_that_changes_all_the_time_holds_up_no_cancel(method: StartMethod) {
    let mut trial = Trial::new(builder(method).max_workers(2));
    for _ in 0..5 {
        let hostile = trial.pool.submit(flicker, trial.key());
        let guest = trial.hostile().await;
        trial.submit_honest(20);
        let handle = hostile.abort_on_drop();
        within(in_thread(move || drop(handle))).await;
        guest.gone().await;
    }
    trial.harms_no_other().await;
}

async fn a_claim_that_makes_no_sense_holds_up_no_dropped_map(method: StartMethod) {
    let mut trial = Trial::new(builder(method).max_workers(2));
    for how in FORGERIES {
        let items = vec![(how, trial.key())];
        let mut map = trial.pool.map(forge_claim, items);
        let guest = tokio::select! {
            guest = trial.hostile() => guest,
            _ = map.next() => panic!("it stands at the gate"),
        };
        trial.submit_honest(20);
        within(in_thread(move || drop(map))).await;
        guest.gone().await;
    }
    trial.harms_no_other().await;
}

async fn a_claim_that_makes_no_sense_holds_up_no_shutdown(method: StartMethod) {
    for how in FORGERIES {
        let mut trial = Trial::new(builder(method).max_workers(2));
        let hostile = trial.pool.submit(forge_claim, (how, trial.key()));
        let guest = trial.hostile().await;
        trial.submit_honest(20);
        let pool = trial.pool.clone();
        within(in_thread(move || pool.terminate_workers())).await;
        guest.gone().await;
        let error = within(hostile).await.expect_err("it was ended");
        assert!(error.is_worker_lost() || error.is_shutdown(), "{error}");
    }
}

/// Items 0 to 4 return at once. In the next one, the claim is set back to the first.
fn go_back(item: u32, gate: Key) -> u32 {
    if item == 5 {
        gate.wait();
        Inside::find().claim_as(|own| Claim { item: 0, ..own });
        gate.wait();
    }
    item
}

fn hold(gate: Key) {
    gate.wait();
}

async fn an_item_below_those_that_were_answered_is_a_breach(method: StartMethod) {
    let mut trial = Trial::new(builder(method).max_workers(2));
    let busy = Gate::new();
    let other = trial.pool.submit(hold, busy.key());
    let other_guest = busy.guest().await;
    let gate = trial.key();
    let items: Vec<_> = (0..12).map(|item| (item, gate.clone())).collect();
    let map = trial.pool.map(go_back, items).chunk_size(12);
    let outcomes = tokio::spawn(map.collect::<Vec<_>>());
    let guest = trial.hostile().await;
    // The parent has the outcomes of the items before.
    eventually(|| trial.pool.stats().finished == 5).await;
    guest.let_in().await;
    let guest = trial.hostile().await;
    // A worker is free for the rest of the chunk.
    other_guest.let_in().await;
    within(other).await.expect("it is honest");
    guest.gone().await;
    let outcomes = within(outcomes).await.expect("no panic");
    assert_eq!(outcomes.len(), 12);
    for (item, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(returned) => assert_eq!((returned, item == 5), (item, false)),
            Err(error) => {
                assert_eq!(item, 5, "{error}");
                is_breach(&error, "claim");
            }
        }
    }
    trial.submit_honest(20);
    trial.harms_no_other().await;
}
