//! The parent's end of one worker. Everything the worker still owes us is in `in_flight`.
//!
//! Calls are given to it from any thread: whoever has one for an idle worker writes it to the
//! socket right there. All else (reading, what is left to write, time-outs, the end) is done by
//! the one task that drives it, in [`drive`](super::drive).

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::io::Interest;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::executor::error::{Cause, Death, Rejection};
use crate::executor::job::Call;
use crate::executor::options::TaskName;
use crate::executor::promise::{PromiseEncoded, Ticket};
use crate::sys;
use crate::wire::Chain;
use crate::wire::message::{self, CallHead, OutcomeHead};
use crate::wire::page::{Claim, Page, SLOTS, Stage};

/// How much work is sent ahead to hide the way there and back.
const AHEAD: Duration = Duration::from_millis(1);
/// So many workers may die when a call is the next they are to begin, before it is blamed for that.
const MOST_STRIKES: u8 = 3;
/// How soon it is looked again whether an item has begun that a shutdown has something to say to.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How many calls, at the most, however short they are.
const MOST_AHEAD: usize = SLOTS as usize / 2;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) pid: u32,
    pub(super) started_at: SystemTime,
    pub(super) page: Page,
    writer: OwnedWriteHalf,
    lane: Mutex<Lane>,
    /// Wakes the task that drives the link.
    wake: Notify,
    tasks_done: AtomicU64,
    /// It has answered something.
    proven: AtomicBool,
    tenure: Tenure,
}

/// For how long a worker serves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tenure {
    /// So many calls.
    pub(super) max_tasks: Option<u64>,
    /// So long, from when it is ready.
    pub(super) max_age: Option<Duration>,
    /// Until it has had nothing to do for so long.
    pub(super) idle_timeout: Option<Duration>,
}

#[derive(Debug)]
struct Lane {
    in_flight: VecDeque<InFlight>,
    /// What the socket would not take yet.
    unwritten: Chain,
    next_seq: u32,
    /// How many calls it has been given.
    given: u64,
    /// Calls that have been promised to it and not been given yet.
    reserved: usize,
    /// How long a call takes: a running average, in nanoseconds.
    call_time: Option<u64>,
    ending: Option<Ending>,
    /// When it is killed for `ending`, if it was asked to end before; else at once.
    kill_at: Option<Instant>,
    /// Since when it has nothing to do, if that matters.
    idle_since: Option<Instant>,
    /// When it is to be replaced for its age, or tried again to be.
    retires_at: Option<Instant>,
    /// It was found to hold too much memory.
    is_bloated: bool,
    /// How often a successor could not be started.
    retirements: u32,
    /// Its place is another's: it ends what it has, and goes.
    leaving: bool,
    /// The deadline of the shutdown that is going on.
    shutdown_at: Option<Instant>,
    /// The task that was cancelled last between two of its items: what it printed may be unread.
    left: Option<(u64, TaskName)>,
    /// Takes no more calls.
    closed: bool,
}

impl Lane {
    /// The worker has to go. The first reason counts, unless it was to go by itself.
    fn condemn(&mut self, ending: Ending, kill_at: Option<Instant>) {
        self.closed = true;
        if matches!(
            self.ending,
            None | Some(Ending::Dismissed(_) | Ending::Terminated)
        ) {
            self.ending = Some(ending);
            self.kill_at = kill_at;
        }
    }

    /// A call that it was given comes back. One that had been given its last leaves all the same: its
    /// place may be another's by now.
    fn take_back(&mut self, max_tasks: u64) {
        self.leaving |= self.given >= max_tasks;
        self.given -= 1;
    }

    /// When it will have idled for long enough.
    fn idle_end(&self, tenure: &Tenure) -> Option<Instant> {
        if !self.in_flight.is_empty() || self.reserved > 0 {
            return None;
        }
        self.idle_since?.checked_add(tenure.idle_timeout?)
    }

    /// When a task that is told now, and may go on for `grace`, is asked to end by a signal.
    fn end_of_grace(&self, grace: Duration) -> Option<Instant> {
        let now = Instant::now();
        let by = self.shutdown_at.map(|end| before(end, grace, now));
        let own = now.checked_add(grace);
        own.into_iter().chain(by).min()
    }
}

/// So long before `end`; `now`, if the clock cannot tell.
fn before(end: Instant, span: Duration, now: Instant) -> Instant {
    end.checked_sub(span).unwrap_or(now)
}

