//! Runs tests on every kind of executor: on threads, and in processes by each start method.

use std::sync::Arc;

#[cfg(target_os = "linux")]
use concurrent_futures::StartMethod;
use concurrent_futures::{Executor, ThreadPoolExecutor};

#[cfg(target_os = "linux")]
use super::methods::{builder, processes};

/// The kinds of executors that are tested.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Threads,
    #[cfg(target_os = "linux")]
    Processes(StartMethod),
}

impl Kind {
    pub(crate) fn pool(self, workers: usize) -> Arc<dyn Executor> {
        match self {
            Self::Threads => Arc::new(ThreadPoolExecutor::with_workers(workers).expect("threads")),
            #[cfg(target_os = "linux")]
            Self::Processes(method) => Arc::new(processes(method, workers)),
        }
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
        }
    }
}

/// Turns each promise, an `async fn(Kind)`, into a test on threads and one for each start method. The
/// number before the promises is the number of threads of the runtime.
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
    };
}
pub(crate) use held_by_every_executor;
