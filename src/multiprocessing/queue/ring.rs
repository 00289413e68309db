//! The bytes of the items: a ring in a memory file, that becomes larger when they do not fit.
//!
//! ```text
//!   0        64 KiB    128 KiB           256 KiB                            512 KiB
//!   ├─ words ─┼─ ring of ─┼──── ring of ────┼──────────── ring of ────────────┼────
//!   │         │   64 KiB  │     128 KiB     │            256 KiB              │
//! ```
//!
//! A ring of so many bytes lies that many bytes from the beginning, so its size tells where it is. The
//! state says which one counts; the others have no memory. To grow is to copy what is held to a larger
//! one, and to let the state say so in the same store that puts the item in: a process that is killed
//! before it has changed nothing. Other processes see another size, and map what it stands for.
//!
//! Only the holder of the queue's lock comes here.

use std::io;
use std::sync::atomic::Ordering;

use super::state::{Kept, RingState};
use super::store::step;
use crate::sys::{self, SharedMapping};
use crate::wire::descriptors::Descriptor;

/// The smallest ring, and what lies before it.
pub(super) const BASE: u64 = 64 * 1024;

/// Memory is had in steps of so much.
const STEP: u64 = BASE;

/// A ring larger than this shrinks to it when it is empty.
pub(super) const KEPT: u64 = 4 << 20;

/// Of each item, what stands before its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ItemHead {
    /// How many bytes the encoded value has.
    pub(super) len: u64,
    /// See [`codec`](crate::wire::codec).
    pub(super) is_plain: bool,
    /// They are not here but in a file, which is the last descriptor of its parcel.
    pub(super) is_in_file: bool,
    /// The number of the parcel in which its descriptors travel.
    pub(super) parcel: Option<u64>,
}

impl ItemHead {
    const PLAIN: u64 = 1;
    const IN_FILE: u64 = 2;
    const PARCEL: u64 = 4;
    const FLAGS: u32 = 3;

    fn word(&self) -> u64 {
        let flag = |has, flag| if has { flag } else { 0 };
        (self.len << Self::FLAGS)
            | flag(self.is_plain, Self::PLAIN)
            | flag(self.is_in_file, Self::IN_FILE)
            | flag(self.parcel.is_some(), Self::PARCEL)
    }

    /// How many bytes it takes itself.
    fn own_len(&self) -> u64 {
        8 + 8 * u64::from(self.parcel.is_some())
    }

    /// How many bytes the item has in the ring.
    fn bytes(&self) -> u64 {
        if self.is_in_file { 0 } else { self.len }
    }

    /// How many it takes there in all. Nothing if there is no such number.
    fn item_len(&self) -> Option<u64> {
        let bytes = self.bytes().checked_next_multiple_of(8)?;
        bytes.checked_add(self.own_len())
    }
}

/// Why an item cannot be put in or taken out.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The system has no memory for it.
    NoSpace(io::Error),
    /// What is in memory makes no sense.
    Damaged,
}

/// The one that counts, as this process has it mapped.
#[derive(Debug)]
pub(super) struct QueueRing {
    file: Descriptor,
    mapped: Option<(u64, SharedMapping)>,
}

impl QueueRing {
    pub(super) fn new(file: Descriptor) -> Self {
        let mapped = None;
        Self { file, mapped }
    }

    /// Puts an item in behind the others: its head, and the pieces that its bytes lie in.
    pub(super) fn put<'a>(
        &mut self,
        kept: Kept<'_>,
        mut state: RingState,
        head: ItemHead,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Trouble> {
        check(&state)?;
        let len = head.item_len().ok_or_else(too_large)?;
        if state.held() == 0 {
            (state.head, state.tail) = (0, 0); // To stay in memory that is in the cache.
        }
        let grows = len > state.ring - state.held();
        if grows {
            state = self.grow(&state, len)?;
        }
        self.secure(&mut state, len)?;
        self.write(&state, state.tail, &head.word().to_le_bytes())?;
        if let Some(parcel) = head.parcel {
            self.write(&state, state.tail + 8, &parcel.to_le_bytes())?;
        }
        let mut at = state.tail + head.own_len();
        for piece in pieces {
            self.write(&state, at, piece)?;
            at += piece.len() as u64;
        }
        debug_assert_eq!(at, state.tail + head.own_len() + head.bytes());
        state.tail += len;
        state.put += 1;
        kept.commit(&state);
        if grows {
            self.give_back_others(&state);
        }
        Ok(())
    }

