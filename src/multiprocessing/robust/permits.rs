//! The permits of a semaphore: a [slot](super::slot) for each, and the mark of the waiters.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::{Deserializer, Serialize, Serializer};

use super::lock::RobustLock;
use super::shared::SharedObject;
use super::slot::{PermitSlot, Taken};
use crate::multiprocessing::waiting::driver::Driver;
use crate::multiprocessing::waiting::mark::Mark;
use crate::multiprocessing::waiting::turns::Turns;
use crate::multiprocessing::waiting::wait::{WatchedProcesses, wait_for};
use crate::sys::ProcessIdentity;

/// The maximal number of permits at one time.
pub(crate) const MOST: usize = 1 << 16;

/// The layout: the mark of the waiters, the number of slots ever used, the bound, the collector, the slots.
const WAITING: usize = 0;
const USED: usize = 8;
const BOUND: usize = 16;
const COLLECTOR: usize = 24;
const SLOTS: usize = 64;
const _: () = assert!(COLLECTOR + RobustLock::BYTES <= SLOTS);

const BYTES: usize = SLOTS + MOST * 8;

/// How often a step is tried while others change the same word. More attempts are needed only if a process keeps
/// writing to the word.
const ATTEMPTS: usize = 1000;

/// The number of holders that a call which must not wait asks whether they have ended.
const MOST_ASKED: usize = 1024;

#[derive(Debug)]
pub(crate) struct Permits {
    shared: SharedObject,
    /// The slot that was free last, where the next search starts.
    hint: AtomicUsize,
    turns: Turns,
    /// The word is read once: a process that misuses the memory may change it.
    bound: usize,
    /// Held by the one caller that collects several permits.
    pub(super) collector: RobustLock,
}

/// A permit that was taken.
#[derive(Debug)]
pub(crate) struct TakenPermit {
    slot: usize,
    /// A fork of this process does not hold the permit.
    owner: ProcessIdentity,
    /// The dead process that it was taken over from.
    pub(crate) ended: Option<ProcessIdentity>,
}

impl TakenPermit {
    fn of(slot: usize, owner: ProcessIdentity, ended: Option<ProcessIdentity>) -> Self {
        Self { slot, owner, ended }
    }

    fn is_own(&self) -> bool {
        self.owner == ProcessIdentity::own()
    }
}

impl Permits {
    /// Creates `permits` permits, with an upper bound of `bound`.
    pub(crate) fn new(permits: usize, bound: usize) -> io::Result<Arc<Self>> {
        if bound > MOST || permits > bound {
            return Err(too_many(MOST));
        }
        let shared = SharedObject::new(BYTES, SLOTS)?;
        shared
            .memory()
            .word(BOUND)
            .store(bound as u64, Ordering::Release);
        let new = Self::of(shared);
        new.add(permits)?;
        Ok(new)
    }

    fn of(shared: SharedObject) -> Arc<Self> {
        let make = |shared: SharedObject| Self {
            bound: (shared.memory().word(BOUND).load(Ordering::Acquire) as usize).min(MOST),
            collector: shared.robust_at(COLLECTOR),
            shared,
            hint: AtomicUsize::new(0),
            turns: Turns::default(),
        };
        shared.recognised(make, |permits| &permits.shared)
    }

    /// The received permits.
    pub(crate) fn receive<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Self>, D::Error> {
        SharedObject::receive(deserializer, BYTES).map(Self::of)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        self.shared.memory().word(at)
    }

