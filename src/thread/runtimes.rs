//! Which runtimes use an executor, and so on which threads its seats run. While one runtime uses it, they run on the
//! blocking threads of that runtime. Once a second runtime uses it, or code outside any runtime, or once the first
//! runtime ends, they run on threads of the crate's own. Then no task waits for a thread of a runtime other than its
//! submitter's, and no runtime that ends waits for another's task.
//!
//! A runtime that is blocked or idle still runs its blocking threads, so its seats continue.
//!
//! [`Home`] records the same runtimes, but decides differently. A home leaves a runtime that has no timers or whose
//! clock is paused. Seats stay there, as they need neither: while a blocking thread works, tokio does not advance a
//! paused clock, and a test that waits for a task relies on that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::home::Home;

/// The runtime that a job was submitted from. A thread of the crate's own enters it while it runs the job, as
/// blocking threads of that runtime would have done. `None` where seats run on that runtime's own threads. One
/// pointer, since each waiting job has one.
pub(super) type SubmitterRuntime = Option<Box<Handle>>;

/// Takes note of the runtimes that use an executor.
pub(super) struct SeatRuntimes {
    /// The first runtime, with the task that notices its end.
    first: OnceLock<FirstRuntime>,
    /// The runtime that the executor was built in.
    built_in: Option<Handle>,
    /// Whether the seats have left the first runtime, or never had one. Only a hint: the lock of the executor
    /// decides.
    have_left: AtomicBool,
    /// Where alarms run.
    home: Arc<Home>,
}

struct FirstRuntime {
    runtime: Handle,
    /// The task that lives as long as the runtime.
    watch: OnceLock<AbortHandle>,
}

/// What a submitter is.
pub(super) enum Submitter {
    /// The seats run, or may run, on its runtime's threads.
    First,
    /// The seats run on threads of the crate's own.
    Other(SubmitterRuntime),
    /// The seats must leave the runtime whose threads they use, since this is another.
    Second(SubmitterRuntime),
}

impl SeatRuntimes {
    pub(super) fn new(home: Arc<Home>) -> Self {
        Self {
            first: OnceLock::new(),
            built_in: Handle::try_current().ok(),
            have_left: AtomicBool::new(false),
            home,
        }
    }

    /// Takes note of the runtime that submits a job. `at_its_end` creates a value that is dropped when the
    /// first runtime ends.
    pub(super) fn note_submitter<T: Send + 'static>(
        &self,
        at_its_end: impl FnOnce() -> T,
    ) -> Submitter {
        let caller = Handle::try_current().ok();
        if self.have_left() {
            return Submitter::Other(caller.map(Box::new));
        }
        match (&caller, self.first.get()) {
            (Some(caller), Some(first)) if first.runtime.id() == caller.id() => Submitter::First,
            _ => self.note_another(caller, at_its_end()),
        }
    }

    #[cold]
    fn note_another<T: Send + 'static>(&self, caller: Option<Handle>, at_its_end: T) -> Submitter {
        self.home.note_caller();
        let Some(runtime) = caller else {
            return Submitter::Second(None);
        };
        let mut is_new = false;
        let first = self.first.get_or_init(|| {
            is_new = true;
            FirstRuntime {
                runtime: runtime.clone(),
                watch: OnceLock::new(),
            }
        });
        if is_new {
            // If the runtime is ending, the value is dropped at once.
            let watch = runtime.spawn(async move {
                let _dropped = at_its_end;
                std::future::pending::<()>().await;
            });
            let _ = first.watch.set(watch.abort_handle());
        }
        match first.runtime.id() == runtime.id() {
            true => Submitter::First,
            false => Submitter::Second(Some(Box::new(runtime))),
        }
    }

    /// The first runtime.
    pub(super) fn first(&self) -> Option<Handle> {
        Some(self.first.get()?.runtime.clone())
    }

    /// The runtime for jobs whose submitter has none.
    pub(super) fn default(&self) -> SubmitterRuntime {
        let runtime = self.first().or_else(|| self.built_in.clone());
        runtime.map(Box::new)
    }

    pub(super) fn have_left(&self) -> bool {
        self.have_left.load(Ordering::Relaxed)
    }

    pub(super) fn leave(&self) {
        self.have_left.store(true, Ordering::Relaxed);
    }
}

impl Drop for SeatRuntimes {
    fn drop(&mut self) {
        if let Some(watch) = self.first.get().and_then(|first| first.watch.get()) {
            watch.abort();
        }
    }
}
