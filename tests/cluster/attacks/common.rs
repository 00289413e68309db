//! Clients, workers, and the messages that a server keeps.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream;
use cluster_tests::NatsServer;
use concurrent_futures::cluster::{ClusterExecutor, Functions, QueueSettings, Worker};
use tokio::sync::oneshot;

use crate::program::{pool, quick, starts, tasks};

/// Longer than any step of these tests takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(LIMIT, future);
    ended.await.expect("it ends in time")
}

/// Waits until `is_so` holds.
pub(crate) async fn eventually(is_so: impl AsyncFn() -> bool) {
    within(async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Settings with short times to live. An outcome must be kept until its task is delivered again.
pub(crate) fn brief() -> QueueSettings {
    let time = Duration::from_secs(8);
    quick().result_ttl(time).payload_ttl(time)
}

pub(crate) async fn client(url: String, settings: QueueSettings) -> ClusterExecutor {
    let client = ClusterExecutor::connect(url)
        .queue("q")
        .functions(tasks())
        .settings(settings);
    client.build().await.expect("a client")
}

/// A worker of two threads in this program. It serves until the sender is dropped.
pub(crate) async fn worker(url: String, functions: Functions) -> oneshot::Sender<()> {
    let worker = Worker::connect(url).queue("q").functions(functions);
    let worker = worker.lost_after(Duration::from_millis(500));
    let worker = worker.build(pool("thread", 2)).await.expect("a worker");
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(worker.run_until(async move { drop(stopped.await) }));
    stop
}

/// A log of starts.
pub(crate) struct Log(PathBuf);

impl Log {
    pub(crate) fn new(server: &NatsServer, name: &str) -> Self {
        Self(server.folder().join(name))
    }

    pub(crate) fn text(&self) -> String {
        self.0.to_str().expect("text").to_owned()
    }

    /// How often each number has started, by number.
    pub(crate) fn starts(&self) -> Vec<(u64, usize)> {
        let mut starts = starts(&self.0);
        starts.sort_unstable();
        starts
    }
}

pub(crate) async fn jetstream(server: &NatsServer) -> jetstream::Context {
    let client = async_nats::connect(server.url()).await;
    jetstream::new(client.expect("the server"))
}

/// How many messages the server keeps of tasks, records and payloads.
pub(crate) async fn kept(raw: &jetstream::Context) -> [u64; 3] {
    let mut kept = [0; 3];
    for (stream, kept) in ["CF_q", "CFO_q", "CFL_q"].into_iter().zip(&mut kept) {
        let stream = raw.get_stream(stream).await.expect("the stream");
        *kept = stream.cached_info().state.messages;
    }
    kept
}

/// Waits until the server keeps nothing of the queue. That takes seconds, so it asks seldom.
pub(crate) async fn until_empty(server: &NatsServer) {
    let raw = jetstream(server).await;
    within(async {
        while kept(&raw).await != [0; 3] {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}
