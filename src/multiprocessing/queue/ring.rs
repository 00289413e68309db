//! The bytes of the items: a ring in a memory file, which grows when they do not fit.
//!
//! ```text
//!   0        64 KiB    128 KiB           256 KiB                            512 KiB
//!   ├─ words ─┼─ ring of ─┼──── ring of ────┼──────────── ring of ────────────┼────
//!   │         │   64 KiB  │     128 KiB     │            256 KiB              │
//! ```
//!
//! A ring of n bytes starts at offset n of the file, so its size gives its place. The state says which ring is current;
//! the others have no memory. To grow, the bytes are copied to a larger ring, and the store that puts the item also
//! makes that ring current. A process that is killed before that store has changed nothing. Other processes see the new
//! size, and map that ring.
//!
//! Only the holder of the queue's lock uses it.

use std::io;
use std::sync::atomic::Ordering;

use super::state::{RingState, StoredState};
use super::store::step;
use crate::multiprocessing::item::LARGEST_ITEM;
use crate::sys::{self, SharedMapping};
use crate::wire::descriptors::Descriptor;

/// The size of the smallest ring, and of the words before it.
pub(super) const BASE: u64 = 64 * 1024;

/// Memory is allocated in steps of this size.
const STEP: u64 = BASE;

/// More than any address space has.
const LARGEST: u64 = 1 << 46;

/// More items than any process can count.
const MOST: u64 = 1 << 60;

/// A larger ring shrinks to this size when it is empty.
pub(super) const KEPT: u64 = 4 << 20;

/// The header of an item, before its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ItemHead {
    /// The length of the encoded value in bytes.
    pub(super) len: u64,
    /// See [`codec`](crate::wire::codec).
    pub(super) is_plain: bool,
    /// Whether its bytes are in a file, which is the last descriptor of its parcel.
    pub(super) is_in_file: bool,
    /// The number of the parcel with its descriptors.
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

    /// The length of the header in bytes.
    fn own_len(&self) -> u64 {
        8 + 8 * u64::from(self.parcel.is_some())
    }

    /// The number of bytes that the item takes after its header.
    fn bytes(&self) -> u64 {
        if self.is_in_file { 0 } else { self.len }
    }

    /// The total number of bytes in the ring. `None` on overflow.
    fn item_len(&self) -> Option<u64> {
        let bytes = self.bytes().checked_next_multiple_of(8)?;
        bytes.checked_add(self.own_len())
    }
}

/// Why an item cannot be put or taken.
#[derive(Debug)]
pub(super) enum RingError {
    /// No memory is left.
    NoSpace(io::Error),
    /// The memory holds invalid values.
    Damaged,
}

