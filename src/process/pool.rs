//! Which call goes to which worker, and when a worker is started. All of it is decided under one
//! lock that is never held over I/O or user code. Locks are taken in the order pool, link.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::link::{Dismissal, Ending, Link};
use super::start::{Recipe, Starter};
use super::{WorkerInfo, WorkerState};
use crate::alarm::Alarm;
use crate::backlog::{Backlog, Pending};
use crate::executor::error::{Cause, InitFailure, Rejection, TaskError};
use crate::executor::job::{Call, Job};
use crate::executor::options::{Shutdown, ShutdownReport, TaskName, TaskOptions};
use crate::executor::promise::{Owner, Promise, Ticket};
use crate::executor::room::{Room, Rooms};
use crate::executor::{Executor, Restarts, Stats};
use crate::sys;

/// So many starts may fail one after another before the pool gives up.
const MOST_FAILURES: u32 = 3;
/// The pause after the first failure; it doubles with each one,
const BACK_OFF: Duration = Duration::from_millis(50);
/// but no more often than this.
const MOST_DOUBLINGS: u32 = 10;

pub(super) struct Config {
    pub(super) name: Option<String>,
    pub(super) max_workers: usize,
    pub(super) queue_capacity: Option<usize>,
    pub(super) task_options: Arc<TaskOptions>,
    /// So many workers are kept, also when there is nothing to do.
    pub(super) min_workers: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_tasks_per_child: Option<u64>,
    pub(super) max_age_per_child: Option<Duration>,
    pub(super) max_memory_per_child: Option<u64>,
    pub(super) recipe: Arc<Recipe>,
    pub(super) starter: Starter,
}

impl Config {
    /// Whether a worker may have a successor while it is there.
    fn has_retirements(&self) -> bool {
        self.max_tasks_per_child.is_some()
            || self.max_age_per_child.is_some()
            || self.max_memory_per_child.is_some()
    }
}

/// How long to wait after so many failures.
fn pause_after(failures: u32) -> Duration {
    BACK_OFF * 2_u32.pow(failures.min(MOST_DOUBLINGS))
}

/// Starts a worker for a place of the pool, on a runtime.
pub(super) type Hire = fn(&Handle, Arc<Pool>, u64);

pub(super) struct Pool {
    pub(super) config: Config,
    hire: Hire,
    /// Of the process that made it: in a fork of that, it is of no use.
    generation: u32,
    rooms: Rooms,
    me: Weak<Pool>,
    state: Mutex<State>,
    finished: AtomicU64,
    failed: AtomicU64,
    /// Told whenever a worker comes, goes or gives up, or the backlog empties.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct State {
    backlog: Backlog<Waiting>,
    workers: BTreeMap<u64, Place>,
    /// Workers that are started to replace one that is to retire, with that one. Until they are
    /// ready they take no place of their own.
    successors: BTreeMap<u64, u64>,
    /// Workers without work, the one that worked last on top: it is the warmest.
    idle: Vec<u64>,
    last_id: u64,
    /// The lowest priority of all calls that had to wait.
    lowest: Option<i32>,
    closed: bool,
    /// The deadline of a shutdown has passed: nothing begins any more.
    stopped: bool,
    /// The deadlines of the shutdowns that are going on.
    deadlines: Vec<Instant>,
    /// While some workers are ready, no other is started before this;
    not_before: Option<Instant>,
    /// and then, if anything waits, it is.
    tries_again: Option<Alarm>,
    /// Starts that failed since one succeeded.
    failures: u32,
    last_failure: Option<InitFailure>,
    /// No worker could be started, and none is before somebody has work for it.
    gave_up: bool,
    /// Workers that died before they were of any use, since one was.
    stillborn: u32,
    /// No worker is started before this.
    starts_after: Option<Instant>,
    /// Workers that are gone, and whose calls are still on their way to others or their callers.
    settling: usize,
    /// No more workers are started until `warm_up`.
    broken: bool,
    /// The runtime that was used last, for work that is submitted outside of one.
    runtime: Option<Handle>,
    cancelled: u64,
    killed: u64,
    restarts: Restarts,
}

