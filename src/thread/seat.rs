//! One worker: a seat on a blocking thread. It keeps the thread while there is work, and a moment
//! longer, since the next job usually follows soon.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::core::{Core, Idle, Next};
use crate::executor::erased::OpenWork;
use crate::executor::error::{Cause, InitFailure};
use crate::executor::promise::{Promise, Ticket};
use crate::executor::run::{self, NAP, Tally};
use crate::home::Alarm;
use crate::panic;
use crate::sys;

/// How long an idle worker keeps its thread. A runtime that ends waits for this long, and so does other
/// blocking work of a runtime without a free thread. A shorter time costs more: each wait would set the
/// machine's timer again.
const LINGER: Duration = Duration::from_millis(5);

/// How often a worker that had several jobs in a row looks for the next one before its thread parks:
/// a caller that submits many should not have to wake it for each.
const LOOKS: usize = 16;

/// A taken seat. Dropping it frees it.
pub(super) struct TakenSeat {
    id: u64,
    core: Arc<Core>,
    /// Freed: another seat may have the id by now.
    left: Cell<bool>,
    /// The timeout of the running item.
    time_out: Cell<Option<Alarm>>,
}

impl TakenSeat {
    /// Takes a thread of the runtime. If the runtime has ended, tokio drops the closure and the seat.
    pub(super) fn hire(core: Arc<Core>, id: u64) {
        let home = core.home.clone();
        let seat = Self {
            id,
            core,
            left: Cell::new(false),
            time_out: Cell::new(None),
        };
        home.spawn_blocking(move || seat.serve());
    }

    /// Works until it has been idle for its full time.
    fn serve(self) {
        let prefix = self.core.config.thread_name_prefix.as_deref();
        let _name = prefix.map(|prefix| sys::ThreadName::set(&format!("{prefix}-{}", self.id)));
        let mut next = self.next(Tally::default(), Idle::Rest);
        let mut had_several = false;
        loop {
            next = match next {
                Next::Work(work) => {
                    let idle = match std::mem::replace(&mut had_several, true) {
                        true => Idle::Look,
                        false => Idle::Rest,
                    };
                    self.next(self.work(work), idle)
                }
                Next::Look(news) => {
                    had_several = false;
                    self.look(news);
                    self.next(Tally::default(), Idle::Rest)
                }
                Next::Rest { watch } => {
                    had_several = false;
                    self.rest(if watch { NAP } else { LINGER })
                }
                Next::Leave => return self.left.set(true),
            };
        }
    }

    fn next(&self, done: Tally, idle: Idle) -> Next {
        self.core.next(self.id, done, idle)
    }

    fn work(&self, work: OpenWork) -> Tally {
        if let Err(failure) = self.initialize() {
            let cause = Cause::InitFailed(*failure);
            match work {
                OpenWork::One(work) => work.fail(&cause),
                OpenWork::Chunk(chunk) => drop(chunk.fail(&cause)),
            }
            self.core.fail_pending(&cause);
            return Tally::default();
        }
        // A panic as user values are dropped must not cost the executor a seat.
        let tally = panic::catch(|| match work {
            OpenWork::One(work) => work.run(self),
            OpenWork::Chunk(chunk) => chunk.run(self),
        });
        tally.unwrap_or_default()
    }

    /// Yields to other threads for a moment, until there is news.
    fn look(&self, news: usize) {
        for _ in 0..LOOKS {
            if self.core.news() != news {
                return;
            }
            thread::yield_now();
        }
    }

    /// Parks until it is called or `time` is over.
    fn rest(&self, time: Duration) -> Next {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            thread::park_timeout(left);
            let is_over = Instant::now() >= end;
            if let Some(next) = self.core.wake_up(self.id, is_over) {
                return next;
            }
        }
    }

    /// Runs the initializer, unless it has run on this thread for this executor.
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

impl run::JobThread for TakenSeat {
    fn worker_id(&self) -> u64 {
        self.id
    }

    fn begin(
        &self,
        ticket: &Ticket,
        item: u32,
        promise: &dyn Fn() -> Arc<dyn Promise>,
    ) -> Option<Instant> {
        let limit = ticket.timeout()?;
        let promise = promise();
        self.time_out
            .set(Some(Alarm::set(&self.core.home, limit, move || {
                promise.fail(
                    item,
                    promise.ticket().error(true, Cause::TimedOut { limit }),
                );
            })));
        Instant::now().checked_add(limit)
    }

    fn end(&self) {
        self.time_out.set(None);
    }
}

impl Drop for TakenSeat {
    fn drop(&mut self) {
        if !self.left.get() {
            self.core.seat_lost(self.id);
        }
    }
}
