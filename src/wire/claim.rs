//! Which process may run which item: one atomic word for each call in flight, shared by a worker and its parent. The
//! worker claims an item just before it calls the function. The parent revokes items that are not claimed. So a
//! cancelled item never runs, the items that a dead worker did not start can run elsewhere without running twice, and a
//! kill hits the item that it is meant for.
//!
//! ```text
//!  parent: offer          worker: claim            worker: finish
//! ─────────────► Offered(i) ────────► Running(i) ────────────► Done(i) ──► claim i + 1
//!                  │ parent: revoke       │ parent: condemn      │ parent: revoke
//!                  ▼                      ▼                      ▼
//!               Revoked               Condemned(i)            Revoked
//!          (skipped by worker)    (worker will be killed)    (the rest is skipped)
//! ```
//!
//! A worker may end an item and start the next one in one step (`go_on`): `Running(i)` becomes `Running(i +
//! 1)`. To revoke the items after a running one, the parent cuts the call:
//!
//! ```text
//!  Running(i) ── parent: cut ──► Last(i) ── worker: finish ──► Revoked
//! ```
//!
//! If the task has a grace period, the parent warns the item before it condemns the worker:
//!
//! ```text
//!              parent: warn                  worker: finish
//!  Running(i) ──────────────► Overdue(i) ─────────────────────► Done(i)
//!      │                          │ parent: stop or cut
//!      └────────► Cancelled(i) ◄──┴── parent: warn or stop ── Last(i)
//!  parent: stop       │  worker: finish
//!                     └──────────────────► Revoked
//!
//!  Running(i), Last(i), Overdue(i), Cancelled(i) ── parent: condemn ──► Condemned(i)
//! ```
//!
//! The worker can write anything into the word. So the parent accepts a word only if it is about the expected call and
//! has a stage; anything else is a breach of the protocol. The parent tries a change a bounded number of times.

use super::MOST_ITEMS;
use super::atomic::{AtomicU64, Ordering};

/// The content of a slot: a call, an item of it, and the stage of that item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) seq: u32,
    pub(crate) item: u32,
    pub(crate) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The worker may start the item.
    Offered,
    /// The worker runs the item.
    Running,
    /// The worker finished the item and left its outcome in the outbox or the pipe.
    Done,
    /// The worker must not start this item or a later one.
    Revoked,
    /// The parent is about to kill the worker because it runs this item.
    Condemned,
    /// As `Running`, but the item should end soon.
    Overdue,
    /// As `Overdue`, and the worker must start no later item.
    Cancelled,
    /// As `Running`, and the worker must start no later item.
    Last,
}

/// The word of a call in flight is about another call, has no stage, or changes faster than the parent can follow. The
/// worker breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidClaim;

/// How often the parent tries to change a word. A worker that runs items of a few nanoseconds can change it first
/// several times in a row, but not this often.
const ATTEMPTS: u32 = 10_000;

impl Claim {
    fn new(seq: u32, item: u32, stage: Stage) -> Self {
        debug_assert!(item < MOST_ITEMS);
        Self { seq, item, stage }
    }

    fn to_word(self) -> u64 {
        u64::from(self.seq) << 32 | u64::from(self.item) << 8 | self.stage as u64
    }

    /// `None` if the word has no stage.
    fn from_word(word: u64) -> Option<Self> {
        let stage = match word & 0xff {
            0 => Stage::Offered,
            1 => Stage::Running,
            2 => Stage::Done,
            3 => Stage::Revoked,
            4 => Stage::Condemned,
            5 => Stage::Overdue,
            6 => Stage::Cancelled,
            7 => Stage::Last,
            _ => return None,
        };
        Some(Self {
            seq: (word >> 32) as u32,
            item: (word >> 8) as u32 & (MOST_ITEMS - 1),
            stage,
        })
    }

    /// Whether an item of the call runs.
    pub(crate) fn is_running(self) -> bool {
        match self.stage {
            Stage::Running | Stage::Last | Stage::Overdue | Stage::Cancelled | Stage::Condemned => {
                true
            }
            Stage::Offered | Stage::Done | Stage::Revoked => false,
        }
    }
}

/// The word of one call. The slot may already belong to a later call: this call then has ended or was revoked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimSlot<'a> {
    word: &'a AtomicU64,
    seq: u32,
}

impl<'a> ClaimSlot<'a> {
    pub(crate) fn new(word: &'a AtomicU64, seq: u32) -> Self {
        Self { word, seq }
    }

    /// The content. For the worker, it may already be about another call, which means that there is no claim.
    pub(crate) fn read(&self) -> Result<Claim, InvalidClaim> {
        let claim = Claim::from_word(self.word.load(Ordering::Acquire));
        claim
            .filter(|claim| claim.seq == self.seq)
            .ok_or(InvalidClaim)
    }