/// A worker's place in the pool, taken until its process is gone.
enum Place {
    Starting,
    Ready(Arc<Link>),
}

/// A call in the backlog, with what it holds only as long as it waits.
struct Waiting {
    call: Call,
    _room: Room,
}

impl Pending for Waiting {
    fn ticket(&self) -> &Ticket {
        self.call.ticket()
    }

    fn first_item(&self) -> u32 {
        self.call.owed.next()
    }

    fn items(&self) -> u32 {
        self.call.owed.remaining()
    }
}

/// Where a call that needs a worker comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Submitted,
    /// From a worker that did not begin it; it was accepted before.
    GivenBack,
}

/// What became of a failed start.
pub(super) enum AfterFailure {
    TryAgain(Duration),
    GiveUp,
}

/// How all workers are to be ended.
#[derive(Clone, Copy)]
pub(super) enum EndWorkers {
    Terminate,
    Kill,
}

/// Why a worker is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    Crashed,
    /// Crashed before it began anything.
    Stillborn,
    TimedOut,
    Cancelled,
    Retired,
    Idle,
    /// Dismissed, or killed by a shutdown.
    Sent,
}

impl Pool {
    pub(super) fn new(config: Config, hire: Hire) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            rooms: Rooms::new(config.queue_capacity),
            config,
            hire,
            generation: sys::generation(),
            me: me.clone(),
            state: Mutex::new(State {
                runtime: Handle::try_current().ok(),
                ..State::default()
            }),
            finished: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            changed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> Arc<Self> {
        self.me.upgrade().expect("whoever calls holds it")
    }

    /// Finds a worker for a call, or queues it.
    fn dispatch(&self, mut waiting: Waiting, origin: Origin) {
        loop {
            let mut state = self.lock();
            state.gave_up = false;
            if let Some(cause) = state.refusal(origin) {
                if state.stopped {
                    state.cancelled += u64::from(waiting.items());
                }
                drop(state);
                waiting.call.owed.fail_rest(&cause);
                return;
            }
            let Some(link) = state.take_idle() else {
                let priority = waiting.ticket().priority();
                state.backlog.push(waiting);
                state.let_pass(priority);
                return self.start_workers(state);
            };
            drop(state);
            match link.give_reserved(waiting.call) {
                Ok(()) => return self.replace_if_leaving(&link),
                // It has just died. Its place will be free as soon as that is settled.
                Err(mut back) => match back.pop() {
                    Some(call) => waiting.call = call,
                    None => return,
                },
            }
        }
    }

    /// The worker may just have been given its last call: its place is another's now.
    fn replace_if_leaving(&self, link: &Link) {
        if self.config.max_tasks_per_child.is_some() && link.is_leaving() {
            self.start_workers(self.lock());
        }
    }

    /// Starts as many workers as there is work for. Takes the lock to release it first.
    fn start_workers(&self, mut state: MutexGuard<'_, State>) {
        if !state.wants_another(&self.config) {
            return;
        }
        let Some(runtime) = state.current_runtime() else {
            return;
        };
        let mut new = Vec::new();
        while state.wants_another(&self.config) {
            new.push(state.add_place());
        }
        drop(state);
        self.hire_all(&runtime, new);
    }

    fn hire_all(&self, runtime: &Handle, places: Vec<u64>) {
        for id in places {
            (self.hire)(runtime, self.shared(), id);
        }
    }

    /// A worker is ready: it gets work.
    pub(super) fn worker_ready(&self, link: &Arc<Link>) {
        let mut state = self.lock();
        state.failures = 0;
        state.last_failure = None;
        state.broken = false;
        state.gave_up = false;
        state.not_before = None;
        state.workers.insert(link.id, Place::Ready(link.clone()));
        state.succeed(link.id);
        link.end_by(state.deadlines.iter().min().copied());
        drop(state);
        self.changed.notify_waiters();
        self.refill(link);
    }

