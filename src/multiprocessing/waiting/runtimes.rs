//! What the tasks of one runtime share. A runtime that is blocked, idle or ended holds up no task of another runtime.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::{Handle, Id};

/// A value that exists once in each runtime, while it is used there.
#[derive(Debug)]
pub(crate) struct OfRuntimes<L>(Mutex<Vec<(Id, Weak<L>)>>);

impl<L> Default for OfRuntimes<L> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<L: Default> OfRuntimes<L> {
    /// The value of this runtime; outside a runtime, a new one.
    pub(crate) fn here(&self) -> Arc<L> {
        let Ok(runtime) = Handle::try_current() else {
            return Arc::default();
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = known.iter().find(|(id, _)| *id == runtime.id());
        if let Some(here) = here.and_then(|(_, here)| here.upgrade()) {
            return here;
        }
        known.retain(|(_, other)| other.strong_count() > 0);
        let here = Arc::default();
        known.push((runtime.id(), Arc::downgrade(&here)));
        here
    }
}
