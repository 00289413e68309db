//! What `wait` and `as_completed` promise, on every kind of executor.

#![cfg(feature = "process")]

#[cfg(target_os = "linux")]
#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/each.rs"]
mod each;
#[path = "common/kinds.rs"]
mod kinds;
#[path = "common/methods.rs"]
mod methods;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use concurrent_futures::{
    AsCompleted, Executor, ExecutorExt as _, JoinHandle, Restarts, ReturnWhen, TaskError, Wait,
    Waited, as_completed, wait,
};
use futures::stream::FusedStream as _;
use futures::{FutureExt as _, StreamExt as _, poll};
use tokio::sync::oneshot;

use self::common::{Guest, Key, eventually, within};
use self::each::{Gates, HOUR, jump, on_each, pass};
use self::kinds::{Kind, held_by_every_executor};

concurrent_futures::init_before_main!();

// Not on a cluster: a hundred thousand handles, which would take minutes there. A wait treats them all alike.
held_by_every_executor! { 1;
    wait_for_all_gives_outcomes_in_the_order_of_the_handles,
    wait_for_the_first_hands_the_others_back,
    wait_for_an_error_passes_over_results,
    a_wait_that_times_out_gives_what_is_done,
    handles_can_be_lent_to_a_wait,
    as_completed_yields_as_they_complete,
    as_completed_yields_one_error_when_its_time_is_up,
}

const MANY: usize = 100_000;
const ALWAYS: [ReturnWhen; 3] = [
    ReturnWhen::FirstCompleted,
    ReturnWhen::FirstError,
    ReturnWhen::AllCompleted,
];

fn double(x: u64) -> u64 {
    2 * x
}

/// Waits at the gate; item 0 panics behind it.
fn pass_unless_zero(gate: Key, item: u64) -> u64 {
    pass(gate, item);
    assert_ne!(item, 0);
    item
}

/// `count` tasks, all of them at their gates.
async fn at_gates(
    executor: &Arc<dyn Executor>,
    count: usize,
) -> (Vec<JoinHandle<u64>>, Vec<Guest>) {
    let gates = Gates::new(count);
    let handles = gates
        .items()
        .map(|item| executor.submit(pass_unless_zero, item));
    let handles = handles.collect();
    let mut guests = Vec::new();
    for item in 0..count {
        guests.push(gates.guest(item).await);
    }
    (handles, guests)
}

/// Runs a task on the only free worker. After that, the worker has answered everything that it ran before.
async fn settle(executor: &Arc<dyn Executor>) {
    assert_eq!(executor.submit(double, 4).await.unwrap(), 8);
}

/// The functions that a cluster knows.
#[cfg(all(feature = "cluster", target_os = "linux"))]
fn named_tasks() -> concurrent_futures::cluster::Functions {
    concurrent_futures::functions![double, pass_unless_zero]
}