    /// Gives a worker the work it has room for. One that has none left idles, or is dismissed.
    pub(super) fn refill(&self, link: &Link) {
        let mut state = self.lock();
        // Ahead of its time a call is sent only if there is nobody else to start for it.
        let full = state.taken(&self.config) >= self.config.max_workers;
        let room = if full {
            link.room()
        } else {
            link.room().min(usize::from(link.is_idle()))
        };
        let mut calls = Vec::new();
        while calls.len() < room
            && let Some(waiting) = state.backlog.pop()
        {
            calls.push(waiting.call);
        }
        if calls.is_empty() && link.is_idle() {
            if room > 0 {
                calls = state.steal_for(link, room);
            }
            if calls.is_empty() {
                state.rest(link);
            }
        }
        if !calls.is_empty() {
            state.idle.retain(|id| *id != link.id);
        }
        let drained = state.closed && state.backlog.is_empty();
        drop(state);
        if drained {
            self.changed.notify_waiters();
        }
        if calls.is_empty() {
            return;
        }
        match link.give(calls) {
            Ok(()) => self.replace_if_leaving(link),
            Err(back) => self.give_back(back),
        }
    }

    /// The worker is to retire, for its age or its memory. It works on until its successor is ready;
    /// if nobody needs it, it just goes.
    pub(super) fn retire(&self, link: &Link) {
        let mut state = self.lock();
        if state.closed || state.successors.values().any(|old| *old == link.id) {
            return;
        }
        if state.serving() > self.config.min_workers && state.idle.contains(&link.id) {
            state.idle.retain(|id| *id != link.id);
            return link.dismiss(Dismissal::Retired);
        }
        let Some(runtime) = state.current_runtime().filter(|_| !state.broken) else {
            return link.retire_later(pause_after);
        };
        let successor = state.add_place();
        state.successors.insert(successor, link.id);
        drop(state);
        self.hire_all(&runtime, vec![successor]);
    }

    /// Looks in a while whether work waits for a worker: those that there are may be busy for long.
    fn start_workers_in(&self, span: Duration, runtime: Option<Handle>) -> Option<Alarm> {
        let pool = self.me.clone();
        let look = move || {
            if let Some(pool) = pool.upgrade() {
                pool.start_workers(pool.lock());
            }
        };
        Some(Alarm::set(&runtime?, span, look))
    }

    /// Calls that were never begun, back from a worker that is gone.
    pub(super) fn give_back(&self, calls: Vec<Call>) {
        for call in calls {
            let waiting = Waiting {
                call,
                _room: Room::unbounded(),
            };
            self.dispatch(waiting, Origin::GivenBack);
        }
    }

    /// A start has failed.
    pub(super) fn start_failed(
        &self,
        id: u64,
        mut failure: InitFailure,
        for_good: bool,
    ) -> AfterFailure {
        let mut state = self.lock();
        state.restarts.failed_to_start += 1;
        if let Some(old) = state.successors.get(&id).and_then(|old| state.link(*old)) {
            old.retire_later(pause_after); // Nothing is lost: it stays.
            return AfterFailure::GiveUp;
        }
        state.failures += 1;
        let attempts = state.failures;
        let is_idle = state.closed && state.backlog.is_empty();
        if attempts < MOST_FAILURES && !state.broken && !is_idle {
            state.last_failure = Some(failure);
            return AfterFailure::TryAgain(pause_after(attempts - 1));
        }
        // As long as others work, or may yet, nothing is lost but a worker. (May yet: but not for ever.)
        let mut pending = Vec::new();
        let works = state.links().next().is_some();
        let is_last = state.workers.keys().all(|other| *other == id);
        let most = MOST_FAILURES.saturating_mul(1 + state.workers.len() as u32);
        if is_last || !works && attempts >= most {
            failure.broken = for_good;
            state.broken = for_good;
            state.gave_up = true;
            state.failures = 0;
            pending = state.backlog.drain();
        } else {
            let pause = pause_after(attempts);
            if works && state.taken(&self.config) <= self.config.min_workers && !is_idle {
                state.last_failure = Some(failure);
                drop(state);
                self.changed.notify_waiters(); // A `warm_up` need not wait for ever.
                return AfterFailure::TryAgain(pause);
            }
            state.not_before = Some(Instant::now() + pause);
            state.tries_again = self.start_workers_in(pause, state.current_runtime());
        }
        let cause = Cause::InitFailed(failure.clone());
        state.last_failure = Some(failure);
        drop(state);
        for waiting in pending {
            waiting.call.owed.fail_rest(&cause);
        }
        AfterFailure::GiveUp
    }

