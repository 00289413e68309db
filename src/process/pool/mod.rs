//! Decides which call goes to which worker, and when workers start. All decisions are made under one lock. While the
//! pool holds it, the pool sends nothing to a worker, wakes no task, answers no caller, and runs no code of a task or
//! of another crate. Locks are taken in the order pool, link. Reading order:
//!
//! - this file: the contract of an executor, kept by a pool; [`config`]: its settings;
//! - [`state`]: what is under the lock, and the decisions; [`places`]: the places of the workers, and who is idle;
//! - [`starts`]: when workers may start; [`phase`]: how far the pool is on its way to its end. Both are pure;
//! - [`dispatch`]: how a call and a worker find each other;
//! - [`hire`]: how workers start, and the pool's reaction to a failed start; [`warm_up`]: how all of them start;
//! - [`retire`]: how workers leave; [`cancel`]: how calls are cancelled; [`end`]: how the pool ends;
//! - [`counts`]: how many items ended, and how; [`workers`]: what each worker does now.

mod cancel;
mod config;
mod counts;
mod dispatch;
mod end;
mod hire;
mod phase;
mod places;
mod retire;
mod starts;
mod state;
mod warm_up;
mod workers;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use tokio::sync::{Notify, Semaphore};

use self::config::MOST_CREATED_AT_ONCE;
pub(super) use self::config::ProcessPoolConfig;
use self::counts::Counts;
pub(super) use self::end::EndWorkers;
pub(super) use self::hire::AfterFailure;
use self::phase::CallOrigin;
pub(super) use self::retire::Departure;
use self::state::{PoolState, WaitingCall};
use super::link::Link;
use crate::executor::callee::NOT_IN_EXECUTABLE;
use crate::executor::encoded::{EncodedCall, Job};
use crate::executor::error::{Cause, Rejection, TaskError};
use crate::executor::options::{Shutdown, ShutdownReport};
use crate::executor::promise::Terms;
use crate::executor::room::{Room, Rooms};
use crate::executor::{Executor, Intake, Stats};
use crate::home::{Alarm, Home};
use crate::observe::Meter;

/// Starts a worker for a place of the pool.
pub(super) type HireWorker = fn(Arc<Pool>, u64);

pub(super) struct Pool {
    pub(super) config: ProcessPoolConfig,
    hire: HireWorker,
    rooms: Rooms,
    me: Weak<Pool>,
    /// Where its supervisors run.
    pub(super) home: Arc<Home>,
    terms: Arc<Terms>,
    state: Mutex<PoolState>,
    counts: Counts,
    /// The right to create a worker. Limits how many are created at the same time.
    start_turns: Semaphore,
    /// Checks again whether another worker should start, after a place was given up.
    next_check: Mutex<Option<Alarm>>,
    /// Notified when a worker starts, ends or fails to start, and when the backlog becomes empty.
    pub(super) changed: Notify,
}

impl Pool {
    pub(super) fn new(config: ProcessPoolConfig, hire: HireWorker) -> Arc<Self> {
        let meter = Meter::new(config.name.as_deref().unwrap_or("processes"));
        let home = match config.recipe.outlets.call_back() {
            true => Home::apart(),
            false => Home::new(),
        };
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            rooms: Rooms::new(config.queue_capacity, meter.clone()),
            terms: Terms::new(me.clone(), config.task_options.clone(), meter, home.clone()),
            home,
            config,
            hire,
            me: me.clone(),
            state: Mutex::default(),
            counts: Counts::default(),
            start_turns: Semaphore::new(MOST_CREATED_AT_ONCE),
            next_check: Mutex::default(),
            changed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> Arc<Self> {
        self.me.upgrade().expect("the caller holds the pool")
    }

    fn links(&self) -> Vec<Arc<Link>> {
        self.lock().places.links().cloned().collect()
    }
}

#[async_trait]
impl Intake for Pool {
    fn spawn_job(&self, job: Job) {
        let mut work = job.work;
        let ticket = work.ticket();
        self.home.note_caller();
        if self.rooms.is_closed() {
            work.fail(&Cause::Shutdown);
            return;
        }
        if self.home.is_inherited() {
            work.fail(&Cause::Rejected(Rejection::OtherProcess));
            return;
        }
        if ticket.is_revoked() {
            work.fail(&Cause::Cancelled);
            return;
        }
        let Some(function) = work.callee().offset() else {
            work.fail(&Cause::Codec(NOT_IN_EXECUTABLE.into()));
            return;
        };
        let expiry = ticket
            .options()
            .queue_timeout
            .map(|limit| self.expiry(work.promise(), limit));
        let mut room = job.room;
        work.begin()
            .encode(self.config.recipe.max_frame_length, &mut |items| {
                let waiting = WaitingCall {
                    call: EncodedCall::new(function, items, expiry.clone()),
                    room: std::mem::take(&mut room),
                };
                self.dispatch(waiting, CallOrigin::Submitted);
            });
    }

    fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    fn try_room(&self) -> Result<Room, TaskError> {
        self.rooms.try_take()
    }

    async fn room(&self) -> Result<Room, TaskError> {
        self.home.awaited(self.rooms.take()).await
    }

    fn handle(&self) -> Arc<dyn Executor> {
        self.shared()
    }
}

#[async_trait]
impl Executor for Pool {
    async fn shutdown_with(&self, how: Shutdown) -> ShutdownReport {
        self.home.awaited(self.shut_down(how)).await
    }

    fn max_workers(&self) -> usize {
        self.config.max_workers
    }

    fn stats(&self) -> Stats {
        let state = self.lock();
        Stats {
            queued: state.backlog.items()
                + state
                    .places
                    .links()
                    .map(|link| link.waiting())
                    .sum::<usize>(),
            running: state.places.links().map(|link| link.running()).sum(),
            workers: state.places.len(),
            finished: self.counts.finished(),
            failed: self.counts.failed(),
            restarts: state.restarts,
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolExecutor")
            .field("name", &self.config.name)
            .field("max_workers", &self.config.max_workers)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
