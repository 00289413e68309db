//! What property tests of hostile input share: how many cases they try, how they change messages, and how much memory a
//! case takes. This is what the parent reads from another process, and the tests of it:
//!
//! | read | by property tests | by a hostile process, in `tests/hostile` |
//! |---|---|---|
//! | frames of the answer pipe | `wire/{frame,frame_buffer,message,outcomes}`, `process/supervisor` | `floods`, `announcements` |
//! | values | `wire/{codec,chain,msgpack}` | `announcements` |
//! | claims, times and reports in the page | `process/link/recall`, `process/supervisor` | `claims`, `clocks`, `ahead` |
//! | outbox, memory and output words of the page | `process/supervisor` | |
//! | rings and what is announced for them | `wire/ring`, `process/supervisor` | `floods`, `announcements` |
//! | captured stdout and stderr, and their marks | `process/output/lines`, `process/supervisor` | `floods` |
//! | events | `wire/message`, `process/supervisor` | `announcements` |
//! | the start socket | `wire/identity`, `process/start/connection` | `before_ready` |
//! | answers of a fork server | `wire/forkserver`, `process/start/forkserver_process` | `forkserver` |
//! | descriptors beside messages | both of the above, `multiprocessing/pipe` | `before_ready`, `objects` |
//! | the outcome file of a `Process` | `wire/process_setup` | `outcome` |
//! | packets of a pipe | `multiprocessing/pipe` | `objects` |
//! | items and words of a queue | `multiprocessing/queue/ring`, `multiprocessing/objects` | `objects` |
//! | words of the other objects | `multiprocessing/objects` | `objects` |
//! | shared memory that is shortened or has holes | | `objects` |

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::env;

use proptest::prelude::*;
use proptest::test_runner::Config;

/// A test tries `cases` cases, times the environment variable `PROPERTY_TIMES`. (`PROPTEST_CASES` would give all tests
/// one number.)
pub(crate) fn cases(cases: u32) -> Config {
    let times = env::var("PROPERTY_TIMES").map_or(1, |times| times.parse().expect("a number"));
    Config {
        cases: cases.saturating_mul(times),
        max_shrink_iters: 20_000,
        ..Config::default()
    }
}

/// A change of a message's bytes before they are sent.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Nothing,
    Flip {
        at: usize,
        bit: u8,
    },
    Cut(usize),
    Repeat(usize),
    /// A different length in the head of the frame.
    Length(u32),
}

pub(crate) fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        12 => Just(Change::Nothing),
        1 => (any::<usize>(), 0_u8..8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        1 => any::<usize>().prop_map(Change::Cut),
        1 => (0_usize..50).prop_map(Change::Repeat),
        1 => any::<u32>().prop_map(Change::Length),
    ]
}

impl Change {
    pub(crate) fn make(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        match *self {
            Self::Flip { at, bit } if !bytes.is_empty() => {
                let at = at % bytes.len();
                bytes[at] ^= 1 << bit;
            }
            Self::Cut(at) => bytes.truncate(at % (bytes.len() + 1)),
            Self::Repeat(times) => bytes = bytes.repeat(times),
            Self::Length(len) if bytes.len() >= 4 => bytes[..4].copy_from_slice(&len.to_le_bytes()),
            Self::Nothing | Self::Flip { .. } | Self::Length(_) => {}
        }
        bytes
    }
}

thread_local! {
    /// The bytes that this thread has allocated and not freed, and the maximum since a measurement began.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// Runs `act`. Also returns the most bytes that this thread held meanwhile, in addition to those before.
pub(crate) fn memory_of<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let (before, _) = HELD.get();
    HELD.set((before, before));
    let result = act();
    let (_, most) = HELD.get();
    (result, most.abs_diff(before))
}

fn count(change: isize) {
    // A thread that is ending has no count any more.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + change, most.max(now + change)));
    });
}

/// Counts what each thread allocates.
struct CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[expect(unsafe_code, reason = "an allocator is unsafe")]
// SAFETY: each call is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(memory, layout, new_size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[test]
fn memory_is_counted_for_each_thread() {
    let (bytes, most) = memory_of(|| {
        drop(vec![1_u8; 1 << 20]);
        vec![1_u8; 100]
    });
    assert!((1 << 20..2 << 20).contains(&most) && bytes.len() == 100);
    let (_, most) = memory_of(|| std::thread::spawn(|| vec![1_u8; 1 << 20]).join());
    assert!(most < 1 << 20);
}
