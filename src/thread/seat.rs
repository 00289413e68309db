//! One worker: a place on a blocking thread, kept as long as there is work.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::Core;
use crate::alarm::Alarm;
use crate::executor::error::{Cause, InitFailure};
use crate::executor::job::{self, Tally};
use crate::executor::promise::Promise;
use crate::panic;
use crate::sys;

/// A taken seat; dropping it gives it back.
pub(super) struct Seat {
    id: u64,
    core: Arc<Core>,
    runtime: Handle,
    state: Cell<State>,
    /// The end of the time that the running item has.
    time_out: Cell<Option<Alarm>>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Waits for its runtime to give it a thread.
    Waiting,
    Serving,
    /// Given back: the id may be another's by now.
    Left,
}

impl Seat {
    pub(super) fn new(id: u64, core: Arc<Core>, runtime: Handle) -> Self {
        Self {
            id,
            core,
            runtime,
            state: Cell::new(State::Waiting),
            time_out: Cell::new(None),
        }
    }

    /// Takes jobs until none is left.
    pub(super) fn serve(self) {
        self.state.set(State::Serving);
        let prefix = self.core.config.thread_name_prefix.as_deref();
        let _name = prefix.map(|prefix| sys::ThreadName::set(&format!("{prefix}-{}", self.id)));
        let mut tally = Tally::default();
        while let Some(job) = self.core.next_job(self.id, tally) {
            drop(job.room); // It has left the queue.
            tally = match self.initialize() {
                // What user code may do as it is dropped must not cost the executor a seat.
                Ok(()) => panic::catch(|| job.work.run(&self)).unwrap_or_default(),
                Err(failure) => {
                    let cause = Cause::InitFailed(*failure);
                    job.work.fail(&cause);
                    self.core.fail_pending(&cause);
                    Tally::default()
                }
            };
        }
        self.state.set(State::Left);
    }

    /// Runs the initializer, unless it has been run on this thread for this executor.
    fn initialize(&self) -> Result<(), Box<InitFailure>> {
        thread_local! {
            static INITIALIZED: RefCell<HashSet<u64>> = RefCell::default();
        }
        let Some(initializer) = &self.core.config.initializer else {
            return Ok(());
        };
        let executor = self.core.config.id;
        if INITIALIZED.with_borrow(|done| done.contains(&executor)) {
            return Ok(());
        }
        let failed = |reason: String, panic| {
            Box::new(InitFailure {
                reason,
                panic,
                ..InitFailure::default()
            })
        };
        match panic::catch(|| (initializer.0)()) {
            Ok(None) => {
                INITIALIZED.with_borrow_mut(|done| done.insert(executor));
                Ok(())
            }
            Ok(Some(error)) => Err(failed(format!("the initializer failed: {error}"), None)),
            Err(report) => Err(failed("the initializer".to_owned(), Some(report))),
        }
    }
}

impl job::Seat for Seat {
    fn worker_id(&self) -> u64 {
        self.id
    }

    fn begin(&self, promise: &Arc<dyn Promise>, item: u32) -> Option<std::time::Instant> {
        let limit = promise.ticket().timeout()?;
        let promise = promise.clone();
        self.time_out
            .set(Some(Alarm::set(&self.runtime, limit, move || {
                promise.fail(
                    item,
                    promise.ticket().error(true, Cause::TimedOut { limit }),
                );
            })));
        std::time::Instant::now().checked_add(limit)
    }

    fn end(&self) {
        self.time_out.set(None);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.state.get() != State::Left {
            self.core.leave(&mut self.core.lock(), self.id);
        }
        if self.state.get() == State::Waiting && self.core.has_no_seats() {
            // The runtime has ended: nobody is left for what waits.
            self.core.fail_pending(&Cause::Shutdown);
        }
    }
}
