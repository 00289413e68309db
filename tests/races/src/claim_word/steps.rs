//! What each step does to the word, one after the other.

use super::atomic::AtomicU64;
use super::claim::{Claim, ClaimSlot, InvalidClaim, Stage};

/// One word, which calls in the same slot share.
struct Page(AtomicU64);

impl Page {
    fn slot(&self, seq: u32) -> ClaimSlot<'_> {
        ClaimSlot::new(&self.0, seq)
    }
}

/// Loom's atomics can be used only inside a model.
fn on_a_page(test: fn(&Page)) {
    loom::model(move || test(&Page(AtomicU64::new(0))));
}

fn claim(seq: u32, item: u32, stage: Stage) -> Claim {
    Claim { seq, item, stage }
}

#[test]
fn a_call_is_claimed_item_by_item() {
    on_a_page(|page| {
        page.slot(70).offer(3);
        assert!(!page.slot(70).claim(2) && !page.slot(70).claim(4) && !page.slot(6).claim(3));
        assert!(page.slot(70).claim(3) && !page.slot(70).claim(3));
        assert_eq!(page.slot(70).read(), Ok(claim(70, 3, Stage::Running)));
        assert!(!page.slot(70).claim(4), "the item before has not ended");
        assert!(page.slot(70).finish(3) && page.slot(70).claim(4) && page.slot(70).finish(4));
    });
}

#[test]
fn a_stopped_item_is_never_claimed() {
    on_a_page(|page| {
        for at_once in [false, true] {
            let stop = |seq| page.slot(seq).stop(at_once);
            page.slot(1).offer(0);
            assert_eq!(stop(1), Ok(claim(1, 0, Stage::Offered)));
            assert!(!page.slot(1).claim(0));
            page.slot(2).offer(0);
            assert!(page.slot(2).claim(0) && page.slot(2).finish(0));
            assert_eq!(stop(2), Ok(claim(2, 0, Stage::Done)));
            assert!(!page.slot(2).claim(1));
            assert_eq!(stop(2), Ok(claim(2, 0, Stage::Revoked)));
        }
    });
}

#[test]
fn a_running_item_that_is_stopped_is_the_last() {
    on_a_page(|page| {
        for (seq, at_once, stage) in [(1, false, Stage::Cancelled), (2, true, Stage::Condemned)] {
            let slot = page.slot(seq);
            slot.offer(0);
            assert!(slot.claim(0));
            assert_eq!(slot.stop(at_once), Ok(claim(seq, 0, stage)));
            assert_eq!(slot.finish(0), !at_once);
            assert!(!slot.claim(1));
        }
        let slot = page.slot(3);
        slot.offer(0);
        assert!(slot.claim(0) && slot.stop(false).is_ok());
        assert_eq!(slot.stop(true), Ok(claim(3, 0, Stage::Condemned)));
    });
}

#[test]
fn a_word_that_makes_no_sense_changes_nothing_and_is_found() {
    for stage in 8..=255 {
        loom::model(move || {
            let page = Page(AtomicU64::new(1 << 32 | stage));
            assert_eq!(page.slot(1).read(), Err(InvalidClaim));
            assert_eq!(page.slot(1).stop(true), Err(InvalidClaim));
            assert_eq!(page.slot(1).cut(), Err(InvalidClaim));
            assert!(!page.slot(1).withdraw() && !page.slot(1).condemn(0));
            assert!(!page.slot(1).claim(0) && page.slot(1).finish(0));
        });
    }
    on_a_page(|page| {
        page.slot(65).offer(0);
        assert_eq!(page.slot(1).read(), Err(InvalidClaim));
        assert_eq!(page.slot(1).stop(false), Err(InvalidClaim));
        assert_eq!(page.slot(1).cut(), Err(InvalidClaim));
        assert!(page.slot(65).claim(0), "it was left alone");
    });
}

#[test]
fn a_started_call_cannot_be_withdrawn_not_even_between_two_items() {
    on_a_page(|page| {
        page.slot(1).offer(0);
        assert!(page.slot(1).withdraw() && !page.slot(1).claim(0));
        page.slot(2).offer(0);
        assert!(page.slot(2).claim(0) && !page.slot(2).withdraw());
        assert!(page.slot(2).finish(0) && !page.slot(2).withdraw());
        assert!(page.slot(2).claim(1), "the rest is left to the worker");
    });
}

