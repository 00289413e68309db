//! The state of a pool under its lock, and its decisions: which worker is next, whether another one should start, which
//! call is refused. Nothing here waits, answers a caller or wakes a task.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::config::ProcessPoolConfig;
use super::phase::{CallOrigin, PoolPhase, TooLate};
use super::places::{IdleWorkers, Places, PoolPlace, StartReason};
use super::starts::{StartPermit, Starts};
use crate::backlog::{Backlog, Pending};
use crate::executor::Restarts;
use crate::executor::encoded::EncodedCall;
use crate::executor::error::Cause;
use crate::executor::promise::Ticket;
use crate::executor::room::Room;
use crate::observe::RunningCount;
use crate::process::link::{Dismissal, Link, TakenBack};

#[derive(Default)]
pub(super) struct PoolState {
    pub(super) phase: PoolPhase,
    pub(super) starts: Starts,
    pub(super) backlog: Backlog<WaitingCall>,
    pub(super) places: Places,
    pub(super) idle: IdleWorkers,
    /// The ids of the workers that may have calls ahead. Every worker that has some is in here, except for a moment
    /// after calls were sent: see [`Self::search_again`].
    loaded: BTreeSet<u64>,
    /// Whether a shutdown has cancelled all calls that had not started.
    pub(super) pending_cancelled: bool,
    /// The lowest priority of all calls that had to wait.
    lowest: Option<i32>,
    /// The number of freed places whose calls are not settled yet, plus the cancels in progress. A shutdown waits for
    /// both.
    pub(super) settling: usize,
    pub(super) restarts: Restarts,
}

/// A call in the backlog, with what it occupies only while it waits.
pub(super) struct WaitingCall {
    pub(super) call: EncodedCall,
    /// Dropping it may wake a caller and lower a metric, so drop it without the lock.
    pub(super) room: Room,
}

impl WaitingCall {
    /// A call that was accepted before, and has already left the queue once.
    pub(super) fn again(call: EncodedCall) -> Self {
        Self {
            call,
            room: Room::unbounded(),
        }
    }
}

impl Pending for WaitingCall {
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

/// The part of a decision that waits until the lock is free, since it wakes a task or runs code of another crate.
#[derive(Default)]
#[must_use]
pub(super) struct Deferred {
    /// Workers with something new for their supervisors.
    wake: Vec<Arc<Link>>,
    /// The rooms that calls held while they waited. Dropping them frees the rooms.
    rooms: Vec<Room>,
    running: Vec<RunningCount>,
}

impl Deferred {
    /// Does what was deferred. The caller does not hold the lock.
    pub(super) fn finish(self) {
        for link in self.wake {
            link.wake();
        }
    }
}

impl PoolState {
    /// Gives all workers the deadline of the shutdown.
    pub(super) fn send_deadline(&self, deadline: Option<Instant>) -> Deferred {
        for link in self.places.links() {
            link.end_by(deadline);
        }
        Deferred {
            wake: self.places.links().cloned().collect(),
            ..Deferred::default()
        }
    }

    /// Called when a worker has nothing to do. Its supervisor reports this, and sees a dismissal by itself.
    fn rest(&mut self, link: &Arc<Link>) {
        if link.is_leaving() {
            link.dismiss(Dismissal::Retired);
        } else if !self.phase.is_open() {
            link.dismiss(Dismissal::Closed);
        } else {
            self.idle.push(link);
        }
    }

    /// Adds a call to the backlog. Less urgent calls that were sent ahead of it are taken back.
    pub(super) fn enqueue(&mut self, waiting: WaitingCall) -> Deferred {
        let priority = waiting.ticket().options().priority;
        self.backlog.push(waiting);
        self.lowest = Some(self.lowest.map_or(priority, |lowest| lowest.min(priority)));
        let mut deferred = Deferred::default();
        if self.lowest == Some(priority) {
            return deferred; // The usual case: no caller sets priorities.
        }
        let links: Vec<_> = self.places.links().cloned().collect();
        for link in links {
            link.note_search();
            self.recall(&link, priority, &mut deferred);
        }
        deferred
    }

