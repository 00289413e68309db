//! What the executor and its seats share: the backlog, and which seat takes the next job. One lock guards all
//! decisions. No destructor of a task or an argument runs under that lock.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::config::ThreadPoolConfig;
use super::idle_runtimes::IdleRuntimes;
use super::runtimes::{SeatRuntimes, Submitter, SubmitterRuntime};
use super::seats::{
    RunningChunk, RunningFuture, RunningWork, SeatKey, SeatThread, Seats, ThreadSource,
};
use crate::backlog::{Backlog, Pending};
#[cfg(feature = "process")]
use crate::executor::encoded::Job;
use crate::executor::erased::{OpenWork, ThreadJob, Unstarted, Work};
use crate::executor::error::{Cause, InitFailure, Rejection, TaskError};
use crate::executor::open::Close;
use crate::executor::options::{Shutdown, ShutdownReport};
use crate::executor::promise::{TaskOwner, Terms, Ticket};
use crate::executor::room::{Room, Rooms};
use crate::executor::run::Tally;
use crate::executor::{Executor, Intake, Stats};
use crate::home::{Alarm, Home, within};
use crate::observe::Meter;

/// Starts a seat on a thread: of this runtime, or else of the crate's own.
pub(super) type HireThread = fn(Arc<Core>, SeatKey, Option<Handle>);

pub(super) struct Core {
    pub(super) config: ThreadPoolConfig,
    hire: HireThread,
    rooms: Rooms,
    me: Weak<Core>,
    terms: Arc<Terms>,
    /// Whose threads its seats use.
    runtimes: SeatRuntimes,
    /// Where its alarms run.
    pub(super) home: Arc<Home>,
    state: Mutex<CoreState>,
    /// What its seats drive async tasks with.
    pub(super) idle_runtimes: IdleRuntimes,
    /// Counts the news for seats that look for work.
    news: AtomicUsize,
    /// Notified once the executor is closed and the last seat is free.
    all_left: Notify,
}

#[derive(Default)]
struct CoreState {
    backlog: Backlog<WaitingJob>,
    closed: bool,
    /// The seats have left the threads of the first runtime.
    has_left: bool,
    seats: Seats,
    finished: u64,
    failed: u64,
    cancelled: usize,
}

/// A job in the backlog.
struct WaitingJob {
    job: ThreadJob,
    runtime: SubmitterRuntime,
    expiry: Option<Box<Expiry>>,
}

/// The queue timeout of a job that waits.
struct Expiry {
    limit: Duration,
    /// `None` if the clock cannot represent it.
    end: Option<Instant>,
    /// Refuses the job in time, unless the runtime that drives it is blocked.
    _alarm: Alarm,
}

impl Expiry {
    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| end <= Instant::now())
    }
}

impl WaitingJob {
    /// Gives its room in the queue back. The caller then answers the job: who has an answer finds the room.
    fn leave(self) -> Unstarted<dyn Work> {
        self.job.work
    }
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
    /// Run this, within this runtime.
    Work(OpenWork, SubmitterRuntime),
    /// Look for work while the count of news stays the same.
    Look(usize),
    /// Park its thread. With `watch`, look again soon: others run chunks that it may share.
    Rest { watch: bool },
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
type Left = (Room, Option<Box<Expiry>>);

/// What a seat has found.
struct FoundWork {
    work: OpenWork,
    runtime: SubmitterRuntime,
    /// Dropped outside the lock: giving room back may wake others.
    left: Option<Left>,
}

impl CoreState {
    /// Finds work for a seat.
    #[inline]
    fn find(&mut self, seat: u64) -> Option<FoundWork> {
        let Some(popped) = self.backlog.pop() else {
            return self.share(seat);
        };
        let WaitingJob {
            job,
            runtime,
            expiry,
        } = popped.entry;
        let work = job.work.begin().open();
        let running = match &work {
            OpenWork::One(work) if work.ticket().is_async() => {
                RunningWork::Future(Box::new(RunningFuture::One(work.promise())))
            }
            OpenWork::One(_) => RunningWork::Plain,
            OpenWork::Chunk(chunk) => {
                let chunk = RunningChunk {
                    chunk: chunk.clone(),
                    runtime: runtime.clone(),
                };
                RunningWork::Chunk(Box::new(chunk))
            }
        };
        self.seats.run(seat, popped.ticket, running);
        Some(FoundWork {
            work,
            runtime,
            left: Some((job.room, expiry)),
        })
    }

