//! Claims that make no sense.

use std::time::Duration;

use concurrent_futures::{ExecutorExt as _, StartMethod, TaskOptions};

use super::common::{Key, in_thread, within};
use super::inside::{Claim, Inside};
use super::methods::{builder, held_by_every_start_method};
use super::trial::Trial;

held_by_every_start_method! { 1;
    a_claim_that_makes_no_sense_holds_up_no_cancel,
}

/// Gives its claim this stage, and runs on.
fn forge_stage(stage: u8, gate: Key) {
    Inside::find().claim_as(|own| Claim { stage, ..own });
    gate.wait();
}

async fn a_claim_that_makes_no_sense_holds_up_no_cancel(method: StartMethod) {
    let mut trial = Trial::new(builder(method).max_workers(2));
    for stage in [8, 100, 255] {
        for grace in [Duration::ZERO, Duration::from_millis(10)] {
            let options = TaskOptions::new().grace_period(grace);
            let hostile = trial
                .pool
                .submit_with(&options, forge_stage, (stage, trial.key()));
            let guest = trial.hostile().await;
            trial.submit_honest(20);
            let hostile = within(in_thread(move || {
                hostile.abort();
                hostile
            }));
            let error = hostile.await.await.expect_err("it was cancelled");
            assert!(error.is_cancelled(), "{error}");
            guest.gone().await; // Its worker was killed.
        }
    }
    trial.harms_nobody().await;
}