    /// Takes back the calls of a worker that have not started and are less urgent than `priority`.
    fn recall(&mut self, link: &Arc<Link>, priority: i32, deferred: &mut Deferred) {
        let recalled = link.recall(priority);
        if recalled.is_empty() {
            return;
        }
        for TakenBack { call, running } in recalled {
            self.backlog.push(WaitingCall::again(call));
            deferred.running.push(running);
        }
        deferred.wake.push(link.clone());
    }

    /// A worker has received calls that were on their way during a search. Takes back those that are less urgent than a
    /// waiting call, and wakes idle workers, which take others.
    pub(super) fn search_again(&mut self, link: &Arc<Link>) -> Deferred {
        let mut deferred = Deferred::default();
        if let Some(priority) = self.backlog.top_priority() {
            self.recall(link, priority, &mut deferred);
        }
        let ahead = link.calls_ahead();
        if ahead > 0 {
            self.loaded.insert(link.id);
        }
        deferred.wake.extend(self.idle.top(ahead));
        deferred
    }

    /// Returns as much work as a worker has room for. If there is none, the worker is idle, or is dismissed.
    pub(super) fn take_work(
        &mut self,
        link: &Arc<Link>,
        config: &ProcessPoolConfig,
    ) -> (Vec<EncodedCall>, Deferred) {
        // A call is sent ahead only if no further worker can be started for it.
        let is_full = self.places.taken(config) >= config.max_workers;
        let (room, is_idle) = link.vacancy();
        let room = match is_full {
            true => room,
            false => room.min(usize::from(is_idle)),
        };
        let (mut calls, mut deferred) = (Vec::new(), Deferred::default());
        while calls.len() < room
            && let Some(popped) = self.backlog.pop()
        {
            let WaitingCall { call, room } = popped.entry;
            calls.push(call);
            if room.has_effect() {
                deferred.rooms.push(room);
            }
        }
        if calls.is_empty() && is_idle {
            if room > 0 {
                for TakenBack { call, running } in self.steal_for(link, room) {
                    calls.push(call);
                    deferred.running.push(running);
                }
            }
            if calls.is_empty() {
                self.rest(link);
            }
        }
        if !calls.is_empty() && is_idle {
            self.idle.remove(link);
        }
        if calls.len() > usize::from(is_idle) {
            self.loaded.insert(link.id);
        }
        (calls, deferred)
    }

    /// Takes calls that were sent ahead to another worker, for one that is idle.
    fn steal_for(&mut self, thief: &Link, most: usize) -> Vec<TakenBack> {
        let mut after = 0;
        loop {
            let mut victims = self.loaded_after(after, thief.id);
            let Some((_, last)) = victims.last() else {
                return Vec::new();
            };
            after = last.id;
            victims.sort_by_key(|(calls, _)| Reverse(*calls));
            let mut thefts = victims.iter().map(|(_, link)| link.steal(most));
            if let Some(stolen) = thefts.find(|stolen| !stolen.is_empty()) {
                return stolen;
            }
        }
    }

    /// Returns some workers with calls ahead, and how many they have, in the order of their ids after `after`. Not all,
    /// so that a theft in a pool of hundreds takes as long as in a small one. Forgets workers that have no more calls
    /// ahead.
    fn loaded_after(&mut self, after: u64, thief: u64) -> Vec<(usize, Arc<Link>)> {
        const MOST: usize = 8;
        let mut found = Vec::new();
        let mut unloaded = Vec::new();
        for id in self.loaded.range(after + 1..).filter(|id| **id != thief) {
            let link = self.places.link(*id);
            match link.map(|link| (link.calls_ahead(), link)) {
                Some(victim) if victim.0 > 0 => found.push(victim),
                _ => unloaded.push(*id),
            }
            if found.len() == MOST {
                break;
            }
        }
        for id in unloaded {
            self.loaded.remove(&id);
        }
        found
    }