    /// The process of a worker is gone; its place is free for another.
    pub(super) fn free_place(&self, id: u64, departure: Departure) {
        let mut state = self.lock();
        if departure == Departure::Stillborn {
            let pause = pause_after(state.stillborn);
            state.stillborn += 1;
            state.starts_after = Some(Instant::now() + pause);
        }
        let place = state.remove(id);
        state.settling += usize::from(place.is_some());
        drop(state);
        drop(place); // Not under the lock.
    }

    /// Before this, no worker is to be started: too many have died at once.
    pub(super) fn starts_after(&self) -> Option<Instant> {
        self.lock().starts_after
    }

    /// A worker has been of use.
    pub(super) fn worker_proved(&self) {
        let mut state = self.lock();
        state.stillborn = 0;
        state.starts_after = None;
    }

    /// A worker has had nothing to do for so long that it is to go, unless it is one of those that
    /// are kept.
    pub(super) fn dismiss_idle(&self, link: &Link) {
        let mut state = self.lock();
        if state.serving() > self.config.min_workers && state.idle.contains(&link.id) {
            state.idle.retain(|id| *id != link.id);
            link.dismiss(Dismissal::Idle);
        } else {
            link.rests();
        }
    }

    /// Starts the workers that are kept, if there is a runtime to start them on.
    pub(super) fn start_kept(&self) {
        if self.config.min_workers > 0 {
            self.start_workers(self.lock());
        }
    }

    /// A worker is gone, and all that it owed is settled.
    pub(super) fn worker_gone(&self, id: u64, departure: Option<Departure>, lost: usize) {
        let mut state = self.lock();
        let place = state.remove(id);
        state.settling -= usize::from(place.is_none()); // It was freed before.
        self.failed.fetch_add(lost as u64, Ordering::Relaxed);
        match departure {
            Some(Departure::Crashed | Departure::Stillborn) => state.restarts.crashed += 1,
            Some(Departure::TimedOut) => state.restarts.timed_out += 1,
            Some(Departure::Cancelled) => state.restarts.cancelled += 1,
            Some(Departure::Retired) => state.restarts.retired += 1,
            Some(Departure::Idle) => state.restarts.idle += 1,
            Some(Departure::Sent) => state.killed += lost as u64,
            None => {}
        }
        self.start_workers(state);
        drop(place); // Not under the lock.
        self.changed.notify_waiters();
    }

    /// The runtime that was to start a worker has ended. If that leaves no worker, nobody is left for
    /// what waits.
    pub(super) fn discard_place(&self, id: u64) {
        let mut state = self.lock();
        let _starting = state.remove(id);
        if state.workers.is_empty() {
            let pending = state.backlog.drain();
            drop(state);
            drop(pending); // Dropping a call fails it.
        }
        self.changed.notify_waiters();
    }

    /// The function of an item has ended.
    pub(super) fn item_ended(&self, failed: bool) {
        self.finished.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    /// Items still run though their callers have been told that they gave no result.
    pub(super) fn item_overran(&self, items: usize) {
        self.failed.fetch_add(items as u64, Ordering::Relaxed);
    }

    /// Whether nobody needs another worker.
    pub(super) fn needs_no_worker(&self) -> bool {
        let state = self.lock();
        state.closed && state.backlog.is_empty()
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        let idle: Vec<_> = idle.iter().filter_map(|id| state.link(*id)).collect();
        drop(state);
        self.rooms.close();
        for link in idle {
            link.dismiss(Dismissal::Closed);
        }
        self.changed.notify_waiters();
    }

    /// Tells tasks with a grace period in time that the pool will be shut down, as long as the
    /// notice is held.
    fn give_notice(&self, deadline: Instant) -> Notice<'_> {
        let mut state = self.lock();
        state.deadlines.push(deadline);
        state.tell_deadline();
        Notice {
            pool: self,
            deadline,
        }
    }

