//! The parent's end of one worker. Everything the worker still owes us is in `in_flight`.
//!
//! Calls are given to it from any thread: whoever has one for an idle worker writes it to the
//! socket right there. All else (reading, what is left to write, time-outs, the end) is done by
//! the one task that drives it, in [`drive`](super::drive).

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::io::Interest;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::executor::error::{Cause, Rejection};
use crate::executor::job::Call;
use crate::executor::options::TaskName;
use crate::executor::promise::{PromiseEncoded, Ticket};
use crate::sys;
use crate::wire::Chain;
use crate::wire::message::{self, CallHead, OutcomeHead};
use crate::wire::page::{Page, SLOTS, Stage};

/// How much work is sent ahead to hide the way there and back.
const AHEAD: Duration = Duration::from_millis(1);
/// So many workers may die when a call is the next they are to begin, before it is blamed for that.
const MOST_STRIKES: u8 = 3;
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
    /// After how many calls the worker is to be replaced.
    max_tasks: u64,
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
    /// The task that was cancelled last between two of its items: what it printed may be unread.
    left: Option<(u64, TaskName)>,
    /// Takes no more calls.
    closed: bool,
}

#[derive(Debug)]
struct InFlight {
    seq: u32,
    call: Call,
    /// When its item at the front can have begun at the earliest, once that is asked for.
    began: Option<Beginning>,
    /// How long its items have run so far, in nanoseconds.
    elapsed: u64,
    /// The version of the report on its progress that was told last.
    reported: u64,
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

/// Why the pool ends a worker.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// Its work is done: it was told to exit.
    Dismissed,
    /// It ran an item for too long.
    TimedOut { limit: Duration },
    /// It runs a call that was cancelled.
    Cancelled,
    /// It is still running at the deadline of a shutdown.
    Shutdown,
    /// It said something that makes no sense.
    Protocol(String),
}

/// Who is to be told of an outcome.
pub(super) struct Answered {
    pub(super) promise: Arc<dyn PromiseEncoded>,
    pub(super) item: u32,
}

/// What a dead worker leaves: each call with what is to become of it.
pub(super) struct Remains {
    /// Calls, or the rest of calls, that it had not begun.
    pub(super) unstarted: Vec<Call>,
    /// How many items died with it.
    pub(super) lost: usize,
}

