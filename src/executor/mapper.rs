//! The function of a map. A chunk calls it once for each item, from every thread that runs a share of the chunk.

use std::sync::Arc;

use super::task::{MapTask, Unfinished};

/// A function that a chunk calls. Each chunk, and each part of one, holds a clone.
pub(crate) trait Mapper<A, M>: Clone + Send + Sync + 'static {
    type Output;

    /// The path of the function.
    fn name() -> &'static str;

    /// Whether the function is async.
    const IS_ASYNC: bool;

    fn call_item(&self, args: A) -> Result<Self::Output, Unfinished>;
}

/// A function that all chunks of a map share: one that captures.
pub(crate) struct ByArc<F>(Arc<F>);

impl<F> ByArc<F> {
    pub(crate) fn new(function: F) -> Self {
        Self(Arc::new(function))
    }
}

impl<F> Clone for ByArc<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F, A, M> Mapper<A, M> for ByArc<F>
where
    F: MapTask<A, M> + Send + Sync + 'static,
{
    type Output = F::Output;

    const IS_ASYNC: bool = F::IS_ASYNC;

    fn name() -> &'static str {
        F::path()
    }

    fn call_item(&self, args: A) -> Result<F::Output, Unfinished> {
        self.0.run_shared(args)
    }
}