    fn links(&self) -> Vec<Arc<Link>> {
        self.lock().links().cloned().collect()
    }

    /// Fails all that has not begun. Says how many items that were.
    fn fail_pending(&self, cause: &Cause) -> usize {
        let pending = self.lock().backlog.drain();
        let mut calls: Vec<Call> = pending.into_iter().map(|waiting| waiting.call).collect();
        for link in self.links() {
            calls.extend(link.revoke_unstarted());
        }
        self.changed.notify_waiters();
        calls
            .into_iter()
            .map(|call| call.owed.fail_rest(cause))
            .sum()
    }

    /// Ends all workers now, by SIGTERM or SIGKILL. Waits for nothing.
    pub(super) fn end_workers(&self, how: EndWorkers) {
        self.close();
        self.lock().stopped = true;
        let mut cancelled = self.fail_pending(&Cause::Cancelled);
        for link in self.links() {
            match how {
                EndWorkers::Kill => link.end(Ending::Shutdown),
                EndWorkers::Terminate => {
                    let unstarted = link.terminate().into_iter();
                    cancelled += unstarted
                        .map(|call| call.owed.fail_rest(&Cause::Cancelled))
                        .sum::<usize>();
                }
            }
        }
        self.lock().cancelled += cancelled as u64;
    }

    async fn all_gone(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_all_gone() {
                return;
            }
            changed.await;
        }
    }

    /// Whether neither work nor workers are left; sees to it that work has workers.
    fn is_all_gone(&self) -> bool {
        let state = self.lock();
        let gone = state.workers.is_empty() && state.settling == 0 && state.backlog.is_empty();
        self.start_workers(state);
        gone
    }

    /// Starts all workers, and tries again where it had given up.
    pub(super) async fn warm_up(&self) -> Result<(), TaskError> {
        let error = |cause| TaskError::new(TaskName::Function("warm_up"), false, cause);
        {
            let mut state = self.lock();
            if state.closed {
                return Err(error(Cause::Shutdown));
            }
            let Some(runtime) = state.current_runtime() else {
                return Err(error(Cause::Rejected(Rejection::NoRuntime)));
            };
            state.broken = false;
            state.gave_up = false;
            state.failures = 0;
            state.last_failure = None;
            let mut new = Vec::new();
            while state.taken(&self.config) < self.config.max_workers {
                new.push(state.add_place());
            }
            drop(state);
            self.hire_all(&runtime, new);
        }
        loop {
            let changed = self.changed.notified();
            {
                let state = self.lock();
                let starting = state.starting() > 0;
                if state.taken(&self.config) >= self.config.max_workers && !starting {
                    return Ok(());
                }
                if state.closed {
                    return Err(error(Cause::Shutdown));
                }
                // Those that are kept are tried again for ever.
                let keeps_failing = state.failures >= MOST_FAILURES && self.config.min_workers > 0;
                if !starting || keeps_failing {
                    return match &state.last_failure {
                        Some(_) => Err(error(state.failure())),
                        None => Ok(()), // They were started, and have gone again.
                    };
                }
            }
            changed.await;
        }
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

/// A shutdown with a deadline is going on. If its future is dropped, the deadline is off.
struct Notice<'a> {
    pool: &'a Pool,
    deadline: Instant,
}

impl Drop for Notice<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let mut deadlines = state.deadlines.iter();
        if let Some(place) = deadlines.position(|known| *known == self.deadline) {
            state.deadlines.swap_remove(place);
        }
        state.tell_deadline();
    }
}

impl State {
    fn tell_deadline(&self) {
        let deadline = self.deadlines.iter().min().copied();
        for link in self.links() {
            link.end_by(deadline);
        }
    }