impl Link {
    pub(super) fn new(
        id: u64,
        pid: u32,
        page: Page,
        writer: OwnedWriteHalf,
        max_tasks: Option<u64>,
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
                left: None,
                closed: false,
            }),
            wake: Notify::new(),
            tasks_done: AtomicU64::new(0),
            max_tasks: max_tasks.unwrap_or(u64::MAX),
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
        if timeout.is_some() && lane.in_flight.is_empty() {
            self.wake.notify_one(); // The driving task has a deadline to watch.
        }
        lane.in_flight.push_back(InFlight {
            seq,
            call,
            began: None,
            elapsed: 0,
            reported: 0,
        });
    }

    /// Tells the worker to exit once it has answered what it has.
    pub(super) fn dismiss(&self) {
        let mut lane = self.lock();
        // One that has got work since it looked idle is dismissed when it rests.
        if lane.ending.is_some() || !lane.in_flight.is_empty() || lane.reserved > 0 {
            return;
        }
        lane.closed = true;
        lane.ending = Some(Ending::Dismissed);
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
        if lane.closed {
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
            usize::try_from(self.max_tasks.saturating_sub(lane.given)).unwrap_or(usize::MAX);
        ahead
            .saturating_sub(lane.in_flight.len())
            .min(slots)
            .min(lifetime)
    }

    /// Whether it has been given as many calls as it may.
    pub(super) fn is_worn_out(&self) -> bool {
        self.lock().given >= self.max_tasks
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
            .map(|entry| entry.call.owed.remaining() as usize)
            .sum();
        items - usize::from(lane.in_flight.iter().any(|entry| self.runs(entry)))
    }

    fn runs(&self, entry: &InFlight) -> bool {
        let claim = self.page.look(entry.seq);
        claim.seq == entry.seq && matches!(claim.stage, Stage::Running | Stage::Condemned)
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
            lane.given -= 1;
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
                lane.given -= 1;
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
    /// it is killed. Says how many items never began, and whether any had.
    pub(super) fn cancel(&self, ticket: &Ticket) -> (usize, bool) {
        let mut lane = self.lock();
        let is_meant = |entry: &InFlight| entry.call.ticket().id() == ticket.id();
        if !lane.in_flight.iter().any(is_meant) {
            return (0, false);
        }
        let mut unstarted = 0;
        let mut begun = false;
        for entry in std::mem::take(&mut lane.in_flight) {
            if !is_meant(&entry) {
                lane.in_flight.push_back(entry);
                continue;
            }
            let found = self.doom(entry.seq);
            begun |= found != Stage::Offered;
            if found == Stage::Condemned {
                lane.closed = true;
                lane.ending.get_or_insert(Ending::Cancelled);
                lane.in_flight.push_back(entry);
            } else {
                lane.given -= u64::from(found == Stage::Offered);
                if found == Stage::Done {
                    lane.left = Some((ticket.id(), ticket.name()));
                }
                unstarted += entry.call.owed.remaining() as usize;
            }
        }
        self.wake.notify_one();
        (unstarted, begun)
    }

    /// Keeps the worker from beginning anything more of a call. Gives the stage that the call was
    /// found in; `Condemned` if the worker is running an item of it, and is to be killed for that.
    fn doom(&self, seq: u32) -> Stage {
        loop {
            let claim = self.page.revoke(seq);
            match claim.stage {
                Stage::Running if self.page.condemn(seq, claim.item) => return Stage::Condemned,
                Stage::Running => {} // It has just ended that item: look again.
                found => return found,
            }
        }
    }

    /// The worker has to go, whatever it does.
    pub(super) fn end(&self, ending: Ending) {
        let mut lane = self.lock();
        lane.closed = true;
        if matches!(lane.ending, None | Some(Ending::Dismissed)) {
            lane.ending = Some(ending);
        }
        self.wake.notify_one();
    }

    /// Why the pool wants the worker to end, if it does.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.lock().ending.clone()
    }

    /// When the item at the front will have used up its time, which began when this was first asked.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let mut lane = self.lock();
        let front = lane.in_flight.front_mut()?;
        let limit = front.call.ticket().timeout()?;
        front
            .began
            .get_or_insert_with(Beginning::now)
            .tokio
            .checked_add(limit)
    }

    /// The deadline has passed, by what the parent knows of the item's beginning. The worker knows
    /// better: arguments may travel for long. If the item has had its time, its worker is doomed.
    pub(super) fn time_out(&self) {
        let mut lane = self.lock();
        let Some(front) = lane.in_flight.front_mut() else {
            return;
        };
        let Some(limit) = front.call.ticket().timeout() else {
            return;
        };
        let Some(began) = front.began else { return };
        let (seq, item) = (front.seq, front.call.owed.next());
        let claim = self.page.look(seq);
        if (claim.seq, claim.item, claim.stage) != (seq, item, Stage::Running) {
            front.began = Some(Beginning::now()); // It has not begun.
            return;
        }
        let late = self.page.begun(seq).saturating_sub(began.system);
        let began = began.later_by(late);
        if began.tokio.elapsed() < limit {
            front.began = Some(began);
        } else if self.page.condemn(seq, item) {
            lane.closed = true;
            lane.ending.get_or_insert(Ending::TimedOut { limit });
        }
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
        let (promise, item) = front.call.owed.take_next();
        if front.call.owed.remaining() == 0 {
            let elapsed = front.elapsed;
            lane.in_flight.pop_front();
            lane.call_time = Some(lane.call_time.map_or(elapsed, |average| {
                (average - average / 8).saturating_add(elapsed / 8)
            }));
            self.tasks_done.fetch_add(1, Ordering::Relaxed);
        }
        Some(Answered { promise, item })
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
        };
        for (place, InFlight { seq, mut call, .. }) in in_flight.into_iter().enumerate() {
            let claim = self.page.look(seq);
            debug_assert_eq!(
                claim.seq, seq,
                "no call takes the slot of one that is in flight"
            );
            let begun = match claim.stage {
                Stage::Running | Stage::Condemned | Stage::Done => claim.item + 1,
                Stage::Offered | Stage::Revoked => claim.item,
            };
            while call.owed.next() < begun && call.owed.remaining() > 0 {
                remains.lost += 1;
                call.owed.fail_next(loss.clone());
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
