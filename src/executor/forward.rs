//! References and trait objects are executors too, so that a function may take `impl Executor`.
//!
//! An `Arc` of a concrete executor is not one: the methods of [`ExecutorExt`](crate::ExecutorExt) on an
//! `Arc<ThreadPoolExecutor>` would hide the pool's own methods, which accept closures that capture.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::contract::{Executor, Intake};
#[cfg(feature = "process")]
use super::encoded::Job;
use super::error::TaskError;
use super::options::{Shutdown, ShutdownReport};
use super::promise::Terms;
use super::room::Room;
use super::stats::Stats;

macro_rules! forward {
    ($type:ty $(, $generic:ident)?) => {
        #[async_trait]
        impl$(<$generic: Executor + ?Sized>)? Intake for $type {
            #[cfg(feature = "process")]
            fn spawn_job(&self, job: Job) {
                (**self).spawn_job(job);
            }

            fn terms(&self) -> &Arc<Terms> {
                (**self).terms()
            }

            fn try_room(&self) -> Result<Room, TaskError> {
                (**self).try_room()
            }

            async fn room(&self) -> Result<Room, TaskError> {
                (**self).room().await
            }

            fn chunk_time(&self) -> Duration {
                (**self).chunk_time()
            }

            fn handle(&self) -> Arc<dyn Executor> {
                (**self).handle()
            }
        }

        #[async_trait]
        impl$(<$generic: Executor + ?Sized>)? Executor for $type {
            async fn shutdown_with(&self, how: Shutdown) -> ShutdownReport {
                (**self).shutdown_with(how).await
            }

            fn max_workers(&self) -> usize {
                (**self).max_workers()
            }

            fn stats(&self) -> Stats {
                (**self).stats()
            }
        }
    };
}

forward!(&E, E);
forward!(Arc<dyn Executor>);
forward!(Box<dyn Executor>);
