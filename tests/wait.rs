//! Promises of `wait` and `as_completed`, on every kind of executor.

mod each;

concurrent_futures::init_before_main!();

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use concurrent_futures::{
    AsCompleted, Executor, ExecutorExt as _, JoinHandle, ReturnWhen, TaskError, Wait, Waited,
    as_completed, wait,
};
use futures::stream::FusedStream as _;
use futures::{FutureExt as _, StreamExt as _, poll};
use tokio::sync::oneshot;

use each::gate::{Gate, Visitor, pass};
use each::{jump, on_each};

const HOUR: Duration = Duration::from_secs(3600);
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
fn pass_unless_zero(gate: std::net::SocketAddr, item: u64) -> u64 {
    pass(gate, item);
    assert_ne!(item, 0);
    item
}

/// One task for each item, all of them at the gate, in the order of the items.
async fn at_gate(
    executor: &Arc<dyn Executor>,
    items: u64,
) -> (Gate, Vec<JoinHandle<u64>>, Vec<Visitor>) {
    let gate = Gate::new().await;
    let address = gate.address();
    let handles = (0..items).map(|item| executor.submit(pass_unless_zero, (address, item)));
    let handles = handles.collect();
    let mut visitors = Vec::new();
    for _ in 0..items {
        visitors.push(gate.visitor().await);
    }
    visitors.sort_by_key(|visitor| visitor.item);
    (gate, handles, visitors)
}

/// Runs a task on the only worker that is free. It has answered what it ran before.
async fn settle(executor: &Arc<dyn Executor>) {
    assert_eq!(executor.submit(double, 4).await.unwrap(), 8);
}

