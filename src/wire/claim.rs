//! Who may run what: one atomic word for each call in flight, shared by a worker and its parent. The
//! worker claims an item just before it calls the function, the parent revokes what has not been
//! claimed. So a cancelled item never runs, what a dead worker had not begun can run elsewhere without
//! running twice, and a kill is aimed at the item that it means.
//!
//! ```text
//!  parent: offer          worker: claim            worker: finish
//! ─────────────► Offered(i) ────────► Running(i) ────────────► Done(i) ──► claim i + 1
//!                  │ parent: revoke       │ parent: condemn      │ parent: revoke
//!                  ▼                      ▼                      ▼
//!               Revoked               Condemned(i)            Revoked
//!          (skipped by worker)    (worker is to be killed)   (the rest is skipped)
//! ```
//!
//! A worker whose item ends may begin the next one in the same step (`go_on`): `Running(i)` becomes
//! `Running(i + 1)`. The parent takes away what comes after an item that runs by cutting the call:
//!
//! ```text
//!  Running(i) ── parent: cut ──► Last(i) ── worker: finish ──► Revoked
//! ```
//!
//! A task with a grace period is told before its worker is condemned:
//!
//! ```text
//!              parent: warn                  worker: finish
//!  Running(i) ──────────────► Overdue(i) ─────────────────────► Done(i)
//!      │                          │ parent: cancel or cut
//!      └────────► Cancelled(i) ◄──┴── parent: warn or cancel ── Last(i)
//!  parent: cancel     │  worker: finish
//!                     └──────────────────► Revoked
//!
//!  Running(i), Last(i), Overdue(i), Cancelled(i) ── parent: condemn ──► Condemned(i)
//! ```

use super::MOST_ITEMS;
use super::atomic::{AtomicU64, Ordering};

/// What a slot says: the call it is about, and how far that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) seq: u32,
    pub(crate) item: u32,
    pub(crate) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The worker may begin the item.
    Offered,
    /// The worker is running the item.
    Running,
    /// The worker has ended the item and left its outcome in the outbox or the pipe.
    Done,
    /// The worker must begin none of the items from here on.
    Revoked,
    /// The parent is about to kill the worker for running this item.
    Condemned,
    /// As `Running`, but the item shall end soon.
    Overdue,
    /// As `Overdue`, and the worker must begin none of the items after it.
    Cancelled,
    /// As `Running`, and the worker must begin none of the items after it.
    Last,
}

impl Claim {
    fn new(seq: u32, item: u32, stage: Stage) -> Self {
        debug_assert!(item < MOST_ITEMS);
        Self { seq, item, stage }
    }

    fn to_word(self) -> u64 {
        u64::from(self.seq) << 32 | u64::from(self.item) << 8 | self.stage as u64
    }

    fn from_word(word: u64) -> Self {
        let stage = match word & 0xff {
            0 => Stage::Offered,
            1 => Stage::Running,
            2 => Stage::Done,
            3 => Stage::Revoked,
            4 => Stage::Condemned,
            5 => Stage::Overdue,
            6 => Stage::Cancelled,
            _ => Stage::Last,
        };
        Self {
            seq: (word >> 32) as u32,
            item: (word >> 8) as u32 & (MOST_ITEMS - 1),
            stage,
        }
    }

    /// Whether it is about a call of which an item runs.
    pub(crate) fn is_running(self) -> bool {
        match self.stage {
            Stage::Running | Stage::Last | Stage::Overdue | Stage::Cancelled | Stage::Condemned => {
                true
            }
            Stage::Offered | Stage::Done | Stage::Revoked => false,
        }
    }
}

/// The word of one call. The slot may by now be another call's: then this one is over, or was revoked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimSlot<'a> {
    word: &'a AtomicU64,
    seq: u32,
}

impl<'a> ClaimSlot<'a> {
    pub(crate) fn new(word: &'a AtomicU64, seq: u32) -> Self {
        Self { word, seq }
    }