    /// Removes a worker from the idle ones, if it is idle and more workers serve than are kept.
    pub(super) fn spare_idle(&mut self, link: &Link, config: &ProcessPoolConfig) -> bool {
        link.rests() && self.places.serving() > config.min_workers && self.idle.remove(link)
    }

    /// Records that the worker of a place is ready. The one that it replaces, if any, finishes its calls and leaves.
    pub(super) fn worker_ready(&mut self, link: &Arc<Link>) -> Deferred {
        let mut deferred = Deferred::default();
        self.starts.ready();
        let replaced = self.places.fill(link);
        link.end_by(self.phase.deadline());
        if let Some(old) = replaced {
            self.idle.remove(&old);
            old.leave();
            old.dismiss(Dismissal::Retired); // If it is busy, it is dismissed when it becomes idle.
            deferred.wake.push(old);
        }
        deferred
    }

    /// Adds places for the workers that the pool wants now. Returns their ids.
    pub(super) fn add_wanted(&mut self, config: &ProcessPoolConfig) -> Vec<u64> {
        let wanted = self.wanted(config);
        (0..wanted)
            .map(|_| self.places.add(StartReason::Wanted))
            .collect()
    }

    /// The number of further workers that the pool wants and may start now.
    fn wanted(&self, config: &ProcessPoolConfig) -> usize {
        let taken = self.places.taken(config);
        let free = config.max_workers.saturating_sub(taken);
        if free == 0 || self.phase.is_stopped() {
            return 0;
        }
        let Some(StartPermit {
            for_kept,
            first_only,
        }) = self.starts.permit(Instant::now())
        else {
            return 0;
        };
        let most = match (first_only, self.places.is_empty()) {
            (false, _) => free,
            (true, true) => 1,
            (true, false) => return 0,
        };
        let kept = match for_kept && self.phase.is_open() {
            true => config.min_workers.saturating_sub(taken),
            false => 0,
        };
        let loaded = self.loaded.iter().filter_map(|id| self.places.link(*id));
        let ahead: usize = loaded.map(|link| link.calls_ahead()).sum();
        let work = self.backlog.len() + ahead;
        let starting = self.places.starting() + self.places.retrying();
        kept.max(work.saturating_sub(starting)).min(most)
    }

    /// Why a call cannot be accepted, if it cannot.
    pub(super) fn refusal(&self, origin: CallOrigin, call: &EncodedCall) -> Option<Cause> {
        match self.phase.refusal(origin) {
            Some(TooLate::Stopped) => Some(Cause::Cancelled),
            Some(TooLate::Closed) => Some(Cause::Shutdown),
            None if self.pending_cancelled && !call.owed.has_begun() => Some(Cause::Cancelled),
            None => self.starts.refusal().map(Cause::InitFailed),
        }
    }

    /// Whether no further worker is needed: the pool is closed, and nothing waits.
    pub(super) fn is_drained(&self) -> bool {
        !self.phase.is_open() && self.backlog.is_empty()
    }

    /// Whether no work, no worker and nothing unsettled is left.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.settling == 0 && self.backlog.is_empty()
    }

    /// Frees a place whose worker has ended or was given up. The place counts as unsettled from now on.
    #[must_use = "dropping a link may answer callers, so it is dropped without the lock"]
    pub(super) fn vacate(&mut self, id: u64) -> Option<PoolPlace> {
        let place = self.places.remove(id)?;
        if let PoolPlace::Ready(link) = &place {
            self.idle.remove(link);
            self.loaded.remove(&id);
        }
        self.settling += 1;
        Some(place)
    }

    /// Records that a vacated place, or a call that was taken out, is settled.
    pub(super) fn settled(&mut self) {
        self.settling -= 1;
    }
}
