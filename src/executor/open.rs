//! What the clones of an executor share: dropping the last clone closes the executor.

use std::ops::Deref;
use std::sync::Arc;

/// The state of an executor, which its background tasks also hold.
pub(crate) trait Close {
    /// Refuses new work. Work that was submitted ends by itself.
    fn close(&self);
}

/// Closes the executor when it is dropped. Its clones share one.
pub(crate) struct OpenExecutor<C: Close>(Arc<C>);

impl<C: Close> OpenExecutor<C> {
    pub(crate) fn new(core: Arc<C>) -> Arc<Self> {
        Arc::new(Self(core))
    }
}

impl<C: Close> Deref for OpenExecutor<C> {
    type Target = Arc<C>;

    fn deref(&self) -> &Arc<C> {
        &self.0
    }
}

impl<C: Close> Drop for OpenExecutor<C> {
    fn drop(&mut self) {
        self.0.close();
    }
}
