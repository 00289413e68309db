//! How a task finds its own worker's resources: the page that it shares with its parent, the pipe for its answers, its
//! socket. The offsets and numbers are those of `src/wire`: `page.rs`, `claim.rs`, `outcomes.rs` and `message.rs`.

#![allow(dead_code, reason = "a vocabulary; each trial uses a part of it")]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

const SLOTS: usize = 64;
const BEGUN: usize = 8 * SLOTS;
const OUTBOX_LEN: usize = 2 * BEGUN;
const REPORTS: usize = OUTBOX_LEN + 8;
const OUTBOX: usize = 4096;
const RINGS: usize = OUTBOX + 60 * 1024;
const RING: usize = 1 << 20;
const PAGE: usize = RINGS + 4096 + 2 * RING;

/// The stages of a claim.
pub(crate) const OFFERED: u8 = 0;
pub(crate) const RUNNING: u8 = 1;
pub(crate) const DONE: u8 = 2;
pub(crate) const REVOKED: u8 = 3;
pub(crate) const CONDEMNED: u8 = 4;
pub(crate) const OVERDUE: u8 = 5;
pub(crate) const CANCELLED: u8 = 6;
pub(crate) const LAST: u8 = 7;

/// The resources of a worker, as a task in it finds them.
pub(crate) struct Inside {
    /// The address of the page.
    page: usize,
    /// The answers to the parent. The same open file as the worker's own.
    pub(crate) pipe: File,
    /// Calls of the parent arrive here. The same open file as the worker's own.
    pub(crate) socket: UnixStream,
}

/// The content of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) seq: u32,
    pub(crate) item: u32,
    pub(crate) stage: u8,
}

impl Claim {
    pub(crate) fn to_word(self) -> u64 {
        u64::from(self.seq) << 32 | u64::from(self.item) << 8 | u64::from(self.stage)
    }

    pub(crate) fn from_word(word: u64) -> Self {
        Self {
            seq: (word >> 32) as u32,
            item: (word as u32) >> 8,
            stage: word as u8,
        }
    }
}

impl Inside {
    /// Finds them. Called by a task in a worker.
    pub(crate) fn find() -> Self {
        Self {
            page: page(),
            pipe: last_descriptor("pipe:", is_written).into(),
            socket: own_socket(),
        }
    }

    /// The word at `offset` bytes of the page.
    pub(crate) fn word(&self, offset: usize) -> &'static AtomicU64 {
        word(self.page, offset)
    }

    /// The claim of the call `seq`.
    pub(crate) fn claim(&self, seq: u32) -> &'static AtomicU64 {
        self.word(8 * (seq as usize % SLOTS))
    }

    /// When the item of the call `seq` began, in nanoseconds.
    pub(crate) fn begun(&self, seq: u32) -> &'static AtomicU64 {
        self.word(BEGUN + 8 * (seq as usize % SLOTS))
    }

    /// The claim of the call that runs: the task's own.
    pub(crate) fn own(&self) -> Claim {
        let claims = (0..SLOTS as u32).map(|slot| {
            let word = self.claim(slot).load(Ordering::Acquire);
            Claim::from_word(word)
        });
        let mut running = claims.filter(|claim| claim.stage == RUNNING);
        running.next().expect("the task runs")
    }

    /// The claims of the calls behind the task's own, which have not started.
    pub(crate) fn calls_ahead(&self) -> Vec<Claim> {
        let first = self.own().seq + 1;
        let claims = (first..first + SLOTS as u32 - 1).map(|seq| {
            let claim = Claim::from_word(self.claim(seq).load(Ordering::Acquire));
            let is_ahead = (claim.seq, claim.stage) == (seq, OFFERED);
            is_ahead.then_some(claim)
        });
        claims.map_while(|claim| claim).collect()
    }

    /// Replaces the claim of the task's own call by what `change` returns for it.
    pub(crate) fn claim_as(&self, change: impl FnOnce(Claim) -> Claim) {
        let own = self.own();
        let word = change(own).to_word();
        self.claim(own.seq).store(word, Ordering::Release);
    }

    /// One of the five words of a progress report of the call `seq`: nudged, version, about, done, total.
    pub(crate) fn report(&self, which: usize, seq: u32) -> &'static AtomicU64 {
        self.word(REPORTS + 8 * (SLOTS * which + seq as usize % SLOTS))
    }

    /// How many bytes the outbox has.
    pub(crate) fn outbox_len(&self) -> &'static AtomicU64 {
        self.word(OUTBOX_LEN)
    }

    /// Fills the outbox with these bytes, which the parent reads after the worker's death.
    pub(crate) fn post(&self, bytes: &[u8]) {
        for (at, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(OUTBOX + 8 * at)
                .store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        self.outbox_len()
            .store(bytes.len() as u64, Ordering::Release);
    }

    /// The word at `offset` bytes of the head of a ring. `way` is 0 for the ring to the worker and 1 for the ring from
    /// it. Words of rings have half the width: WRITTEN and ROOM_WANTED are at 0, SECURED at 8, READ and BYTES_WANTED at
    /// 128.
    pub(crate) fn ring(&self, way: usize, offset: usize) -> &'static AtomicU64 {
        self.word(RINGS + 256 * way + offset)
    }

    /// Writes raw bytes to the parent.
    pub(crate) fn send(&self, bytes: &[u8]) {
        (&self.pipe).write_all(bytes).expect("the parent reads");
    }
}

