//! What [`wait`](super::wait::wait) and [`as_completed`](super::as_completed::as_completed) accept: futures with an
//! outcome, with or without a key. Also how many of them one poll polls.

use futures::stream::FuturesUnordered;
use tokio::task::coop;

use super::error::TaskError;
use super::keyed::Keyed;

/// The output of a future that `wait` accepts: the outcome of a task, alone or with its key.
///
/// The trait is sealed: other crates can only use it as a bound.
pub trait Outcome: sealed::Sealed {
    /// Returns why there is no result, if there is none.
    fn error(&self) -> Option<&TaskError>;
}

impl<T> Outcome for Result<T, TaskError> {
    fn error(&self) -> Option<&TaskError> {
        self.as_ref().err()
    }
}

impl<K, T> Outcome for (K, Result<T, TaskError>) {
    fn error(&self) -> Option<&TaskError> {
        self.1.error()
    }
}

/// A future that [`as_completed`](crate::as_completed) accepts: a [`JoinHandle`](crate::JoinHandle), any other future
/// of a `Result<T, TaskError>`, one of these as a [`Keyed`] future, or a `&mut` to one.
///
/// The trait is sealed: other crates can only use it as a bound.
#[diagnostic::on_unimplemented(
    message = "`as_completed` cannot wait for `{Self}`",
    label = "not a handle",
    note = "it takes futures of a `Result<T, TaskError>`, such as `JoinHandle<T>`",
    note = "to give one a key, call `handle.with(key)`, or `Keyed::new(key, future)` for another future"
)]
pub trait Waitable: Future<Output: Outcome> + Unpin + Sized + sealed::Expires {}

impl<F, T> Waitable for F where F: Future<Output = Result<T, TaskError>> + Unpin {}

impl<K, F, T> Waitable for Keyed<K, F> where F: Future<Output = Result<T, TaskError>> + Unpin {}

impl<K: Clone, F, T> Waitable for &mut Keyed<K, F> where
    F: Future<Output = Result<T, TaskError>> + Unpin
{
}

pub(super) mod sealed {
    use super::{FuturesUnordered, Keyed, TaskError};

    pub trait Sealed {}

    impl<T> Sealed for Result<T, TaskError> {}
    impl<K, T> Sealed for (K, Result<T, TaskError>) {}

    /// What `as_completed` yields for the futures that are pending at its timeout.
    pub trait Expires: Future + Sized {
        fn expire(pending: FuturesUnordered<Self>, error: &TaskError) -> Vec<Self::Output>;
    }

    /// One error for all of them.
    impl<F, T> Expires for F
    where
        F: Future<Output = Result<T, TaskError>>,
    {
        fn expire(_: FuturesUnordered<Self>, error: &TaskError) -> Vec<Self::Output> {
            vec![Err(error.clone())]
        }
    }

    /// One error for each key.
    impl<K, F, T> Expires for Keyed<K, F>
    where
        F: Future<Output = Result<T, TaskError>> + Unpin,
    {
        fn expire(pending: FuturesUnordered<Self>, error: &TaskError) -> Vec<Self::Output> {
            let keys = pending.into_iter().map(|keyed| keyed.into_parts().0);
            keys.map(|key| (key, Err(error.clone()))).collect()
        }
    }

    impl<K: Clone, F, T> Expires for &mut Keyed<K, F>
    where
        F: Future<Output = Result<T, TaskError>> + Unpin,
    {
        fn expire(pending: FuturesUnordered<Self>, error: &TaskError) -> Vec<Self::Output> {
            let keys = pending.into_iter().map(|keyed| keyed.key().clone());
            keys.map(|key| (key, Err(error.clone()))).collect()
        }
    }
}

/// How much one poll may do before it yields to other tasks of the runtime: a number of handles, or fewer if they use
/// up the task's budget in tokio. (Without budget, a handle returns pending even if it is done.)
pub(super) struct Slice(usize);

impl Slice {
    pub(super) fn new() -> Self {
        Self(1024)
    }

    pub(super) fn has_budget(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0 && coop::has_budget_remaining()
    }
}
