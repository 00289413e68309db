//! The places of a pool, one for each worker, from its start until its process has ended. Also which workers are idle.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::ProcessPoolConfig;
use crate::process::link::Link;

#[derive(Default)]
pub(super) struct Places {
    by_id: BTreeMap<u64, PoolPlace>,
    last_id: u64,
}

/// A worker's place.
pub(super) enum PoolPlace {
    Starting(StartReason),
    /// All its tries have failed, and it tries again later.
    Retrying,
    Ready(Arc<Link>),
}

/// Why a worker is being started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StartReason {
    /// The pool has a free place.
    Wanted,
    /// The new worker replaces the one with this id, which serves until the new one is ready. Until then both have one
    /// place.
    Replaces(u64),
}

impl Places {
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The link of a worker that is ready.
    pub(super) fn link(&self, id: u64) -> Option<Arc<Link>> {
        match self.by_id.get(&id) {
            Some(PoolPlace::Ready(link)) => Some(link.clone()),
            _ => None,
        }
    }

    /// The links of the workers that are ready, in the order of their start.
    pub(super) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.by_id.values().filter_map(|place| match place {
            PoolPlace::Ready(link) => Some(link),
            PoolPlace::Starting(_) | PoolPlace::Retrying => None,
        })
    }

    /// The number of workers that are ready and are not leaving.
    pub(super) fn serving(&self) -> usize {
        let stays = |link: &&Arc<Link>| link.ending().is_none() && !link.is_leaving();
        self.links().filter(stays).count()
    }

    /// The number of places that are taken. A leaving worker takes none. The successor of a worker that still serves
    /// takes none either.
    pub(super) fn taken(&self, config: &ProcessPoolConfig) -> usize {
        if !config.has_retirements() {
            return self.len();
        }
        let takes = |place: &&PoolPlace| match place {
            PoolPlace::Ready(link) => !link.is_leaving(),
            PoolPlace::Retrying | PoolPlace::Starting(StartReason::Wanted) => true,
            // The worker to be replaced is leaving, so its successor already takes a place.
            PoolPlace::Starting(StartReason::Replaces(old)) => {
                self.link(*old).is_none_or(|old| old.is_leaving())
            }
        };
        self.by_id.values().filter(takes).count()
    }

    /// The number of workers that are being started, not counting successors.
    pub(super) fn starting(&self) -> usize {
        self.count(|place| matches!(place, PoolPlace::Starting(StartReason::Wanted)))
    }

    /// The number of places whose tries have failed, and that try again later.
    pub(super) fn retrying(&self) -> usize {
        self.count(|place| matches!(place, PoolPlace::Retrying))
    }

    fn count(&self, which: impl Fn(&PoolPlace) -> bool) -> usize {
        self.by_id.values().filter(|place| which(place)).count()
    }

    /// Adds a place, and returns its id.
    pub(super) fn add(&mut self, why: StartReason) -> u64 {
        self.last_id += 1;
        self.by_id.insert(self.last_id, PoolPlace::Starting(why));
        self.last_id
    }

    /// Records that the worker of a place is ready. Returns the worker that it replaces, if that still exists.
    pub(super) fn fill(&mut self, link: &Arc<Link>) -> Option<Arc<Link>> {
        let replaced = self.replaced_by(link.id);
        self.by_id.insert(link.id, PoolPlace::Ready(link.clone()));
        replaced
    }

    /// Records that the tries of a place have failed, and that the place continues to try.
    pub(super) fn keep_trying(&mut self, id: u64) {
        self.by_id.insert(id, PoolPlace::Retrying);
    }

    pub(super) fn is_retrying(&self, id: u64) -> bool {
        matches!(self.by_id.get(&id), Some(PoolPlace::Retrying))
    }

    /// Lets the places whose tries have failed try again now.
    pub(super) fn retry_now(&mut self) {
        for place in self.by_id.values_mut() {
            if let PoolPlace::Retrying = place {
                *place = PoolPlace::Starting(StartReason::Wanted);
            }
        }
    }

    /// The worker that the worker of this place replaces, if that still exists.
    pub(super) fn replaced_by(&self, id: u64) -> Option<Arc<Link>> {
        match self.by_id.get(&id) {
            Some(PoolPlace::Starting(StartReason::Replaces(old))) => self.link(*old),
            _ => None,
        }
    }

    /// Whether a successor of a worker is being started.
    pub(super) fn is_replaced(&self, id: u64) -> bool {
        let is_successor = |place: &PoolPlace| matches!(place, PoolPlace::Starting(StartReason::Replaces(old)) if *old == id);
        self.by_id.values().any(is_successor)
    }

    /// Frees a place. The successor of its worker has a place of its own from now on.
    #[must_use = "dropping a link may answer callers, so it is dropped without the lock"]
    pub(super) fn remove(&mut self, id: u64) -> Option<PoolPlace> {
        let place = self.by_id.remove(&id)?;
        for other in self.by_id.values_mut() {
            if let PoolPlace::Starting(why) = other
                && *why == StartReason::Replaces(id)
            {
                *why = StartReason::Wanted;
            }
        }
        Some(place)
    }
}

/// The workers without work. The one that worked last is on top, because its caches are the warmest.
///
/// A step takes the same time for two workers and for hundreds, except that the removal of a worker out of turn
/// searches for it. A worker's link records whether the worker is in here, so only workers that are cause a search.
#[derive(Default)]
pub(super) struct IdleWorkers(Vec<Arc<Link>>);

impl IdleWorkers {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts a worker on top, unless it is already in here.
    pub(super) fn push(&mut self, link: &Arc<Link>) {
        if link.start_rest() {
            self.0.push(link.clone());
        }
    }

    /// Takes the worker on top, reserved for a call.
    pub(super) fn pop(&mut self) -> Option<Arc<Link>> {
        let link = self.0.pop()?;
        link.reserve();
        Some(link)
    }

    /// At most this many workers, from the top.
    pub(super) fn top(&self, most: usize) -> Vec<Arc<Link>> {
        self.0.iter().rev().take(most).cloned().collect()
    }

    /// Removes a worker out of turn. Returns whether it was in here.
    pub(super) fn remove(&mut self, link: &Link) -> bool {
        let is_here = link.end_rest();
        if is_here {
            self.0.retain(|idle| idle.id != link.id);
        }
        is_here
    }

    /// Takes all.
    pub(super) fn drain(&mut self) -> Vec<Arc<Link>> {
        for link in &self.0 {
            link.end_rest();
        }
        std::mem::take(&mut self.0)
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use super::*;
    use crate::process::link::Tenure;
    use crate::sys::Socket;
    use crate::wire::page::Page;

    fn link(id: u64) -> Arc<Link> {
        let (ours, _) = Socket::pair().expect("a socket pair");
        let (page, _) = Page::create().expect("memory");
        Arc::new(Link::new(id, 1, page, Arc::new(ours), Tenure::default()))
    }

    #[test]
    fn each_idle_worker_is_there_once_and_the_last_that_worked_comes_first() {
        let [one, two, three] = [1, 2, 3].map(link);
        let mut idle = IdleWorkers::default();
        for link in [&one, &two, &three, &one] {
            idle.push(link);
        }
        assert_eq!(idle.len(), 3);
        assert!(idle.remove(&two) && !idle.remove(&two));
        assert_eq!(idle.pop().map(|link| link.id), Some(3));
        assert!(!three.is_idle(), "the worker is reserved");
        idle.push(&two);
        assert_eq!(idle.pop().map(|link| link.id), Some(2));
        assert_eq!(idle.drain().len(), 1);
        assert!(!one.rests() && idle.pop().is_none());
    }
}
