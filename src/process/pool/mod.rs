//! Decides which call goes to which worker, and when workers start. All of it happens under one lock.
//! Under it the pool sends nothing to a worker, answers no caller, and runs no code of a task. Locks are
//! taken in the order pool, link. Reading order:
//!
//! - this file: what an executor promises, kept by a pool; [`config`]: its settings;
//! - [`state`]: what is under the lock, and what is decided there;
//! - [`dispatch`]: how a call and a worker find each other;
//! - [`hire`]: how workers are started, and what becomes of a start that fails;
//! - [`retire`]: how they go; [`cancel`]: how calls go; [`end`]: how the pool goes;
//! - [`workers`]: what each worker does at the moment.

mod cancel;
mod config;
mod dispatch;
mod end;
mod hire;
mod retire;
mod state;
mod workers;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use tokio::sync::Notify;

pub(super) use self::config::ProcessPoolConfig;
pub(super) use self::end::EndWorkers;
pub(super) use self::hire::AfterFailure;
pub(super) use self::retire::Departure;
use self::state::{CallOrigin, PoolState, WaitingCall};
use super::link::{Ending, Link};
use crate::executor::encoded::Job;
use crate::executor::error::{Cause, Rejection, TaskError};
use crate::executor::options::{Shutdown, ShutdownReport};
use crate::executor::promise::Terms;
use crate::executor::room::{Room, Rooms};
use crate::executor::{Executor, Intake, Stats};
use crate::home::{Home, within};
use crate::observe::Meter;
use crate::sys;

/// Starts a worker for a place of the pool.
pub(super) type HireWorker = fn(Arc<Pool>, u64);

pub(super) struct Pool {
    pub(super) config: ProcessPoolConfig,
    hire: HireWorker,
    /// The process that made the pool: a fork of that cannot use it.
    generation: u32,
    rooms: Rooms,
    me: Weak<Pool>,
    /// Where its supervisors run.
    pub(super) home: Arc<Home>,
    terms: Arc<Terms>,
    state: Mutex<PoolState>,
    finished: AtomicU64,
    failed: AtomicU64,
    /// Notified when a worker starts, ends or fails to start, and when the backlog becomes empty.
    pub(super) changed: Notify,
}

impl Pool {
    pub(super) fn new(config: ProcessPoolConfig, hire: HireWorker) -> Arc<Self> {
        let meter = Meter::new(config.name.as_deref().unwrap_or("processes"));
        let home = Home::new();
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            rooms: Rooms::new(config.queue_capacity, meter.clone()),
            terms: Terms::new(me.clone(), config.task_options.clone(), meter, home.clone()),
            home,
            config,
            hire,
            generation: sys::generation(),
            me: me.clone(),
            state: Mutex::default(),
            finished: AtomicU64::new(0),
            failed: AtomicU64::new(0),
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
        self.lock().links().cloned().collect()
    }
}

#[async_trait]
impl Intake for Pool {
    fn spawn_job(&self, job: Job) {
        let ticket = job.work.ticket();
        ticket.accept(&self.terms);
        self.home.note_caller();
        if self.rooms.is_closed() {
            return job.work.fail(&Cause::Shutdown);
        }
        if self.generation != sys::generation() {
            return job.work.fail(&Cause::Rejected(Rejection::OtherProcess));
        }
        let expiry = ticket
            .queue_timeout()
            .map(|limit| self.expiry(job.work.promise(), limit));
        let mut room = job.room;
        job.work
            .encode(self.config.recipe.max_frame_length, &mut |mut call| {
                call.expiry.clone_from(&expiry);
                let waiting = WaitingCall {
                    call,
                    _room: std::mem::take(&mut room),
                };
                self.dispatch(waiting, CallOrigin::Submitted);
            });
    }

    fn try_room(&self) -> Result<Room, TaskError> {
        self.rooms.try_take()
    }

    async fn room(&self) -> Result<Room, TaskError> {
        self.home.note_caller();
        self.rooms.take().await
    }

    fn handle(&self) -> Arc<dyn Executor> {
        self.shared()
    }
}

#[async_trait]
impl Executor for Pool {
    async fn shutdown_with(&self, how: Shutdown) -> ShutdownReport {
        let deadline = how.ends_at();
        self.home.note_caller();
        let before = self.tally();
        self.close();
        let mut cancelled = 0;
        if how.cancel_pending {
            cancelled += self.fail_pending(&Cause::Cancelled);
        }
        match deadline {
            None => self.all_gone().await,
            Some(deadline) => {
                let _notice = self.announce_deadline(deadline);
                let gone = within(&self.home, deadline, self.all_gone()).await;
                if gone.is_none() {
                    self.lock().stopped = true;
                    cancelled += self.fail_pending(&Cause::Cancelled);
                    for link in self.links() {
                        link.end(Ending::Shutdown);
                    }
                    self.all_gone().await;
                }
            }
        }
        self.close_starter().await;
        let after = self.tally();
        ShutdownReport {
            finished: (after.0 - before.0) as usize,
            cancelled: cancelled + (after.1 - before.1) as usize,
            killed: (after.2 - before.2) as usize,
        }
    }

    fn max_workers(&self) -> usize {
        self.config.max_workers
    }

    fn stats(&self) -> Stats {
        let state = self.lock();
        Stats {
            queued: state.backlog.items() + state.links().map(|link| link.waiting()).sum::<usize>(),
            running: state.links().map(|link| link.running()).sum(),
            workers: state.workers.len(),
            finished: self.finished.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
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
