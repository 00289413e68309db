//! Which input an outcome belongs to, on every kind of executor.

#![cfg(feature = "process")]
#[cfg(target_os = "linux")]
#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/kinds.rs"]
mod kinds;
#[path = "common/methods.rs"]
mod methods;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use concurrent_futures::{
    ExecutorExt as _, Keyed, ReturnWhen, Shutdown, TaskError, ThreadPoolExecutor, as_completed,
    wait,
};
use futures::{FutureExt as _, Stream as _, StreamExt as _, TryStreamExt as _};

use self::common::{Gate, Key, eventually, within};
use self::kinds::{Kind, held_by_every_executor};

concurrent_futures::init_before_main!();

held_by_every_executor! { 2;
    an_outcome_says_which_input_it_belongs_to,
    a_wait_takes_handles_with_keys,
    at_a_timeout_each_key_that_is_left_has_its_error,
    a_keyed_handle_outlives_a_wait_by_reference,
    each_result_of_a_map_comes_with_its_key_in_any_order,
    an_error_of_a_map_knows_the_index_of_its_item,
    the_end_of_a_keyed_map_belongs_to_no_key,
}

/// 12 divided by the number; a panic for 0.
fn share(people: u32) -> u32 {
    12 / people
}

fn pass(gate: Key) {
    gate.wait();
}

fn twice(n: u64) -> u64 {
    assert_ne!(n % 100, 7);
    n * 2
}

/// The functions that a cluster knows.
#[cfg(all(feature = "cluster", target_os = "linux"))]
fn named_tasks() -> concurrent_futures::cluster::Functions {
    concurrent_futures::functions![share, pass, twice]
}

async fn an_outcome_says_which_input_it_belongs_to(kind: Kind) {
    let pool = kind.bounded(2, 8);
    let handles = [3, 0, 4, 6].map(|people| pool.submit(share, people).with(people));
    let mut outcomes = as_completed(handles);
    let mut seen = BTreeSet::new();
    while let Some((people, outcome)) = within(outcomes.next()).await {
        seen.insert(people);
        match outcome {
            Ok(each) => assert_eq!(each * people, 12),
            Err(error) => assert!(people == 0 && error.is_panic(), "{error}"),
        }
    }
    assert_eq!(seen, BTreeSet::from([0, 3, 4, 6]));
    let (key, outcome) = within(pool.submit(share, 2).with(Rc::new("two"))).await;
    assert_eq!((*key, outcome.expect("6")), ("two", 6));
}

async fn a_wait_takes_handles_with_keys(kind: Kind) {
    let pool = kind.pool(1);
    let handles = [3, 0].map(|people| pool.submit(share, people).with(people));
    let waited = within(wait(handles, ReturnWhen::AllCompleted)).await;
    let done: Vec<_> = waited
        .done
        .into_iter()
        .map(|(key, each)| (key, each.ok()))
        .collect();
    assert_eq!(done, [(3, Some(4)), (0, None)]);
    let gate = Gate::new();
    let fails = pool.submit(share, 0).map(|outcome| ("fails", outcome));
    let blocks = pool
        .submit(pass, gate.key())
        .map(|outcome| ("blocks", outcome.map(|()| 0)));
    let handles = [fails.boxed(), blocks.boxed()]; // Any future of a key and an outcome.
    let waited = within(wait(handles, ReturnWhen::FirstError)).await;
    assert_eq!(waited.done[0].0, "fails");
    assert_eq!(waited.pending.len(), 1);
}

async fn at_a_timeout_each_key_that_is_left_has_its_error(kind: Kind) {
    let pool = kind.pool(3);
    let gate = Gate::new();
    let quick = pool.submit(share, 3);
    eventually(|| quick.is_finished()).await;
    let quick = quick.map(|outcome| outcome.map(drop)).boxed();
    let slow = [(); 2].map(|()| pool.submit(pass, gate.key()).boxed());
    let handles = std::iter::once(quick).chain(slow).enumerate();
    let handles = handles.map(|(key, handle)| Keyed::new(key, handle));
    let mut outcomes = as_completed(handles).timeout(Duration::from_millis(100));
    let (key, outcome) = within(outcomes.next()).await.expect("the quick one");
    assert_eq!(key, 0);
    outcome.expect("a result");
    let late: Vec<_> = within(outcomes.by_ref().collect()).await;
    let keys: BTreeSet<_> = late.iter().map(|(key, _)| *key).collect();
    assert_eq!((late.len(), keys), (2, BTreeSet::from([1, 2])));
    for (_, outcome) in late {
        assert!(outcome.expect_err("late").is_timeout());
    }
    assert_eq!(outcomes.size_hint(), (0, Some(0)));
}