    /// Finds a part of a chunk that another seat runs.
    fn share(&mut self, seat: u64) -> Option<FoundWork> {
        let part = self.seats.split()?;
        let found = FoundWork {
            work: OpenWork::Chunk(part.chunk.clone()),
            runtime: part.runtime.clone(),
            left: None,
        };
        let task = part.chunk.ticket().id();
        self.seats
            .run(seat, task, RunningWork::Chunk(Box::new(part)));
        Some(found)
    }

    /// Whether the seat must take no more work: another task would hold up the end of the runtime whose
    /// thread it has.
    fn must_leave(&self, seat: SeatKey) -> bool {
        self.has_left && seat.thread == SeatThread::Runtimes
    }

    /// Whether no work and no seat is left.
    fn has_ended(&self) -> bool {
        self.closed && self.seats.is_empty() && self.backlog.is_empty()
    }
}

/// Dropped when the first runtime ends.
struct RuntimeEnd(Weak<Core>);

impl Drop for RuntimeEnd {
    fn drop(&mut self) {
        if let Some(core) = self.0.upgrade() {
            core.leave_runtime();
        }
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
            runtimes: SeatRuntimes::new(home.clone()),
            home,
            state: Mutex::default(),
            idle_runtimes: IdleRuntimes::default(),
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

    /// Makes seats that look for work look again.
    fn announce_work(&self) {
        self.news.fetch_add(1, Ordering::Relaxed);
    }

    /// The count of news.
    pub(super) fn news(&self) -> usize {
        self.news.load(Ordering::Relaxed)
    }

    /// A seat has its thread. Returns false if the seats have left that runtime since: this one was freed then.
    pub(super) fn arrive(&self, seat: SeatKey) -> bool {
        let mut state = self.lock();
        if state.must_leave(seat) {
            return false;
        }
        let _none = state.seats.start_search(seat.id);
        true
    }

    /// What a seat does next. `done` is what it did.
    #[inline]
    pub(super) fn next(&self, seat: SeatKey, done: Tally, idle: Idle) -> Next {
        let mut state = self.lock();
        state.finished += done.finished as u64;
        state.failed += done.failed as u64;
        state.cancelled += done.cancelled;
        let _ran = state.seats.start_search(seat.id);
        self.find(state, seat, idle)
    }

    /// The thread of a resting seat woke up: it was called, its time is over, or the wake-up is
    /// spurious. `None` lets it rest on.
    pub(super) fn wake_up(&self, seat: SeatKey, is_over: bool) -> Option<Next> {
        let mut state = self.lock();
        if !state.seats.is_resting(seat.id) {
            return Some(self.find(state, seat, Idle::Rest));
        }
        is_over.then(|| {
            state.seats.wake_up(seat.id);
            self.find(state, seat, Idle::Leave)
        })
    }

    /// Finds work for a seat, or what it does without.
    #[inline]
    fn find(&self, mut state: MutexGuard<'_, CoreState>, seat: SeatKey, idle: Idle) -> Next {
        if state.must_leave(seat) {
            return self.give_back(state, seat.id);
        }
        let Some(found) = state.find(seat.id) else {
            let watch = state.seats.have_parts();
            return match idle {
                Idle::Leave if !watch => self.give_back(state, seat.id),
                _ if state.closed && !watch => self.give_back(state, seat.id),
                Idle::Look => Next::Look(self.news()),
                Idle::Rest | Idle::Leave => {
                    state.seats.rest(seat.id, thread::current());
                    Next::Rest { watch }
                }
            };
        };
        let FoundWork {
            mut work,
            runtime,
            left,
        } = found;
        let can_share = matches!(&work, OpenWork::Chunk(part) if part.unstarted() > 1);
        if can_share || !state.backlog.is_empty() {
            self.call(state);
        } else {
            drop(state);
        }
        if let Some((_, Some(expiry))) = &left
            && expiry.is_over()
        {
            // Its alarm has not rung: the runtime that drives the alarm is blocked. The seat drops the job.
            let limit = expiry.limit;
            work.fail(&Cause::Rejected(Rejection::WaitedTooLong { limit }));
        }
        drop(left);
        let runtime = match seat.thread {
            SeatThread::Runtimes => None,
            // A job from before the move is the first runtime's.
            SeatThread::Own => runtime.or_else(|| self.runtimes.default()),
        };
        Next::Work(work, runtime)
    }

    /// Calls a seat for the work there is, unless one is coming.
    #[inline]
    fn call(&self, mut state: MutexGuard<'_, CoreState>) {
        let call = state.seats.call(self.config.max_workers);
        let is_news = call.is_none() && state.seats.coming() > 0;
        let has_left = state.has_left;
        drop(state);
        match call {
            Some(ThreadSource::Wake(thread)) => thread.unpark(),
            Some(ThreadSource::Hire(id)) => self.hire(id, has_left),
            None if is_news => self.announce_work(),
            None => {}
        }
    }

    fn hire(&self, id: u64, has_left: bool) {
        // If the seats leave the runtime just now, they free this one: its thread finds that out.
        let runtime = match has_left {
            true => None,
            false => self.runtimes.first(),
        };
        let thread = match runtime {
            Some(_) => SeatThread::Runtimes,
            None => SeatThread::Own,
        };
        (self.hire)(self.shared(), SeatKey { id, thread }, runtime);
    }

    fn give_back(&self, mut state: MutexGuard<'_, CoreState>, seat: u64) -> Next {
        state.seats.leave(seat);
        if state.has_ended() {
            self.all_left.notify_waiters();
        } else if !state.backlog.is_empty() {
            self.call(state); // It was called for work, and leaves without it.
        }
        Next::Leave
    }

    /// Frees a seat whose thread has panicked.
    pub(super) fn seat_lost(&self, seat: SeatKey) {
        self.give_back(self.lock(), seat.id);
    }

    /// Frees a seat for which the system has no thread. Without any seat, the waiting jobs fail.
    pub(super) fn thread_refused(&self, seat: SeatKey, error: &io::Error) {
        let mut state = self.lock();
        state.seats.leave(seat.id);
        let is_last = state.seats.is_empty();
        drop(state);
        if is_last {
            self.fail_pending(&Cause::InitFailed(InitFailure {
                reason: format!("no thread can be started: {error}"),
                ..InitFailure::default()
            }));
        }
    }

    /// Moves the seats to threads of the crate's own. Seats that run a task on a thread of the first runtime
    /// leave after that task.
    pub(super) fn leave_runtime(&self) {
        let mut state = self.lock();
        if state.has_left {
            return;
        }
        state.has_left = true;
        self.runtimes.leave();
        state.seats.abandon_hired();
        let resting = state.seats.call_all(); // They leave, too.
        if state.has_ended() {
            self.all_left.notify_waiters();
        }
        // A seat that leaves calls another for the work that waits. If none is left to leave, call one now.
        match state.backlog.is_empty() {
            true => drop(state),
            false => self.call(state),
        }
        self.announce_work();
        resting.iter().for_each(Thread::unpark);
    }

    /// Takes note of the runtime that uses the executor. Returns it for a seat that runs on another thread.
    fn note_caller(&self) -> SubmitterRuntime {
        match self.runtimes.note_submitter(|| RuntimeEnd(self.me.clone())) {
            Submitter::First => None,
            Submitter::Other(runtime) => runtime,
            Submitter::Second(runtime) => {
                self.leave_runtime();
                runtime
            }
        }
    }

    /// Fails all waiting jobs, and the items of chunks that are not started. Returns their number.
    pub(super) fn fail_pending(&self, cause: &Cause) -> usize {
        let mut state = self.lock();
        let pending = state.backlog.drain();
        let chunks: Vec<_> = state.seats.chunks().cloned().collect();
        if state.has_ended() {
            self.all_left.notify_waiters();
        }
        drop(state);
        let mut count = chunks.iter().map(|chunk| chunk.fail(cause)).sum();
        for waiting in pending {
            count += waiting.leave().fail(cause);
        }
        count
    }

    /// Refuses a job that is still in the backlog at the end of its queue timeout.
    fn expire(&self, ticket: &Ticket, limit: Duration) {
        let expired = self.lock().backlog.remove(ticket);
        for waiting in expired {
            let cause = Cause::Rejected(Rejection::WaitedTooLong { limit });
            waiting.leave().fail(&cause);
        }
    }

    /// Queues a job, and calls a seat for it.
    pub(super) fn spawn(&self, mut job: ThreadJob) {
        let ticket = job.work.ticket();
        if self.home.is_inherited() {
            job.work.fail(&Cause::Rejected(Rejection::OtherProcess));
            return;
        }
        if ticket.is_revoked() {
            job.work.fail(&Cause::Cancelled);
            return;
        }
        let runtime = self.note_caller();
        let expiry = ticket.options().queue_timeout.map(|limit| {
            let core = self.me.clone();
            let promise = job.work.promise();
            let expire = move || {
                if let Some(core) = core.upgrade() {
                    core.expire(promise.ticket(), limit);
                }
            };
            Box::new(Expiry {
                limit,
                end: Instant::now().checked_add(limit),
                _alarm: Alarm::set(&self.home, limit, expire),
            })
        });
        let mut state = self.lock();
        if state.closed {
            drop(state);
            job.work.fail(&Cause::Shutdown);
            return;
        }
        state.backlog.push(WaitingJob {
            job,
            runtime,
            expiry,
        });
        self.call(state);
    }

    async fn all_seats_left(&self) {
        loop {
            let left = self.all_left.notified();
            if self.lock().has_ended() {
                return;
            }
            left.await;
        }
    }
}

impl TaskOwner for Core {
    fn abort(&self, ticket: &Ticket, answer: &mut dyn FnMut(bool)) {
        let mut state = self.lock();
        let removed = state.backlog.remove(ticket);
        let items = removed.iter().map(|waiting| waiting.items() as usize);
        let cancelled: usize = items.sum();
        state.cancelled += cancelled;
        drop(state);
        let _unstarted: Vec<_> = removed.into_iter().map(WaitingJob::leave).collect();
        answer(cancelled == 0);
    }