    fn link(&self, id: u64) -> Option<Arc<Link>> {
        match self.workers.get(&id) {
            Some(Place::Ready(link)) => Some(link.clone()),
            _ => None,
        }
    }

    fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.workers.values().filter_map(|place| match place {
            Place::Ready(link) => Some(link),
            Place::Starting => None,
        })
    }

    /// The idle worker that worked last.
    fn take_idle(&mut self) -> Option<Arc<Link>> {
        let id = self.idle.pop()?;
        let link = self.link(id)?;
        link.reserve();
        Some(link)
    }

    /// A worker has nothing to do.
    fn rest(&mut self, link: &Link) {
        if link.is_leaving() {
            link.dismiss(Dismissal::Retired);
        } else if self.closed {
            link.dismiss(Dismissal::Closed);
        } else if !self.idle.contains(&link.id) {
            self.idle.push(link.id);
            link.rests();
        }
    }

    /// A call of that priority waits: what was sent ahead of it and is less urgent comes back.
    fn let_pass(&mut self, priority: i32) {
        self.lowest = Some(self.lowest.map_or(priority, |lowest| lowest.min(priority)));
        if self.lowest == Some(priority) {
            return; // As it is as long as nobody sets priorities.
        }
        let links: Vec<_> = self.links().cloned().collect();
        for call in links.iter().flat_map(|link| link.recall(priority)) {
            self.backlog.push(Waiting {
                call,
                _room: Room::unbounded(),
            });
        }
    }

    /// Work that was sent ahead to another worker, for one that idles.
    fn steal_for(&self, thief: &Link, most: usize) -> Vec<Call> {
        let mut victims: Vec<_> = self
            .links()
            .filter(|link| link.id != thief.id)
            .map(|link| (link.calls_behind_the_first(), link))
            .filter(|(calls, _)| *calls > 0)
            .collect();
        victims.sort_by_key(|(calls, _)| Reverse(*calls));
        let mut thefts = victims.iter().map(|(_, link)| link.steal(most));
        thefts.find(|stolen| !stolen.is_empty()).unwrap_or_default()
    }

    /// How many workers are ready and stay.
    fn serving(&self) -> usize {
        let stays = |link: &&Arc<Link>| link.ending().is_none() && !link.is_leaving();
        self.links().filter(stays).count()
    }

    /// How many places are taken. One that leaves, and one that is to follow another, takes none.
    fn taken(&self, config: &Config) -> usize {
        let mut taken = self.workers.len();
        if config.has_retirements() {
            taken -= self.links().filter(|link| link.is_leaving()).count();
            // The successor of one that leaves has its place already.
            let stays = |old: &&u64| self.link(**old).is_some_and(|old| !old.is_leaving());
            taken -= self.successors.values().filter(stays).count();
        }
        taken
    }

    /// How many workers are being started, not counting those that are to follow another.
    fn starting(&self) -> usize {
        let starting = self.workers.iter().filter(|(id, place)| {
            matches!(place, Place::Starting) && !self.successors.contains_key(id)
        });
        starting.count()
    }

    /// A worker is ready. The one that it follows, if any, ends what it has, and goes.
    fn succeed(&mut self, id: u64) {
        let Some(old) = self.successors.remove(&id) else {
            return;
        };
        self.idle.retain(|idle| *idle != old);
        if let Some(old) = self.link(old) {
            old.leave();
            old.dismiss(Dismissal::Retired); // Or later, when it rests.
        }
    }

    fn wants_another(&self, config: &Config) -> bool {
        let taken = self.taken(config);
        if self.broken || self.stopped || taken >= config.max_workers {
            return false;
        }
        let too_early = || self.not_before.is_some_and(|time| Instant::now() < time);
        if !self.workers.is_empty() && too_early() {
            return false;
        }
        if taken < config.min_workers && !self.closed && !self.gave_up {
            return true;
        }
        let ahead: usize = self.links().map(|link| link.calls_behind_the_first()).sum();
        self.starting() < self.backlog.len() + ahead
    }

    /// Why a call cannot be taken, if it cannot.
    fn refusal(&mut self, origin: Origin) -> Option<Cause> {
        if self.stopped {
            return Some(Cause::Cancelled);
        }
        if self.closed && origin == Origin::Submitted {
            return Some(Cause::Shutdown);
        }
        if self.broken {
            return Some(self.failure());
        }
        (self.workers.is_empty() && self.current_runtime().is_none())
            .then_some(Cause::Rejected(Rejection::NoRuntime))
    }

    fn add_place(&mut self) -> u64 {
        self.last_id += 1;
        self.workers.insert(self.last_id, Place::Starting);
        self.last_id
    }

    #[must_use = "a link that goes may answer callers, which must not happen under the lock"]
    fn remove(&mut self, id: u64) -> Option<Place> {
        self.idle.retain(|idle| *idle != id);
        self.successors
            .retain(|successor, old| *successor != id && *old != id);
        self.workers.remove(&id)
    }

    fn current_runtime(&mut self) -> Option<Handle> {
        if let Ok(current) = Handle::try_current() {
            self.runtime = Some(current);
        }
        self.runtime.clone()
    }

    fn failure(&self) -> Cause {
        Cause::InitFailed(self.last_failure.clone().unwrap_or_default())
    }
}

