//! The handles that a group holds.

use crate::executor::handle::JoinHandle;
use crate::executor::keyed::Keyed;

/// A handle that a [`TaskGroup`](crate::TaskGroup) holds: a [`JoinHandle`], or one [with a key](JoinHandle::with).
///
/// The trait is sealed: other crates can only use it as a bound.
pub trait GroupMember: Future + Unpin + sealed::HasHandle {}

impl<T: Send + 'static> GroupMember for JoinHandle<T> {}

impl<K, T: Send + 'static> GroupMember for Keyed<K, JoinHandle<T>> {}

pub(super) mod sealed {
    use super::{JoinHandle, Keyed};

    pub trait HasHandle {
        type Value: Send + 'static;

        fn handle(&self) -> &JoinHandle<Self::Value>;
    }

    impl<T: Send + 'static> HasHandle for JoinHandle<T> {
        type Value = T;

        fn handle(&self) -> &JoinHandle<T> {
            self
        }
    }

    impl<K, T: Send + 'static> HasHandle for Keyed<K, JoinHandle<T>> {
        type Value = T;

        fn handle(&self) -> &JoinHandle<T> {
            self.get_ref()
        }
    }
}
