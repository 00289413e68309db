//! Runs tests on every kind of executor: on threads, in processes by each start method, and on a cluster.

use std::sync::Arc;

#[cfg(target_os = "linux")]
use concurrent_futures::StartMethod;
use concurrent_futures::{Executor, ThreadPoolExecutor};

#[cfg(target_os = "linux")]
use super::methods::{builder, processes};

#[cfg(all(feature = "cluster", target_os = "linux"))]
#[path = "clusters.rs"]
pub(crate) mod clusters;

/// The kinds of executors that are tested.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Threads,
    #[cfg(target_os = "linux")]
    Processes(StartMethod),
    #[cfg(all(feature = "cluster", target_os = "linux"))]
    Cluster(&'static clusters::Cluster),
}

impl Kind {
    pub(crate) fn pool(self, workers: usize) -> Arc<dyn Executor> {
        match self {
            Self::Threads => Arc::new(ThreadPoolExecutor::with_workers(workers).expect("threads")),
            #[cfg(target_os = "linux")]
            Self::Processes(method) => Arc::new(processes(method, workers)),
            #[cfg(all(feature = "cluster", target_os = "linux"))]
            Self::Cluster(cluster) => cluster.pool(workers, None),
        }
    }

    /// Whether a server decides whether a cancelled task has started, so that the answer comes later.
    #[allow(dead_code, reason = "some test files leave it unused")]
    pub(crate) fn asks_a_server(self) -> bool {
        match self {
            #[cfg(all(feature = "cluster", target_os = "linux"))]
            Self::Cluster(_) => true,
            _ => false,
        }
    }

    /// Waits until the server of a cluster has decided all cancels, and the latest queue has this number of tasks.
    #[allow(
        dead_code,
        unused_variables,
        clippy::unused_async,
        reason = "some test files, and builds without clusters, leave it unused"
    )]
    pub(crate) async fn until_left(self, tasks: u64) {
        #[cfg(all(feature = "cluster", target_os = "linux"))]
        if let Self::Cluster(cluster) = self {
            cluster.until_left(tasks).await;
        }
    }

    /// Whether a condition holds after a cancel: at once, or once the server has decided.
    #[allow(dead_code, reason = "some test files leave it unused")]
    #[track_caller]
    pub(crate) fn settles(self, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
        if !self.asks_a_server() {
            assert!(condition());
        }
        super::common::eventually(condition)
    }

    /// A pool with a bounded queue.
    #[allow(dead_code, reason = "some test files leave it unused")]
    pub(crate) fn bounded(self, workers: usize, capacity: usize) -> Arc<dyn Executor> {
        match self {
            Self::Threads => {
                let builder = ThreadPoolExecutor::builder().max_workers(workers);
                Arc::new(builder.queue_capacity(capacity).build().expect("threads"))
            }
            #[cfg(target_os = "linux")]
            Self::Processes(method) => {
                let builder = builder(method).max_workers(workers);
                Arc::new(builder.queue_capacity(capacity).build().expect("processes"))
            }
            #[cfg(all(feature = "cluster", target_os = "linux"))]
            Self::Cluster(cluster) => cluster.pool(workers, Some(capacity)),
        }
    }
}

/// Turns each promise, an `async fn(Kind)`, into a test on threads, one for each start method, and one on a cluster
/// that knows `named_tasks()`. The number before the promises is the number of threads of the runtime.
macro_rules! held_by_every_executor {
    ($($threads:literal; $($promise:ident,)*)+) => {
        mod threads {
            $($(
                #[test]
                fn $promise() {
                    let kind = crate::kinds::Kind::Threads;
                    crate::methods::run($threads, super::$promise(kind));
                }
            )*)+
        }

        #[cfg(target_os = "linux")]
        mod processes {
            $($(
                async fn $promise(method: concurrent_futures::StartMethod) {
                    super::$promise(crate::kinds::Kind::Processes(method)).await;
                }
            )*)+

            crate::methods::held_by_every_start_method! { $($threads; $($promise,)*)+ }
        }

        #[cfg(all(feature = "cluster", target_os = "linux"))]
        mod cluster {
            $($(
                #[test]
                fn $promise() {
                    crate::kinds::clusters::with_cluster(super::named_tasks(), |kind| {
                        crate::methods::run($threads, super::$promise(kind));
                    });
                }
            )*)+
        }
    };
}
pub(crate) use held_by_every_executor;