    /// The head of the first item. Nothing if there is none.
    pub(super) fn first(&mut self, state: &RingState) -> Result<Option<ItemHead>, Trouble> {
        check(state)?;
        if state.len() == 0 {
            return Ok(None);
        }
        if state.held() == 0 {
            return Err(Trouble::Damaged);
        }
        let word = self.word(state, state.head)?;
        let has = |flag| word & flag != 0;
        let mut head = ItemHead {
            len: word >> ItemHead::FLAGS,
            is_plain: has(ItemHead::PLAIN),
            is_in_file: has(ItemHead::IN_FILE),
            parcel: None,
        };
        if has(ItemHead::PARCEL) {
            head.parcel = Some(self.word(state, state.head + 8)?);
        }
        match head.item_len() {
            Some(len) if len <= state.held() => Ok(Some(head)),
            _ => Err(Trouble::Damaged),
        }
    }

    /// Copies the bytes of the first item to the end of `target`.
    pub(super) fn read(
        &mut self,
        state: &RingState,
        head: &ItemHead,
        target: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        let len = head.bytes() as usize;
        sys::enlarge(target, target.len() + len).map_err(Trouble::NoSpace)?;
        let ring = self.mapped(state.ring)?;
        for (start, len) in parts(state, state.head + head.own_len(), len) {
            ring.read_onto(start, len, target);
        }
        Ok(())
    }

    /// Takes the first item out, whose head this is.
    pub(super) fn pass(
        &mut self,
        kept: Kept<'_>,
        mut state: RingState,
        head: &ItemHead,
    ) -> Result<(), Trouble> {
        state.head += head.item_len().ok_or(Trouble::Damaged)?;
        state.taken += 1;
        let shrinks = state.held() == 0 && state.ring > KEPT;
        if shrinks {
            (state.ring, state.secured, state.head, state.tail) = (KEPT, 0, 0, 0);
        }
        kept.commit(&state);
        if shrinks {
            self.mapped = None;
            self.give_back_others(&state);
        }
        Ok(())
    }

    /// What is held, in a ring that has room for `len` bytes more. Nobody sees it yet.
    fn grow(&mut self, state: &RingState, len: u64) -> Result<RingState, Trouble> {
        let held = state.held();
        let needed = held
            .checked_add(len)
            .and_then(u64::checked_next_power_of_two);
        let size = needed.ok_or_else(too_large)?;
        let mut larger = RingState {
            ring: size.max(2 * state.ring).max(BASE),
            secured: 0,
            head: 0,
            tail: 0,
            ..*state
        };
        if held > 0 {
            self.mapped(state.ring)?;
        }
        let old = self.mapped.take();
        step();
        sys::lengthen(&self.file, 2 * larger.ring).map_err(Trouble::NoSpace)?;
        self.secure(&mut larger, held + len)?;
        if let Some((_, old)) = old.filter(|_| held > 0) {
            let mut bytes = Vec::new();
            while larger.tail < held {
                bytes.clear();
                let len = (held - larger.tail).min(STEP) as usize;
                for (start, len) in parts(state, state.head + larger.tail, len) {
                    old.read_onto(start, len, &mut bytes);
                }
                self.write(&larger, larger.tail, &bytes)?;
                larger.tail += len as u64;
            }
        }
        Ok(larger)
    }

    /// Gets the memory for `len` bytes more, if it is not there.
    fn secure(&mut self, state: &mut RingState, len: u64) -> Result<(), Trouble> {
        let end = (state.tail & (state.ring - 1)) + len;
        let end = end.next_multiple_of(STEP).min(state.ring);
        if end <= state.secured {
            return Ok(());
        }
        step();
        let (start, len) = (state.secured as usize, (end - state.secured) as usize);
        let secured = self.mapped(state.ring)?.secure(start, len);
        if let Err(error) = secured {
            sys::give_back(&self.file, state.ring + state.secured, end - state.secured);
            return Err(Trouble::NoSpace(error));
        }
        state.secured = end;
        Ok(())
    }

