//! A few words that belong to this process only: in a fork of it they are empty. So a fork never uses what its parent
//! has determined about itself, and detecting a fork needs no system call.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapOptions;
use rustix::mm::{Advice, madvise};

/// The index of each word.
pub(super) const IDENTITY: usize = 0;
pub(super) const HOME: usize = 1;
pub(super) const FORKS: usize = 2;

const WORDS: usize = 3;

/// Process ids are smaller than 2^22. The rest of an identity is the start time of the process, in ticks of the clock
/// since the system has booted, or 0 if it is unknown.
pub(super) const PID_BITS: u32 = 22;

static OWN: OnceLock<Own> = OnceLock::new();

struct Own {
    words: &'static [AtomicU64; WORDS],
    /// Whether the system makes them zeros in a process that is forked.
    wiped: bool,
}

/// A word, not 0, that `find` determines once in each process. Without support of the system, `fits` says whether it
/// still belongs to this process.
#[inline]
pub(super) fn own_word(
    which: usize,
    fits: impl Fn(u64) -> bool,
    find: impl FnOnce() -> u64,
) -> u64 {
    let own = OWN.get_or_init(Own::new);
    let word = &own.words[which];
    let known = word.load(Ordering::Acquire);
    if known != 0 && (own.wiped || fits(known)) {
        return known;
    }
    found_word(word, known, find)
}

#[cold]
fn found_word(word: &AtomicU64, known: u64, find: impl FnOnce() -> u64) -> u64 {
    // All threads must get the same word, even if one of them determines less than another.
    let found = find();
    match word.compare_exchange(known, found, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => found,
        Err(another) => another,
    }
}

impl Own {
    fn new() -> Self {
        static KEPT: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
        let wiped = wiped_on_fork();
        Self {
            words: wiped.unwrap_or(&KEPT),
            wiped: wiped.is_some(),
        }
    }
}

/// Words that become zeros in a forked process, if the system supports that (Linux 4.14).
fn wiped_on_fork() -> Option<&'static [AtomicU64; WORDS]> {
    let mut map = MmapOptions::new()
        .len(WORDS * size_of::<AtomicU64>())
        .map_anon()
        .ok()?;
    let start = map.as_mut_ptr();
    // SAFETY: this process owns the whole mapping, which is private and has no file. Its content in this process stays
    // as it is.
    let advised = unsafe { madvise(start.cast(), map.len(), Advice::LinuxWipeOnFork) };
    advised.ok()?;
    std::mem::forget(map);
    // SAFETY: the mapping begins on a page boundary, is large enough, contains zeros, and was just leaked, so that
    // there are no other references to it and it is never unmapped.
    Some(unsafe { &*start.cast() })
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn the_system_wipes_words_in_a_fork() {
        assert!(
            wiped_on_fork().is_some(),
            "otherwise each check costs a system call"
        );
    }
}
