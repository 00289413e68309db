//! The function of a map. A chunk calls it once an item, from as many threads as share the chunk.

use std::sync::Arc;

use super::task::MapTask;

/// A function that a chunk calls. Each chunk, and each part of one, holds a clone.
pub(crate) trait Mapper<A, M>: Clone + Send + Sync + 'static {
    type Output;

    /// The path of the function.
    fn name() -> &'static str;

    fn call_item(&self, args: A) -> Self::Output;
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

    fn name() -> &'static str {
        std::any::type_name::<F>()
    }

    fn call_item(&self, args: A) -> F::Output {
        self.0.call_shared(args)
    }
}