#[derive(Debug)]
struct InFlight {
    seq: u32,
    call: Call,
    /// When its item at the front can have begun at the earliest, once that is asked for.
    began: Option<Beginning>,
    /// How long its items have run so far, in nanoseconds.
    elapsed: u64,
    /// The item that runs has been told to end.
    overrun: Option<Overrun>,
    /// It was too early to tell its item of a shutdown; not before this is it tried again.
    look_again: Option<Instant>,
    /// The version of the report on its progress that was told last.
    reported: u64,
}

/// An item that was told to end and still runs.
#[derive(Debug)]
struct Overrun {
    item: u32,
    /// What its worker ends of if it does not end in time.
    why: Ending,
    /// When its time is up.
    ends: Option<Instant>,
    /// Its caller has been answered: what it gives is dropped.
    answered: bool,
    /// No item of its call begins after it.
    is_last: bool,
}

impl InFlight {
    /// Its caller has cancelled while the item ran. Says whether that answers for the item.
    fn cancel(&mut self, item: u32, ends: Option<Instant>) -> bool {
        match &mut self.overrun {
            Some(overrun) if overrun.item == item => {
                overrun.is_last = true;
                overrun.ends = overrun.ends.or(ends);
                !std::mem::replace(&mut overrun.answered, true)
            }
            none => {
                *none = Some(Overrun {
                    item,
                    why: Ending::Cancelled,
                    ends,
                    answered: true,
                    is_last: true,
                });
                true
            }
        }
    }

    /// The item is to be its last. What it gives counts.
    fn end_with(&mut self, item: u32) {
        match &mut self.overrun {
            Some(overrun) if overrun.item == item => overrun.is_last = true,
            none => {
                *none = Some(Overrun {
                    item,
                    why: Ending::Terminated,
                    ends: None,
                    answered: false,
                    is_last: true,
                });
            }
        }
    }

    /// When the item at the front is to be told to end.
    fn soft_end(&mut self, shutdown_at: Option<Instant>) -> Option<Instant> {
        if self.overrun.is_some() {
            return None;
        }
        let by_timeout = self.call.ticket().timeout().and_then(|limit| {
            let began = self.began.get_or_insert_with(Beginning::now);
            began.tokio.checked_add(limit)
        });
        let grace = self.call.ticket().grace_period();
        let by_shutdown = shutdown_at.filter(|_| !grace.is_zero()).map(|end| {
            self.look_again
                .unwrap_or_else(|| before(end, grace.saturating_mul(2), Instant::now()))
        });
        by_timeout.into_iter().chain(by_shutdown).min()
    }
}

/// A moment by two clocks: the system's, which the worker reads too, and tokio's, which a test may
/// stop and move.
#[derive(Clone, Copy, Debug)]
struct Beginning {
    tokio: Instant,
    system: u64,
}

impl Beginning {
    fn now() -> Self {
        Self {
            tokio: Instant::now(),
            system: sys::monotonic_nanos(),
        }
    }

    fn later_by(self, nanos: u64) -> Self {
        Self {
            tokio: self.tokio + Duration::from_nanos(nanos),
            system: self.system + nanos,
        }
    }
}

/// Why a worker that has nothing to do is told to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dismissal {
    /// The pool is closed.
    Closed,
    /// It has served for long enough.
    Retired,
    /// It has idled for long enough.
    Idle,
}

/// Why the pool ends a worker.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// Its work is done: it was told to exit.
    Dismissed(Dismissal),
    /// It ran an item for too long.
    TimedOut { limit: Duration },
    /// It runs a call that was cancelled.
    Cancelled,
    /// It is still running at the deadline of a shutdown.
    Shutdown,
    /// The pool's user wants its workers to end; it may still finish what it runs.
    Terminated,
    /// It said something that makes no sense.
    Protocol(String),
}

/// What the driving task is to do with the worker.
pub(super) enum Fate {
    /// Look at the clock at that moment.
    Serve(Option<Instant>),
    /// It was told to exit.
    Leave,
    /// Ask it to end, and kill it at that moment.
    Terminate(Option<Instant>),
    Kill,
}

/// Who is to be told of an outcome.
pub(super) struct Answered {
    pub(super) promise: Arc<dyn PromiseEncoded>,
    pub(super) item: u32,
    /// It has been answered for already.
    pub(super) late: bool,
    /// The rest of its call, if nobody runs it.
    pub(super) rest: Option<Call>,
}

/// An item that has had its time and still runs: its caller is to be told.
pub(super) struct Late {
    pub(super) promise: Arc<dyn PromiseEncoded>,
    pub(super) item: u32,
    pub(super) limit: Duration,
}

