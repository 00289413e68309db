//! What the executor and its seats share: the backlog, and which seat takes the next job. One lock
//! guards all decisions. No destructor of a task or an argument runs under it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::config::ThreadPoolConfig;
use super::seats::{Seats, ThreadSource};
use crate::backlog::{Backlog, Pending};
#[cfg(feature = "process")]
use crate::executor::encoded::Job;
use crate::executor::erased::{OpenWork, ThreadJob};
use crate::executor::error::{Cause, Rejection, TaskError};
use crate::executor::options::{Shutdown, ShutdownReport};
use crate::executor::promise::{TaskOwner, Terms, Ticket};
use crate::executor::room::{Room, Rooms};
use crate::executor::run::Tally;
use crate::executor::{Executor, Intake, Stats};
use crate::home::{Alarm, Home, within};
use crate::observe::Meter;

/// Starts a seat on a thread.
pub(super) type HireThread = fn(Arc<Core>, u64);

pub(super) struct Core {
    pub(super) config: ThreadPoolConfig,
    hire: HireThread,
    rooms: Rooms,
    me: Weak<Core>,
    terms: Arc<Terms>,
    /// Whose threads its seats use.
    pub(super) home: Arc<Home>,
    state: Mutex<CoreState>,
    /// Counts the news for seats that look for work.
    news: AtomicUsize,
    /// Notified once the executor is closed and the last seat is free.
    all_left: Notify,
}

#[derive(Default)]
struct CoreState {
    backlog: Backlog<WaitingJob>,
    closed: bool,
    seats: Seats,
    finished: u64,
    failed: u64,
    cancelled: usize,
}

/// A job in the backlog, and the alarm of its queue timeout.
struct WaitingJob {
    job: ThreadJob,
    _expiry: Option<Box<Alarm>>,
}

impl Pending for WaitingJob {
    fn ticket(&self) -> &Ticket {
        self.job.work.ticket()
    }

    fn first_item(&self) -> u32 {
        0
    }

    fn items(&self) -> u32 {
        self.job.work.items()
    }
}

/// What a seat does next.
pub(super) enum Next {
    Work(OpenWork),
    /// Look for work while the count of news stays the same.
    Look(usize),
    /// Park its thread. With `watch`, look again soon: others run chunks that it may share.
    Rest {
        watch: bool,
    },
    /// Leave the thread: the seat is free.
    Leave,
}

/// What a seat does when it finds no work.
#[derive(Clone, Copy)]
pub(super) enum Idle {
    Look,
    Rest,
    /// It has rested for its full time.
    Leave,
}

/// What a job holds only while it waits.
type Left = (Room, Option<Box<Alarm>>);

impl CoreState {
    /// Finds work for a seat. Also returns what the job held while it waited.
    fn find(&mut self, seat: u64) -> Option<(OpenWork, Option<Left>)> {
        if let Some(popped) = self.backlog.pop() {
            let WaitingJob { job, _expiry } = popped.entry;
            let work = job.work.open();
            let chunk = match &work {
                OpenWork::One(_) => None,
                OpenWork::Chunk(chunk) => Some(chunk.clone()),
            };
            self.seats.run(seat, popped.ticket, chunk);
            return Some((work, Some((job.room, _expiry))));
        }
        let part = self.seats.chunks().find_map(|chunk| chunk.split())?;
        self.seats.run(seat, part.ticket().id(), Some(part.clone()));
        Some((OpenWork::Chunk(part), None))
    }
}

impl Core {
    pub(super) fn new(config: ThreadPoolConfig, hire: HireThread) -> Arc<Self> {
        let meter = Meter::new(config.name.as_deref().unwrap_or("threads"));
        let home = Home::new();
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            rooms: Rooms::new(config.queue_capacity, meter.clone()),
            terms: Terms::new(me.clone(), config.task_options.clone(), meter, home.clone()),
            config,
            hire,
            me: me.clone(),
            home,
            state: Mutex::default(),
            news: AtomicUsize::new(0),
            all_left: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, CoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> Arc<Self> {
        self.me.upgrade().expect("the caller holds it")
    }

    /// Refuses new work, and dismisses idle seats.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let resting = state.seats.call_all();
        drop(state);
        self.rooms.close();
        self.announce_work();
        resting.iter().for_each(Thread::unpark);
    }

