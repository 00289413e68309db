//! Bytes between two processes that no system call copies: a ring of memory for each direction, behind the
//! shared page. Large pieces go through it; see [`bulk`](super::bulk).
//!
//! The writer and the reader each have a position, counted in bytes from the beginning, and a mark:
//!
//! ```text
//!            read            written
//!   ───────────┴───── held ─────┴────────────►  positions wrap around in `RING` bytes of memory
//!                          ▲
//!                    a mark of the reader: "wake me when `written` reaches this"
//! ```
//!
//! A side that must wait stores its mark, then checks the other's position once more. A side that moved its position
//! checks whether it passed the other side's mark. All four words are sequentially consistent, so at least one side
//! sees the other. An old mark is behind the position. It is passed again only after 4 GiB, and then causes one useless
//! wake-up.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::{self, SharedMapping};

/// The size of a ring in bytes.
pub(crate) const RING: usize = 1 << 20;
/// The most bytes that are moved at once, which takes about ten microseconds.
pub(crate) const PIECE: usize = 256 * 1024;

/// A waiting side is woken when this many bytes can be moved, rather than for every few bytes.
const WORTH_WAKING: usize = RING / 4;
/// Memory is allocated in steps of this size.
const STEP: usize = 64 * 1024;

/// The words of both rings are in a page of their own.
const HEADS: usize = 4096;
const HEAD: usize = 256;
/// The words that the writer changes are in a different cache line than those that the reader changes.
const WRITTEN: usize = 0;
const ROOM_WANTED: usize = 4;
const SECURED: usize = 8;
const READ: usize = 128;
const BYTES_WANTED: usize = 132;

/// The size of both rings, at the end of the page.
pub(super) const LEN: usize = HEADS + 2 * RING;

/// The direction of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingDirection {
    ToWorker = 0,
    FromWorker = 1,
}

/// One of the two rings. Each process writes to one and reads from the other, with one thread at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PayloadRing<'a> {
    memory: &'a SharedMapping,
    head: usize,
    bytes: usize,
    /// The other process has the same memory.
    is_shared: bool,
}

/// How much was written or read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) len: usize,
    /// Whether the other process waits for this.
    pub(crate) is_awaited: bool,
}

/// A wait for the other process to move its position.
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
    /// The ring in `memory`, which has `LEN` bytes for both rings from `at` on.
    pub(super) fn new(memory: &'a SharedMapping, at: usize, way: RingDirection) -> Self {
        Self {
            memory,
            head: at + HEAD * way as usize,
            bytes: at + HEADS + RING * way as usize,
            is_shared: true,
        }
    }

    /// Used in place of a ring for which there is no memory. No bytes are put into it.
    pub(super) fn unshared(memory: &'a SharedMapping, way: RingDirection) -> Self {
        Self {
            is_shared: false,
            ..Self::new(memory, 0, way)
        }
    }

    fn word(&self, offset: usize) -> &'a AtomicU32 {
        self.memory.gate(self.head + offset)
    }

    /// How many bytes are written and not read. The result is bounded, because the other process is not
    /// trusted.
    pub(crate) fn held(&self) -> usize {
        let written = self.word(WRITTEN).load(Ordering::SeqCst);
        let read = self.word(READ).load(Ordering::SeqCst);
        (written.wrapping_sub(read) as usize).min(RING)
    }

    /// Whether everything that was written has been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.held() == 0
    }

    /// Writer: prepares to put `total` bytes. Returns false if there is no memory for them.
    ///
    /// If nothing else is `waiting` to be put and the reader has read everything, the reader does not access the ring
    /// until the next frame arrives. The writer then starts at the front again, so that payloads of medium size reuse a
    /// little memory, which stays in the cache.
    pub(crate) fn prepare(&self, total: usize, waiting: bool) -> bool {
        if !self.is_shared {
            return false;
        }
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

    /// Parent, while the worker is idle: returns the memory to the system.
    pub(crate) fn release(&self) {
        if self.is_empty() && self.word(SECURED).swap(0, Ordering::Relaxed) > 0 {
            self.memory.release(self.bytes, RING);
        }
    }

    /// Writer: puts as many bytes as there is room for, at most `PIECE`.
    pub(crate) fn put(&self, bytes: &[u8]) -> Moved {
        let place = self.word(WRITTEN).load(Ordering::Relaxed);
        let at = place as usize % RING;
        let room = (RING - self.held()).min(RING - at).min(PIECE);
        let bytes = &bytes[..bytes.len().min(room)];
        self.memory.write(self.bytes + at, bytes);
        self.advance(WRITTEN, place, bytes.len(), BYTES_WANTED)
    }

    /// Reader: appends the bytes that are there to `target`, at most `most` and at most `PIECE`.
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

    /// Writer: requests to be woken when there is room for `len` bytes, or enough of it. `None` if there already is.
    pub(crate) fn want_room(&self, len: usize) -> Option<RingWait<'a>> {
        let written = self.word(WRITTEN).load(Ordering::Relaxed);
        let len = len.min(WORTH_WAKING) as u32;
        let mark = written.wrapping_add(len).wrapping_sub(RING as u32);
        self.want(ROOM_WANTED, mark, READ)
    }

    /// Reader: requests to be woken when `len` bytes are there, or enough of them. `None` if they already are.
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

    /// Writer: wakes a sleeping reader.
    pub(crate) fn wake_reader(&self) {
        sys::open_gate(self.word(WRITTEN));
    }

    /// Reader: wakes a sleeping writer.
    pub(crate) fn wake_writer(&self) {
        sys::open_gate(self.word(READ));
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/ring.rs"]
mod tests;