/// What a cancel has met, in items.
#[derive(Default)]
pub(super) struct Cancelled {
    pub(super) unstarted: usize,
    /// Told to end.
    pub(super) overrun: usize,
    /// Whether any had begun.
    pub(super) begun: bool,
}

/// What a dead worker leaves: each call with what is to become of it.
pub(super) struct Remains {
    /// Calls, or the rest of calls, that it had not begun, and items that are to be run again.
    pub(super) unstarted: Vec<Call>,
    /// How many items died with it.
    pub(super) lost: usize,
    /// It ended without having begun anything.
    pub(super) was_useless: bool,
}

impl Link {
    pub(super) fn new(
        id: u64,
        pid: u32,
        page: Page,
        writer: OwnedWriteHalf,
        tenure: Tenure,
    ) -> Self {
        Self {
            id,
            pid,
            started_at: SystemTime::now(),
            page,
            writer,
            lane: Mutex::new(Lane {
                in_flight: VecDeque::new(),
                unwritten: Chain::new(),
                next_seq: 0,
                given: 0,
                reserved: 0,
                call_time: None,
                ending: None,
                kill_at: None,
                idle_since: None,
                retires_at: tenure
                    .max_age
                    .and_then(|age| Instant::now().checked_add(age)),
                is_bloated: false,
                retirements: 0,
                leaving: false,
                shutdown_at: None,
                left: None,
                closed: false,
            }),
            wake: Notify::new(),
            tasks_done: AtomicU64::new(0),
            proven: AtomicBool::new(false),
            tenure,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lane> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tasks_done(&self) -> u64 {
        self.tasks_done.load(Ordering::Relaxed)
    }

    /// Waits until somebody else has something for the driving task.
    pub(super) fn woken(&self) -> tokio::sync::futures::Notified<'_> {
        self.wake.notified()
    }

    /// Promises a call to it, so that it does not look idle until it is given.
    pub(super) fn reserve(&self) {
        self.lock().reserved += 1;
    }

    /// Sends the call that was promised. A link that takes no more gives it back.
    pub(super) fn give_reserved(&self, call: Call) -> Result<(), Vec<Call>> {
        let mut lane = self.lock();
        lane.reserved -= 1; // Under one lock with the rest: in between it would look idle.
        self.give_to(lane, vec![call])
    }

    /// How many calls wait behind the first, which is about to run, if it does not already.
    pub(super) fn calls_behind_the_first(&self) -> usize {
        self.lock().in_flight.len().saturating_sub(1)
    }

    /// Sends calls, in order. A link that takes no more gives them back.
    pub(super) fn give(&self, calls: Vec<Call>) -> Result<(), Vec<Call>> {
        self.give_to(self.lock(), calls)
    }

    fn give_to(&self, mut lane: MutexGuard<'_, Lane>, calls: Vec<Call>) -> Result<(), Vec<Call>> {
        if lane.closed {
            return Err(calls);
        }
        let mut late = Vec::new();
        for call in calls {
            // A cancel, or the end of its time in the queue, that came while the call was on its way
            // between backlog and link found it in neither; but it left its mark before it looked.
            if call.expiry.as_ref().is_some_and(|expiry| expiry.has_rung()) {
                late.push(call);
            } else if !call.ticket().is_closed() {
                self.send(&mut lane, call);
            }
        }
        self.write(&mut lane);
        if !lane.unwritten.is_empty() || lane.in_flight.is_empty() {
            // There is something left to write, or it idles because nothing that came is wanted.
            self.wake.notify_one();
        }
        drop(lane);
        for call in late {
            let limit = call.ticket().queue_timeout().unwrap_or_default();
            call.owed
                .fail_rest(&Cause::Rejected(Rejection::WaitedTooLong { limit }));
        }
        Ok(())
    }

    fn send(&self, lane: &mut Lane, call: Call) {
        let seq = lane.next_seq;
        lane.next_seq = seq.wrapping_add(1);
        lane.given += 1;
        let timeout = call.ticket().timeout();
        let head = CallHead {
            seq,
            base: call.base,
            first: call.owed.next(),
            end: call.owed.next() + call.owed.remaining(),
            task_id: call.ticket().id(),
            timeout: timeout.map_or(0, |limit| {
                u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)
            }),
            function: call.function,
        };
        self.page.offer(seq, head.first);
        message::put_call(&mut lane.unwritten, &head, &call.payload);
        let has_deadline = timeout.is_some() || lane.shutdown_at.is_some();
        if has_deadline && lane.in_flight.is_empty() {
            self.wake.notify_one(); // The driving task has a deadline to watch.
        }
        lane.in_flight.push_back(InFlight {
            seq,
            call,
            began: None,
            elapsed: 0,
            overrun: None,
            look_again: None,
            reported: 0,
        });
    }