/// The current ring, as mapped by this process.
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

    /// Puts an item after the others: its header, and its bytes in pieces.
    pub(super) fn put<'a>(
        &mut self,
        stored: StoredState<'_>,
        mut state: RingState,
        head: ItemHead,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), RingError> {
        check(&state)?;
        let len = head.item_len().ok_or_else(too_large)?;
        if state.held() == 0 {
            (state.head, state.tail) = (0, 0); // To reuse memory that is in the cache.
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
        stored.commit(&state);
        if grows {
            self.give_back_others(&state);
        }
        Ok(())
    }

    /// The header of the first item. `None` if there is none.
    pub(super) fn first(&mut self, state: &RingState) -> Result<Option<ItemHead>, RingError> {
        check(state)?;
        if state.len() == 0 {
            return Ok(None);
        }
        if state.held() == 0 {
            return Err(RingError::Damaged);
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
            Some(len) if len <= state.held() && head.len <= LARGEST_ITEM as u64 => Ok(Some(head)),
            _ => Err(RingError::Damaged),
        }
    }

    /// Appends the bytes of the first item to `target`.
    pub(super) fn read(
        &mut self,
        state: &RingState,
        head: &ItemHead,
        target: &mut Vec<u8>,
    ) -> Result<(), RingError> {
        let len = head.bytes() as usize;
        sys::enlarge(target, target.len() + len).map_err(RingError::NoSpace)?;
        let ring = self.mapped(state)?;
        for (start, len) in parts(state, state.head + head.own_len(), len) {
            ring.read_onto(start, len, target);
        }
        Ok(())
    }

    /// Removes the first item, whose header is `head`.
    pub(super) fn pass(
        &mut self,
        stored: StoredState<'_>,
        mut state: RingState,
        head: &ItemHead,
    ) -> Result<(), RingError> {
        state.head += head.item_len().ok_or(RingError::Damaged)?;
        state.taken += 1;
        self.shrink_and_commit(stored, state);
        Ok(())
    }

    /// Removes all items.
    pub(super) fn clear(&mut self, stored: StoredState<'_>, mut state: RingState) {
        state.head = state.tail;
        state.taken = state.put;
        self.shrink_and_commit(stored, state);
    }

    /// Commits a state with fewer items. Frees the memory of a large ring that is empty.
    fn shrink_and_commit(&mut self, stored: StoredState<'_>, mut state: RingState) {
        let shrinks = state.held() == 0 && state.ring > KEPT;
        if shrinks {
            (state.ring, state.secured, state.head, state.tail) = (KEPT, 0, 0, 0);
        }
        stored.commit(&state);
        if shrinks {
            self.mapped = None;
            self.give_back_others(&state);
        }
    }

    /// Copies the items to a ring with room for `len` more bytes. The next store makes it current.
    fn grow(&mut self, state: &RingState, len: u64) -> Result<RingState, RingError> {
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
            self.mapped(state)?;
        }
        let old = self.mapped.take();
        step();
        sys::lengthen(&self.file, 2 * larger.ring).map_err(RingError::NoSpace)?;
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

    /// Allocates the memory for `len` more bytes, if it is missing.
    fn secure(&mut self, state: &mut RingState, len: u64) -> Result<(), RingError> {
        let end = (state.tail & (state.ring - 1)) + len;
        let end = end.next_multiple_of(STEP).min(state.ring);
        if end <= state.secured {
            return Ok(());
        }
        step();
        let (start, len) = (state.secured as usize, (end - state.secured) as usize);
        let secured = self.mapped(state)?.secure(start, len);
        if let Err(error) = secured {
            sys::give_back(&self.file, state.ring + state.secured, end - state.secured);
            return Err(RingError::NoSpace(error));
        }
        state.secured = end;
        Ok(())
    }

    /// Frees the memory of all rings except for the current one.
    fn give_back_others(&self, state: &RingState) {
        step();
        sys::give_back(&self.file, BASE, state.ring - BASE);
        step();
        sys::give_back(&self.file, 2 * state.ring, u64::from(u32::MAX) << 16);
    }

    fn write(&mut self, state: &RingState, at: u64, mut bytes: &[u8]) -> Result<(), RingError> {
        let ring = self.mapped(state)?;
        for (start, len) in parts(state, at, bytes.len()) {
            let (part, rest) = bytes.split_at(len);
            step();
            ring.write(start, part);
            bytes = rest;
        }
        Ok(())
    }

    fn word(&mut self, state: &RingState, at: u64) -> Result<u64, RingError> {
        let start = (at & (state.ring - 1)) as usize;
        let word = self.mapped(state)?.word(start);
        Ok(u64::from_le(word.load(Ordering::Relaxed)))
    }

    /// The current ring.
    fn mapped(&mut self, state: &RingState) -> Result<&SharedMapping, RingError> {
        let size = state.ring;
        if self
            .mapped
            .as_ref()
            .is_none_or(|(mapped, _)| *mapped != size)
        {
            self.mapped = None;
            // If the file had holes, this process would pay for the memory.
            if sys::file_memory(&self.file).map_err(RingError::NoSpace)? < state.secured {
                return Err(RingError::Damaged);
            }
            let window = SharedMapping::window(&self.file, size, size as usize);
            self.mapped = Some((size, window.map_err(RingError::NoSpace)?));
        }
        match &self.mapped {
            Some((_, memory)) => Ok(memory),
            None => Err(RingError::Damaged),
        }
    }
}

/// Checks the numbers, which another process may have overwritten: they must not point outside the memory.
pub(super) fn check(state: &RingState) -> Result<(), RingError> {
    let is_ring = state.ring.is_power_of_two() && (BASE..=LARGEST).contains(&state.ring);
    let is_held = state.head <= state.tail && state.tail - state.head <= state.ring;
    let is_whole = (state.head | state.tail).is_multiple_of(8);
    let is_none = state.ring == 0 && state.len() == 0 && state.head == state.tail;
    let is_sane = state
        .numbers()
        .into_iter()
        .fold(0, |all, number| all | number)
        < MOST;
    if is_sane && (is_none || is_ring && is_held && is_whole && is_secured(state)) {
        Ok(())
    } else {
        Err(RingError::Damaged)
    }
}

/// Whether all bytes of the items have memory behind them.
fn is_secured(state: &RingState) -> bool {
    let end = (state.head & (state.ring - 1)) + state.held();
    let wraps = end > state.ring;
    state.secured <= state.ring
        && (state.held() == 0 || state.secured >= if wraps { state.ring } else { end })
}

/// The ranges of these bytes in the ring: up to its end, and from its start.
fn parts(state: &RingState, at: u64, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let start = (at & (state.ring - 1)) as usize;
    let first = len.min(state.ring as usize - start);
    let parts = [(start, first), (0, len - first)];
    parts.into_iter().filter(|(_, len)| *len > 0)
}

fn too_large() -> RingError {
    RingError::NoSpace(io::ErrorKind::FileTooLarge.into())
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/multiprocessing/queue/ring.rs"]
mod tests;