    /// Gives the memory of all rings but the one that counts back to the system.
    fn give_back_others(&self, state: &RingState) {
        step();
        sys::give_back(&self.file, BASE, state.ring - BASE);
        step();
        sys::give_back(&self.file, 2 * state.ring, u64::from(u32::MAX) << 16);
    }

    fn write(&mut self, state: &RingState, at: u64, mut bytes: &[u8]) -> Result<(), Trouble> {
        let ring = self.mapped(state.ring)?;
        for (start, len) in parts(state, at, bytes.len()) {
            let (part, rest) = bytes.split_at(len);
            step();
            ring.write(start, part);
            bytes = rest;
        }
        Ok(())
    }

    fn word(&mut self, state: &RingState, at: u64) -> Result<u64, Trouble> {
        let start = (at & (state.ring - 1)) as usize;
        let word = self.mapped(state.ring)?.word(start);
        Ok(u64::from_le(word.load(Ordering::Relaxed)))
    }

    /// The ring of this size.
    fn mapped(&mut self, size: u64) -> Result<&SharedMapping, Trouble> {
        if self
            .mapped
            .as_ref()
            .is_none_or(|(mapped, _)| *mapped != size)
        {
            self.mapped = None;
            let window = SharedMapping::window(&self.file, size, size as usize);
            self.mapped = Some((size, window.map_err(Trouble::NoSpace)?));
        }
        match &self.mapped {
            Some((_, memory)) => Ok(memory),
            None => Err(Trouble::Damaged),
        }
    }
}

/// Another process may have written what it likes. It must not lead out of the memory.
fn check(state: &RingState) -> Result<(), Trouble> {
    let is_ring = state.ring.is_power_of_two() && state.ring >= BASE;
    let is_held = state.head <= state.tail && state.tail - state.head <= state.ring;
    let is_whole = (state.head | state.tail).is_multiple_of(8);
    let is_none = state.ring == 0 && state.len() == 0 && state.head == state.tail;
    if is_none || is_ring && is_held && is_whole && state.secured <= state.ring {
        Ok(())
    } else {
        Err(Trouble::Damaged)
    }
}

/// Where these bytes are in the ring: up to its end, and from its beginning on.
fn parts(state: &RingState, at: u64, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let start = (at & (state.ring - 1)) as usize;
    let first = len.min(state.ring as usize - start);
    let parts = [(start, first), (0, len - first)];
    parts.into_iter().filter(|(_, len)| *len > 0)
}

