//! The memory that a worker shares with its parent. It settles, by one atomic word a call, who
//! may run what: a worker claims an item just before it calls the function, the parent revokes
//! what has not been claimed. So a cancelled item never runs, what a dead worker had not begun can
//! run elsewhere without running twice, and a kill is aimed at the item that it means.
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
//! A task with a grace period is told before its worker is condemned:
//!
//! ```text
//!              parent: warn                  worker: finish
//!  Running(i) ──────────────► Overdue(i) ─────────────────────► Done(i)
//!      │                          │ parent: cancel
//!      └────────► Cancelled(i) ◄──┘
//!  parent: cancel     │  worker: finish
//!                     └──────────────────► Revoked
//!
//!  Running(i), Overdue(i), Cancelled(i) ── parent: condemn, when the period is over ──► Condemned(i)
//! ```
//!
//! The page also holds the outbox: frames that the worker has finished but perhaps not yet
//! written to the socket. A worker that dies leaves them there for its parent.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::MOST_ITEMS;
use super::ring::{self, Ring, Way};
use crate::sys::SharedMemory;

/// How many calls can be in flight to one worker.
pub(crate) const SLOTS: u32 = 64;
/// How many bytes the outbox holds.
pub(crate) const OUTBOX: usize = 60 * 1024;

/// Behind the claims come the times at which the latest items began, then the outbox's length.
const BEGUN: usize = 8 * SLOTS as usize;
const OUTBOX_LEN: usize = 2 * BEGUN;
/// And the latest report on the progress of each call: for each of these a word a slot.
const REPORTS: usize = OUTBOX_LEN + 8;
const NUDGED: usize = 0;
const VERSION: usize = 1;
const ABOUT: usize = 2;
const DONE: usize = 3;
const TOTAL: usize = 4;
const OUTBOX_AT: usize = 4096;
/// Before the outbox stand two words: how many bytes of memory the worker may hold, 0 for any
/// number, and whether it has held more.
const MEMORY_LIMIT: usize = OUTBOX_AT - 16;
const IS_BLOATED: usize = OUTBOX_AT - 8;
/// Behind the outbox come the rings.
const RINGS_AT: usize = OUTBOX_AT + OUTBOX;
const LEN: usize = RINGS_AT + ring::LEN;
const _: () = assert!(REPORTS + 5 * 8 * SLOTS as usize <= MEMORY_LIMIT);

