//! The state of a pool under its lock, and its decisions: which worker is next, whether another one should
//! start, which call is refused. Nothing here waits, answers a caller or wakes a task.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::config::ProcessPoolConfig;
use super::phase::{CallOrigin, PoolPhase, TooLate};
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
    pub(super) workers: BTreeMap<u64, PoolPlace>,
    /// Workers without work. The last one that worked is on top: its caches are the warmest.
    pub(super) idle: Vec<u64>,
    last_id: u64,
    /// The lowest priority of all calls that had to wait.
    lowest: Option<i32>,
    /// What has left the rest of the state, and is not settled yet: places whose workers have ended, and calls
    /// that are about to be answered.
    pub(super) settling: usize,
    pub(super) restarts: Restarts,
}

/// A worker's place in the pool, which is taken until its process has ended.
pub(super) enum PoolPlace {
    /// Its worker is being started. If it replaces a worker that still serves, it is that one's place until it
    /// is ready.
    Starting {
        replaces: Option<u64>,
    },
    /// Its tries have failed, and it tries again later.
    Retrying,
    Ready(Arc<Link>),
}

/// A call in the backlog, with what it holds only while it waits.
pub(super) struct WaitingCall {
    pub(super) call: EncodedCall,
    /// Dropping it may wake a caller and lower a metric, so it is dropped without the lock.
    pub(super) room: Room,
}

impl WaitingCall {
    /// A call that was accepted before, and has left the queue once.
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

/// What a decision leaves to do without the lock, since it wakes a task or runs code of another crate.
#[derive(Default)]
#[must_use]
pub(super) struct Aftermath {
    /// Workers with something new for their supervisors.
    wake: Vec<Arc<Link>>,
    /// What calls held while they waited or ran. To drop it is the work.
    _rooms: Vec<Room>,
    _running: Vec<RunningCount>,
}

impl Aftermath {
    /// Does it. The caller does not hold the lock.
    pub(super) fn finish(self) {
        for link in self.wake {
            link.wake();
        }
    }
}

impl PoolState {
    pub(super) fn link(&self, id: u64) -> Option<Arc<Link>> {
        match self.workers.get(&id) {
            Some(PoolPlace::Ready(link)) => Some(link.clone()),
            _ => None,
        }
    }

    pub(super) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.workers.values().filter_map(|place| match place {
            PoolPlace::Ready(link) => Some(link),
            PoolPlace::Starting { .. } | PoolPlace::Retrying => None,
        })
    }

    /// Gives all workers the deadline of the shutdown.
    pub(super) fn send_deadline(&self, deadline: Option<Instant>) -> Aftermath {
        for link in self.links() {
            link.end_by(deadline);
        }
        Aftermath {
            wake: self.links().cloned().collect(),
            ..Aftermath::default()
        }
    }

    /// The idle worker that worked last.
    pub(super) fn take_idle(&mut self) -> Option<Arc<Link>> {
        let id = self.idle.pop()?;
        let link = self.link(id)?;
        link.reserve();
        Some(link)
    }

    /// A worker has nothing to do. Its supervisor says so, and learns of a dismissal by itself.
    fn rest(&mut self, link: &Link) {
        if link.is_leaving() {
            link.dismiss(Dismissal::Retired);
        } else if !self.phase.is_open() {
            link.dismiss(Dismissal::Closed);
        } else if !self.idle.contains(&link.id) {
            self.idle.push(link.id);
            link.start_idle_time();
        }
    }

    /// A call waits from now on. Less urgent calls that were sent ahead of it come back.
    pub(super) fn enqueue(&mut self, waiting: WaitingCall) -> Aftermath {
        let priority = waiting.ticket().priority();
        self.backlog.push(waiting);
        self.lowest = Some(self.lowest.map_or(priority, |lowest| lowest.min(priority)));
        let mut after = Aftermath::default();
        if self.lowest == Some(priority) {
            return after; // The usual case: no caller sets priorities.
        }
        let links: Vec<_> = self.links().cloned().collect();
        for link in links {
            let recalled = link.recall(priority);
            if recalled.is_empty() {
                continue;
            }
            for TakenBack { call, running } in recalled {
                self.backlog.push(WaitingCall::again(call));
                after._running.push(running);
            }
            after.wake.push(link);
        }
        after
    }

    /// As much work as a worker has room for. A worker without any is idle, or dismissed.
    pub(super) fn take_work(
        &mut self,
        link: &Link,
        config: &ProcessPoolConfig,
    ) -> (Vec<EncodedCall>, Aftermath) {
        // A call is sent ahead only if no further worker can be started for it.
        let is_full = self.taken(config) >= config.max_workers;
        let room = match is_full {
            true => link.room(),
            false => link.room().min(usize::from(link.is_idle())),
        };
        let (mut calls, mut after) = (Vec::new(), Aftermath::default());
        while calls.len() < room
            && let Some(popped) = self.backlog.pop()
        {
            let WaitingCall { call, room } = popped.entry;
            calls.push(call);
            if room.has_effect() {
                after._rooms.push(room);
            }
        }
        if calls.is_empty() && link.is_idle() {
            if room > 0 {
                for TakenBack { call, running } in self.steal_for(link, room) {
                    calls.push(call);
                    after._running.push(running);
                }
            }
            if calls.is_empty() {
                self.rest(link);
            }
        }
        if !calls.is_empty() {
            self.idle.retain(|id| *id != link.id);
        }
        (calls, after)
    }

