//! Without the feature `tokio-util` there is no token: its types have no values.

use std::convert::Infallible;
use std::sync::Weak;
use std::task::{Context, Poll};

/// What a token cancels.
pub(crate) trait CancelTarget: Send + Sync {
    fn cancel(&self);
}

#[derive(Clone, Debug)]
pub(crate) struct CallerToken(Infallible);

impl CallerToken {
    pub(crate) fn is_cancelled(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn watch(&self, _: Weak<dyn CancelTarget>) -> Option<TokenWatch> {
        match self.0 {}
    }

    pub(crate) fn wait(&self) -> TokenWatch {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(crate) struct TokenWatch(Infallible);

impl TokenWatch {
    pub(crate) fn poll_cancelled(&mut self, _: &mut Context<'_>) -> Poll<()> {
        match self.0 {}
    }
}

/// It is dropped where the one of the feature is.
impl Drop for TokenWatch {
    fn drop(&mut self) {
        match self.0 {}
    }
}
