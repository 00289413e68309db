//! The state of a pool under its lock, and its decisions: which worker is next, whether another one should
//! start, which call is refused. Nothing here waits or answers a caller.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::config::ProcessPoolConfig;
use crate::backlog::{Backlog, Pending};
use crate::executor::Restarts;
use crate::executor::encoded::EncodedCall;
use crate::executor::error::{Cause, InitFailure};
use crate::executor::promise::Ticket;
use crate::executor::room::Room;
use crate::home::Alarm;
use crate::process::link::{Dismissal, Link};

#[derive(Default)]
pub(super) struct PoolState {
    pub(super) backlog: Backlog<WaitingCall>,
    pub(super) workers: BTreeMap<u64, PoolPlace>,
    /// Workers that are being started to replace a retiring one, with that one. They take no place of their own
    /// until they are ready.
    pub(super) successors: BTreeMap<u64, u64>,
    /// Workers without work. The last one that worked is on top: its caches are the warmest.
    pub(super) idle: Vec<u64>,
    pub(super) last_id: u64,
    /// The lowest priority of all calls that had to wait.
    pub(super) lowest: Option<i32>,
    pub(super) closed: bool,
    /// The deadline of a shutdown has passed: no item begins any more.
    pub(super) stopped: bool,
    /// The deadlines of the shutdowns in progress.
    pub(super) deadlines: Vec<Instant>,
    /// While some workers are ready, no other starts before this instant.
    pub(super) not_before: Option<Instant>,
    /// Starts one at that instant, if anything waits then.
    pub(super) tries_again: Option<Alarm>,
    /// The number of failed starts since the last successful one.
    pub(super) failures: u32,
    pub(super) last_failure: Option<InitFailure>,
    /// No worker could be started, and none will be before new work arrives.
    pub(super) gave_up: bool,
    /// The number of workers that died before they did any work, since one last did some.
    pub(super) stillborn: u32,
    /// No worker starts before this instant.
    pub(super) starts_after: Option<Instant>,
    /// Workers that have ended, and whose calls are still being moved to other workers or answered.
    pub(super) settling: usize,
    /// No worker starts until `warm_up`.
    pub(super) broken: bool,
    pub(super) cancelled: u64,
    pub(super) killed: u64,
    pub(super) restarts: Restarts,
}

/// A worker's place in the pool, which is taken until its process has ended.
pub(super) enum PoolPlace {
    Starting,
    Ready(Arc<Link>),
}

/// A call in the backlog, with what it holds only while it waits.
pub(super) struct WaitingCall {
    pub(super) call: EncodedCall,
    pub(super) _room: Room,
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

/// Where a call that needs a worker comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CallOrigin {
    Submitted,
    /// From a worker that did not begin it; it was accepted before.
    GivenBack,
}

impl PoolState {
    pub(super) fn send_deadline(&self) {
        let deadline = self.deadlines.iter().min().copied();
        for link in self.links() {
            link.end_by(deadline);
        }
    }

    pub(super) fn link(&self, id: u64) -> Option<Arc<Link>> {
        match self.workers.get(&id) {
            Some(PoolPlace::Ready(link)) => Some(link.clone()),
            _ => None,
        }
    }

    pub(super) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.workers.values().filter_map(|place| match place {
            PoolPlace::Ready(link) => Some(link),
            PoolPlace::Starting => None,
        })
    }

    /// The idle worker that worked last.
    pub(super) fn take_idle(&mut self) -> Option<Arc<Link>> {
        let id = self.idle.pop()?;
        let link = self.link(id)?;
        link.reserve();
        Some(link)
    }

    /// A worker has nothing to do.
    pub(super) fn rest(&mut self, link: &Link) {
        if link.is_leaving() {
            link.dismiss(Dismissal::Retired);
        } else if self.closed {
            link.dismiss(Dismissal::Closed);
        } else if !self.idle.contains(&link.id) {
            self.idle.push(link.id);
            link.start_idle_time();
        }
    }

    /// A call of this priority waits: less urgent calls that were sent ahead of it come back.
    pub(super) fn recall_less_urgent(&mut self, priority: i32) {
        self.lowest = Some(self.lowest.map_or(priority, |lowest| lowest.min(priority)));
        if self.lowest == Some(priority) {
            return; // The usual case: no caller sets priorities.
        }
        let links: Vec<_> = self.links().cloned().collect();
        for call in links.iter().flat_map(|link| link.recall(priority)) {
            self.backlog.push(WaitingCall {
                call,
                _room: Room::unbounded(),
            });
        }
    }

    /// Calls that were sent ahead to another worker, for one that is idle.
    pub(super) fn steal_for(&self, thief: &Link, most: usize) -> Vec<EncodedCall> {
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

    /// The number of places that are taken. A leaving worker takes none, and neither does a successor that is
    /// being started.
    pub(super) fn taken(&self, config: &ProcessPoolConfig) -> usize {
        let mut taken = self.workers.len();
        if config.has_retirements() {
            taken -= self.links().filter(|link| link.is_leaving()).count();
            // The successor of a leaving worker has its place already.
            let stays = |old: &&u64| self.link(**old).is_some_and(|old| !old.is_leaving());
            taken -= self.successors.values().filter(stays).count();
        }
        taken
    }

    /// The number of workers that are being started, not counting successors.
    pub(super) fn starting(&self) -> usize {
        let starting = self.workers.iter().filter(|(id, place)| {
            matches!(place, PoolPlace::Starting) && !self.successors.contains_key(id)
        });
        starting.count()
    }

    /// A worker is ready. The one that it replaces, if any, finishes its calls and leaves.
    pub(super) fn succeed(&mut self, id: u64) {
        let Some(old) = self.successors.remove(&id) else {
            return;
        };
        self.idle.retain(|idle| *idle != old);
        if let Some(old) = self.link(old) {
            old.leave();
            old.dismiss(Dismissal::Retired); // Or later, when it becomes idle.
        }
    }

    pub(super) fn wants_another(&self, config: &ProcessPoolConfig) -> bool {
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
        let ahead: usize = self.links().map(|link| link.queued_calls()).sum();
        self.starting() < self.backlog.len() + ahead
    }

    /// Why a call cannot be accepted, if it cannot.
    pub(super) fn refusal(&self, origin: CallOrigin) -> Option<Cause> {
        if self.stopped {
            return Some(Cause::Cancelled);
        }
        if self.closed && origin == CallOrigin::Submitted {
            return Some(Cause::Shutdown);
        }
        if self.broken {
            return Some(self.failure());
        }
        None
    }

    pub(super) fn add_place(&mut self) -> u64 {
        self.last_id += 1;
        self.workers.insert(self.last_id, PoolPlace::Starting);
        self.last_id
    }

    #[must_use = "dropping a link may answer callers, which must not happen under the lock"]
    pub(super) fn remove(&mut self, id: u64) -> Option<PoolPlace> {
        self.idle.retain(|idle| *idle != id);
        self.successors
            .retain(|successor, old| *successor != id && *old != id);
        self.workers.remove(&id)
    }

    pub(super) fn failure(&self) -> Cause {
        Cause::InitFailed(self.last_failure.clone().unwrap_or_default())
    }
}