/// A frame with this content.
pub(crate) fn frame(content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).expect("a short frame");
    [&len.to_le_bytes()[..], content].concat()
}

/// A frame with outcomes: see [`call`], [`value`] and [`time`].
pub(crate) fn outcomes(entries: &[u8]) -> Vec<u8> {
    frame(&[&[67], entries].concat())
}

/// The next entries are about this call, from this item on.
pub(crate) fn call(seq: u32, item: u32) -> Vec<u8> {
    [&[64][..], &seq.to_le_bytes(), &item.to_le_bytes()].concat()
}

/// How long items of the call have run.
pub(crate) fn time(nanos: u64) -> Vec<u8> {
    [&[65][..], &nanos.to_le_bytes()].concat()
}

/// The outcome of an item: a number.
pub(crate) fn value(number: u64) -> Vec<u8> {
    [&[0, 8 << 1 | 1][..], &number.to_le_bytes()].concat()
}

/// A frame with a message of the worker: the number of a variant of `FromWorker`, and its fields in MessagePack.
pub(crate) fn message(variant: u8, fields: &[u8]) -> Vec<u8> {
    let encoded = [&[0x92, variant][..], fields].concat();
    let len = u8::try_from(encoded.len()).expect("a short message");
    assert!(len < 64, "its length takes one byte");
    frame(&[&[2, len << 1][..], &encoded].concat())
}

/// Variants of `FromWorker`.
pub(crate) const READY: u8 = 0;
pub(crate) const PROGRESS: u8 = 2;
pub(crate) const BULK: u8 = 3;
pub(crate) const EVENT: u8 = 4;
/// Its number is one less without the feature `tracing`.
pub(crate) const TAKEN: u8 = if cfg!(feature = "tracing") { 5 } else { 4 };

/// The last of these variants.
pub(crate) const MOVED: u8 = TAKEN + 1;

/// A number as the only field of a message.
pub(crate) fn one_number(number: u32) -> Vec<u8> {
    [&[0x91, 0xce][..], &number.to_be_bytes()].concat()
}

/// The address of the page. Of all mappings of such a file with this length, it is the one in which a call began last.
/// (With `Fork`, a worker may have inherited its parent's mappings of others.)
fn page() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc");
    let files = maps
        .lines()
        .filter(|line| line.contains("/memfd:concurrent-futures"));
    let pages = files.filter_map(|line| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16));
        let (start, end) = (start.ok()?, end.ok()?);
        (end - start == PAGE).then_some(start)
    });
    let last_begun = |page: &usize| {
        let begun = (0..SLOTS).map(|slot| word(*page, BEGUN + 8 * slot).load(Ordering::Relaxed));
        begun.max()
    };
    pages.max_by_key(last_begun).expect("this is a worker")
}

/// The socket of this process to its parent.
pub(crate) fn own_socket() -> UnixStream {
    last_descriptor("socket:", |_| true).into()
}

/// The word at `offset` bytes of a page.
fn word(page: usize, offset: usize) -> &'static AtomicU64 {
    assert!(offset.is_multiple_of(8) && offset < PAGE);
    let word = (page + offset) as *mut u64;
    #[expect(unsafe_code, reason = "memory that it found")]
    // SAFETY: the page is mapped as long as the worker lives, and the word is in it and aligned.
    unsafe {
        AtomicU64::from_ptr(word)
    }
}

/// The descriptor with the highest number of its kind, except stdout and stderr: a worker gives its own descriptors
/// high numbers.
pub(crate) fn last_descriptor(kind: &str, is_meant: impl Fn(BorrowedFd<'_>) -> bool) -> OwnedFd {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc").flatten();
    let output = [1, 2].map(|number| fs::read_link(format!("/proc/self/fd/{number}")).ok());
    let numbers = entries.filter_map(|entry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        let is_of_kind = target.to_str()?.starts_with(kind);
        (is_of_kind && !output.contains(&Some(target))).then_some(number)
    });
    let mut numbers: Vec<i32> = numbers.collect();
    numbers.sort_unstable();
    let found = numbers.into_iter().rev().find_map(|number| {
        #[expect(unsafe_code, reason = "a descriptor that it found")]
        // SAFETY: the descriptor was open just now, and the worker keeps it open.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        is_meant(fd).then(|| fd.try_clone_to_owned().expect("a descriptor"))
    });
    found.unwrap_or_else(|| panic!("this worker has no {kind}"))
}

fn is_written(fd: BorrowedFd<'_>) -> bool {
    let flags = rustix::fs::fcntl_getfl(fd).expect("a descriptor");
    flags.intersection(OFlags::RWMODE) == OFlags::WRONLY
}
