//! Bytes between two processes that no system call carries: a ring of memory for each direction,
//! behind the shared page. What is large goes by it; see [`bulk`](super::bulk).
//!
//! The writer and the reader each have a place, counted in bytes from the beginning, and two marks:
//!
//! ```text
//!            read            written
//!   ───────────┴───── held ─────┴────────────►  the memory is used in turn, `RING` bytes of it
//!                          ▲
//!                    a mark of the reader: "wake me when `written` has come to here"
//! ```
//!
//! One that has to wait leaves its mark and looks once more; one that has moved its place looks
//! whether it has gone over the other's mark. All four are sequentially consistent, so at least one
//! of the two sees the other. An old mark lies behind and is not gone over again, or only after
//! four GiB: then somebody is woken for nothing.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::{self, SharedMapping};

/// How many bytes a ring holds.
pub(crate) const RING: usize = 1 << 20;
/// The most that is moved at once: what takes some ten microseconds.
pub(crate) const PIECE: usize = 256 * 1024;

/// One that waits is woken when so much can be moved, rather than for every few bytes.
const WORTH_WAKING: usize = RING / 4;
/// Memory is taken in steps of so much.
const STEP: usize = 64 * 1024;

/// The words of both rings have a page to themselves.
const HEADS: usize = 4096;
const HEAD: usize = 256;
/// What the writer changes lies apart from what the reader changes.
const WRITTEN: usize = 0;
const ROOM_WANTED: usize = 4;
const SECURED: usize = 8;
const READ: usize = 128;
const BYTES_WANTED: usize = 132;

/// What both rings take, at the end of the page.
pub(super) const LEN: usize = HEADS + 2 * RING;

/// Which way a ring carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingDirection {
    ToWorker = 0,
    FromWorker = 1,
}

/// One of the two rings. Each process is the writer of one and the reader of the other, with one
/// thread at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PayloadRing<'a> {
    memory: &'a SharedMapping,
    head: usize,
    bytes: usize,
}

/// Some bytes have been written, or read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) len: usize,
    /// The other process waits for this.
    pub(crate) is_awaited: bool,
}

/// The other process has not come so far.
#[derive(Debug)]
pub(crate) struct RingWait<'a> {
    gate: &'a AtomicU32,
    seen: u32,
}

impl RingWait<'_> {
    /// Sleeps until the other process wakes this one. May return early.
    pub(crate) fn block(self) {
        sys::wait_at(self.gate, self.seen);
    }
}

impl<'a> PayloadRing<'a> {
    /// The ring in a memory that has `LEN` bytes for both from `at` on.
    pub(super) fn new(memory: &'a SharedMapping, at: usize, way: RingDirection) -> Self {
        Self {
            memory,
            head: at + HEAD * way as usize,
            bytes: at + HEADS + RING * way as usize,
        }
    }

