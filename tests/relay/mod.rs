//! Calls that another program encoded, on threads and in worker processes. They end like calls that were submitted
//! here.

mod calls;
#[allow(clippy::duplicate_mod, reason = "the tests of `sys` use a file of it")]
#[path = "../common/mod.rs"]
mod common;
mod failures;
mod garbage;

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use self::common::within;
use crate::cluster::Functions;
use crate::executor::data::{Arguments, Data};
use crate::executor::relay::{Relayed, RelayedCall};
use crate::executor::relayed_runs::{RelayedOutcomes, RelayedRun};
use crate::executor::task::Task;
use crate::wire::{Chain, codec};
use crate::{Executor, ProcessPoolExecutor, TaskError, TaskOptions, ThreadPoolExecutor};

crate::init_before_main!();

/// An executor of each kind, with this number of workers.
fn executors(workers: usize) -> [Arc<dyn Executor>; 2] {
    [threads(workers), processes(workers)]
}

fn threads(workers: usize) -> Arc<dyn Executor> {
    Arc::new(ThreadPoolExecutor::with_workers(workers).expect("a pool"))
}

fn processes(workers: usize) -> Arc<dyn Executor> {
    Arc::new(ProcessPoolExecutor::with_workers(workers).expect("a pool"))
}

/// Encodes items as another program does.
fn payload<A: Arguments<M>, M>(items: impl IntoIterator<Item = A>) -> (Bytes, u32) {
    let mut chain = Chain::new();
    let mut count = 0;
    for item in items {
        A::encode(item, &mut chain).expect("it can be encoded");
        count += 1;
    }
    (chain.into_bytes(), count)
}

/// A relayed call in progress.
struct Sent {
    relayed: Relayed,
    outcomes: oneshot::Receiver<RelayedOutcomes>,
}

/// Relays a call of the one function in `functions`.
fn send_call(on: &dyn Executor, functions: &Functions, call: RelayedCall) -> Sent {
    let (done, outcomes) = oneshot::channel();
    let entry = functions.entries().next().expect("a function");
    let done = Box::new(move |outcomes| drop(done.send(outcomes)));
    Sent {
        relayed: entry.relay(call, on.try_room(), on, done),
        outcomes,
    }
}

/// A call with this payload and number of items.
fn call_of((payload, items): (Bytes, u32)) -> RelayedCall {
    RelayedCall {
        payload,
        items,
        options: TaskOptions::new(),
        task_id: None,
        progress: None,
        keep: None,
    }
}

/// Relays arbitrary bytes.
fn send_bytes(on: &dyn Executor, functions: &Functions, payload: (Bytes, u32)) -> Sent {
    send_call(on, functions, call_of(payload))
}

/// Relays a call of one item or several.
fn send<F, A, M>(
    on: &dyn Executor,
    function: F,
    items: impl IntoIterator<Item = A>,
    options: &TaskOptions,
) -> Sent
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
    M: 'static,
{
    let functions = Functions::new().add("f", function);
    let call = RelayedCall {
        options: options.clone(),
        ..call_of(payload(items))
    };
    send_call(on, &functions, call)
}

impl Sent {
    async fn outcomes(self) -> RelayedOutcomes {
        within(self.outcomes).await.expect("it is called once")
    }

    async fn results<R: DeserializeOwned + 'static>(self) -> Vec<Result<R, TaskError>> {
        results(self.outcomes().await)
    }
}

/// Decodes the outcomes. Each item has one, in order.
fn results<R: DeserializeOwned + 'static>(outcomes: RelayedOutcomes) -> Vec<Result<R, TaskError>> {
    let mut results = Vec::new();
    for run in outcomes.runs {
        match run {
            RelayedRun::Values(values) => {
                assert_eq!(values.first as usize, results.len());
                values
                    .read(|value| results.push(Ok(codec::get(value).expect("it can be decoded"))));
            }
            RelayedRun::Failed {
                first,
                count,
                error,
            } => {
                assert_eq!(first as usize, results.len());
                results.extend((0..count).map(|_| Err(error.clone())));
            }
        }
    }
    results
}

/// Relays one call and returns how it ends.
async fn relay_one<F, A, M>(on: &dyn Executor, function: F, args: A) -> Result<F::Output, TaskError>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
    M: 'static,
{
    relay_all(on, function, [args]).await.remove(0)
}

/// Relays a chunk and returns how its items end.
async fn relay_all<F, A, M>(
    on: &dyn Executor,
    function: F,
    items: impl IntoIterator<Item = A>,
) -> Vec<Result<F::Output, TaskError>>
where
    F: Task<A, M> + Copy + Send + Sync + 'static,
    F::Output: Data,
    A: Arguments<M>,
    M: 'static,
{
    send(on, function, items, &TaskOptions::new())
        .results()
        .await
}