    /// Tells the worker to exit, if it has nothing to do.
    pub(super) fn dismiss(&self, why: Dismissal) {
        let mut lane = self.lock();
        // One that has got work since it looked idle is dismissed when it rests.
        if lane.ending.is_some() || !lane.in_flight.is_empty() || lane.reserved > 0 {
            return;
        }
        lane.closed = true;
        lane.ending = Some(Ending::Dismissed(why));
        message::put_exit(&mut lane.unwritten);
        self.write(&mut lane);
        self.wake.notify_one();
    }

    /// Writes what the socket takes. A failure is not told here: the worker is dead then, and
    /// whoever drives the link learns that by itself.
    fn write(&self, lane: &mut Lane) {
        let _ = self.try_write(lane);
    }

    /// A write to a dead worker is an error here, not the signal that ends a program which does
    /// not ignore it.
    fn try_write(&self, lane: &mut Lane) -> io::Result<()> {
        let stream = self.writer.as_ref();
        lane.unwritten.write_with(|slices| {
            stream.try_io(Interest::WRITABLE, || {
                sys::send_vectored(stream.as_fd(), slices)
            })
        })
    }

    /// Whether something waits for the socket to take more.
    pub(super) fn has_unwritten(&self) -> bool {
        !self.lock().unwritten.is_empty()
    }