    fn is_running(&self, ticket: &Ticket) -> bool {
        self.lock().seats.is_running(ticket)
    }
}

impl Close for Core {
    /// Refuses new work, and dismisses idle seats.
    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let resting = state.seats.call_all();
        drop(state);
        self.rooms.close();
        self.announce_work();
        resting.iter().for_each(Thread::unpark);
        self.idle_runtimes.close();
    }
}

#[async_trait]
impl Intake for Core {
    #[cfg(feature = "process")]
    fn spawn_job(&self, job: Job) {
        self.spawn(job.into_thread_job());
    }

    fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    fn try_room(&self) -> Result<Room, TaskError> {
        self.rooms.try_take()
    }

    async fn room(&self) -> Result<Room, TaskError> {
        self.note_caller();
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
        self.note_caller();
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
            Some(deadline) => {
                let ended = within(&self.home, deadline, ended);
                self.home.awaited(ended).await.is_some()
            }
        };
        if !in_time {
            cancelled += self.fail_pending(&Cause::Cancelled);
        }
        let state = self.lock();
        let report = ShutdownReport {
            finished: (state.finished - finished) as usize,
            cancelled: cancelled + state.cancelled - before,
            killed: state.seats.running(),
        };
        let futures = state.seats.futures();
        drop(state); // Answering a caller runs code of others.
        for future in futures {
            future.fail(&Cause::Shutdown);
        }
        report
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
