//! One worker: a seat on a thread. It keeps the thread while there is work, and a moment longer, since the
//! next job usually follows soon.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::core::{Core, Idle, Next};
use super::runtimes::SubmitterRuntime;
use super::seats::{SeatKey, SeatThread};
use crate::executor::erased::OpenWork;
use crate::executor::error::{Cause, InitFailure};
use crate::executor::promise::{Promise, Ticket};
use crate::executor::run::{self, NAP, Tally};
use crate::home::{Alarm, start_thread};
use crate::panic;
use crate::sys;

/// How long an idle worker keeps a thread of a runtime. A runtime that ends waits for this long, and so does
/// other blocking work of a runtime without a free thread. A shorter time costs more: each wait would set the
/// machine's timer again.
const LINGER: Duration = Duration::from_millis(5);

/// How long an idle worker keeps a thread of its own. No runtime waits for that thread.
const LINGER_ON_OWN: Duration = Duration::from_secs(1);

/// How often a worker that had several jobs in a row looks for the next one before its thread parks:
/// a caller that submits many should not have to wake it for each.
const MOST_POLLS: usize = 16;

/// A taken seat. Dropping it frees it.
pub(super) struct TakenSeat {
    key: SeatKey,
    core: Arc<Core>,
    phase: Cell<SeatPhase>,
    /// The timeout of the running item.
    time_out: Cell<Option<Alarm>>,
}

/// How far a seat is.
#[derive(Clone, Copy)]
enum SeatPhase {
    /// It waits for its thread.
    Hired,
    /// It works on its thread.
    Serving,
    /// It is freed. Another seat may have the number by now.
    Left,
}

impl TakenSeat {
    /// Takes a thread of the runtime, or else one of the crate's own.
    pub(super) fn hire(core: Arc<Core>, key: SeatKey, runtime: Option<Handle>) {
        let seat = Self {
            key,
            core: core.clone(),
            phase: Cell::new(SeatPhase::Hired),
            time_out: Cell::new(None),
        };
        let Some(runtime) = runtime else {
            return seat.start_thread();
        };
        // If the runtime has ended, tokio drops the closure and the seat. If the system has no thread, it panics.
        let hired = panic::quietly(|| drop(runtime.spawn_blocking(move || seat.serve())));
        if hired.is_err() {
            core.leave_runtime();
        }
    }

    fn start_thread(self) {
        if let Err((Some(seat), error)) = start_thread("cf-thread", self, Self::serve) {
            seat.refused(&error);
        }
    }

    fn refused(self, error: &io::Error) {
        self.phase.set(SeatPhase::Left);
        self.core.thread_refused(self.key, error);
    }

    /// Works until it has been idle for its full time.
    fn serve(self) {
        if !self.core.arrive(self.key) {
            return self.phase.set(SeatPhase::Left);
        }
        self.phase.set(SeatPhase::Serving);
        let prefix = self.core.config.thread_name_prefix.as_deref();
        let _runtime = self.core.idle_runtimes.lend(self.key.id);
        let _name = prefix.map(|prefix| sys::ThreadName::set(&format!("{prefix}-{}", self.key.id)));
        let mut next = self.next(Tally::default(), Idle::Rest);
        let mut had_several = false;
        loop {
            next = match next {
                Next::Work(work, runtime) => {
                    let idle = match std::mem::replace(&mut had_several, true) {
                        true => Idle::Look,
                        false => Idle::Rest,
                    };
                    let done = self.work(work, runtime);
                    self.next(done, idle)
                }
                Next::Look(news) => {
                    had_several = false;
                    self.poll_news(news);
                    self.next(Tally::default(), Idle::Rest)
                }
                Next::Rest { watch } => {
                    had_several = false;
                    self.rest(if watch { NAP } else { self.linger() })
                }
                Next::Leave => return self.phase.set(SeatPhase::Left),
            };
        }
    }

    fn next(&self, done: Tally, idle: Idle) -> Next {
        self.core.next(self.key, done, idle)
    }

    fn linger(&self) -> Duration {
        match self.key.thread {
            SeatThread::Runtimes => LINGER,
            SeatThread::Own => LINGER_ON_OWN,
        }
    }

    #[inline]
    fn work(&self, mut work: OpenWork, runtime: SubmitterRuntime) -> Tally {
        let _within = runtime.as_deref().map(Handle::enter);
        if let Err(failure) = self.initialize() {
            let cause = Cause::InitFailed(*failure);
            work.fail(&cause);
            self.core.fail_pending(&cause);
            return Tally::default();
        }
        // What a caller wakes when it gets its outcome may panic. That must not cost the executor a seat.
        let tally = panic::catch(|| match work {
            OpenWork::One(work) => work.begin().run(self),
            OpenWork::Chunk(chunk) => chunk.run(self),
        });
        tally.unwrap_or_default()
    }

    /// Yields to other threads for a moment, until there is news.
    fn poll_news(&self, news: usize) {
        for _ in 0..MOST_POLLS {
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
            if let Some(next) = self.core.wake_up(self.key, is_over) {
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
        self.key.id
    }

    fn begin(
        &self,
        ticket: &Ticket,
        item: u32,
        promise: &dyn Fn() -> Arc<dyn Promise>,
    ) -> Option<Instant> {
        let limit = ticket.options().timeout?;
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
        match self.phase.get() {
            SeatPhase::Hired => self.core.leave_runtime(), // Its runtime has ended.
            SeatPhase::Serving => self.core.seat_lost(self.key),
            SeatPhase::Left => {}
        }
    }
}
