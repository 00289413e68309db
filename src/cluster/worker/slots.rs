//! The right to run a task. There are as many slots as the local executor has workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::ahead::SlotPace;

/// How long a task waits for a slot before it goes back to the queue.
pub(super) const HOLD: Duration = Duration::from_millis(100);

/// All slots of a worker.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    count: u32,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pace: SlotPace,
    /// The number of claimed tasks that wait for a slot.
    ahead: AtomicU32,
    /// Wakes the driver, which hands out claim permits.
    freed: Notify,
}

/// The right to claim a task.
#[derive(Debug)]
pub(super) enum ClaimPermit {
    /// The task can run at once.
    Slot(Slot),
    /// The task waits for a slot after the claim.
    Ahead(AheadPermit),
}

/// One slot. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    started: Option<Instant>,
    shared: Arc<Shared>,
}

/// Counts a task that is claimed ahead of the slots, until dropped.
#[derive(Debug)]
pub(super) struct AheadPermit(Arc<Shared>);

impl Slots {
    pub(super) fn new(count: u32) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count as usize)),
            count,
            shared: Arc::new(Shared {
                pace: SlotPace::default(),
                ahead: AtomicU32::new(0),
                freed: Notify::new(),
            }),
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn free(&self) -> u32 {
        u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX)
    }

    /// How many more tasks the worker takes: those that start at once, and those that wait for a slot.
    pub(super) fn room(&self, now: Instant) -> u32 {
        let (free, pace) = (self.free(), &self.shared.pace);
        let ahead = match free == 0 && pace.is_stalled(now) {
            true => 0,
            false => pace.ahead(self.count),
        };
        free.saturating_add(ahead.saturating_sub(self.ahead()))
    }

    /// Returns the right to claim one more task. Call it in one task only: it checks the count before it increases it.
    pub(super) fn try_claim(&self, now: Instant) -> Option<ClaimPermit> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Some(ClaimPermit::Slot(self.slot(permit)));
        }
        let pace = &self.shared.pace;
        let may_wait = !pace.is_stalled(now) && self.ahead() < pace.claims_ahead(self.count);
        may_wait.then(|| {
            self.shared.ahead.fetch_add(1, Ordering::Relaxed);
            ClaimPermit::Ahead(AheadPermit(self.shared.clone()))
        })
    }

    /// Waits for a slot.
    pub(super) async fn take(&self) -> Slot {
        let permit = self.free.clone().acquire_owned().await;
        self.slot(permit.expect("the slots are never closed"))
    }

    /// Returns the slot of a claimed task. Waits for one, up to `HOLD`.
    pub(super) async fn slot_for(&self, permit: ClaimPermit) -> Option<Slot> {
        match permit {
            ClaimPermit::Slot(slot) => Some(slot),
            ClaimPermit::Ahead(_ahead) => tokio::time::timeout(HOLD, self.take()).await.ok(),
        }
    }

    /// Waits until a slot or a claim permit is freed. Returns at once if one was freed since the last call.
    pub(super) async fn freed(&self) {
        self.shared.freed.notified().await;
    }

    fn ahead(&self) -> u32 {
        self.shared.ahead.load(Ordering::Relaxed)
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Slot {
        Slot {
            permit: Some(permit),
            started: None,
            shared: self.shared.clone(),
        }
    }
}

impl Slot {
    /// Its task starts now.
    pub(super) fn start(&mut self) {
        let now = Instant::now();
        self.started = Some(now);
        self.shared.pace.note_start(now);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(started) = self.started {
            let now = Instant::now();
            self.shared.pace.note_end(now - started, now);
        }
        drop(self.permit.take()); // Before the wake-up.
        self.shared.freed.notify_one();
    }
}

impl Drop for AheadPermit {
    fn drop(&mut self) {
        self.0.ahead.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    /// Two slots whose tasks have taken no time so far.
    fn quick() -> Slots {
        let slots = Slots::new(2);
        for _ in 0..99 {
            let now = Instant::now();
            slots.shared.pace.note_end(Duration::ZERO, now);
        }
        slots
    }

    fn claims(slots: &Slots) -> Vec<ClaimPermit> {
        std::iter::from_fn(|| slots.try_claim(Instant::now())).collect()
    }

    #[test]
    fn a_new_worker_claims_no_more_tasks_than_it_has_slots() {
        let slots = Slots::new(2);
        let claims = claims(&slots);
        assert_eq!((claims.len(), slots.room(Instant::now())), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_claimed_ahead_has_the_next_free_slot() {
        let slots = quick();
        let mut claims = claims(&slots);
        assert!(claims.len() > 2);
        let last = claims.pop().expect("it is one of them");
        assert!(matches!(last, ClaimPermit::Ahead(_)));
        assert!(slots.slot_for(last).await.is_none());

        let next = claims.pop().expect("it is one of them");
        let waits = slots.slot_for(next);
        let frees = async { drop(claims.remove(0)) };
        let (slot, ()) = tokio::join!(waits, frees);
        assert!(slot.is_some());
        assert_eq!(slots.free(), 0);
        drop((slot, claims));
        assert_eq!((slots.free(), slots.ahead()), (2, 0));
    }
}