    /// Calls that were sent ahead to another worker, for one that is idle.
    fn steal_for(&self, thief: &Link, most: usize) -> Vec<TakenBack> {
        let mut victims: Vec<_> = self
            .links()
            .filter(|link| link.id != thief.id)
            .map(|link| (link.queued_calls(), link))
            .filter(|(calls, _)| *calls > 0)
            .collect();
        victims.sort_by_key(|(calls, _)| Reverse(*calls));
        let mut thefts = victims.iter().map(|(_, link)| link.steal(most));
        thefts.find(|stolen| !stolen.is_empty()).unwrap_or_default()
    }

    /// The number of workers that are ready and stay.
    pub(super) fn serving(&self) -> usize {
        let stays = |link: &&Arc<Link>| link.ending().is_none() && !link.is_leaving();
        self.links().filter(stays).count()
    }

    /// Takes a worker off the idle ones, if it is one and more than the kept ones serve.
    pub(super) fn spare_idle(&mut self, link: &Link, config: &ProcessPoolConfig) -> bool {
        let place = self.idle.iter().position(|id| *id == link.id);
        let spare = place.filter(|_| self.serving() > config.min_workers);
        spare.map(|place| self.idle.remove(place)).is_some()
    }

    /// The number of places that are taken. A leaving worker takes none, and neither does the successor of
    /// one that stays until then.
    pub(super) fn taken(&self, config: &ProcessPoolConfig) -> usize {
        if !config.has_retirements() {
            return self.workers.len();
        }
        let takes = |place: &&PoolPlace| match place {
            PoolPlace::Ready(link) => !link.is_leaving(),
            PoolPlace::Retrying | PoolPlace::Starting { replaces: None } => true,
            // The successor of a leaving worker has its place already.
            PoolPlace::Starting {
                replaces: Some(old),
            } => self.link(*old).is_none_or(|old| old.is_leaving()),
        };
        self.workers.values().filter(takes).count()
    }

    /// The number of workers that are being started, not counting successors.
    fn starting(&self) -> usize {
        let is_starting = |place: &&PoolPlace| {
            matches!(
                place,
                PoolPlace::Starting { replaces: None } | PoolPlace::Retrying
            )
        };
        self.workers.values().filter(is_starting).count()
    }

    /// The worker of a place is ready. The one that it replaces, if any, finishes its calls and leaves.
    pub(super) fn seat(&mut self, link: &Arc<Link>) -> Aftermath {
        let mut after = Aftermath::default();
        let before = self.workers.insert(link.id, PoolPlace::Ready(link.clone()));
        link.end_by(self.phase.deadline());
        if let Some(PoolPlace::Starting {
            replaces: Some(old),
        }) = before
        {
            self.idle.retain(|idle| *idle != old);
            if let Some(old) = self.link(old) {
                old.leave();
                old.dismiss(Dismissal::Retired); // Or later, when it becomes idle.
                after.wake.push(old);
            }
        }
        after
    }

    /// Adds places for the workers that the pool wants now. Returns their ids.
    pub(super) fn add_wanted(&mut self, config: &ProcessPoolConfig) -> Vec<u64> {
        let wanted = self.wanted(config);
        (0..wanted).map(|_| self.add_place(None)).collect()
    }

    /// The number of further workers that the pool wants and may start now.
    fn wanted(&self, config: &ProcessPoolConfig) -> usize {
        let taken = self.taken(config);
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
        let most = match (first_only, self.workers.is_empty()) {
            (false, _) => free,
            (true, true) => 1,
            (true, false) => return 0,
        };
        let kept = match for_kept && self.phase.is_open() {
            true => config.min_workers.saturating_sub(taken),
            false => 0,
        };
        let ahead: usize = self.links().map(|link| link.queued_calls()).sum();
        let work = self.backlog.len() + ahead;
        kept.max(work.saturating_sub(self.starting())).min(most)
    }

    /// Why a call cannot be accepted, if it cannot.
    pub(super) fn refusal(&self, origin: CallOrigin) -> Option<Cause> {
        match self.phase.refusal(origin) {
            Some(TooLate::Stopped) => Some(Cause::Cancelled),
            Some(TooLate::Closed) => Some(Cause::Shutdown),
            None => self.starts.refusal().map(Cause::InitFailed),
        }
    }

    /// Whether no further worker is needed: the pool is closed, and nothing waits.
    pub(super) fn is_drained(&self) -> bool {
        !self.phase.is_open() && self.backlog.is_empty()
    }

    /// Whether no work, no worker and nothing unsettled is left.
    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty() && self.settling == 0 && self.backlog.is_empty()
    }

    pub(super) fn add_place(&mut self, replaces: Option<u64>) -> u64 {
        self.last_id += 1;
        self.workers
            .insert(self.last_id, PoolPlace::Starting { replaces });
        self.last_id
    }

    /// The worker that the worker of a place replaces, while it is there.
    pub(super) fn replaced_by(&self, id: u64) -> Option<u64> {
        match self.workers.get(&id) {
            Some(PoolPlace::Starting { replaces }) => *replaces,
            _ => None,
        }
    }

    /// Whether a successor of a worker is being started.
    pub(super) fn is_replaced(&self, id: u64) -> bool {
        let mut places = self.workers.values();
        places
            .any(|place| matches!(place, PoolPlace::Starting { replaces: Some(old) } if *old == id))
    }

    /// Frees a place whose worker has ended. It counts as unsettled until `settled`.
    #[must_use = "dropping a link may answer callers, so it is dropped without the lock"]
    pub(super) fn vacate(&mut self, id: u64) -> Option<PoolPlace> {
        let place = self.workers.remove(&id)?;
        self.idle.retain(|idle| *idle != id);
        for place in self.workers.values_mut() {
            if let PoolPlace::Starting { replaces } = place
                && *replaces == Some(id)
            {
                *replaces = None; // The successor has a place of its own from now on.
            }
        }
        self.settling += 1;
        Some(place)
    }

    pub(super) fn settled(&mut self) {
        self.settling -= 1;
    }
}