    /// What it says, be it about this call or another.
    pub(crate) fn look(&self) -> Claim {
        Claim::from_word(self.word.load(Ordering::Acquire))
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

    /// Parent: the worker may run the call from `item` on. To be said before the call is sent. The
    /// slot may still hold a revoked call that the worker has not come to; it will find that the slot
    /// is about another and skip it all the same.
    pub(crate) fn offer(&self, item: u32) {
        let claim = Claim::new(self.seq, item, Stage::Offered);
        self.word.store(claim.to_word(), Ordering::Release);
    }

    /// Parent: goes from one stage to another, as `next` says, if it says so. Gives what was there.
    fn advance(&self, next: impl Fn(Stage) -> Option<Stage>) -> Claim {
        loop {
            let claim = self.look();
            let stage = match next(claim.stage) {
                Some(stage) if claim.seq == self.seq => stage,
                _ => return claim,
            };
            if self.change(claim, Claim { stage, ..claim }) {
                return claim;
            } // Else the worker has just said something: look again.
        }
    }

    /// Parent: the worker shall begin no further item of the call. Gives what the slot said
    /// before; if an item is running, nothing was changed.
    pub(crate) fn revoke(&self) -> Claim {
        self.advance(|stage| match stage {
            Stage::Offered | Stage::Done => Some(Stage::Revoked),
            _ => None,
        })
    }

    /// Parent: the worker shall begin no further item of the call than the one that it runs. Gives
    /// what the slot said before.
    pub(crate) fn cut(&self) -> Claim {
        self.advance(|stage| match stage {
            Stage::Offered | Stage::Done => Some(Stage::Revoked),
            Stage::Running => Some(Stage::Last),
            Stage::Overdue => Some(Stage::Cancelled),
            _ => None,
        })
    }

    /// Parent: the worker shall not begin the call at all. False if it has begun it; then nothing
    /// was changed, also between two items: the rest of the call is left to it.
    pub(crate) fn withdraw(&self) -> bool {
        let claim = self.look();
        let stage = Stage::Revoked;
        let offered = claim.seq == self.seq && claim.stage == Stage::Offered;
        offered && self.change(claim, Claim { stage, ..claim })
    }

    /// Parent: the worker is to be killed for running `item`. False if it no longer does.
    pub(crate) fn condemn(&self, item: u32) -> bool {
        use Stage::{Cancelled, Condemned, Last, Overdue, Running};
        self.tell(
            item,
            &[Running, Last, Overdue, Cancelled].map(|from| (from, Condemned)),
        )
    }

    /// Parent: the item shall end soon; those after it may run. False if it no longer runs, or was
    /// told before.
    pub(crate) fn warn(&self, item: u32) -> bool {
        use Stage::{Cancelled, Last, Overdue, Running};
        self.tell(item, &[(Running, Overdue), (Last, Cancelled)])
    }

    /// Parent: the item shall end soon, and be the last of its call. False if it no longer runs.
    pub(crate) fn cancel(&self, item: u32) -> bool {
        use Stage::{Cancelled, Last, Overdue, Running};
        self.tell(
            item,
            &[Running, Last, Overdue].map(|from| (from, Cancelled)),
        )
    }

    /// Only the parent goes from one of these stages to another, one thread at a time, so each
    /// needs to be tried once.
    fn tell(&self, item: u32, steps: &[(Stage, Stage)]) -> bool {
        let claim = |stage| Claim::new(self.seq, item, stage);
        steps
            .iter()
            .any(|(from, to)| self.change(claim(*from), claim(*to)))
    }

    /// Worker: begins `item`, if it is still wanted.
    pub(crate) fn claim(&self, item: u32) -> bool {
        let claim = self.look();
        let next = match claim.stage {
            Stage::Offered => claim.item == item,
            Stage::Done => claim.item + 1 == item,
            _ => false,
        };
        // A failed exchange means that the parent has just revoked it.
        claim.seq == self.seq
            && next
            && self.change(claim, Claim::new(self.seq, item, Stage::Running))
    }

    /// Worker: `item` has ended, its outcome is where the parent finds it, and the next one begins.
    /// False if the parent has said anything about the item; then nothing was changed.
    pub(crate) fn go_on(&self, item: u32) -> bool {
        let running = |item| Claim::new(self.seq, item, Stage::Running);
        self.change(running(item), running(item + 1))
    }

    /// Worker: `item` has ended and its outcome is where the parent finds it. False if the worker
    /// is about to be killed; then it must not begin anything else.
    ///
    /// The parent may have read the outcome already and given the slot to another call: that is no
    /// condemnation, for a condemned call keeps its slot.
    pub(crate) fn finish(&self, item: u32) -> bool {
        loop {
            let claim = self.look();
            let stage = match claim.stage {
                Stage::Condemned if claim.seq == self.seq => return false,
                Stage::Running | Stage::Overdue => Stage::Done,
                Stage::Cancelled | Stage::Last => Stage::Revoked,
                _ => return true,
            };
            // A failed exchange means that the parent has just said something: look again.
            if claim.seq != self.seq || self.change(claim, Claim::new(self.seq, item, stage)) {
                return true;
            }
        }
    }
}