    /// Makes seats that look for work look again.
    fn announce_work(&self) {
        self.news.fetch_add(1, Ordering::Relaxed);
    }

    /// The count of news.
    pub(super) fn news(&self) -> usize {
        self.news.load(Ordering::Relaxed)
    }

    /// What a seat does next. `done` is what it did.
    pub(super) fn next(&self, seat: u64, done: Tally, idle: Idle) -> Next {
        let mut state = self.lock();
        state.finished += done.finished as u64;
        state.failed += done.failed as u64;
        let _ran = state.seats.look(seat);
        self.find(state, seat, idle)
    }

    /// The thread of a resting seat woke up: it was called, its time is over, or the wake-up is
    /// spurious. `None` lets it rest on.
    pub(super) fn wake_up(&self, seat: u64, is_over: bool) -> Option<Next> {
        let mut state = self.lock();
        if !state.seats.is_resting(seat) {
            return Some(self.find(state, seat, Idle::Rest));
        }
        is_over.then(|| {
            state.seats.wake_up(seat);
            self.find(state, seat, Idle::Leave)
        })
    }

    /// Finds work for a seat, or what it does without.
    fn find(&self, mut state: MutexGuard<'_, CoreState>, seat: u64, idle: Idle) -> Next {
        let Some((work, left)) = state.find(seat) else {
            let watch = state.seats.have_parts();
            return match idle {
                Idle::Leave if !watch => self.give_back(state, seat),
                _ if state.closed && !watch => self.give_back(state, seat),
                Idle::Look => Next::Look(self.news()),
                Idle::Rest | Idle::Leave => {
                    state.seats.rest(seat, thread::current());
                    Next::Rest { watch }
                }
            };
        };
        let can_share = matches!(&work, OpenWork::Chunk(part) if part.unstarted() > 1);
        if can_share || !state.backlog.is_empty() {
            self.call(state);
        } else {
            drop(state);
        }
        drop(left); // Outside the lock: giving room back may wake others.
        Next::Work(work)
    }

    /// Calls a seat for the work there is, unless one is coming.
    fn call(&self, mut state: MutexGuard<'_, CoreState>) {
        let call = state.seats.call(self.config.max_workers);
        let is_news = call.is_none() && state.seats.coming() > 0;
        drop(state);
        match call {
            Some(ThreadSource::Wake(thread)) => thread.unpark(),
            Some(ThreadSource::Hire(seat)) => (self.hire)(self.shared(), seat),
            None if is_news => self.announce_work(),
            None => {}
        }
    }

    fn give_back(&self, mut state: MutexGuard<'_, CoreState>, seat: u64) -> Next {
        state.seats.leave(seat);
        if state.closed && state.seats.is_empty() {
            self.all_left.notify_waiters();
        }
        Next::Leave
    }

    /// Frees a seat whose thread ended early. It may have been called for work.
    pub(super) fn seat_lost(&self, seat: u64) {
        self.give_back(self.lock(), seat);
        let mut state = self.lock();
        let is_last = state.seats.is_empty();
        let call = match state.backlog.is_empty() {
            true => None,
            false => state.seats.call(0),
        };
        drop(state);
        match call {
            Some(ThreadSource::Wake(thread)) => thread.unpark(),
            // The runtime has ended: no seat is left for waiting jobs.
            _ if is_last => drop(self.fail_pending(&Cause::Shutdown)),
            _ => {}
        }
    }

