//! References, trait objects and the owners of a core are executors too: they forward each call.
//!
//! An `Arc` of a concrete executor is not one: the methods of [`ExecutorExt`](crate::ExecutorExt) on an
//! `Arc<ThreadPoolExecutor>` would hide the pool's own methods, which accept closures that capture.

use std::sync::Arc;

use super::contract::Executor;

/// Makes a type an executor that forwards to what it points to, or to what its field `$field` points to. The docs are
/// those of its `Executor`.
macro_rules! forward {
    ($(#[$doc:meta])* $type:ty $(, $generic:ident)? $(; $field:ident)?) => {
        #[async_trait::async_trait]
        impl$(<$generic: $crate::executor::Executor + ?Sized>)?
            $crate::executor::Intake for $type
        {
            #[cfg(feature = "process")]
            fn spawn_job(&self, job: $crate::executor::encoded::Job) {
                (**self$(.$field)?).spawn_job(job);
            }

            fn terms(&self) -> &std::sync::Arc<$crate::executor::promise::Terms> {
                (**self$(.$field)?).terms()
            }

            fn try_room(
                &self,
            ) -> Result<$crate::executor::room::Room, $crate::executor::error::TaskError> {
                (**self$(.$field)?).try_room()
            }

            async fn room(
                &self,
            ) -> Result<$crate::executor::room::Room, $crate::executor::error::TaskError> {
                (**self$(.$field)?).room().await
            }

            fn chunk_time(&self) -> std::time::Duration {
                (**self$(.$field)?).chunk_time()
            }

            fn handle(&self) -> std::sync::Arc<dyn $crate::executor::Executor> {
                (**self$(.$field)?).handle()
            }
        }

        $(#[$doc])*
        #[async_trait::async_trait]
        impl$(<$generic: $crate::executor::Executor + ?Sized>)?
            $crate::executor::Executor for $type
        {
            async fn shutdown_with(
                &self,
                how: $crate::executor::options::Shutdown,
            ) -> $crate::executor::options::ShutdownReport {
                (**self$(.$field)?).shutdown_with(how).await
            }

            fn max_workers(&self) -> usize {
                (**self$(.$field)?).max_workers()
            }

            fn stats(&self) -> $crate::executor::Stats {
                (**self$(.$field)?).stats()
            }
        }
    };
}

pub(crate) use forward;

forward!(&E, E);
forward!(Arc<dyn Executor>);
forward!(Box<dyn Executor>);