    fn slot(&self, slot: usize) -> PermitSlot<'_> {
        PermitSlot(self.word(SLOTS + slot * 8))
    }

    /// The number of slots ever used. The bound guards against a hostile value.
    fn used(&self) -> usize {
        (self.word(USED).load(Ordering::SeqCst) as usize).min(MOST)
    }

    fn waiting(&self) -> Mark<'_> {
        Mark(self.word(WAITING))
    }

    /// Whether both are the permits of one semaphore.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.shared.is_same(&other.shared)
    }

    /// The number of permits that there can be.
    pub(crate) fn bound(&self) -> usize {
        self.bound
    }

    /// Wakes the waiters.
    fn ring(&self) {
        self.waiting().answer(|| self.shared.bell().ring());
    }

    /// The number of free permits.
    pub(crate) fn free(&self) -> usize {
        let is_free = |slot: &usize| self.slot(*slot).read().is_none();
        (0..self.used()).filter(is_free).count()
    }

    /// Takes a free permit.
    pub(crate) fn take(&self) -> Option<TakenPermit> {
        let (own, hint) = (ProcessIdentity::own(), self.hint.load(Ordering::Relaxed));
        let take = |slot: &usize| self.slot(*slot).take(own.to_word());
        let slot = if take(&hint) {
            hint
        } else {
            (0..self.used()).find(take)?
        };
        if slot != hint {
            self.hint.store(slot, Ordering::Relaxed);
        }
        Some(TakenPermit::of(slot, own, None))
    }

    /// Takes a free permit, unless a task or thread of this process waits for one.
    #[inline]
    pub(super) fn at_once(&self) -> Option<TakenPermit> {
        self.turns.at_once(|| self.take())
    }

    /// Takes a permit that is free, or whose holder has ended.
    pub(crate) fn try_take(&self) -> Option<TakenPermit> {
        self.take().or_else(|| {
            let mut watched = WatchedProcesses::default();
            for _ in 0..ATTEMPTS {
                if let Some(permit) = self.check_all(&mut watched) {
                    return Some(permit);
                }
                let mut asked = watched.all().iter().take(MOST_ASKED);
                let ended = asked.find(|process| process.has_ended());
                let ended = Some(*ended?);
                watched.renew(ended);
            }
            None
        })
    }

    /// Waits for a permit. `None` if time is up.
    ///
    /// # Cancel safety
    /// Cancel safe. A dropped future loses its place in the line.
    pub(super) async fn wait_by<D: Driver>(&self, driver: &D) -> Option<TakenPermit> {
        driver.begin().await;
        if let Some(permit) = self.at_once() {
            return Some(permit);
        }
        let mut turn = driver.turn(&self.turns).await?;
        wait_for(driver, turn.waiter(self.shared.bell()), |watched| {
            self.waiting().raise();
            self.check_all(watched)
        })
        .await
    }

    /// Looks at all slots once.
    fn check_all(&self, watched: &mut WatchedProcesses) -> Option<TakenPermit> {
        (0..self.used()).find_map(|slot| self.check_slot(slot, watched))
    }

    fn check_slot(&self, slot: usize, watched: &mut WatchedProcesses) -> Option<TakenPermit> {
        let (own, word) = (ProcessIdentity::own(), self.slot(slot));
        for _ in 0..ATTEMPTS {
            // If another process is quicker, the waiter has to see that one.
            match word.read() {
                None if word.take(own.to_word()) => return Some(TakenPermit::of(slot, own, None)),
                None => {}
                Some(Taken::Absent) => return None,
                Some(Taken::Adder(adder)) => match watched.watch_word(adder) {
                    Some(_) => word.undo(adder), // The dead process has not added it.
                    None => return None,
                },
                Some(Taken::Holder(holder)) => {
                    let ended = Some(watched.watch_word(holder)?);
                    if word.seize(holder, own.to_word()) {
                        return Some(TakenPermit::of(slot, own, ended));
                    }
                }
            }
        }
        None
    }

    /// Releases a permit that this process holds.
    pub(crate) fn give_back(&self, permit: TakenPermit) {
        let slot = self.slot(permit.slot);
        if permit.is_own() && slot.give_back(permit.owner.to_word()) {
            self.hint.store(permit.slot, Ordering::Relaxed);
            self.ring();
        }
    }

    /// Removes a permit that this process holds.
    pub(crate) fn forget(&self, permit: TakenPermit) {
        if permit.is_own() {
            self.slot(permit.slot).forget(permit.owner.to_word());
        }
    }

    /// Adds all `count` permits, or none.
    ///
    /// # Errors
    /// There would be too many, or no memory is left.
    pub(crate) fn add(&self, count: usize) -> io::Result<()> {
        let own = ProcessIdentity::own().to_word();
        let mut added = Vec::new();
        let begun = self.begin_to_add(count, &mut added);
        let finish = |slot: &usize| match begun {
            Ok(()) => self.slot(*slot).add(own),
            Err(_) => self.slot(*slot).undo(own),
        };
        self.ring(); // The waiters see which process adds: if it is killed, they check again.
        added.iter().for_each(finish);
        self.ring();
        begun
    }

    fn begin_to_add(&self, count: usize, added: &mut Vec<usize>) -> io::Result<()> {
        let bound = self.bound;
        let mut there = self.used();
        for slot in 0..bound {
            if added.len() == count {
                return Ok(());
            }
            if slot == there {
                there = bound.min(slot + count);
                let memory = self.shared.memory();
                memory.secure(SLOTS + slot * 8, (there - slot) * 8)?;
            }
            if self.begin_to_add_at(slot) {
                self.use_up_to(slot + 1);
                added.push(slot);
            }
        }
        if added.len() == count {
            return Ok(());
        }
        Err(too_many(bound))
    }

    /// Raises the number of slots ever used.
    fn use_up_to(&self, slots: usize) {
        let (used, slots) = (self.word(USED), slots as u64);
        let mut seen = used.load(Ordering::SeqCst);
        for _ in 0..ATTEMPTS {
            if seen >= slots {
                return;
            }
            match used.compare_exchange_weak(seen, slots, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    fn begin_to_add_at(&self, slot: usize) -> bool {
        let (own, word) = (ProcessIdentity::own().to_word(), self.slot(slot));
        for _ in 0..ATTEMPTS {
            // If another process is quicker, which can only undo what a dead one left, check again.
            let begun = match word.read() {
                Some(Taken::Absent) => word.begin_to_add(own),
                Some(Taken::Adder(adder)) => match ProcessIdentity::from_word(adder) {
                    Some(process) if process.has_ended() => word.take_over(adder, own),
                    _ => return false,
                },
                _ => return false,
            };
            if begun {
                return true;
            }
        }
        false
    }
}

fn too_many(bound: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("too many permits: this semaphore has at most {bound}"),
    )
}

impl Serialize for Permits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shared.serialize(serializer)
    }
}