impl Owner for Pool {
    fn abort(&self, ticket: &Ticket) -> bool {
        let removed = self.lock().backlog.remove(ticket);
        let mut cancelled: usize = removed.iter().map(|waiting| waiting.items() as usize).sum();
        let mut begun = removed.iter().any(|waiting| waiting.call.owed.has_begun());
        drop(removed);
        for link in self.links() {
            let met = link.cancel(ticket);
            cancelled += met.unstarted;
            begun |= met.begun;
            self.item_overran(met.overrun);
        }
        // What is found nowhere is on its way to its caller, or to a worker: better to say that it had
        // begun than to have it tried again.
        begun |= cancelled == 0;
        let mut state = self.lock();
        state.cancelled += cancelled as u64;
        let closed = state.closed;
        drop(state);
        if closed {
            self.changed.notify_waiters(); // A worker that is starting may not be needed any more.
        }
        begun
    }

    fn is_running(&self, ticket: &Ticket) -> bool {
        self.lock().links().any(|link| link.is_running(ticket))
    }
}

#[async_trait]
impl Executor for Pool {
    fn spawn_job(&self, job: Job) {
        let ticket = job.work.ticket();
        ticket.accept(self.me.clone(), &self.config.task_options);
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
                let waiting = Waiting {
                    call,
                    _room: std::mem::take(&mut room),
                };
                self.dispatch(waiting, Origin::Submitted);
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
                let _notice = self.give_notice(deadline);
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

impl Pool {
    /// Items that finished, were cancelled before they began, were killed by a shutdown.
    fn tally(&self) -> (u64, u64, u64) {
        let state = self.lock();
        (
            self.finished.load(Ordering::Relaxed),
            state.cancelled,
            state.killed,
        )
    }

    /// Refuses what has not begun after `limit`. (Without a runtime it will be refused anyway.)
    fn expiry(&self, promise: Arc<dyn Promise>, limit: Duration) -> Option<Arc<Alarm>> {
        let runtime = self.lock().current_runtime()?;
        let pool = self.me.clone();
        Some(Arc::new(Alarm::set(&runtime, limit, move || {
            let Some(pool) = pool.upgrade() else { return };
            let ticket = promise.ticket();
            let mut expired: Vec<Call> = pool
                .lock()
                .backlog
                .remove(ticket)
                .into_iter()
                .map(|waiting| waiting.call)
                .collect();
            for link in pool.links() {
                expired.extend(link.take_back(ticket));
            }
            for call in expired {
                call.owed
                    .fail_rest(&Cause::Rejected(Rejection::WaitedTooLong { limit }));
            }
            pool.changed.notify_waiters(); // A worker that is starting may not be needed any more.
        })))
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