#[test]
fn a_condemned_item_cannot_be_finished_and_a_finished_one_cannot_be_condemned() {
    on_a_page(|page| {
        page.slot(1).offer(0);
        assert!(!page.slot(1).condemn(0));
        assert!(page.slot(1).claim(0) && page.slot(1).condemn(0));
        assert!(!page.slot(1).finish(0));
        page.slot(2).offer(0);
        assert!(page.slot(2).claim(0) && page.slot(2).finish(0));
        assert!(!page.slot(2).condemn(0));
    });
}

#[test]
fn an_overdue_item_may_end_and_the_next_begin() {
    on_a_page(|page| {
        page.slot(1).offer(0);
        assert!(!page.slot(1).warn(0), "it has not begun");
        assert!(page.slot(1).claim(0) && page.slot(1).warn(0) && !page.slot(1).warn(0));
        assert!(!page.slot(1).withdraw() && !page.slot(1).claim(1));
        assert!(page.slot(1).finish(0) && !page.slot(1).condemn(0));
        assert!(page.slot(1).claim(1), "the rest is left to the worker");
        assert!(page.slot(1).warn(1) && page.slot(1).condemn(1) && !page.slot(1).finish(1));
    });
}

#[test]
fn a_cancelled_item_may_end_and_is_the_last() {
    on_a_page(|page| {
        for seq in [1, 2] {
            page.slot(seq).offer(0);
            assert!(page.slot(seq).claim(0));
            assert!(seq == 1 || page.slot(seq).warn(0), "one is overdue before");
            assert!(page.slot(seq).stop(false).is_ok() && !page.slot(seq).warn(0));
            assert!(page.slot(seq).finish(0) && !page.slot(seq).condemn(0));
            assert!(!page.slot(seq).claim(1));
        }
        page.slot(3).offer(0);
        assert!(
            page.slot(3).claim(0) && page.slot(3).stop(false).is_ok() && page.slot(3).condemn(0)
        );
        assert!(!page.slot(3).finish(0));
    });
}

#[test]
fn an_item_whose_slot_was_given_to_another_call_is_not_condemned() {
    on_a_page(|page| {
        page.slot(1).offer(0);
        assert!(page.slot(1).claim(0));
        page.slot(1 + 64).offer(0); // The parent has read the outcome before this:
        assert!(page.slot(1).finish(0));
        assert!(page.slot(1 + 64).claim(0));
    });
}

#[test]
fn a_new_call_in_the_slot_of_a_revoked_one_hides_it() {
    on_a_page(|page| {
        page.slot(1).offer(0);
        assert!(page.slot(1).withdraw());
        page.slot(1 + 64).offer(0);
        assert!(!page.slot(1).claim(0));
        assert!(page.slot(1 + 64).claim(0));
    });
}

#[test]
fn going_on_ends_one_item_and_starts_the_next() {
    on_a_page(|page| {
        let slot = page.slot(9);
        slot.offer(0);
        assert!(!slot.start_next(0), "it has not begun");
        assert!(slot.claim(0) && slot.start_next(0) && !slot.start_next(0));
        assert_eq!(slot.read(), Ok(claim(9, 1, Stage::Running)));
        assert!(!slot.condemn(0), "it has ended");
        assert!(
            slot.warn(1) && !slot.start_next(1),
            "the parent has said something"
        );
        assert!(slot.finish(1) && slot.claim(2) && slot.start_next(2));
    });
}

#[test]
fn an_item_that_is_cut_off_never_starts() {
    on_a_page(|page| {
        let slot = page.slot(1);
        slot.offer(0);
        assert_eq!(slot.cut(), Ok(claim(1, 0, Stage::Offered)));
        assert!(!slot.claim(0));
        slot.offer(0);
        assert!(slot.claim(0));
        assert_eq!(slot.cut(), Ok(claim(1, 0, Stage::Running)));
        let runs = || slot.read().is_ok_and(Claim::is_running);
        assert!(runs() && !slot.start_next(0));
        assert!(slot.finish(0) && !slot.claim(1) && !runs());
        for told in [ClaimSlot::warn, ClaimSlot::condemn] {
            slot.offer(0);
            assert!(slot.claim(0) && slot.cut().is_ok_and(Claim::is_running));
            let killed = told(&slot, 0) && slot.read() == Ok(claim(1, 0, Stage::Condemned));
            assert!(slot.finish(0) != killed && !slot.claim(1));
        }
    });
}