fn too_large() -> Trouble {
    Trouble::NoSpace(io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::MetadataExt as _;

    use proptest::prelude::*;

    use super::super::store::{cut_after, stores};
    use super::*;

    /// A queue's memory, and what should be in it.
    struct TriedRing {
        file: Descriptor,
        words: SharedMapping,
        ring: QueueRing,
        expected: VecDeque<Vec<u8>>,
        next: u8,
    }

    impl TriedRing {
        fn new() -> Self {
            let file = sys::growing_file().expect("a file");
            sys::lengthen(&file, BASE).expect("it grows");
            let words = SharedMapping::window(&file, 0, BASE as usize).expect("a window");
            let file = Descriptor::from(file);
            Self {
                ring: QueueRing::new(file.clone()),
                file,
                words,
                expected: VecDeque::new(),
                next: 0,
            }
        }

        fn state(&self) -> RingState {
            Kept::new(&self.words, 0).load()
        }

        /// Goes on as another process, which has nothing mapped yet.
        fn change_process(&mut self) {
            self.ring = QueueRing::new(self.file.clone());
        }

        fn item(&mut self, len: usize) -> (ItemHead, Vec<u8>) {
            self.next = self.next.wrapping_add(1);
            let bytes = (0..len)
                .map(|at| (at as u8).wrapping_mul(self.next))
                .collect();
            let head = ItemHead {
                len: len as u64,
                is_plain: len.is_multiple_of(2),
                is_in_file: false,
                parcel: len.is_multiple_of(3).then_some(len as u64 * 7),
            };
            (head, bytes)
        }

        fn try_put(&mut self, head: ItemHead, bytes: &[u8]) -> Result<(), Trouble> {
            let (kept, (first, second)) =
                (Kept::new(&self.words, 0), bytes.split_at(bytes.len() / 3));
            self.ring
                .put(kept, kept.load(), head, [first, second].into_iter())
        }

        fn put(&mut self, len: usize) {
            let (head, bytes) = self.item(len);
            self.try_put(head, &bytes).expect("there is memory");
            self.expected.push_back(bytes);
        }

        /// What is first, if the state is to be believed.
        fn first(&mut self) -> Option<(ItemHead, Vec<u8>)> {
            let (state, mut bytes) = (self.state(), Vec::new());
            let head = self.ring.first(&state).expect("it makes sense")?;
            self.ring
                .read(&state, &head, &mut bytes)
                .expect("it can be read");
            Some((head, bytes))
        }

        fn pass(&mut self, head: &ItemHead) {
            let kept = Kept::new(&self.words, 0);
            self.ring
                .pass(kept, kept.load(), head)
                .expect("it can be passed");
        }

        fn take(&mut self) -> Option<Vec<u8>> {
            let (head, bytes) = self.first()?;
            self.pass(&head);
            assert_eq!(head.is_plain, bytes.len().is_multiple_of(2));
            assert_eq!(
                head.parcel,
                bytes
                    .len()
                    .is_multiple_of(3)
                    .then_some(bytes.len() as u64 * 7)
            );
            Some(bytes)
        }

        fn take_expected(&mut self) {
            let (found, expected) = (self.take(), self.expected.pop_front());
            assert!(found == expected, "another item");
        }

        fn taken_from_system(&self) -> u64 {
            let fd: OwnedFd = std::os::fd::AsFd::as_fd(&self.file)
                .try_clone_to_owned()
                .expect("a descriptor");
            let file = std::fs::File::from(fd);
            file.metadata().expect("the system tells").blocks() * 512
        }
    }

    #[test]
    fn items_come_out_as_they_went_in_while_the_ring_is_used_in_turn() {
        let mut tried = TriedRing::new();
        for len in (0..3000).chain([20_000, 50_000, 1]) {
            tried.put(len);
            tried.put(len / 2);
            tried.take_expected();
            if len % 5 == 0 {
                tried.take_expected();
            }
        }
        while !tried.expected.is_empty() {
            tried.take_expected();
        }
        assert_eq!(tried.take(), None);
    }

    #[test]
    fn a_ring_that_is_empty_begins_at_the_front_again() {
        let mut tried = TriedRing::new();
        for _ in 0..1000 {
            tried.put(1000);
            assert_eq!((tried.state().head, tried.state().ring), (0, BASE));
            tried.take_expected();
        }
        assert!(tried.taken_from_system() <= 2 * BASE);
    }

    #[test]
    fn a_ring_that_grew_and_is_empty_gives_its_memory_back() {
        let mut tried = TriedRing::new();
        for _ in 0..100 {
            tried.put(100_000);
        }
        assert_eq!(tried.state().ring, 16 << 20);
        tried.change_process();
        (0..100).for_each(|_| tried.take_expected());
        assert_eq!(tried.state().ring, KEPT);
        assert!(tried.taken_from_system() <= BASE);
        tried.put(100_000);
        tried.take_expected();
    }

    #[test]
    fn only_the_ring_that_counts_has_memory() {
        let mut tried = TriedRing::new();
        for _ in 0..60 {
            tried.put(10_000);
            let bound = BASE + tried.state().held().next_multiple_of(STEP) + STEP;
            assert!(tried.taken_from_system() <= bound);
        }
    }

    #[test]
    fn without_memory_nothing_has_changed() {
        let mut tried = TriedRing::new();
        (0..3).for_each(|len| tried.put(len));
        let before = tried.state();
        for len in [u64::MAX >> 3, 1 << 60, 1 << 50] {
            let head = ItemHead {
                len,
                is_plain: true,
                is_in_file: false,
                parcel: None,
            };
            let refused = tried.try_put(head, &[]);
            assert!(matches!(refused, Err(Trouble::NoSpace(_))), "{refused:?}");
            assert_eq!(tried.state(), before);
        }
        (0..3).for_each(|_| tried.take_expected());
    }

    /// What is in memory may be anything: that is an error, and leads nowhere else.
    fn look_at(words: &[u64; 12]) {
        let mut tried = TriedRing::new();
        tried.put(100);
        let [ring, secured, head, tail, put, taken, parcels, rest @ ..] = *words;
        let state = RingState {
            ring,
            secured,
            head,
            tail,
            put,
            taken,
            parcels,
            done: 0,
            lost: 0,
        };
        for (at, word) in rest.into_iter().enumerate() {
            let ring = tried.ring.mapped(BASE).expect("it is there");
            ring.word(8 * at).store(word, Ordering::Relaxed);
        }
        let (own, bytes) = tried.item(64);
        let kept = Kept::new(&tried.words, 0);
        if let Ok(Some(head)) = tried.ring.first(&state) {
            let read = tried.ring.read(&state, &head, &mut Vec::new());
            let _ = read.and_then(|()| tried.ring.pass(kept, state, &head));
        }
        let _ = tried.ring.put(kept, state, own, [&bytes[..]].into_iter());
    }

    #[derive(Clone, Debug)]
    enum Act {
        Put(usize),
        Take,
        ChangeProcess,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let len = prop_oneof![4 => 0..200_usize, 2 => 0..30_000_usize, 1 => 0..300_000_usize];
        let act = prop_oneof![
            5 => len.prop_map(Act::Put),
            4 => Just(Act::Take),
            1 => Just(Act::ChangeProcess),
        ];
        prop::collection::vec(act, 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Each act is cut off before each of its steps in turn, as if its process were killed there, and
        /// another process goes on.
        #[test]
        fn whoever_is_killed_anywhere_leaves_all_items_and_each_once(acts in acts()) {
            let mut tried = TriedRing::new();
            for act in acts {
                match act {
                    Act::ChangeProcess => tried.change_process(),
                    Act::Put(len) => {
                        let (head, bytes) = tried.item(len);
                        let mut steps = 0;
                        while tried.state().len() == tried.expected.len() as u64 {
                            let _ = cut_after(steps, || tried.try_put(head, &bytes).expect("there is memory"));
                            tried.change_process();
                            steps += 1;
                        }
                        tried.expected.push_back(bytes);
                    }
                    Act::Take => {
                        let Some((head, bytes)) = tried.first() else { continue };
                        prop_assert!(tried.expected.front() == Some(&bytes));
                        let mut steps = 0;
                        while tried.state().len() == tried.expected.len() as u64 {
                            let _ = cut_after(steps, || tried.pass(&head));
                            tried.change_process();
                            steps += 1;
                        }
                        tried.expected.pop_front();
                    }
                }
                prop_assert_eq!(tried.state().len(), tried.expected.len() as u64);
            }
            while !tried.expected.is_empty() {
                tried.take_expected();
            }
            prop_assert_eq!(tried.state().held(), 0);
        }

        #[test]
        fn garbage_in_memory_is_an_error_and_leads_nowhere(
            mut words: [u64; 12], sane in 0..4096_u16, small in 0..2048_u64,
        ) {
            let likely = [BASE, BASE, small * 8, small * 8 + 640, 9, 3, 0, 800, 801, 806, 8 << 60, 17];
            for (at, word) in words.iter_mut().enumerate() {
                if sane & (1 << at) != 0 {
                    *word = likely[at];
                }
            }
            look_at(&words);
        }
    }

    #[test]
    fn a_put_does_what_it_does_in_few_steps() {
        let mut tried = TriedRing::new();
        tried.put(8);
        // Head, two pieces, the numbers and the counter.
        assert!(stores(|| tried.put(8)) <= 14);
    }
}
