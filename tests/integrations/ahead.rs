//! Work is sent ahead to workers, several items at a time. Even so, no item waits behind a long one while another
//! worker is idle.

#![cfg(target_os = "linux")]

#[path = "../common/again.rs"]
mod again;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/kinds.rs"]
mod kinds;
#[path = "../common/methods.rs"]
mod methods;

use std::time::{Duration, Instant};

use concurrent_futures::{Executor, ExecutorExt as _};
use futures::{StreamExt as _, poll};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use self::common::{Gate, Key, within};
use self::kinds::{Kind, held_by_every_executor};

concurrent_futures::init_before_main!();

held_by_every_executor! {
    1; a_long_task_never_delays_another_while_a_worker_is_idle,
    2; whatever_is_mixed_no_quick_task_waits_for_the_long_one,
}

/// The long task, if it has a gate. Otherwise a task that works for `micros` microseconds.
fn task(gate: Option<Key>, micros: u64, n: usize) -> usize {
    if let Some(gate) = gate {
        gate.wait();
    }
    let end = Instant::now() + Duration::from_micros(micros);
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    n
}

/// Quick tasks around a long one.
#[derive(Clone, Copy, Debug)]
struct Mix {
    before: usize,
    after: usize,
    micros: u64,
    way: Way,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Submit,
    Map,
    /// The long one is the last of its chunk.
    MapInChunks(usize),
}

/// All quick tasks must end before the long one may.
async fn run(executor: &dyn Executor, mut mix: Mix) {
    if let Way::MapInChunks(size) = mix.way {
        mix.before = mix.before.next_multiple_of(size) + size - 1;
    }
    let gate = Gate::new();
    let (key, quick) = (gate.key(), mix.before + mix.after);
    let items = (0..=quick).map(move |n| {
        let key = (n == mix.before).then(|| key.clone());
        (key, mix.micros, n)
    });
    let mut done: Vec<usize> = Vec::new();
    let last = match mix.way {
        Way::Submit => {
            let mut handles: Vec<_> = items.map(|item| executor.submit(task, item)).collect();
            let long = handles.remove(mix.before);
            for handle in handles {
                done.push(within(handle).await.expect("it runs"));
            }
            assert!(!long.is_finished());
            gate.guest().await.let_in().await;
            within(long).await
        }
        Way::Map | Way::MapInChunks(_) => {
            let mut results = executor.map(task, items).unordered();
            if let Way::MapInChunks(size) = mix.way {
                results = results.chunk_size(size);
            }
            while done.len() < quick {
                let result = within(results.next()).await.expect("there are more");
                done.push(result.expect("it runs"));
            }
            assert!(poll!(results.next()).is_pending());
            gate.guest().await.let_in().await;
            within(results.next()).await.expect("one is left")
        }
    };
    assert_eq!(last.expect("it was let in"), mix.before);
    done.sort_unstable();
    assert!(
        done.into_iter()
            .eq((0..=quick).filter(|n| *n != mix.before))
    );
}

async fn a_long_task_never_delays_another_while_a_worker_is_idle(kind: Kind) {
    let pool = kind.pool(2);
    for way in [Way::Submit, Way::Map, Way::MapInChunks(16)] {
        for before in [5000, 0, 1, 40] {
            // The tasks before are quick, so many of them are sent ahead when the long one starts.
            let mix = Mix {
                before,
                after: 1000,
                micros: 0,
                way,
            };
            run(&*pool, mix).await;
        }
    }
    within(pool.shutdown()).await;
}

async fn whatever_is_mixed_no_quick_task_waits_for_the_long_one(kind: Kind) {
    let way = prop_oneof![
        Just(Way::Submit),
        Just(Way::Map),
        (1..40_usize).prop_map(Way::MapInChunks)
    ];
    let mixes = (0..400_usize, 0..400_usize, 0..100_u64, way);
    let mixes = mixes.prop_map(|(before, after, micros, way)| Mix {
        before,
        after,
        micros,
        way,
    });
    let mut random = TestRunner::default();
    let pool = kind.bounded(2, 2000); // Room for all of a mix.
    for _ in 0..30 {
        let mix = mixes.new_tree(&mut random).expect("any will do").current();
        println!("{mix:?}"); // Shown if the test fails.
        run(&*pool, mix).await;
    }
    within(pool.shutdown()).await;
}