    fn word(&self, offset: usize) -> &'a AtomicU32 {
        self.memory.gate(self.head + offset)
    }

    /// How many bytes are written and not read. What the other process says is not trusted.
    fn held(&self) -> usize {
        let written = self.word(WRITTEN).load(Ordering::SeqCst);
        let read = self.word(READ).load(Ordering::SeqCst);
        (written.wrapping_sub(read) as usize).min(RING)
    }

    /// Whether all that was written has been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.held() == 0
    }

    /// Writer: gets ready to put `total` bytes in. False if there is no memory for that.
    ///
    /// If nothing else is `waiting` to be put in and the reader has all, it has nothing to look for
    /// here until it is told of more; then the writer begins at the front again, so that payloads
    /// that are not very large take turns in a little memory, which stays in the cache.
    pub(crate) fn prepare(&self, total: usize, waiting: bool) -> bool {
        let mut reach = RING;
        if !waiting && self.is_empty() {
            for word in [WRITTEN, ROOM_WANTED, READ, BYTES_WANTED] {
                self.word(word).store(0, Ordering::SeqCst);
            }
            reach = total.min(RING).next_multiple_of(STEP);
        }
        let secured = (self.word(SECURED).load(Ordering::Relaxed) as usize).min(RING);
        if secured >= reach {
            return true;
        }
        let got = self.memory.secure(self.bytes + secured, reach - secured);
        if got.is_ok() {
            self.word(SECURED).store(reach as u32, Ordering::Relaxed);
        }
        got.is_ok()
    }

    /// Parent, when the worker has nothing to do: gives the memory back to the system.
    pub(crate) fn release(&self) {
        if self.is_empty() && self.word(SECURED).swap(0, Ordering::Relaxed) > 0 {
            self.memory.release(self.bytes, RING);
        }
    }

    /// Writer: puts in what there is room for, a piece at the most.
    pub(crate) fn put(&self, bytes: &[u8]) -> Moved {
        let place = self.word(WRITTEN).load(Ordering::Relaxed);
        let at = place as usize % RING;
        let room = (RING - self.held()).min(RING - at).min(PIECE);
        let bytes = &bytes[..bytes.len().min(room)];
        self.memory.write(self.bytes + at, bytes);
        self.advance(WRITTEN, place, bytes.len(), BYTES_WANTED)
    }

    /// Reader: adds what is there to `target`, `most` bytes or a piece at the most.
    pub(crate) fn take(&self, target: &mut Vec<u8>, most: usize) -> Moved {
        let place = self.word(READ).load(Ordering::Relaxed);
        let at = place as usize % RING;
        let len = self.held().min(RING - at).min(PIECE).min(most);
        self.memory.read_onto(self.bytes + at, len, target);
        self.advance(READ, place, len, ROOM_WANTED)
    }

    fn advance(&self, which: usize, place: u32, len: usize, mark: usize) -> Moved {
        let after = place.wrapping_add(len as u32);
        self.word(which).store(after, Ordering::SeqCst);
        let mark = self.word(mark).load(Ordering::SeqCst);
        let gone_over = mark.wrapping_sub(place).wrapping_sub(1) < len as u32;
        Moved {
            len,
            is_awaited: gone_over,
        }
    }

    /// Writer: it is to be woken when there is room for `len` bytes, or enough of it. Nothing if
    /// there is already.
    pub(crate) fn want_room(&self, len: usize) -> Option<RingWait<'a>> {
        let written = self.word(WRITTEN).load(Ordering::Relaxed);
        let len = len.min(WORTH_WAKING) as u32;
        let mark = written.wrapping_add(len).wrapping_sub(RING as u32);
        self.want(ROOM_WANTED, mark, READ)
    }

    /// Reader: it is to be woken when `len` bytes are there, or enough of them. Nothing if they are
    /// already.
    pub(crate) fn want_bytes(&self, len: usize) -> Option<RingWait<'a>> {
        let read = self.word(READ).load(Ordering::Relaxed);
        let mark = read.wrapping_add(len.min(WORTH_WAKING) as u32);
        self.want(BYTES_WANTED, mark, WRITTEN)
    }

    fn want(&self, which: usize, mark: u32, gate: usize) -> Option<RingWait<'a>> {
        self.word(which).store(mark, Ordering::SeqCst);
        let gate = self.word(gate);
        let seen = gate.load(Ordering::SeqCst);
        let is_ahead = mark.wrapping_sub(seen) as i32 > 0;
        is_ahead.then_some(RingWait { gate, seen })
    }

    /// Writer: wakes a reader that sleeps.
    pub(crate) fn wake_reader(&self) {
        sys::open_gate(self.word(WRITTEN));
    }

    /// Reader: wakes a writer that sleeps.
    pub(crate) fn wake_writer(&self) {
        sys::open_gate(self.word(READ));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn memory() -> SharedMapping {
        SharedMapping::create(LEN).expect("memory").0
    }

    fn pattern(seed: u8, len: usize) -> Vec<u8> {
        (0..len)
            .map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ seed)
            .collect()
    }

    /// Writes all of `bytes`, as a process that may sleep does.
    fn write_all(ring: PayloadRing<'_>, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let moved = ring.put(bytes);
            bytes = &bytes[moved.len..];
            if moved.is_awaited {
                ring.wake_reader();
            }
            if moved.len == 0
                && let Some(wait) = ring.want_room(bytes.len())
            {
                wait.block();
            }
        }
    }

    fn read_all(ring: PayloadRing<'_>, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let most = len - bytes.len();
            let moved = ring.take(&mut bytes, most);
            if moved.is_awaited {
                ring.wake_writer();
            }
            if moved.len == 0
                && let Some(wait) = ring.want_bytes(most)
            {
                wait.block();
            }
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn two_threads_read_what_was_written_whatever_the_sizes(
            sizes in prop::collection::vec(prop_oneof![1_usize..5000, 1_usize..5 * RING], 1..8),
            start in prop_oneof![Just(0_u32), Just(u32::MAX - 70_000), any::<u32>()],
        ) {
            let memory = memory();
            let ring = PayloadRing::new(&memory, 0, RingDirection::FromWorker);
            prop_assert!(ring.prepare(usize::MAX / 2, false));
            for word in [WRITTEN, READ, ROOM_WANTED, BYTES_WANTED] {
                ring.word(word).store(start, Ordering::SeqCst);
            }
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for (seed, size) in sizes.iter().enumerate() {
                        write_all(ring, &pattern(seed as u8, *size));
                    }
                });
                for (seed, size) in sizes.iter().enumerate() {
                    prop_assert!(read_all(ring, *size) == pattern(seed as u8, *size));
                }
                Ok(())
            })?;
            prop_assert!(ring.is_empty());
        }
    }

    #[test]
    fn a_ring_never_holds_more_than_it_can_and_says_when_there_is_room() {
        let memory = memory();
        let ring = PayloadRing::new(&memory, 0, RingDirection::ToWorker);
        assert!(ring.prepare(RING, false));
        let bytes = pattern(1, RING + 1);
        let mut written = 0;
        while ring.want_room(1).is_none() {
            written += ring.put(&bytes[written..]).len;
        }
        assert_eq!((written, ring.put(&bytes).len), (RING, 0));
        let mut read = Vec::new();
        assert!(
            ring.take(&mut read, 1).is_awaited,
            "the writer wants a byte of room"
        );
        assert_eq!(ring.put(&bytes[RING..]).len, 1);
        read.extend(read_all(ring, RING));
        assert!(read == bytes);
    }

    #[test]
    fn one_that_waits_is_woken_once_and_for_enough() {
        let memory = memory();
        let ring = PayloadRing::new(&memory, 0, RingDirection::ToWorker);
        assert!(ring.prepare(RING, false));
        assert!(ring.want_bytes(10 * RING).is_some());
        assert!(!ring.put(&[1; WORTH_WAKING - 1]).is_awaited);
        assert!(ring.put(&[1; 1]).is_awaited);
        assert!(!ring.put(&[1; 1]).is_awaited);
        assert!(ring.want_bytes(1).is_none(), "it is there");
    }

    #[test]
    fn what_was_released_can_be_used_again_and_what_is_in_it_is_not_released() {
        let memory = memory();
        let ring = PayloadRing::new(&memory, 0, RingDirection::ToWorker);
        for round in 0..3 {
            assert!(ring.prepare(100_000, false));
            let bytes = pattern(round, 100_000);
            assert_eq!(ring.put(&bytes).len, bytes.len());
            ring.release();
            assert!(read_all(ring, bytes.len()) == bytes);
            ring.release();
            let rest = memory.read(ring.bytes, 100_000);
            assert!(rest.iter().all(|byte| *byte == 0), "it was given back");
        }
    }

    #[test]
    fn a_ring_that_makes_no_sense_is_not_followed_out_of_it() {
        let memory = memory();
        let ring = PayloadRing::new(&memory, 0, RingDirection::FromWorker);
        ring.word(WRITTEN).store(u32::MAX - 5, Ordering::SeqCst);
        ring.word(READ).store(17, Ordering::SeqCst);
        let mut bytes = Vec::new();
        assert_eq!(ring.put(&[1]).len, 0);
        for _ in 0..20 {
            ring.take(&mut bytes, usize::MAX);
        }
        assert!(bytes.len() <= 20 * PIECE);
    }
}
