//! The memory that a worker shares with its parent: for each call in flight a [slot](super::claim), the start time of
//! its item and the item's progress; and the outbox. The outbox holds outcomes that the worker may not have written to
//! its parent yet. If the worker dies, the parent reads them from here.

use std::io::{self, PipeWriter, Write as _};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::claim::ClaimSlot;
use super::ring::{self, PayloadRing, RingDirection};
use crate::sys::{self, AsFd as _, OwnedFd, SharedMapping};

/// The most calls in flight to one worker.
pub(crate) const SLOTS: u32 = 64;
/// The size of the outbox in bytes.
pub(crate) const OUTBOX: usize = 60 * 1024;

/// After the claims: the start times of the latest items, then the outbox's length.
const BEGUN: usize = 8 * SLOTS as usize;
const OUTBOX_LEN: usize = 2 * BEGUN;
/// Then the latest progress report of each call: for each of these constants, one word a slot.
const REPORTS: usize = OUTBOX_LEN + 8;
const NUDGED: usize = 0;
const VERSION: usize = 1;
const ABOUT: usize = 2;
const DONE: usize = 3;
const TOTAL: usize = 4;
const OUTBOX_AT: usize = 4096;
/// Space before the outbox for the head of a frame.
const HEAD: usize = 8;
/// Before that, two words: how many bytes of memory the worker may use (0 means no limit), and whether it
/// has used more.
const MEMORY_LIMIT: usize = OUTBOX_AT - HEAD - 16;
const EXCEEDS_MEMORY_LIMIT: usize = OUTBOX_AT - HEAD - 8;
/// Before that, two words about the worker's stderr: how many bytes the parent has read, and how many the worker has
/// written at the end of its last call.
const OUTPUT_READ: usize = MEMORY_LIMIT - 16;
/// Before that, the gate at which the worker waits while the parent is inside a read: 1 while it waits.
const OUTPUT_GATE: usize = OUTPUT_READ - 8;
/// Before that, the gate at which the worker waits for a stop: 1 while it waits.
const STOP_GATE: usize = OUTPUT_GATE - 8;
const OUTPUT_WRITTEN: usize = MEMORY_LIMIT - 8;
/// The rings follow the outbox.
const RINGS_AT: usize = OUTBOX_AT + OUTBOX;
const LEN: usize = RINGS_AT + ring::LEN;
const _: () = assert!(REPORTS + 5 * 8 * SLOTS as usize <= STOP_GATE);

/// How often a worker tries to record how much output its parent has read. A try fails only if the parent has started
/// another read meanwhile, as happens again and again while another process floods the same pipe.
const OUTPUT_ATTEMPTS: u32 = 1000;

/// The progress of an item, as last reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProgressReport {
    pub(crate) seq: u32,
    pub(crate) item: u32,
    pub(crate) done: u64,
    pub(crate) total: u64,
}

#[derive(Debug)]
pub(crate) struct Page {
    memory: SharedMapping,
    /// Used in place of the rings if the memory has none: each process has its own, and no bytes travel.
    unshared_rings: Option<SharedMapping>,
}