    /// Writes on, as far as the socket takes it. Ready when nothing is left. What a dead worker does
    /// not take is dropped: a write that fails at once, again and again, would never let the task
    /// that drives the link see the death.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut lane = self.lock();
            match self.try_write(&mut lane) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    lane.unwritten.clear();
                    let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
                    if let Err(error) = outcome
                        && !gone.contains(&error.kind())
                    {
                        // It lives, but what was for it is lost: only another worker can help.
                        drop(lane);
                        self.end(Ending::Protocol(format!(
                            "a connection that failed: {error}"
                        )));
                    }
                    return Poll::Ready(());
                }
            }
            drop(lane);
            // A socket that fails says so in the write.
            let _ = std::task::ready!(self.writer.as_ref().poll_write_ready(cx));
        }
    }

    /// How many more calls it may be given now: enough that it does not idle while an answer and
    /// the next call are on their way, but no more than a millisecond of work, and a single one if
    /// nothing is known of how long they take.
    pub(super) fn room(&self) -> usize {
        let lane = self.lock();
        if lane.closed || lane.leaving || lane.in_flight.iter().any(|entry| entry.overrun.is_some())
        {
            return 0;
        }
        let ahead = match lane.call_time {
            Some(time) => {
                (AHEAD.as_nanos() as u64 / time.max(1)).clamp(1, MOST_AHEAD as u64) as usize
            }
            None => 1,
        };
        // The span of numbers in flight must fit the slots.
        let span = lane
            .in_flight
            .front()
            .map_or(0, |oldest| lane.next_seq.wrapping_sub(oldest.seq));
        let slots = (SLOTS - span.min(SLOTS)) as usize;
        let lifetime =
            usize::try_from(self.max_tasks().saturating_sub(lane.given)).unwrap_or(usize::MAX);
        ahead
            .saturating_sub(lane.in_flight.len())
            .min(slots)
            .min(lifetime)
    }

    /// Whether it takes no more calls, because it has been given as many as it may, or has a
    /// successor. Then its place is another's.
    pub(super) fn is_leaving(&self) -> bool {
        let lane = self.lock();
        lane.leaving || lane.given >= self.max_tasks()
    }

    /// It has a successor.
    pub(super) fn leave(&self) {
        self.lock().leaving = true;
    }

    /// Whether it is to have a successor, for its age or its memory. Said once, until it is to be
    /// tried again.
    pub(super) fn is_due(&self) -> bool {
        let mut lane = self.lock();
        let is_bloated = self.page.is_bloated();
        let is_news = is_bloated && !std::mem::replace(&mut lane.is_bloated, is_bloated);
        let is_old = lane
            .retires_at
            .take_if(|moment| *moment <= Instant::now())
            .is_some();
        (is_news || is_old) && !lane.leaving && lane.ending.is_none()
    }

    /// Its successor could not be started. It stays, and that is tried again.
    pub(super) fn retire_later(&self, pause: impl FnOnce(u32) -> Duration) {
        let mut lane = self.lock();
        lane.retirements += 1;
        lane.retires_at = Instant::now().checked_add(pause(lane.retirements));
        self.wake.notify_one();
    }

    fn max_tasks(&self) -> u64 {
        self.tenure.max_tasks.unwrap_or(u64::MAX)
    }

    /// It has answered something. True the first time.
    pub(super) fn prove(&self) -> bool {
        !self.proven.load(Ordering::Relaxed) && !self.proven.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_idle(&self) -> bool {
        let lane = self.lock();
        lane.in_flight.is_empty() && lane.reserved == 0
    }

    /// How many items it is running: none or one.
    pub(super) fn running(&self) -> usize {
        let lane = self.lock();
        usize::from(lane.in_flight.iter().any(|entry| self.runs(entry)))
    }

    /// How many items wait in it to be begun.
    pub(super) fn waiting(&self) -> usize {
        let lane = self.lock();
        let items: usize = lane
            .in_flight
            .iter()
            .map(|entry| match &entry.overrun {
                Some(overrun) if overrun.is_last => usize::from(self.runs(entry)),
                _ => entry.call.owed.remaining() as usize,
            })
            .sum();
        items.saturating_sub(usize::from(
            lane.in_flight.iter().any(|entry| self.runs(entry)),
        ))
    }

    fn runs(&self, entry: &InFlight) -> bool {
        let claim = self.page.look(entry.seq);
        let runs = match claim.stage {
            Stage::Running | Stage::Overdue | Stage::Cancelled | Stage::Condemned => true,
            Stage::Offered | Stage::Done | Stage::Revoked => false,
        };
        claim.seq == entry.seq && runs
    }

    /// Brings the latest report in the slot of a call to whom it is about.
    pub(super) fn report(&self, seq: u32) {
        let Some((version, report)) = self.page.take_report(seq) else {
            return;
        };
        let mut lane = self.lock();
        let is_meant = |entry: &&mut InFlight| {
            entry.seq == report.seq && entry.call.owed.next() == report.item
        };
        let promise = lane.in_flight.iter_mut().find(is_meant).and_then(|entry| {
            let is_new = std::mem::replace(&mut entry.reported, version) != version;
            is_new.then(|| entry.call.owed.promise().clone())
        });
        drop(lane);
        if let Some(promise) = promise {
            promise.report(report.item.into(), report.done, report.total);
        }
    }

    /// The worker is dead: what it reported last may have come without a nudge.
    pub(super) fn last_report(&self) {
        let front = self.lock().in_flight.front().map(|entry| entry.seq);
        if let Some(seq) = front {
            self.report(seq);
        }
    }

    /// What a task that it has is called.
    pub(super) fn name_of(&self, task: u64) -> Option<TaskName> {
        let lane = self.lock();
        let mut tickets = lane.in_flight.iter().map(|entry| entry.call.ticket());
        let found = tickets.find(|ticket| ticket.id() == task).map(Ticket::name);
        let left = lane.left.as_ref().filter(|(id, _)| *id == task);
        found.or_else(|| left.map(|(_, name)| name.clone()))
    }

    pub(super) fn is_running(&self, ticket: &Ticket) -> bool {
        let lane = self.lock();
        lane.in_flight
            .iter()
            .any(|entry| entry.call.ticket().id() == ticket.id() && self.runs(entry))
    }

    /// Takes back up to half of what it has not begun, the last first, for a worker that idles.
    pub(super) fn steal(&self, most: usize) -> Vec<Call> {
        let mut lane = self.lock();
        let mut stolen = Vec::new();
        // The first one is about to run, if it does not already.
        let share = most.min(lane.in_flight.len().saturating_sub(1).div_ceil(2));
        while stolen.len() < share {
            let Some(last) = lane.in_flight.back() else {
                break;
            };
            if !self.page.withdraw(last.seq) {
                break;
            }
            lane.take_back(self.max_tasks());
            stolen.extend(lane.in_flight.pop_back().map(|entry| entry.call));
        }
        stolen.reverse();
        stolen
    }

    /// Takes back all that it has not begun.
    pub(super) fn revoke_unstarted(&self) -> Vec<Call> {
        self.revoke_if(|_| true)
    }

    fn revoke_if(&self, wanted: impl Fn(&Call) -> bool) -> Vec<Call> {
        let mut lane = self.lock();
        let mut revoked = Vec::new();
        for entry in std::mem::take(&mut lane.in_flight) {
            if wanted(&entry.call) && self.page.withdraw(entry.seq) {
                lane.take_back(self.max_tasks());
                revoked.push(entry.call);
            } else {
                lane.in_flight.push_back(entry);
            }
        }
        self.wake.notify_one();
        revoked
    }

    /// Takes back what it has not begun and is less urgent than `priority`.
    pub(super) fn recall(&self, priority: i32) -> Vec<Call> {
        self.revoke_if(|call| call.ticket().priority() < priority)
    }

    /// Takes back what it has not begun of the calls of `ticket`.
    pub(super) fn take_back(&self, ticket: &Ticket) -> Vec<Call> {
        self.revoke_if(|call| call.ticket().id() == ticket.id())
    }

    /// The caller of `ticket` has cancelled: what has not begun never will, and a worker that runs
    /// it is killed, when it does not end within its grace period.
    pub(super) fn cancel(&self, ticket: &Ticket) -> Cancelled {
        let mut lane = self.lock();
        let mut met = Cancelled::default();
        let is_meant = |entry: &InFlight| entry.call.ticket().id() == ticket.id();
        if !lane.in_flight.iter().any(is_meant) {
            return met;
        }
        let grace = ticket.grace_period();
        for mut entry in std::mem::take(&mut lane.in_flight) {
            if !is_meant(&entry) {
                lane.in_flight.push_back(entry);
                continue;
            }
            let found = self.doom(entry.seq, grace.is_zero());
            met.begun |= found.stage != Stage::Offered || entry.call.owed.has_begun();
            match found.stage {
                Stage::Condemned => {
                    lane.condemn(Ending::Cancelled, None);
                    lane.in_flight.push_back(entry);
                }
                Stage::Cancelled => {
                    let ends = lane.end_of_grace(grace);
                    met.overrun += usize::from(entry.cancel(found.item, ends));
                    lane.in_flight.push_back(entry);
                }
                stage => {
                    if stage == Stage::Offered {
                        lane.take_back(self.max_tasks());
                    }
                    if stage == Stage::Done {
                        lane.left = Some((ticket.id(), ticket.name()));
                    }
                    met.unstarted += entry.call.owed.remaining() as usize;
                }
            }
        }
        self.wake.notify_one();
        met
    }

    /// Keeps the worker from beginning anything more of a call, and tells it to end what it runs
    /// of it. Gives what it found: `Cancelled`, or `Condemned` if the worker is to be killed for
    /// it, if it runs an item.
    fn doom(&self, seq: u32, at_once: bool) -> Claim {
        loop {
            let claim = self.page.revoke(seq);
            let stage = match claim.stage {
                Stage::Offered | Stage::Done | Stage::Revoked | Stage::Condemned => return claim,
                Stage::Running | Stage::Overdue | Stage::Cancelled if at_once => Stage::Condemned,
                Stage::Running | Stage::Overdue => Stage::Cancelled,
                Stage::Cancelled => return claim,
            };
            let changed = match stage {
                Stage::Condemned => self.page.condemn(seq, claim.item),
                _ => self.page.cancel(seq, claim.item),
            };
            if changed {
                return Claim { stage, ..claim };
            } // Else it has just ended that item: look again.
        }
    }

    /// The worker has to go, whatever it does.
    pub(super) fn end(&self, ending: Ending) {
        let mut lane = self.lock();
        lane.condemn(ending, None);
        lane.kill_at = None;
        self.wake.notify_one();
    }

    /// The worker is asked to end, by a signal. Of what it runs, it may still give the outcome;
    /// what it has not begun comes back.
    pub(super) fn terminate(&self) -> Vec<Call> {
        let unstarted = self.revoke_unstarted();
        let mut lane = self.lock();
        if matches!(lane.ending, None | Some(Ending::Dismissed(_))) {
            lane.closed = true;
            if lane.ending.replace(Ending::Terminated).is_none() {
                message::put_exit(&mut lane.unwritten);
            }
            for entry in &mut lane.in_flight {
                let found = self.doom(entry.seq, false);
                if found.stage == Stage::Cancelled {
                    entry.end_with(found.item);
                }
            }
            self.write(&mut lane);
            self.wake.notify_one();
        }
        unstarted
    }

    /// The pool will be shut down by then, as far as is known: a task that has a grace period is
    /// told in time.
    pub(super) fn end_by(&self, deadline: Option<Instant>) {
        let mut lane = self.lock();
        lane.shutdown_at = deadline;
        for entry in &mut lane.in_flight {
            let Some(overrun) = &mut entry.overrun else {
                continue;
            };
            let grace = entry.call.ticket().grace_period();
            let end = deadline.map(|deadline| before(deadline, grace, Instant::now()));
            overrun.ends = match (&overrun.why, overrun.ends) {
                (Ending::Shutdown, _) => end, // If it was called off, the task may go on.
                (_, Some(own)) => Some(end.map_or(own, |end| end.min(own))),
                (_, None) => None,
            };
        }
        self.wake.notify_one();
    }

    /// Why the pool wants the worker to end, if it does.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.lock().ending.clone()
    }

    /// What is to be done with it now. The time of the item at the front begins when this is first
    /// asked.
    pub(super) fn fate(&self) -> Fate {
        let mut lane = self.lock();
        let lane = &mut *lane;
        let overruns = lane.in_flight.iter().filter_map(|entry| {
            let overrun = entry.overrun.as_ref()?;
            overrun.ends
        });
        let overrun = overruns.min();
        match (&lane.ending, lane.kill_at) {
            (None, _) => {}
            (Some(Ending::Dismissed(_)), _) => return Fate::Leave,
            (Some(Ending::Terminated), _) => return Fate::Terminate(overrun),
            (Some(_), Some(moment)) if moment > Instant::now() => {
                return Fate::Terminate(Some(moment));
            }
            (Some(_), _) => return Fate::Kill,
        }
        let front = lane.in_flight.front_mut();
        let soft = front.and_then(|front| front.soft_end(lane.shutdown_at));
        let idle = lane.idle_end(&self.tenure);
        let moments = [overrun, soft, idle, lane.retires_at];
        Fate::Serve(moments.into_iter().flatten().min())
    }

    /// It has nothing to do from now on.
    pub(super) fn rests(&self) {
        if self.tenure.idle_timeout.is_some() {
            self.lock().idle_since = Some(Instant::now());
        }
    }

    /// Whether it has had nothing to do for longer than it may.
    pub(super) fn has_idled(&self) -> bool {
        let end = self.lock().idle_end(&self.tenure);
        end.is_some_and(|end| end <= Instant::now())
    }

    /// The moment of `fate` has come.
    pub(super) fn look_at_the_clock(&self) -> Option<Late> {
        let mut lane = self.lock();
        let lane = &mut *lane;
        let now = Instant::now();
        for entry in &mut lane.in_flight {
            let Some(overrun) = &mut entry.overrun else {
                continue;
            };
            if overrun.ends.is_none_or(|end| end > now) {
                continue;
            }
            overrun.ends = None; // If it is no longer running, its outcome is on its way.
            if self.page.condemn(entry.seq, overrun.item) {
                let (why, grace) = (overrun.why.clone(), entry.call.ticket().grace_period());
                let kill_at = now.checked_add(grace).into_iter().chain(lane.shutdown_at);
                let kill_at = kill_at.min();
                lane.condemn(why, kill_at);
                return None;
            }
        }
        self.warn_of_shutdown(lane, now);
        self.time_out(lane)
    }

    /// The item at the front is told of the shutdown if it is time. It may go on, and what it gives
    /// counts.
    fn warn_of_shutdown(&self, lane: &mut Lane, now: Instant) {
        let (Some(end), Some(front)) = (lane.shutdown_at, lane.in_flight.front_mut()) else {
            return;
        };
        let grace = front.call.ticket().grace_period();
        if grace.is_zero()
            || front.overrun.is_some()
            || before(end, grace.saturating_mul(2), now) > now
        {
            return;
        }
        let item = front.call.owed.next();
        if self.page.warn(front.seq, item) {
            front.overrun = Some(Overrun {
                item,
                why: Ending::Shutdown,
                ends: Some(before(end, grace, now)),
                answered: false,
                is_last: false,
            });
        } else {
            front.look_again = Some(now + LOOK_AGAIN); // It has not begun, or just ended.
        }
    }

    /// The item at the front may have had its time, by what the parent knows of its beginning. The
    /// worker knows better: arguments may travel for long.
    fn time_out(&self, lane: &mut Lane) -> Option<Late> {
        let front = lane.in_flight.front_mut()?;
        let limit = front.call.ticket().timeout()?;
        let began = front.began?;
        let (seq, item) = (front.seq, front.call.owed.next());
        if front.overrun.is_some() || began.tokio.elapsed() < limit {
            return None;
        }
        let claim = self.page.look(seq);
        if (claim.seq, claim.item, claim.stage) != (seq, item, Stage::Running) {
            front.began = Some(Beginning::now()); // It has not begun.
            return None;
        }
        let late = self.page.begun(seq).saturating_sub(began.system);
        let began = began.later_by(late);
        front.began = Some(began);
        if began.tokio.elapsed() < limit {
            return None;
        }
        let grace = front.call.ticket().grace_period();
        let why = Ending::TimedOut { limit };
        if grace.is_zero() {
            if self.page.condemn(seq, item) {
                lane.condemn(why, None);
            }
            return None;
        }
        if !self.page.warn(seq, item) {
            return None; // It has just ended.
        }
        let promise = front.call.owed.promise().clone();
        let ends = lane.end_of_grace(grace);
        if let Some(front) = lane.in_flight.front_mut() {
            front.overrun = Some(Overrun {
                item,
                why,
                ends,
                answered: true,
                is_last: false,
            });
        }
        Some(Late {
            promise,
            item,
            limit,
        })
    }

    /// Finds what an outcome answers. Nothing, if it is about a call that was taken back: another
    /// process has run it, or nobody wants it.
    pub(super) fn answered(&self, outcome: &OutcomeHead) -> Option<Answered> {
        let mut lane = self.lock();
        let front = lane.in_flight.front_mut()?;
        if front.seq != outcome.seq
            || front.call.owed.next() != outcome.item
            || front.call.owed.remaining() == 0
        {
            return None;
        }
        front.elapsed = front.elapsed.saturating_add(outcome.elapsed);
        front.began = None;
        front.look_again = None;
        let overrun = front
            .overrun
            .take_if(|overrun| overrun.item == outcome.item);
        let (promise, item) = front.call.owed.take_next();
        let is_last = overrun.as_ref().is_some_and(|overrun| overrun.is_last);
        let mut rest = None;
        if front.call.owed.remaining() == 0 || is_last {
            let elapsed = front.elapsed;
            rest = lane.in_flight.pop_front().map(|entry| entry.call);
            lane.call_time = Some(lane.call_time.map_or(elapsed, |average| {
                (average - average / 8).saturating_add(elapsed / 8)
            }));
            self.tasks_done.fetch_add(1, Ordering::Relaxed);
        }
        Some(Answered {
            promise,
            item,
            late: overrun.is_some_and(|overrun| overrun.answered),
            rest: rest.filter(|call| call.owed.remaining() > 0),
        })
    }

    /// Settles, after the worker is dead and all its answers have been read, what it still owed:
    /// `loss` is what its running item failed of.
    pub(super) fn bury(&self, loss: &Cause) -> Remains {
        let in_flight = {
            let mut lane = self.lock();
            lane.closed = true;
            std::mem::take(&mut lane.in_flight)
        };
        let mut remains = Remains {
            unstarted: Vec::new(),
            lost: 0,
            was_useless: !self.proven.load(Ordering::Relaxed),
        };
        for (place, entry) in in_flight.into_iter().enumerate() {
            let InFlight {
                seq,
                mut call,
                overrun,
                ..
            } = entry;
            let claim = self.page.look(seq);
            debug_assert_eq!(
                claim.seq, seq,
                "no call takes the slot of one that is in flight"
            );
            let begun = match claim.stage {
                Stage::Offered | Stage::Revoked => claim.item,
                _ => claim.item + 1,
            };
            remains.was_useless &= matches!(claim.stage, Stage::Offered | Stage::Revoked);
            let answered = overrun.filter(|overrun| overrun.answered);
            while call.owed.next() < begun && call.owed.remaining() > 0 {
                if answered.as_ref().map(|overrun| overrun.item) == Some(call.owed.next()) {
                    call.owed.take_next();
                    continue;
                }
                if let Cause::WorkerLost(death) = loss {
                    if call.losses < call.ticket().retries() && !call.ticket().is_closed() {
                        remains.unstarted.push(call.take_again());
                        continue;
                    }
                    let runs = call.losses + 1;
                    let death = death.clone();
                    call.owed
                        .fail_next(Cause::WorkerLost(Death { runs, ..death }));
                } else {
                    call.owed.fail_next(loss.clone());
                }
                remains.lost += 1;
            }
            let unbegun = claim.stage == Stage::Offered;
            if place == 0 && unbegun && matches!(loss, Cause::WorkerLost(_)) {
                call.strikes += 1; // Reading it may be what the worker died of.
            }
            if call.strikes == MOST_STRIKES {
                remains.lost += call.owed.fail_rest(loss);
            } else if call.owed.remaining() > 0 && !call.ticket().is_closed() {
                remains.unstarted.push(call);
            }
        }
        remains
    }
}