fn values(done: Vec<Result<u64, TaskError>>) -> Vec<u64> {
    done.into_iter().map(|outcome| outcome.unwrap()).collect()
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

async fn wait_for_all_gives_outcomes_in_the_order_of_the_handles(kind: Kind) {
    let executor = kind.pool(3);
    let (handles, guests) = at_gates(&executor, 3).await;
    let mut all = assert_send(wait(handles, ReturnWhen::AllCompleted));
    assert!(poll!(&mut all).is_pending());
    for guest in guests.into_iter().rev() {
        guest.let_in().await;
    }
    let Waited { done, pending, .. } = within(all).await;
    assert!(pending.is_empty());
    let [zero, one, two] = done.try_into().unwrap();
    assert!(zero.unwrap_err().is_panic());
    assert_eq!((one.unwrap(), two.unwrap()), (1, 2));
    within(executor.shutdown()).await;
}

async fn wait_for_the_first_hands_the_others_back(kind: Kind) {
    let executor = kind.pool(3);
    let (handles, mut guests) = at_gates(&executor, 3).await;
    let mut first = wait(handles, ReturnWhen::FirstCompleted);
    assert!(poll!(&mut first).is_pending());
    guests.remove(1).let_in().await;
    let Waited { done, pending, .. } = within(first).await;
    assert_eq!(values(done), [1]);
    for guest in guests {
        guest.let_in().await;
    }
    let Waited { done, pending, .. } = within(wait(pending, ReturnWhen::AllCompleted)).await;
    assert!(pending.is_empty());
    assert!(done[0].as_ref().unwrap_err().is_panic());
    assert_eq!(*done[1].as_ref().unwrap(), 2);
    within(executor.shutdown()).await;
}

async fn wait_for_an_error_passes_over_results(kind: Kind) {
    let executor = kind.pool(3);
    let (handles, mut guests) = at_gates(&executor, 3).await;
    let mut first = wait(handles, ReturnWhen::FirstError);
    guests.remove(1).let_in().await;
    let second = guests.remove(1);
    settle(&executor).await;
    assert!(poll!(&mut first).is_pending());
    guests.remove(0).let_in().await;
    let Waited { done, pending, .. } = within(first).await;
    assert!(done[0].as_ref().unwrap_err().is_panic());
    assert_eq!(*done[1].as_ref().unwrap(), 1);
    assert_eq!(pending.len(), 1);
    second.let_in().await;
    assert_eq!(
        values(wait(pending, ReturnWhen::FirstError).await.done),
        [2],
        "without an error it waits for all"
    );
    within(executor.shutdown()).await;
}

#[tokio::test]
async fn no_handles_are_enough_for_every_wait() {
    for when in ALWAYS {
        let waited = within(wait(Vec::<JoinHandle<u64>>::new(), when)).await;
        assert!(waited.done.is_empty() && waited.pending.is_empty());
    }
    let mut none = as_completed(Vec::<JoinHandle<u64>>::new());
    assert!(none.next().await.is_none());
    assert!(none.is_terminated());
}

async fn a_wait_that_times_out_gives_what_is_done(kind: Kind) {
    let executor = kind.pool(3);
    let (handles, mut guests) = at_gates(&executor, 3).await;
    let second = handles[1].abort_handle();
    let mut all = wait(handles, ReturnWhen::AllCompleted).timeout(HOUR);
    assert!(poll!(&mut all).is_pending());
    guests.remove(1).let_in().await;
    eventually(|| second.is_finished()).await;
    assert!(poll!(&mut all).is_pending());
    jump().await;
    let Waited { done, pending, .. } = within(all).await;
    assert_eq!(values(done), [1]);
    for guest in guests {
        guest.let_in().await;
    }
    let rest = within(wait(pending, ReturnWhen::AllCompleted).timeout(HOUR)).await;
    assert!(rest.done[0].as_ref().unwrap_err().is_panic());
    assert_eq!(*rest.done[1].as_ref().unwrap(), 2);
    within(executor.shutdown()).await;
}

#[tokio::test]
async fn a_wait_of_no_time_looks_at_every_handle() {
    for when in ALWAYS {
        let (senders, handles) = open_ends(3 * MANY / 100);
        for (number, sender) in senders.into_iter().enumerate() {
            match number % 3 {
                0 => sender.send(number as u64).unwrap(),
                _ => std::mem::forget(sender), // Never answered.
            }
        }
        let Waited { done, pending, .. } =
            within(wait(handles, when).timeout(Duration::ZERO)).await;
        assert_eq!((done.len(), pending.len()), (MANY / 100, 2 * MANY / 100));
        assert!(
            values(done)
                .iter()
                .zip((0..).step_by(3))
                .all(|(a, b)| *a == b)
        );
    }
}

async fn handles_can_be_lent_to_a_wait(kind: Kind) {
    let executor = kind.pool(2);
    let (mut handles, mut guests) = at_gates(&executor, 2).await;
    guests.remove(1).let_in().await;
    let waited = within(wait(&mut handles, ReturnWhen::FirstCompleted)).await;
    assert_eq!(values(waited.done), [1]);
    assert!(handles[1].is_finished());
    drop(guests);
    assert!((&mut handles[0]).await.unwrap_err().is_panic());
    within(executor.shutdown()).await;
}

async fn as_completed_yields_as_they_complete(kind: Kind) {
    let executor = kind.pool(3);
    let (handles, mut guests) = at_gates(&executor, 3).await;
    let mut outcomes = assert_send(as_completed(handles));
    assert!(poll!(outcomes.next()).is_pending());
    for item in [2, 1] {
        guests.remove(item).let_in().await;
        assert_eq!(within(outcomes.next()).await.unwrap().unwrap(), item as u64);
    }
    guests.remove(0).let_in().await;
    assert!(
        within(outcomes.next())
            .await
            .unwrap()
            .unwrap_err()
            .is_panic()
    );
    assert!(within(outcomes.next()).await.is_none());
    assert!(outcomes.is_terminated());
    within(executor.shutdown()).await;
}

async fn as_completed_yields_one_error_when_its_time_is_up(kind: Kind) {
    let executor = kind.pool(2);
    let (handles, mut guests) = at_gates(&executor, 2).await;
    let mut outcomes = as_completed(handles).timeout(HOUR);
    guests.remove(1).let_in().await;
    assert_eq!(within(outcomes.next()).await.unwrap().unwrap(), 1);
    assert!(poll!(outcomes.next()).is_pending());
    jump().await;
    let error = within(outcomes.next()).await.unwrap().unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(within(outcomes.next()).await.is_none());
    guests.remove(0).let_in().await; // A dropped handle detaches its task.
    settle(&executor).await;
    assert_eq!(executor.stats().restarts, Restarts::default());
    within(executor.shutdown()).await;
}

#[tokio::test]
async fn finished_tasks_come_before_the_timeout() {
    let (senders, handles) = open_ends(3);
    let outcomes = as_completed(handles).timeout(HOUR);
    jump().await;
    let [first, second, _third] = senders.try_into().unwrap();
    first.send(1).unwrap();
    second.send(2).unwrap();
    let mut outcomes: Vec<_> = outcomes.collect().await;
    assert!(outcomes.pop().unwrap().unwrap_err().is_timeout());
    assert_eq!(values(outcomes), [1, 2]);
}

#[tokio::test]
async fn a_hundred_thousand_handles_are_waited_for() {
    on_each(2, MANY, async |executor| {
        let submit = |item| executor.submit(double, item);
        let handles: Vec<_> = (0..MANY as u64).map(submit).collect();
        let waited = within(wait(handles, ReturnWhen::AllCompleted)).await;
        assert!(
            values(waited.done)
                .into_iter()
                .eq((0..MANY as u64).map(double))
        );
    })
    .await;
}

#[tokio::test]
async fn each_of_many_handles_is_polled_a_few_times_at_the_most() {
    for lent in [true, false] {
        let polls = Arc::new(AtomicUsize::new(0));
        let (mut senders, handles) = open_ends(MANY);
        let handles = handles.into_iter().map(|handle| Counted {
            handle,
            polls: polls.clone(),
        });
        let mut all: Pin<Box<dyn Future<Output = u64>>> = match lent {
            true => wait(handles, ReturnWhen::AllCompleted)
                .map(|waited| values(waited.done).into_iter().sum())
                .boxed_local(),
            false => as_completed(handles)
                .fold(0, async |sum, outcome| sum + outcome.unwrap())
                .boxed_local(),
        };
        // The worst order, with the waiting task polled after each outcome.
        while let Some(sender) = senders.pop() {
            sender.send(senders.len() as u64).unwrap();
            if senders.len() % 10 == 0 && !senders.is_empty() {
                tokio::task::yield_now().await;
                assert!(poll!(&mut all).is_pending());
            }
        }
        assert_eq!(within(all).await, (0..MANY as u64).sum::<u64>());
        assert!(polls.load(Ordering::Relaxed) <= 4 * MANY);
    }
}

#[test]
fn waits_can_be_made_and_awaited_outside_of_a_runtime() {
    let (senders, handles) = open_ends(2);
    let all: Wait<_> = wait(handles, ReturnWhen::AllCompleted).timeout(HOUR);
    for sender in senders {
        sender.send(1).unwrap();
    }
    assert_eq!(values(futures::executor::block_on(all).done), [1, 1]);
    let (senders, handles) = open_ends(2);
    let each: AsCompleted<_> = as_completed(handles);
    for sender in senders {
        sender.send(1).unwrap();
    }
    assert_eq!(values(futures::executor::block_on(each.collect())), [1, 1]);
}

/// A future like a handle, whose outcome the test sends.
struct OpenEnd(oneshot::Receiver<u64>);

impl Future for OpenEnd {
    type Output = Result<u64, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.0
            .poll_unpin(cx)
            .map(|value| Ok(value.expect("the test sends a value")))
    }
}

fn open_ends(count: usize) -> (Vec<oneshot::Sender<u64>>, Vec<OpenEnd>) {
    let ends = (0..count).map(|_| oneshot::channel());
    ends.map(|(sender, receiver)| (sender, OpenEnd(receiver)))
        .unzip()
}

struct Counted {
    handle: OpenEnd,
    polls: Arc<AtomicUsize>,
}

impl Future for Counted {
    type Output = Result<u64, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.handle.poll_unpin(cx)
    }
}
