//! Calls that fail, each item separately.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::common::{Gate, Key, within};
use super::*;
use crate::{ExecutorExt as _, functions};

fn fail(x: u32) -> u32 {
    assert!(x != 3, "three is no good");
    12 / x
}

#[tokio::test]
async fn a_panic_fails_its_item_as_it_fails_a_submit() {
    for on in executors(1) {
        for x in [0, 3] {
            let direct = within(on.submit(fail, x)).await.unwrap_err();
            let relayed = relay_one(&*on, fail, x).await.unwrap_err();
            assert!(relayed.is_panic() && relayed.was_started());
            assert_eq!(relayed.to_string(), direct.to_string());
            assert_eq!(relayed.panic_location(), direct.panic_location());
        }
        let results = relay_all(&*on, fail, [1, 0, 2, 3, 4]).await;
        let results = results.into_iter().map(Result::ok);
        assert!(results.eq([Some(12), None, Some(6), None, Some(3)]));
    }
}

/// Its decoding fails for 1, and panics for 2. Its encoding fails for 3, and panics for 4.
#[derive(Debug, PartialEq)]
struct Picky(u8);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            3 => Err(serde::ser::Error::custom("no three")),
            4 => panic!("no four"),
            x => x.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            1 => Err(serde::de::Error::custom("no one")),
            2 => panic!("no two"),
            x => Ok(Self(x)),
        }
    }
}

fn pick(picky: Picky, add: u8) -> Picky {
    Picky(picky.0 + add)
}

#[tokio::test]
async fn an_item_that_cannot_be_decoded_or_encoded_fails_alone() {
    for on in executors(1) {
        let items =
            [(0, 0), (1, 0), (2, 0), (0, 3), (0, 4), (5, 1)].map(|(x, add)| (Picky(x), add));
        let results = relay_all(&*on, pick, items).await;
        let texts = results.iter().map(|result| match result {
            Ok(Picky(x)) => x.to_string(),
            Err(error) => {
                assert!(error.is_codec());
                format!("{} {error}", error.was_started())
            }
        });
        let texts: Vec<String> = texts.collect();
        let expected = ["0", "no one", "no two", "no three", "no four", "6"];
        for (text, expected) in texts.iter().zip(expected) {
            assert!(text.contains(expected), "{text}");
        }
        for (text, started) in texts[1..5].iter().zip([false, false, true, true]) {
            assert!(text.starts_with(&started.to_string()), "{text}");
        }
    }
}

#[tokio::test]
async fn arguments_of_another_type_are_an_error_of_their_item() {
    for on in executors(1) {
        let (bytes, items) = payload([Some("text".to_owned()), None]);
        let sent = send_bytes(&*on, &functions![pick_one], (bytes, items));
        let results = sent.results::<Option<u8>>().await;
        assert!(results[0].as_ref().unwrap_err().is_codec());
        assert_eq!(results[1].as_ref().expect("it is none"), &None);
    }
}

fn pick_one(x: Option<u8>) -> Option<u8> {
    x
}

static RUNS: AtomicUsize = AtomicUsize::new(0);

fn count(x: u64) -> u64 {
    RUNS.fetch_add(1, Ordering::Relaxed);
    x
}

#[tokio::test]
async fn a_payload_that_does_not_hold_its_items_runs_none() {
    let (bytes, _) = payload([1_u64, 2, 3]);
    let on = threads(1);
    let cases = [
        (bytes.clone(), 2, "too long"),
        (bytes.clone(), 4, "too short"),
        (bytes.slice(..bytes.len() - 1), 3, "too short"),
        (Bytes::new(), 1, "too short"),
        (bytes.clone(), 0, "too long"),
        (bytes, u32::MAX, "4294967295 items"),
    ];
    for (bytes, items, reason) in cases {
        let outcomes = send_bytes(&*on, &functions![count], (bytes, items))
            .outcomes()
            .await;
        match &outcomes.runs[..] {
            [] => assert_eq!(items, 0),
            [
                RelayedRun::Failed {
                    first: 0,
                    count,
                    error,
                },
            ] => {
                assert_eq!(*count, items);
                assert!(error.is_codec() && !error.was_started());
                assert!(error.to_string().contains(reason), "{error}");
            }
            runs => panic!("{runs:?}"),
        }
    }
    within(on.shutdown()).await;
    assert_eq!(RUNS.load(Ordering::Relaxed), 0);
}