    fn change(&self, from: Claim, to: Claim) -> bool {
        let change = self.word.compare_exchange(
            from.to_word(),
            to.to_word(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        change.is_ok()
    }

    /// Parent: lets the worker run the call from `item` on. Called before the call is sent. The slot may still hold a
    /// revoked call that the worker has not reached. The worker skips that call, because the slot is about another one.
    pub(crate) fn offer(&self, item: u32) {
        let claim = Claim::new(self.seq, item, Stage::Offered);
        self.word.store(claim.to_word(), Ordering::Release);
    }

    /// Parent: changes the stage to what `next` returns for it, if anything. Returns the content before and after.
    fn advance(
        &self,
        next: impl Fn(Stage) -> Option<Stage>,
    ) -> Result<(Claim, Claim), InvalidClaim> {
        for _ in 0..ATTEMPTS {
            let before = self.read()?;
            let Some(stage) = next(before.stage) else {
                return Ok((before, before));
            };
            let after = Claim { stage, ..before };
            if self.change(before, after) {
                return Ok((before, after));
            } // The worker changed the word: try again.
        }
        Err(InvalidClaim)
    }

    /// Parent: forbids the worker to start an item of the call after the running one. Returns the content before.
    pub(crate) fn cut(&self) -> Result<Claim, InvalidClaim> {
        let (before, _) = self.advance(|stage| match stage {
            Stage::Offered | Stage::Done => Some(Stage::Revoked),
            Stage::Running => Some(Stage::Last),
            Stage::Overdue => Some(Stage::Cancelled),
            _ => None,
        })?;
        Ok(before)
    }

    /// Parent: forbids the worker to start a further item of the call, and requests the end of the running one. If an
    /// item runs, returns the content after: `Cancelled`, or `Condemned` if the worker must be killed for it, as it
    /// always is if the item ends `at_once`. Otherwise returns the content before.
    pub(crate) fn stop(&self, at_once: bool) -> Result<Claim, InvalidClaim> {
        let (before, after) = self.advance(|stage| match stage {
            Stage::Offered | Stage::Done => Some(Stage::Revoked),
            Stage::Running | Stage::Last | Stage::Overdue | Stage::Cancelled if at_once => {
                Some(Stage::Condemned)
            }
            Stage::Running | Stage::Last | Stage::Overdue => Some(Stage::Cancelled),
            Stage::Cancelled | Stage::Revoked | Stage::Condemned => None,
        })?;
        Ok(if before.is_running() { after } else { before })
    }

    /// Parent: forbids the worker to start the call. Returns false, and changes nothing, if the worker has started it.
    /// Between two items the rest of the call also stays with the worker.
    pub(crate) fn withdraw(&self) -> bool {
        let stage = Stage::Revoked;
        let offered = |claim: &Claim| claim.stage == Stage::Offered;
        let claim = self.read().ok().filter(offered);
        claim.is_some_and(|claim| self.change(claim, Claim { stage, ..claim }))
    }

    /// Parent: condemns the worker, because it runs `item`. Returns false if it no longer does.
    pub(crate) fn condemn(&self, item: u32) -> bool {
        use Stage::{Cancelled, Condemned, Last, Overdue, Running};
        self.step(
            item,
            &[Running, Last, Overdue, Cancelled].map(|from| (from, Condemned)),
        )
    }

    /// Parent: requests the end of the item; later items may run. Returns false if it no longer runs, or was warned
    /// before.
    pub(crate) fn warn(&self, item: u32) -> bool {
        use Stage::{Cancelled, Last, Overdue, Running};
        self.step(item, &[(Running, Overdue), (Last, Cancelled)])
    }

    /// Takes the first step that applies. Only the parent changes one of these stages into another, with one thread at
    /// a time. So one attempt for each step is enough.
    fn step(&self, item: u32, steps: &[(Stage, Stage)]) -> bool {
        let claim = |stage| Claim::new(self.seq, item, stage);
        steps
            .iter()
            .any(|(from, to)| self.change(claim(*from), claim(*to)))
    }

    /// Worker: starts `item`, if it is still wanted.
    pub(crate) fn claim(&self, item: u32) -> bool {
        let next = |claim: &Claim| match claim.stage {
            Stage::Offered => claim.item == item,
            Stage::Done => claim.item + 1 == item,
            _ => false,
        };
        let claim = self.read().ok().filter(next);
        // The exchange fails if the parent has just revoked the item.
        claim.is_some_and(|claim| self.change(claim, Claim::new(self.seq, item, Stage::Running)))
    }

    /// Worker: `item` has ended, its outcome is where the parent finds it, and the next item starts. Returns false, and
    /// changes nothing, if the parent has changed the item's stage.
    pub(crate) fn start_next(&self, item: u32) -> bool {
        let running = |item| Claim::new(self.seq, item, Stage::Running);
        self.change(running(item), running(item + 1))
    }

    /// Worker: `item` has ended, and its outcome is where the parent finds it. Returns false if the worker is
    /// condemned. It must then start nothing else.
    ///
    /// The parent may have read the outcome and reused the slot for another call. That does not mean that the worker is
    /// condemned, because a condemned call keeps its slot.
    pub(crate) fn finish(&self, item: u32) -> bool {
        // If the word is about another call, or has an end that the parent decided, there is nothing left to mark.
        while let Ok(claim) = self.read() {
            let stage = match claim.stage {
                Stage::Condemned => return false,
                Stage::Running | Stage::Overdue => Stage::Done,
                Stage::Cancelled | Stage::Last => Stage::Revoked,
                Stage::Offered | Stage::Done | Stage::Revoked => return true,
            };
            // The exchange fails if the parent has just changed the word: try again.
            if self.change(claim, Claim::new(self.seq, item, stage)) {
                return true;
            }
        }
        true
    }
}
