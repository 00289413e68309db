//! Calls that succeed.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::common::{Gate, Key, within};
use super::*;
use crate::{ExecutorExt as _, functions, worker};

fn none() -> u64 {
    7
}

fn nothing(_: u8) {}

fn one(x: u64) -> Option<u64> {
    x.checked_sub(1)
}

fn pair(pair: (u8, String)) -> String {
    format!("{pair:?}")
}

fn two(text: String, bytes: Vec<u8>) -> Result<String, usize> {
    String::from_utf8(bytes)
        .map(|more| text + &more)
        .map_err(|error| error.utf8_error().valid_up_to())
}

fn three(a: u8, b: i16, c: f32) -> f64 {
    f64::from(a) + f64::from(b) + f64::from(c)
}

fn four(a: Vec<u16>, b: bool, c: char, d: ()) -> (Vec<u16>, bool, char, ()) {
    (a, b, c, d)
}

fn five(a: u8, b: u8, c: u8, d: u8, e: u8) -> [u8; 5] {
    [a, b, c, d, e]
}

fn six(a: u8, b: u8, c: u8, d: u8, e: u8, f: Bytes) -> Bytes {
    [&[a, b, c, d, e], &f[..]].concat().into()
}

fn seven(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u128) -> Vec<u128> {
    vec![g, (a + b + c + d + e + f).into()]
}

#[expect(clippy::too_many_arguments, reason = "the most that a task may have")]
fn eight(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: Option<Box<i64>>) -> Option<i64> {
    Some(*h? + i64::from(a + b + c + d + e + f + g))
}

fn square(x: u64) -> u64 {
    x * x
}

fn grow(bytes: Vec<u8>, times: usize) -> Vec<u8> {
    bytes.repeat(times)
}

macro_rules! same_as_a_submit {
    ($on:ident: $($function:ident $args:expr,)*) => {$(
        let direct = within($on.submit($function, $args)).await.expect("a result");
        let relayed = relay_one(&*$on, $function, $args).await.expect("a result");
        assert_eq!(relayed, direct);
    )*};
}

#[tokio::test]
async fn a_relayed_call_of_each_arity_returns_what_a_submit_returns() {
    for on in executors(1) {
        same_as_a_submit! {
            on:
            none (),
            nothing 3,
            one 0,
            one 9,
            pair (3, "x".to_owned()),
            two ("a".to_owned(), b"b".to_vec()),
            two ("a".to_owned(), vec![b'b', 255]),
            three (1, -2, 0.5),
            four (vec![1, 2], true, 'ß', ()),
            five (1, 2, 3, 4, 5),
            six (1, 2, 3, 4, 5, Bytes::from_static(b"rest")),
            seven (1, 2, 3, 4, 5, 6, u128::MAX),
            eight (1, 2, 3, 4, 5, 6, 7, Some(Box::new(-1))),
            eight (1, 2, 3, 4, 5, 6, 7, None),
        }
    }
}

#[tokio::test]
async fn all_items_of_a_large_chunk_have_their_own_outcomes() {
    const ITEMS: u64 = 10_000;
    for on in executors(2) {
        let sent = send(&*on, square, 0..ITEMS, &TaskOptions::new());
        let outcomes = sent.outcomes().await;
        assert!(outcomes.runs.len() < 20); // Consecutive items share a run.
        let results = results::<u64>(outcomes)
            .into_iter()
            .map(|result| result.expect("a square"));
        assert!(results.eq((0..ITEMS).map(|x| x * x)));
        // The payload is empty, so it does not contain the number of items.
        assert_eq!(relay_all(&*on, none, vec![(); 1000]).await.len(), 1000);
        assert!(relay_all(&*on, square, []).await.is_empty());
    }
}

#[tokio::test]
async fn large_arguments_and_results_arrive_whole() {
    for on in executors(2) {
        // More than fits in one message to a worker process.
        let items = (0..40_u8).map(|byte| {
            (
                vec![byte; 100_000 + usize::from(byte)],
                usize::from(byte % 3 * 10),
            )
        });
        let results = relay_all(&*on, grow, items.clone()).await;
        for ((bytes, times), result) in items.zip(results) {
            assert!(result.expect("a result") == bytes.repeat(times));
        }
    }
}

fn report_then_wait(gate: Key) -> (u64, Option<String>, bool) {
    let context = worker::current().expect("a task");
    context.report_progress(2, 3);
    gate.wait();
    let trace = context.traceparent().map(str::to_owned);
    (context.task_id(), trace, context.deadline().is_some())
}

#[tokio::test]
async fn a_relayed_task_reports_progress_and_knows_its_options() {
    for on in executors(1) {
        let gate = Gate::new();
        let (payload, items) = payload([gate.key()]);
        let (reported, mut reports) = tokio::sync::mpsc::unbounded_channel();
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let call = RelayedCall {
            payload,
            items,
            options: TaskOptions::new()
                .traceparent(trace)
                .timeout(std::time::Duration::from_secs(3600)),
            task_id: Some(4711),
            progress: Some(Box::new(move |done, total| {
                let _ = reported.send((done, total));
            })),
            keep: None,
        };
        let sent = send_call(&*on, &functions![report_then_wait], call);
        let guest = gate.guest().await;
        assert_eq!(within(reports.recv()).await, Some((2, 3)));
        assert!(sent.relayed.is_running());
        guest.let_in().await;
        let results = sent.results::<(u64, Option<String>, bool)>().await;
        assert_eq!(
            results[0].as_ref().expect("a result"),
            &(4711, Some(trace.to_owned()), true)
        );
    }
}

fn meet(gate: Key, x: u8) -> u8 {
    gate.wait();
    x
}

#[tokio::test]
async fn idle_workers_share_a_relayed_chunk() {
    for on in executors(3) {
        let gate = Gate::new();
        let items = (0..9).map(|x| (gate.key(), x));
        let sent = send(&*on, meet, items, &TaskOptions::new());
        // Three of them run at the same time.
        let guests = [gate.guest().await, gate.guest().await, gate.guest().await];
        drop(guests);
        drop(gate);
        let results = sent.results::<u8>().await;
        assert!(results.into_iter().map(|x| x.expect("a result")).eq(0..9));
    }
}

#[tokio::test]
async fn outcomes_are_passed_on_once_and_the_run_time_with_them() {
    for on in executors(1) {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let call = call_of(payload([1_u64, 2, 3]));
        let functions = functions![square];
        let entry = functions.entry("square").expect("it is listed");
        let log = calls.clone();
        let done =
            move |outcomes: RelayedOutcomes| log.lock().expect("no panic").push(outcomes.time);
        let relayed = entry.relay(call, on.try_room(), &*on, Box::new(done));
        within(on.shutdown()).await;
        relayed.cancel(); // Too late, so it has no effect.
        let calls = calls.lock().expect("no panic");
        assert_eq!(calls.len(), 1);
        assert!(!calls[0].is_zero());
    }
}