fn wait_if(gate: Option<Key>) -> u8 {
    gate.map_or(1, |gate| {
        gate.wait();
        2
    })
}

#[tokio::test]
async fn an_item_over_its_time_fails_alone() {
    for on in executors(2) {
        let gate = Gate::new();
        let items = [None, Some(gate.key()), None, None];
        let options = TaskOptions::new().timeout(Duration::from_millis(100));
        let results = send(&*on, wait_if, items, &options).results::<u8>().await;
        let late = results[1].as_ref().unwrap_err();
        assert!(late.is_timeout() && late.was_started());
        for item in [0, 2, 3] {
            assert_eq!(results[item].as_ref().ok(), Some(&1), "{item}");
        }
    }
}

fn exit_at(x: u8, fatal: u8) -> u8 {
    if x == fatal {
        std::process::exit(9);
    }
    x
}

#[tokio::test]
async fn a_worker_that_dies_fails_the_item_that_it_ran_and_no_retry_runs_it_again() {
    let on = processes(2);
    let items = (0..20).map(|x| (x, 7));
    let options = TaskOptions::new().retries(5);
    let results = send(&*on, exit_at, items, &options).results::<u8>().await;
    for (x, result) in (0..20).zip(results) {
        match result {
            Ok(y) => assert_eq!(x, y),
            Err(error) => {
                assert_eq!(x, 7);
                assert!(error.is_worker_lost() && error.was_started());
                assert_eq!((error.exit_code(), error.attempts()), (Some(9), 1));
            }
        }
    }
}

fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

#[tokio::test]
async fn an_item_larger_than_a_frame_fails_alone() {
    let pool = ProcessPoolExecutor::builder()
        .max_workers(1)
        .max_frame_length(100_000)
        .build();
    let on = pool.expect("a pool");
    let items = [10, 200_000, 30].map(|len| vec![1_u8; len]);
    let results = relay_all(&on, length, items).await;
    assert!(
        results[1]
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains("max_frame_length")
    );
    assert!((results[0].as_ref().ok(), results[2].as_ref().ok()) == (Some(&10), Some(&30)));
}

#[tokio::test]
async fn a_cancel_ends_what_waits_and_what_runs() {
    for on in executors(1) {
        let gate = Gate::new();
        let options = TaskOptions::new();
        let running = send(&*on, wait_if, [Some(gate.key())], &options);
        let guest = gate.guest().await;
        let waiting = send(&*on, wait_if, [None, None], &options);
        assert!(running.relayed.is_running() && !waiting.relayed.is_running());
        waiting.relayed.cancel();
        for result in waiting.results::<u8>().await {
            let error = result.unwrap_err();
            assert!(error.is_cancelled() && !error.was_started());
        }
        running.relayed.cancel();
        running.relayed.cancel();
        let error = running.results::<u8>().await.remove(0).unwrap_err();
        assert!(error.is_cancelled() && error.was_started());
        drop((guest, gate));
        assert_eq!(
            relay_one(&*on, wait_if, None)
                .await
                .expect("its worker is free"),
            1
        );
    }
}

#[tokio::test]
async fn an_executor_that_takes_no_call_fails_all_its_items() {
    for on in executors(1) {
        within(on.shutdown()).await;
        for result in relay_all(&*on, wait_if, [None, None]).await {
            assert!(result.unwrap_err().is_shutdown());
        }
    }
    for on in executors(1) {
        let gate = Gate::new();
        let first = send(&*on, wait_if, [Some(gate.key())], &TaskOptions::new());
        let guest = gate.guest().await;
        let second = send(&*on, wait_if, [None], &TaskOptions::new());
        let how = crate::Shutdown::new()
            .cancel_pending(true)
            .deadline(Duration::ZERO);
        within(on.shutdown_with(how)).await;
        drop((guest, gate));
        assert!(
            second.results::<u8>().await[0]
                .as_ref()
                .unwrap_err()
                .is_cancelled()
        );
        drop(first.outcomes().await);
    }
}
