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

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/ring.rs"]
mod tests;
