//! Which call goes to which worker, and when a worker is started. All of it is decided under one
//! lock that is never held over I/O or user code. Locks are taken in the order pool, link. Reading
//! order:
//!
//! - this file: what an executor promises, kept by a pool;
//! - [`state`]: what is under the lock, and what is decided there;
//! - [`dispatch`]: how a call and a worker find each other;
//! - [`hire`]: how workers are started, and what becomes of a start that fails;
//! - [`retire`]: how they go; [`cancel`]: how calls go; [`end`]: how the pool goes.

mod cancel;
mod dispatch;
mod end;
mod hire;
mod retire;
mod state;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::Notify;

pub(super) use self::end::EndWorkers;
pub(super) use self::hire::AfterFailure;
pub(super) use self::retire::Departure;
use self::state::{CallOrigin, PoolState, WaitingCall};
use super::link::{Ending, Link};
use super::start::{Recipe, Starter};
use super::{WorkerInfo, WorkerState};
use crate::executor::encoded::Job;
use crate::executor::error::{Cause, Rejection, TaskError};
use crate::executor::options::{Shutdown, ShutdownReport, TaskOptions};
use crate::executor::promise::Terms;
use crate::executor::room::{Room, Rooms};
use crate::executor::{Executor, Stats};
use crate::observe::Meter;
use crate::sys;

pub(super) struct ProcessPoolConfig {
    pub(super) name: Option<String>,
    pub(super) max_workers: usize,
    pub(super) queue_capacity: Option<usize>,
    pub(super) task_options: TaskOptions,
    /// So many workers are kept, also when there is nothing to do.
    pub(super) min_workers: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_tasks_per_child: Option<u64>,
    pub(super) max_age_per_child: Option<Duration>,
    pub(super) max_memory_per_child: Option<u64>,
    pub(super) recipe: Arc<Recipe>,
    pub(super) starter: Starter,
}

impl ProcessPoolConfig {
    /// Whether a worker may have a successor while it is there.
    fn has_retirements(&self) -> bool {
        self.max_tasks_per_child.is_some()
            || self.max_age_per_child.is_some()
            || self.max_memory_per_child.is_some()
    }
}

/// Starts a worker for a place of the pool, on a runtime.
pub(super) type HireWorker = fn(&Handle, Arc<Pool>, u64);

pub(super) struct Pool {
    pub(super) config: ProcessPoolConfig,
    hire: HireWorker,
    /// Of the process that made it: in a fork of that, it is of no use.
    generation: u32,
    rooms: Rooms,
    me: Weak<Pool>,
    terms: Arc<Terms>,
    state: Mutex<PoolState>,
    finished: AtomicU64,
    failed: AtomicU64,
    /// Told whenever a worker comes, goes or gives up, or the backlog empties.
    pub(super) changed: Notify,
}

impl Pool {
    pub(super) fn new(config: ProcessPoolConfig, hire: HireWorker) -> Arc<Self> {
        let meter = Meter::new(config.name.as_deref().unwrap_or("processes"));
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            rooms: Rooms::new(config.queue_capacity, meter.clone()),
            terms: Terms::new(me.clone(), config.task_options.clone(), meter),
            config,
            hire,
            generation: sys::generation(),
            me: me.clone(),
            state: Mutex::new(PoolState {
                runtime: Handle::try_current().ok(),
                ..PoolState::default()
            }),
            finished: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            changed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> Arc<Self> {
        self.me.upgrade().expect("whoever calls holds it")
    }

    fn links(&self) -> Vec<Arc<Link>> {
        self.lock().links().cloned().collect()
    }

    pub(super) fn workers(&self) -> Vec<WorkerInfo> {
        let state = self.lock();
        let ready = state.links().map(|link| WorkerInfo {
            id: link.id,
            pid: link.pid,
            state: match link.ending() {
                Some(_) => WorkerState::Ending,
                None if link.is_idle() => WorkerState::Idle,
                None => WorkerState::Busy,
            },
            tasks_done: link.tasks_done(),
            started_at: link.started_at,
        });
        ready.collect()
    }
}

#[async_trait]
impl Executor for Pool {
    fn spawn_job(&self, job: Job) {
        let ticket = job.work.ticket();
        ticket.accept(&self.terms);
        if self.rooms.is_closed() {
            return job.work.fail(&Cause::Shutdown);
        }
        if self.generation != sys::generation() {
            return job.work.fail(&Cause::Rejected(Rejection::OtherProcess));
        }
        let expiry = ticket
            .queue_timeout()
            .and_then(|limit| self.expiry(job.work.promise(), limit));
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
        self.rooms.take().await
    }

    fn handle(&self) -> Arc<dyn Executor> {
        self.shared()
    }

    async fn shutdown_with(&self, how: Shutdown) -> ShutdownReport {
        let deadline = how.ends_at();
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
                if tokio::time::timeout_at(deadline, self.all_gone())
                    .await
                    .is_err()
                {
                    self.lock().stopped = true;
                    cancelled += self.fail_pending(&Cause::Cancelled);
                    for link in self.links() {
                        link.end(Ending::Shutdown);
                    }
                    self.all_gone().await;
                }
            }
        }
        self.config.starter.close().await;
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