async fn a_keyed_handle_outlives_a_wait_by_reference(kind: Kind) {
    let pool = kind.pool(1);
    let gate = Gate::new();
    let mut keyed = pool.submit(pass, gate.key()).with("slow");
    let mut outcomes = as_completed([&mut keyed]).timeout(Duration::ZERO);
    let (key, outcome) = within(outcomes.next()).await.expect("a timeout");
    assert!(key == "slow" && outcome.expect_err("late").is_timeout());
    drop(outcomes);
    assert_eq!(*keyed.key(), "slow");
    drop(gate);
    within(keyed).await.1.expect("it goes on");
}

async fn each_result_of_a_map_comes_with_its_key_in_any_order(kind: Kind) {
    let pool = kind.pool(2);
    for (unordered, chunk_size) in [(false, 1), (true, 1), (false, 64), (true, 64)] {
        let pairs = (0..500_u64).map(|n| (format!("key {n}"), n));
        let mut results = pool.map_keyed(twice, pairs).chunk_size(chunk_size);
        if unordered {
            results = results.unordered();
        }
        let results: Vec<_> = within(results.try_collect()).await.expect("no early end");
        assert_eq!(results.len(), 500);
        let mut keys = Vec::new();
        for (key, outcome) in results {
            let n: u64 = key
                .strip_prefix("key ")
                .expect("a key")
                .parse()
                .expect("a number");
            match outcome {
                Ok(double) => assert_eq!(double, n * 2),
                Err(error) => {
                    assert!(n % 100 == 7 && error.is_panic(), "{n}: {error}");
                    assert_eq!(error.index(), Some(n as usize));
                }
            }
            keys.push(n);
        }
        if unordered {
            keys.sort_unstable();
        }
        assert!(keys.into_iter().eq(0..500));
    }
}

async fn an_error_of_a_map_knows_the_index_of_its_item(kind: Kind) {
    let pool = kind.pool(2);
    for unordered in [false, true] {
        let people: Vec<u32> = (0..300).map(|n| u32::from(n % 50 != 9)).collect();
        let mut shares = pool.map(share, people.clone());
        if unordered {
            shares = shares.unordered();
        }
        let shares: Vec<_> = within(shares.collect()).await;
        let mut failed = Vec::new();
        for error in shares.into_iter().filter_map(Result::err) {
            let index = error.index().expect("an item");
            assert!(
                error.to_string().contains(&format!("(item {index})")),
                "{error}"
            );
            failed.push(index);
        }
        failed.sort_unstable();
        assert_eq!(failed, [9, 59, 109, 159, 209, 259]);
    }
    let error = within(pool.submit(share, 0)).await.expect_err("0");
    assert_eq!(error.index(), None);
}

async fn the_end_of_a_keyed_map_belongs_to_no_key(kind: Kind) {
    let pool = kind.pool(1);
    let gate = Gate::new();
    let pairs = [("gate", gate.key())];
    let mut results = pool
        .map_keyed(pass, pairs)
        .timeout(Duration::from_millis(100));
    let error = within(results.try_next()).await.expect_err("late");
    assert!(error.is_timeout() && error.index().is_none(), "{error}");
    assert!(within(results.try_next()).await.expect("the end").is_none());
    within(pool.shutdown_with(Shutdown::new().deadline(Duration::ZERO))).await;
    let mut results = pool.map_keyed(share, [("late", 3)]);
    let error = within(results.try_next()).await.expect_err("shut down");
    assert!(error.is_shutdown() && error.index().is_none(), "{error}");
}

/// The thread pool's own methods need nothing of serde for keys and functions.
#[tokio::test]
async fn a_map_of_threads_gives_inputs_back() -> Result<(), TaskError> {
    let pool = ThreadPoolExecutor::with_workers(2).expect("threads");
    let suffix = String::from("!");
    let add = move |word: &'static str| format!("{word}{suffix}");
    let words = ["a", "b", "c"];
    let shouts: Vec<_> = pool
        .map_keyed(add, words.map(|word| (word, word)))
        .try_collect()
        .await?;
    for (word, shout) in shouts {
        assert_eq!(shout?, format!("{word}!"));
    }
    Ok(())
}