/// How far an item was when that was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) seq: u32,
    pub(crate) item: u32,
    pub(crate) done: u64,
    pub(crate) total: u64,
}

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
    /// The worker has ended the item and left its outcome in the outbox or the socket.
    Done,
    /// The worker must begin none of the items from here on.
    Revoked,
    /// The parent is about to kill the worker for running this item.
    Condemned,
    /// As `Running`, but the item shall end soon.
    Overdue,
    /// As `Overdue`, and the worker must begin none of the items after it.
    Cancelled,
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
            _ => Stage::Cancelled,
        };
        Self {
            seq: (word >> 32) as u32,
            item: (word >> 8) as u32 & (MOST_ITEMS - 1),
            stage,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Page(SharedMemory);

impl Page {
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let (memory, fd) = SharedMemory::create(LEN)?;
        Ok((Self(memory), fd))
    }

    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        SharedMemory::open(fd, LEN).map(Self)
    }

    fn slot(&self, seq: u32) -> &AtomicU64 {
        self.0.word(8 * (seq % SLOTS) as usize)
    }

    /// What the slot says. It may be about another call: then this one is over, or was revoked.
    pub(crate) fn look(&self, seq: u32) -> Claim {
        Claim::from_word(self.slot(seq).load(Ordering::Acquire))
    }

    fn change(&self, from: Claim, to: Claim) -> bool {
        let change = self.slot(from.seq).compare_exchange(
            from.to_word(),
            to.to_word(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        change.is_ok()
    }

    /// Parent: the worker may run the call `seq` from `item` on. To be said before the call is
    /// sent. The slot may still hold a revoked call that the worker has not come to; it will find
    /// that the slot is about another and skip it all the same.
    pub(crate) fn offer(&self, seq: u32, item: u32) {
        self.slot(seq).store(
            Claim::new(seq, item, Stage::Offered).to_word(),
            Ordering::Release,
        );
    }

    /// Parent: the worker shall begin no further item of the call. Gives what the slot said
    /// before; if an item is running, nothing was changed.
    pub(crate) fn revoke(&self, seq: u32) -> Claim {
        loop {
            let claim = self.look(seq);
            let revocable = claim.seq == seq && matches!(claim.stage, Stage::Offered | Stage::Done);
            if !revocable
                || self.change(
                    claim,
                    Claim {
                        stage: Stage::Revoked,
                        ..claim
                    },
                )
            {
                return claim;
            }
        }
    }

    /// Parent: the worker shall not begin the call at all. False if it has begun it; then nothing
    /// was changed, also between two items: the rest of the call is left to it.
    pub(crate) fn withdraw(&self, seq: u32) -> bool {
        let claim = self.look(seq);
        let offered = claim.seq == seq && claim.stage == Stage::Offered;
        offered
            && self.change(
                claim,
                Claim {
                    stage: Stage::Revoked,
                    ..claim
                },
            )
    }

    /// Parent: the worker is to be killed for running `item`. False if it no longer does.
    pub(crate) fn condemn(&self, seq: u32, item: u32) -> bool {
        let from = [Stage::Running, Stage::Overdue, Stage::Cancelled];
        self.advance(seq, item, &from, Stage::Condemned)
    }

    /// Parent: the item shall end soon; those after it may run. False if it no longer runs.
    pub(crate) fn warn(&self, seq: u32, item: u32) -> bool {
        self.advance(seq, item, &[Stage::Running], Stage::Overdue)
    }

    /// Parent: the item shall end soon, and be the last of its call. False if it no longer runs.
    pub(crate) fn cancel(&self, seq: u32, item: u32) -> bool {
        let from = [Stage::Running, Stage::Overdue];
        self.advance(seq, item, &from, Stage::Cancelled)
    }

    /// Only the parent goes from one of these stages to another, one thread at a time, so each
    /// needs to be tried once.
    fn advance(&self, seq: u32, item: u32, from: &[Stage], to: Stage) -> bool {
        let to = Claim::new(seq, item, to);
        from.iter()
            .any(|from| self.change(Claim { stage: *from, ..to }, to))
    }

    /// Worker: begin `item` at the time `now`, if it is still wanted.
    pub(crate) fn claim(&self, seq: u32, item: u32, now: u64) -> bool {
        let claim = self.look(seq);
        let next = match claim.stage {
            Stage::Offered => claim.item == item,
            Stage::Done => claim.item + 1 == item,
            _ => false,
        };
        if claim.seq != seq || !next {
            return false;
        }
        self.begun_at(seq).store(now, Ordering::Relaxed); // Told by the exchange that follows.
        // A failed exchange means that the parent has just revoked it.
        self.change(claim, Claim::new(seq, item, Stage::Running))
    }

    fn begun_at(&self, seq: u32) -> &AtomicU64 {
        self.0.word(BEGUN + 8 * (seq % SLOTS) as usize)
    }

    /// Parent: when the item that is running, by `look`, began: nanoseconds of the system's
    /// monotonic clock.
    pub(crate) fn begun(&self, seq: u32) -> u64 {
        self.begun_at(seq).load(Ordering::Relaxed)
    }

    /// Worker: `item` has ended and its outcome is where the parent finds it. False if the worker
    /// is about to be killed; then it must not begin anything else.
    ///
    /// The parent may have read the outcome already and given the slot to another call: that is no
    /// condemnation, for a condemned call keeps its slot.
    pub(crate) fn finish(&self, seq: u32, item: u32) -> bool {
        loop {
            let claim = self.look(seq);
            let stage = match claim.stage {
                Stage::Condemned if claim.seq == seq => return false,
                Stage::Running | Stage::Overdue => Stage::Done,
                Stage::Cancelled => Stage::Revoked,
                _ => return true,
            };
            // A failed exchange means that the parent has just said something: look again.
            if claim.seq != seq || self.change(claim, Claim::new(seq, item, stage)) {
                return true;
            }
        }
    }

    /// Parent: how many bytes of memory the worker may hold.
    pub(crate) fn limit_memory(&self, bytes: u64) {
        self.0.word(MEMORY_LIMIT).store(bytes, Ordering::Release);
    }

    /// Worker: how many bytes of memory it may hold, if that is limited.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        Some(self.0.word(MEMORY_LIMIT).load(Ordering::Acquire)).filter(|bytes| *bytes > 0)
    }

    /// Worker: it holds more memory than it may.
    pub(crate) fn tell_bloat(&self) {
        self.0.word(IS_BLOATED).store(1, Ordering::Relaxed); // Told by the outcome that follows.
    }

    /// Parent: whether the worker holds more memory than it may.
    pub(crate) fn is_bloated(&self) -> bool {
        self.0.word(IS_BLOATED).load(Ordering::Relaxed) != 0
    }

    fn report_word(&self, which: usize, seq: u32) -> &AtomicU64 {
        let slot = (seq % SLOTS) as usize;
        self.0.word(REPORTS + 8 * (SLOTS as usize * which + slot))
    }

    /// Worker, one thread at a time: leaves a report in place of the one before. True if the parent
    /// has to be nudged to read it; otherwise it was nudged already, and has not read since.
    ///
    /// The version is odd while the numbers change, so the parent never takes half of a report.
    pub(crate) fn put_report(&self, report: Report) -> bool {
        let word = |which| self.report_word(which, report.seq);
        let version = word(VERSION).load(Ordering::Relaxed);
        word(VERSION).store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let about = u64::from(report.seq) << 32 | u64::from(report.item);
        word(ABOUT).store(about, Ordering::Relaxed);
        word(DONE).store(report.done, Ordering::Relaxed);
        word(TOTAL).store(report.total, Ordering::Relaxed);
        word(VERSION).store(version.wrapping_add(2), Ordering::Release);
        word(NUDGED).swap(1, Ordering::AcqRel) == 0
    }

    /// Parent: whether there may be a report in the slot of `seq` that was not taken.
    pub(crate) fn has_report(&self, seq: u32) -> bool {
        self.report_word(NUDGED, seq).load(Ordering::Acquire) != 0
    }

    /// Parent: the latest report in the slot of `seq`, be it about that call or one before or after,
    /// and its version, by which one that is taken twice is known. Nothing if there is none, or if it
    /// is just being changed: then a nudge follows, because the mark of the last one is taken away
    /// before the report is read.
    pub(crate) fn take_report(&self, seq: u32) -> Option<(u64, Report)> {
        let word = |which| self.report_word(which, seq);
        word(NUDGED).swap(0, Ordering::AcqRel);
        let version = word(VERSION).load(Ordering::Acquire);
        let about = word(ABOUT).load(Ordering::Relaxed);
        let report = Report {
            seq: (about >> 32) as u32,
            item: about as u32,
            done: word(DONE).load(Ordering::Relaxed),
            total: word(TOTAL).load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        let whole = version.is_multiple_of(2) && word(VERSION).load(Ordering::Relaxed) == version;
        (whole && version > 0).then_some((version, report))
    }

    /// What carries large bytes one way.
    pub(crate) fn ring(&self, way: Way) -> Ring<'_> {
        Ring::new(&self.0, RINGS_AT, way)
    }

    fn outbox_len(&self) -> &AtomicU64 {
        self.0.word(OUTBOX_LEN)
    }

    /// Worker: adds to the outbox, which holds `len` bytes so far.
    pub(crate) fn post(&self, len: usize, bytes: &[u8]) {
        assert!(bytes.len() <= OUTBOX - len);
        self.0.write(OUTBOX_AT + len, bytes);
        self.outbox_len()
            .store((len + bytes.len()) as u64, Ordering::Release);
    }

    /// Worker: what the outbox held has been written to the socket.
    pub(crate) fn clear_outbox(&self) {
        self.outbox_len().store(0, Ordering::Release);
    }

    /// Parent, once the worker is dead: the frames it left. Some may have been written to the
    /// socket before.
    pub(crate) fn outbox(&self) -> Vec<u8> {
        let len = usize::try_from(self.outbox_len().load(Ordering::Acquire)).unwrap_or(OUTBOX);
        self.0.read(OUTBOX_AT, len.min(OUTBOX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page::create().expect("memory").0
    }

    #[test]
    fn a_call_is_claimed_item_by_item() {
        let page = page();
        page.offer(70, 3);
        assert!(!page.claim(70, 2, 0) && !page.claim(70, 4, 0) && !page.claim(6, 3, 0));
        assert!(page.claim(70, 3, 0) && !page.claim(70, 3, 0));
        assert_eq!(page.look(70), Claim::new(70, 3, Stage::Running));
        assert!(!page.claim(70, 4, 0), "the item before has not ended");
        assert!(page.finish(70, 3) && page.claim(70, 4, 0) && page.finish(70, 4));
    }

    #[test]
    fn what_is_revoked_is_never_claimed() {
        let page = page();
        page.offer(1, 0);
        assert_eq!(page.revoke(1).stage, Stage::Offered);
        assert!(!page.claim(1, 0, 0));
        page.offer(2, 0);
        assert!(page.claim(2, 0, 0));
        assert_eq!(page.revoke(2).stage, Stage::Running);
        assert!(page.finish(2, 0));
        assert_eq!(page.revoke(2), Claim::new(2, 0, Stage::Done));
        assert!(!page.claim(2, 1, 0));
    }

    #[test]
    fn what_has_begun_cannot_be_withdrawn_also_between_two_items() {
        let page = page();
        page.offer(1, 0);
        assert!(page.withdraw(1) && !page.claim(1, 0, 0));
        page.offer(2, 0);
        assert!(page.claim(2, 0, 0) && !page.withdraw(2));
        assert!(page.finish(2, 0) && !page.withdraw(2));
        assert!(page.claim(2, 1, 0), "the rest is left to the worker");
    }

    #[test]
    fn a_condemned_item_cannot_be_finished_and_a_finished_one_cannot_be_condemned() {
        let page = page();
        page.offer(1, 0);
        assert!(!page.condemn(1, 0));
        assert!(page.claim(1, 0, 0) && page.condemn(1, 0));
        assert!(!page.finish(1, 0));
        page.offer(2, 0);
        assert!(page.claim(2, 0, 0) && page.finish(2, 0));
        assert!(!page.condemn(2, 0));
    }

    #[test]
    fn an_overdue_item_may_end_and_the_next_begin() {
        let page = page();
        page.offer(1, 0);
        assert!(!page.warn(1, 0), "it has not begun");
        assert!(page.claim(1, 0, 0) && page.warn(1, 0) && !page.warn(1, 0));
        assert_eq!(page.revoke(1).stage, Stage::Overdue);
        assert!(!page.withdraw(1) && !page.claim(1, 1, 0));
        assert!(page.finish(1, 0) && !page.condemn(1, 0));
        assert!(page.claim(1, 1, 0), "the rest is left to the worker");
        assert!(page.warn(1, 1) && page.condemn(1, 1) && !page.finish(1, 1));
    }

    #[test]
    fn a_cancelled_item_may_end_and_is_the_last() {
        let page = page();
        for seq in [1, 2] {
            page.offer(seq, 0);
            assert!(!page.cancel(seq, 0), "it has not begun");
            assert!(page.claim(seq, 0, 0));
            assert!(seq == 1 || page.warn(seq, 0), "one is overdue before");
            assert!(page.cancel(seq, 0) && !page.warn(seq, 0));
            assert!(page.finish(seq, 0) && !page.condemn(seq, 0));
            assert!(!page.claim(seq, 1, 0));
        }
        page.offer(3, 0);
        assert!(page.claim(3, 0, 0) && page.cancel(3, 0) && page.condemn(3, 0));
        assert!(!page.finish(3, 0));
    }

    #[test]
    fn exactly_one_of_an_end_and_a_condemnation_wins() {
        let page = page();
        for seq in 0..2000 {
            page.offer(seq, 0);
            assert!(page.claim(seq, 0, 0));
            std::thread::scope(|scope| {
                let finished = scope.spawn(|| page.finish(seq, 0));
                page.warn(seq, 0);
                let condemned = page.condemn(seq, 0);
                assert_ne!(finished.join().expect("no panic"), condemned);
            });
        }
    }

    #[test]
    fn an_item_whose_slot_was_given_to_another_call_is_not_condemned() {
        let page = page();
        page.offer(1, 0);
        assert!(page.claim(1, 0, 0));
        page.offer(1 + SLOTS, 0); // The parent has read the outcome before this:
        assert!(page.finish(1, 0));
        assert!(page.claim(1 + SLOTS, 0, 0));
    }

    #[test]
    fn a_new_call_in_the_slot_of_a_revoked_one_hides_it() {
        let page = page();
        page.offer(1, 0);
        page.revoke(1);
        page.offer(1 + SLOTS, 0);
        assert!(!page.claim(1, 0, 0));
        assert!(page.claim(1 + SLOTS, 0, 0));
    }

    #[test]
    fn exactly_one_of_a_claim_and_a_revocation_wins() {
        let page = page();
        for seq in 0..2000 {
            page.offer(seq, 0);
            std::thread::scope(|scope| {
                let claimed = scope.spawn(|| page.claim(seq, 0, 0));
                let revoked = page.revoke(seq).stage == Stage::Offered;
                assert_ne!(claimed.join().expect("no panic"), revoked);
            });
        }
    }

    fn report(seq: u32, done: u64) -> Report {
        Report {
            seq,
            item: 3,
            done,
            total: done * 2,
        }
    }

    #[test]
    fn a_report_asks_for_one_nudge_until_it_is_taken_and_the_latest_is_what_is_taken() {
        let page = page();
        let taken = |seq| page.take_report(seq).map(|(_, report)| report);
        assert_eq!(taken(5), None);
        assert!(page.put_report(report(5, 1)));
        assert!(!page.put_report(report(5, 2)));
        assert!(page.has_report(5) && !page.has_report(6));
        assert!(page.put_report(report(6, 9)), "each slot has its own");
        assert_eq!(taken(5), Some(report(5, 2)));
        assert!(!page.has_report(5));
        assert!(page.put_report(report(5 + SLOTS, 3)));
        assert_eq!(taken(5), Some(report(5 + SLOTS, 3)));
        assert_eq!(taken(6), Some(report(6, 9)));
    }

    #[test]
    fn no_report_is_taken_by_halves_and_the_last_is_never_missed() {
        const LAST: u64 = 200_000;
        let page = page();
        let (nudge, nudges) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for done in 1..=LAST {
                    if page.put_report(report(1, done)) {
                        nudge.send(()).expect("somebody reads");
                    }
                }
                drop(nudge);
            });
            let mut latest = 0;
            for () in &nudges {
                if let Some((_, taken)) = page.take_report(1) {
                    assert_eq!(taken, report(1, taken.done));
                    assert!(taken.done >= latest);
                    latest = taken.done;
                }
            }
            assert_eq!(latest, LAST);
        });
    }

    #[test]
    fn the_outbox_is_found_by_who_comes_after() {
        let (page, fd) = Page::create().expect("memory");
        let worker = Page::open(fd).expect("the same page");
        worker.post(0, b"one");
        worker.post(3, b"two");
        drop(worker);
        assert_eq!(page.outbox(), b"onetwo");
        page.clear_outbox();
        assert_eq!(page.outbox(), b"");
    }
}