impl Page {
    /// Creates a page. It has no rings if this process may create no file of that length. Large payloads then use the
    /// socket and the pipe.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let has_rings = sys::longest_file() >= LEN as u64;
        let len = if has_rings { LEN } else { RINGS_AT };
        let (memory, fd) = SharedMapping::create(len)?;
        Ok((Self::new(memory, has_rings)?, fd))
    }

    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        let has_rings = sys::file_len(&fd)? != RINGS_AT as u64;
        let len = if has_rings { LEN } else { RINGS_AT };
        Self::new(SharedMapping::open(fd, len)?, has_rings)
    }

    fn new(memory: SharedMapping, has_rings: bool) -> io::Result<Self> {
        let unshared_rings = (!has_rings).then(|| SharedMapping::private(ring::LEN));
        Ok(Self {
            memory,
            unshared_rings: unshared_rings.transpose()?,
        })
    }

    /// The slot of the call `seq`.
    pub(crate) fn slot(&self, seq: u32) -> ClaimSlot<'_> {
        ClaimSlot::new(self.memory.word(8 * (seq % SLOTS) as usize), seq)
    }

    /// Writes a word as a hostile worker would, at any place before the rings' bytes.
    #[cfg(all(test, properties))]
    pub(crate) fn forge(&self, place: usize, word: u64) {
        self.memory.word(8 * place).store(word, Ordering::Release);
    }

    /// Worker: starts `item` at the time `now`, if it is still wanted.
    pub(crate) fn claim(&self, seq: u32, item: u32, now: u64) -> bool {
        // The exchange that follows publishes the time. If it fails, the slot may belong to another call. That call
        // then has not started, and stores its own time when it does.
        self.begun_at(seq).store(now, Ordering::Relaxed);
        self.slot(seq).claim(item)
    }

    fn begun_at(&self, seq: u32) -> &AtomicU64 {
        self.memory.word(BEGUN + 8 * (seq % SLOTS) as usize)
    }

    /// Parent: when the item that runs according to `read` has started, in nanoseconds of the system's monotonic clock.
    pub(crate) fn begun(&self, seq: u32) -> u64 {
        self.begun_at(seq).load(Ordering::Relaxed)
    }

    /// Parent: called after it has withdrawn its interest in a running item. Wakes a worker that waits for this.
    pub(crate) fn announce_stop(&self) {
        // Here the claim is changed before the gate is read; in `expect_stop`, the gate is changed before the claim is
        // read. So either the worker sees the claim, or the parent sees that the worker waits.
        fence(Ordering::SeqCst);
        let gate = self.memory.gate(STOP_GATE);
        if gate.load(Ordering::Relaxed) != 0 {
            gate.store(0, Ordering::Relaxed);
            sys::open_gate(gate);
        }
    }

    /// Worker: called before it waits for a stop. The worker must check its claim once more before it waits.
    pub(crate) fn expect_stop(&self) {
        self.memory.gate(STOP_GATE).store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Worker: waits for a stop after `expect_stop`. May return early.
    pub(crate) fn await_stop(&self) {
        sys::wait_at(self.memory.gate(STOP_GATE), 1);
    }

    /// The ring of one direction.
    pub(crate) fn ring(&self, way: RingDirection) -> PayloadRing<'_> {
        match &self.unshared_rings {
            None => PayloadRing::new(&self.memory, RINGS_AT, way),
            Some(own) => PayloadRing::unshared(own, way),
        }
    }

    /// Parent: sets how many bytes of memory the worker may use.
    pub(crate) fn limit_memory(&self, bytes: u64) {
        self.memory
            .word(MEMORY_LIMIT)
            .store(bytes, Ordering::Release);
    }

    /// Worker: how many bytes of memory it may use, if that is limited.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        Some(self.memory.word(MEMORY_LIMIT).load(Ordering::Acquire)).filter(|bytes| *bytes > 0)
    }

    /// Worker: reports that it uses more memory than it may.
    pub(crate) fn report_memory_excess(&self) {
        self.memory
            .word(EXCEEDS_MEMORY_LIMIT)
            .store(1, Ordering::Relaxed); // The next outcome publishes it.
    }

    /// Parent: whether the worker uses more memory than it may.
    pub(crate) fn exceeds_memory_limit(&self) -> bool {
        self.memory
            .word(EXCEEDS_MEMORY_LIMIT)
            .load(Ordering::Relaxed)
            != 0
    }

    /// Parent, before the worker starts: makes the worker record how much it has written.
    pub(crate) fn follow_output(&self) {
        self.end_output_read(0);
    }

    /// Parent: called before it reads output from the pipe. It has read `total` bytes so far.
    pub(crate) fn begin_output_read(&self, total: u64) {
        self.put_output_read(total, true);
    }

    /// Parent: called after it has read `total` bytes of the output. Wakes a worker that waits for this.
    pub(crate) fn end_output_read(&self, total: u64) {
        self.put_output_read(total, false);
        // Here the number is stored before the gate is read; in `await_output_read`, the other way round. So either the
        // worker sees this number, or the parent sees that the worker waits.
        fence(Ordering::SeqCst);
        let gate = self.memory.gate(OUTPUT_GATE);
        if gate.load(Ordering::Relaxed) != 0 {
            gate.store(0, Ordering::Relaxed);
            sys::open_gate(gate);
        }
    }

    /// Worker: waits until the parent is not inside a read. May return early. If the parent ends, the attendant ends
    /// this process.
    fn await_output_read(&self) {
        let gate = self.memory.gate(OUTPUT_GATE);
        gate.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.memory.word(OUTPUT_READ).load(Ordering::Acquire) & 1 != 0 {
            sys::wait_at(gate, 1);
        }
    }

    /// The lowest bit is set while the number changes. No number is stored as 0, which means that the parent does not
    /// follow the output.
    fn put_output_read(&self, total: u64, changes: bool) {
        let word = (total + 1) << 1 | u64::from(changes);
        self.memory.word(OUTPUT_READ).store(word, Ordering::Release);
    }

    /// Worker: whether it must record how much it has written.
    pub(crate) fn is_output_followed(&self) -> bool {
        self.memory.word(OUTPUT_READ).load(Ordering::Acquire) != 0
    }

    /// Worker, one thread: records how much it has written so far. `waiting` returns how many bytes are in the pipe.
    /// Returns false if the parent starts a read each time: the number is then unknown.
    ///
    /// The system locks the pipe. So if `waiting` sees that bytes have left the pipe, the load after it sees that the
    /// parent has started to read them.
    pub(crate) fn record_output(&self, waiting: impl Fn() -> usize) -> bool {
        let word = self.memory.word(OUTPUT_READ);
        for _ in 0..OUTPUT_ATTEMPTS {
            let before = word.load(Ordering::Acquire);
            if before & 1 != 0 {
                self.await_output_read();
                continue;
            }
            let waiting = waiting();
            if word.load(Ordering::Acquire) == before {
                let read = (before >> 1).saturating_sub(1);
                let written = read.saturating_add(waiting as u64);
                self.memory
                    .word(OUTPUT_WRITTEN)
                    .store(written << 1, Ordering::Release);
                return true;
            }
        }
        self.forget_output();
        false
    }

    /// Worker, the same thread: marks that it may have written more than it has recorded.
    pub(crate) fn forget_output(&self) {
        let word = self.memory.word(OUTPUT_WRITTEN);
        word.store(word.load(Ordering::Relaxed) | 1, Ordering::Release);
    }

    /// Parent: how much the worker has written by the end of its last call. `None` if the worker does not know, or runs
    /// a call of several items, of which some may have ended.
    pub(crate) fn output_written(&self) -> Option<u64> {
        let word = self.memory.word(OUTPUT_WRITTEN).load(Ordering::Acquire);
        (word & 1 == 0).then_some(word >> 1)
    }

    /// Parent, after the worker's death: how much it wrote before its latest call.
    pub(crate) fn output_before_last_call(&self) -> u64 {
        self.memory.word(OUTPUT_WRITTEN).load(Ordering::Acquire) >> 1
    }

    fn report_word(&self, which: usize, seq: u32) -> &AtomicU64 {
        let slot = (seq % SLOTS) as usize;
        self.memory
            .word(REPORTS + 8 * (SLOTS as usize * which + slot))
    }

    /// Worker, one thread at a time: replaces the progress report. Returns true if a message must make the parent read
    /// it. Otherwise an earlier message did, and the parent has not read a report since.
    ///
    /// The version is odd during the change, so the parent never takes a mix of two reports.
    pub(crate) fn put_report(&self, report: ProgressReport) -> bool {
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

    /// Parent: whether the slot of `seq` may have a report that was not taken.
    pub(crate) fn has_report(&self, seq: u32) -> bool {
        self.report_word(NUDGED, seq).load(Ordering::Acquire) != 0
    }

    /// Parent: the latest report in the slot of `seq`, which may be about an earlier or a later call, and its version.
    /// The same version means the same report. `None` if there is none, or if the worker is changing it: another
    /// message then follows, because this clears the mark of the last message before it reads.
    pub(crate) fn take_report(&self, seq: u32) -> Option<(u64, ProgressReport)> {
        let word = |which| self.report_word(which, seq);
        word(NUDGED).swap(0, Ordering::AcqRel);
        let version = word(VERSION).load(Ordering::Acquire);
        let about = word(ABOUT).load(Ordering::Relaxed);
        let report = ProgressReport {
            seq: (about >> 32) as u32,
            item: about as u32,
            done: word(DONE).load(Ordering::Relaxed),
            total: word(TOTAL).load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        let whole = version.is_multiple_of(2) && word(VERSION).load(Ordering::Relaxed) == version;
        (whole && version > 0).then_some((version, report))
    }

    fn outbox_len(&self) -> &AtomicU64 {
        self.memory.word(OUTBOX_LEN)
    }

    /// How many bytes the outbox holds.
    pub(crate) fn posted(&self) -> usize {
        let len = usize::try_from(self.outbox_len().load(Ordering::Acquire));
        len.unwrap_or(OUTBOX).min(OUTBOX)
    }

    /// Worker, one thread: appends to the outbox, which holds `len` bytes so far.
    pub(crate) fn post(&self, len: usize, bytes: &[u8]) {
        assert!(bytes.len() <= OUTBOX - len);
        self.memory.write(OUTBOX_AT + len, bytes);
        self.outbox_len()
            .store((len + bytes.len()) as u64, Ordering::Release);
    }

    /// Worker, the same thread: empties the outbox, all of which was written to the parent.
    pub(crate) fn clear_outbox(&self) {
        self.outbox_len().store(0, Ordering::Release);
    }

    /// Worker: writes a part of the outbox to its parent, after `head`. Returns how many bytes it wrote,
    /// `head` included.
    pub(crate) fn write_posted(
        &self,
        mut answers: &PipeWriter,
        head: &[u8],
        posted: Range<usize>,
    ) -> io::Result<usize> {
        assert!(posted.end <= OUTBOX && head.len() <= HEAD);
        let to = answers.as_fd();
        if posted.start == 0 {
            // All in one piece, which costs the system less than two.
            let start = OUTBOX_AT - head.len();
            self.memory.write(start, head);
            self.memory.write_to(to, start, head.len() + posted.len())
        } else if !head.is_empty() {
            // The earlier bytes in the page were already written, but the parent reads them again if this process dies.
            answers.write(head)
        } else {
            self.memory
                .write_to(to, OUTBOX_AT + posted.start, posted.len())
        }
    }

    /// Parent, after the worker's death: the content of the outbox. The worker may have written some of it to the pipe,
    /// too.
    pub(crate) fn outbox(&self) -> Vec<u8> {
        self.memory.read(OUTBOX_AT, self.posted())
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::sys;

    fn page() -> Page {
        Page::create().expect("memory").0
    }

    fn report(seq: u32, done: u64) -> ProgressReport {
        ProgressReport {
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
        assert!(
            page.put_report(report(6, 9)),
            "each slot has its own report"
        );
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
                        nudge.send(()).expect("the reader is alive");
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
    fn the_count_of_written_output_is_right_while_the_parent_reads() {
        const EACH: u64 = 7;
        let page = page();
        assert!(!page.is_output_followed());
        page.follow_output();
        assert!(page.is_output_followed() && page.output_written() == Some(0));
        let (ours, mut theirs) = io::pipe().expect("a pipe");
        std::thread::scope(|scope| {
            let parent = scope.spawn(|| {
                let mut total = 0;
                loop {
                    // The worker may never get a turn while the word says that the parent reads.
                    while sys::bytes_waiting(ours.as_fd()) == 0 {
                        std::thread::yield_now();
                    }
                    page.begin_output_read(total);
                    let mut bytes = Vec::with_capacity(100);
                    let len = sys::read_more(ours.as_fd(), &mut bytes, 100).expect("a pipe");
                    total += len as u64;
                    page.end_output_read(total);
                    if bytes.contains(&b'.') {
                        return total;
                    }
                }
            });
            let mut written = 0;
            for _ in 0..20_000 {
                theirs.write_all(&[b'x'; EACH as usize]).expect("a pipe");
                written += EACH;
                let is_known = page.record_output(|| sys::bytes_waiting(theirs.as_fd()));
                assert_eq!(page.output_written(), is_known.then_some(written));
                if is_known {
                    assert_eq!(page.output_before_last_call(), written);
                }
                page.forget_output();
                assert_eq!(page.output_written(), None);
            }
            theirs.write_all(b".").expect("a pipe");
            assert_eq!(parent.join().expect("no panic"), written + 1);
        });
    }

    #[test]
    fn a_worker_sleeps_while_its_parent_is_inside_a_read_and_knows_the_number_then() {
        let page = page();
        for total in [0, 5] {
            page.begin_output_read(total);
            std::thread::scope(|scope| {
                let worker = scope.spawn(|| page.record_output(|| 2));
                let gate = page.memory.gate(OUTPUT_GATE);
                while gate.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
                assert!(!worker.is_finished());
                page.end_output_read(total + 3);
                assert!(worker.join().expect("no panic"));
            });
            assert_eq!(page.output_written(), Some(total + 5));
        }
    }

    #[test]
    fn a_stop_at_any_moment_wakes_a_worker_that_waits_for_it() {
        const STOPS: u64 = 20_000;
        let page = page();
        let [stops, seen] = [(); 2].map(|()| AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while seen.load(Ordering::Acquire) < STOPS {
                    page.expect_stop();
                    let count = stops.load(Ordering::Acquire);
                    if seen.swap(count, Ordering::AcqRel) == count {
                        page.await_stop();
                    }
                }
            });
            for stop in 1..=STOPS {
                stops.store(stop, Ordering::Release);
                page.announce_stop();
                if stop % 3 == 0 {
                    continue; // Another report follows at once.
                }
                while seen.load(Ordering::Acquire) < stop {
                    std::thread::yield_now();
                }
            }
        });
    }

    #[test]
    fn the_outbox_is_found_by_who_comes_after() {
        let (page, fd) = Page::create().expect("memory");
        let worker = Page::open(fd).expect("the same page");
        worker.post(0, b"one");
        worker.post(3, b"two");
        let (mut ours, theirs) = io::pipe().expect("a pipe");
        let sent = |head: &[u8], posted| {
            let sent = worker.write_posted(&theirs, head, posted);
            sent.expect("there is room")
        };
        assert_eq!(sent(b"head:", 0..2), 7);
        assert_eq!(sent(b"more:", 2..5), 5, "the head is written by itself");
        assert_eq!(sent(b"", 2..5), 3);
        drop(worker);
        let mut bytes = [0; 16];
        let len = ours.read(&mut bytes).expect("bytes were written");
        assert_eq!(&bytes[..len], b"head:onmore:etw");
        assert_eq!(page.outbox(), b"onetwo");
        page.clear_outbox();
        assert_eq!(page.outbox(), b"");
    }
}
