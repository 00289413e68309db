//! How late a runtime is while there is more work than processors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::Either;
use futures::stream::{self, StreamExt as _};
use tokio::time::{MissedTickBehavior, interval};

use super::contender::{Compute, Contender, Noop};

const BEAT: Duration = Duration::from_millis(1);

/// How many calls are in flight; one in `LONG` of them is long.
const AHEAD: usize = 1000;
const LONG: u64 = 50;

/// The delays of the heartbeat during `time`, in seconds: the median and the 99th percentile.
pub(crate) async fn lateness(time: Duration) -> (f64, f64) {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let start = Instant::now();
    let mut late = Vec::new();
    while start.elapsed() < time {
        let due = beats.tick().await;
        late.push(due.elapsed().as_secs_f64());
    }
    late.sort_unstable_by(f64::total_cmp);
    (late[late.len() / 2], late[late.len() * 99 / 100])
}

/// Keeps all workers computing, and submits and awaits small calls all the time. Never ends.
pub(crate) async fn load<C: Contender>(contender: Arc<C>) {
    let calls = stream::iter(0..).map(|n: u64| match n.is_multiple_of(LONG) {
        true => Either::Left(contender.submit::<Compute<5>>(())),
        false => Either::Right(contender.submit::<Noop>(())),
    });
    calls.buffer_unordered(AHEAD).for_each(async |()| ()).await;
}