    /// Fails all waiting jobs, and the items of chunks that are not begun. Returns their number.
    pub(super) fn fail_pending(&self, cause: &Cause) -> usize {
        let mut state = self.lock();
        let pending = state.backlog.drain();
        let chunks: Vec<_> = state.seats.chunks().cloned().collect();
        drop(state);
        let mut count = chunks.iter().map(|chunk| chunk.fail(cause)).sum();
        for waiting in pending {
            count += waiting.items() as usize;
            waiting.job.work.fail(cause);
        }
        count
    }

    /// Refuses a job that is still in the backlog at the end of its queue timeout.
    fn expire(&self, ticket: &Ticket, limit: Duration) {
        let expired = self.lock().backlog.remove(ticket);
        for waiting in expired {
            let cause = Cause::Rejected(Rejection::WaitedTooLong { limit });
            waiting.job.work.fail(&cause);
        }
    }

    /// Queues a job, and calls a seat for it.
    pub(super) fn spawn(&self, job: ThreadJob) {
        let ticket = job.work.ticket();
        ticket.accept(&self.terms);
        self.home.note_caller();
        let expiry = ticket.queue_timeout().map(|limit| {
            let core = self.me.clone();
            let promise = job.work.promise();
            let expire = move || {
                if let Some(core) = core.upgrade() {
                    core.expire(promise.ticket(), limit);
                }
            };
            Box::new(Alarm::set(&self.home, limit, expire))
        });
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return job.work.fail(&Cause::Shutdown);
        }
        state.backlog.push(WaitingJob {
            job,
            _expiry: expiry,
        });
        self.call(state);
    }

    async fn all_seats_left(&self) {
        loop {
            let left = self.all_left.notified();
            if self.lock().seats.is_empty() {
                return;
            }
            left.await;
        }
    }
}

impl TaskOwner for Core {
    fn abort(&self, ticket: &Ticket) -> bool {
        let mut state = self.lock();
        let removed = state.backlog.remove(ticket);
        let items = removed.iter().map(|waiting| waiting.items() as usize);
        let cancelled: usize = items.sum();
        state.cancelled += cancelled;
        drop(state);
        drop(removed); // Outside the lock: the arguments' destructors are user code.
        cancelled == 0
    }

    fn is_running(&self, ticket: &Ticket) -> bool {
        self.lock().seats.is_running(ticket)
    }
}

#[async_trait]
impl Intake for Core {
    #[cfg(feature = "process")]
    fn spawn_job(&self, job: Job) {
        self.spawn(job.into_thread_job());
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
}

#[async_trait]
impl Executor for Core {
    async fn shutdown_with(&self, how: Shutdown) -> ShutdownReport {
        let deadline = how.ends_at();
        self.home.note_caller();
        self.close();
        let (finished, before) = {
            let state = self.lock();
            (state.finished, state.cancelled)
        };
        let mut cancelled = 0;
        if how.cancel_pending {
            cancelled += self.fail_pending(&Cause::Cancelled);
        }
        let ended = self.all_seats_left();
        let in_time = match deadline {
            None => {
                ended.await;
                true
            }
            Some(deadline) => within(&self.home, deadline, ended).await.is_some(),
        };
        if !in_time {
            cancelled += self.fail_pending(&Cause::Cancelled);
        }
        let state = self.lock();
        ShutdownReport {
            finished: (state.finished - finished) as usize,
            cancelled: cancelled + state.cancelled - before,
            killed: state.seats.running(),
        }
    }

    fn max_workers(&self) -> usize {
        self.config.max_workers
    }

    fn stats(&self) -> Stats {
        let state = self.lock();
        let unstarted: usize = state.seats.chunks().map(|chunk| chunk.unstarted()).sum();
        Stats {
            queued: state.backlog.items() + unstarted,
            running: state.seats.running(),
            workers: state.seats.running(),
            finished: state.finished,
            failed: state.failed,
            ..Stats::default()
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolExecutor")
            .field("max_workers", &self.config.max_workers)
            .field("stats", &self.stats())
            .finish()
    }
}