fn values(done: Vec<Result<u64, TaskError>>) -> Vec<u64> {
    done.into_iter().map(|outcome| outcome.unwrap()).collect()
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn wait_for_all_gives_outcomes_in_the_order_of_the_handles() {
    on_each(3, None, async |executor| {
        let (_gate, handles, visitors) = at_gate(&executor, 3).await;
        let mut all = assert_send(wait(handles, ReturnWhen::AllCompleted));
        assert!(poll!(&mut all).is_pending());
        for visitor in visitors.into_iter().rev() {
            visitor.release().await;
        }
        let Waited { done, pending } = all.await;
        assert!(pending.is_empty());
        let [zero, one, two] = done.try_into().unwrap();
        assert!(zero.unwrap_err().is_panic());
        assert_eq!((one.unwrap(), two.unwrap()), (1, 2));
    })
    .await;
}

#[tokio::test]
async fn wait_for_the_first_hands_the_others_back() {
    on_each(3, None, async |executor| {
        let (_gate, handles, mut visitors) = at_gate(&executor, 3).await;
        let mut first = wait(handles, ReturnWhen::FirstCompleted);
        assert!(poll!(&mut first).is_pending());
        visitors.remove(1).release().await;
        let Waited { done, pending } = first.await;
        assert_eq!(values(done), [1]);
        for visitor in visitors {
            visitor.release().await;
        }
        let Waited { done, pending } = wait(pending, ReturnWhen::AllCompleted).await;
        assert!(pending.is_empty());
        assert!(done[0].as_ref().unwrap_err().is_panic());
        assert_eq!(*done[1].as_ref().unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn wait_for_an_error_passes_over_results() {
    on_each(3, None, async |executor| {
        let (_gate, handles, mut visitors) = at_gate(&executor, 3).await;
        let mut first = wait(handles, ReturnWhen::FirstError);
        visitors.remove(1).release().await;
        let second = visitors.remove(1);
        settle(&executor).await;
        assert!(poll!(&mut first).is_pending());
        visitors.remove(0).release().await;
        let Waited { done, pending } = first.await;
        assert!(done[0].as_ref().unwrap_err().is_panic());
        assert_eq!(*done[1].as_ref().unwrap(), 1);
        assert_eq!(pending.len(), 1);
        second.release().await;
        assert_eq!(
            values(wait(pending, ReturnWhen::FirstError).await.done),
            [2],
            "without an error it waits for all"
        );
    })
    .await;
}

#[tokio::test]
async fn no_handles_are_enough_for_every_wait() {
    for when in ALWAYS {
        let waited = wait(Vec::<JoinHandle<u64>>::new(), when).await;
        assert!(waited.done.is_empty() && waited.pending.is_empty());
    }
    let mut none = as_completed(Vec::<JoinHandle<u64>>::new());
    assert!(none.next().await.is_none());
    assert!(none.is_terminated());
}

#[tokio::test]
async fn a_wait_that_times_out_gives_what_is_done() {
    on_each(3, None, async |executor| {
        let (_gate, handles, mut visitors) = at_gate(&executor, 3).await;
        let mut all = wait(handles, ReturnWhen::AllCompleted).timeout(HOUR);
        assert!(poll!(&mut all).is_pending());
        visitors.remove(1).release().await;
        settle(&executor).await;
        assert!(poll!(&mut all).is_pending());
        jump(HOUR).await;
        let Waited { done, pending } = all.await;
        assert_eq!(values(done), [1]);
        for visitor in visitors {
            visitor.release().await;
        }
        let rest = wait(pending, ReturnWhen::AllCompleted).timeout(HOUR).await;
        assert!(rest.done[0].as_ref().unwrap_err().is_panic());
        assert_eq!(*rest.done[1].as_ref().unwrap(), 2);
    })
    .await;
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
        let Waited { done, pending } = wait(handles, when).timeout(Duration::ZERO).await;
        assert_eq!((done.len(), pending.len()), (MANY / 100, 2 * MANY / 100));
        assert!(
            values(done)
                .iter()
                .zip((0..).step_by(3))
                .all(|(a, b)| *a == b)
        );
    }
}

#[tokio::test]
async fn handles_can_be_lent_to_a_wait() {
    on_each(2, None, async |executor| {
        let (_gate, mut handles, mut visitors) = at_gate(&executor, 2).await;
        visitors.remove(1).release().await;
        let waited = wait(&mut handles, ReturnWhen::FirstCompleted).await;
        assert_eq!(values(waited.done), [1]);
        assert!(handles[1].is_finished());
        drop(visitors);
        assert!((&mut handles[0]).await.unwrap_err().is_panic());
    })
    .await;
}

#[tokio::test]
async fn as_completed_yields_as_they_complete() {
    on_each(3, None, async |executor| {
        let (_gate, handles, mut visitors) = at_gate(&executor, 3).await;
        let mut outcomes = assert_send(as_completed(handles));
        assert!(poll!(outcomes.next()).is_pending());
        for item in [2, 1] {
            visitors.remove(item).release().await;
            assert_eq!(outcomes.next().await.unwrap().unwrap(), item as u64);
        }
        visitors.remove(0).release().await;
        assert!(outcomes.next().await.unwrap().unwrap_err().is_panic());
        assert!(outcomes.next().await.is_none());
        assert!(outcomes.is_terminated());
    })
    .await;
}

#[tokio::test]
async fn as_completed_yields_one_error_when_its_time_is_up() {
    on_each(2, None, async |executor| {
        let (_gate, handles, mut visitors) = at_gate(&executor, 2).await;
        let mut outcomes = as_completed(handles).timeout(HOUR);
        visitors.remove(1).release().await;
        assert_eq!(outcomes.next().await.unwrap().unwrap(), 1);
        assert!(poll!(outcomes.next()).is_pending());
        jump(HOUR).await;
        let error = outcomes.next().await.unwrap().unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert!(outcomes.next().await.is_none());
        let left_alone = visitors.remove(0).release().await;
        assert!(!left_alone, "a dropped handle detaches its task");
    })
    .await;
}

#[tokio::test]
async fn what_is_done_comes_before_the_time_out() {
    let (senders, handles) = open_ends(3);
    let outcomes = as_completed(handles).timeout(HOUR);
    jump(HOUR).await;
    let [first, second, _third] = senders.try_into().unwrap();
    first.send(1).unwrap();
    second.send(2).unwrap();
    let mut outcomes: Vec<_> = outcomes.collect().await;
    assert!(outcomes.pop().unwrap().unwrap_err().is_timeout());
    assert_eq!(values(outcomes), [1, 2]);
}

#[tokio::test]
async fn a_hundred_thousand_handles_are_waited_for() {
    on_each(2, None, async |executor| {
        let handles: Vec<_> = (0..MANY as u64)
            .map(|item| executor.submit(double, item))
            .collect();
        let waited = wait(handles, ReturnWhen::AllCompleted).await;
        let expected: Vec<u64> = (0..MANY as u64).map(double).collect();
        assert!(values(waited.done) == expected);

        let handles: Vec<_> = (0..MANY as u64)
            .map(|item| executor.submit(double, item))
            .collect();
        let sum = as_completed(handles)
            .fold(0, async |sum, outcome| sum + outcome.unwrap())
            .await;
        assert_eq!(sum, expected.iter().sum());
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
        // The worst order, and with the waiting task awake after each.
        while let Some(sender) = senders.pop() {
            sender.send(senders.len() as u64).unwrap();
            if senders.len() % 10 == 0 && !senders.is_empty() {
                tokio::task::yield_now().await;
                assert!(poll!(&mut all).is_pending());
            }
        }
        assert_eq!(all.await, (0..MANY as u64).sum());
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

/// Something like a handle, whose outcome the test sends.
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
