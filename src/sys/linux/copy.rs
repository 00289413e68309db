//! Copies to and from memory while other threads or processes may do the same.

use std::sync::atomic::{AtomicU64, Ordering};

use super::memory::SharedMapping;

impl SharedMapping {
    /// Copies bytes out. If another process writes a byte meanwhile, the copy has the old byte or the new one. All
    /// bytes of one aligned word are from the same moment.
    pub(crate) fn load(&self, offset: usize, target: &mut [u8]) {
        let words = self.words(offset, target.len());
        let (first, rest) = target.split_at_mut(before_word(offset, target.len()));
        let (whole, last) = rest.as_chunks_mut();
        let (first_word, words) = words.split_at(usize::from(!first.is_empty()));
        for word in first_word {
            let from = offset % 8;
            first.copy_from_slice(&bytes_of(word)[from..from + first.len()]);
        }
        let (words, last_word) = words.split_at(whole.len());
        for (bytes, word) in whole.iter_mut().zip(words) {
            *bytes = bytes_of(word);
        }
        for word in last_word {
            last.copy_from_slice(&bytes_of(word)[..last.len()]);
        }
    }

    /// Copies bytes in. Neighbouring bytes keep their values, even if another process writes them meanwhile.
    pub(crate) fn store(&self, offset: usize, bytes: &[u8]) {
        let words = self.words(offset, bytes.len());
        let (first, rest) = bytes.split_at(before_word(offset, bytes.len()));
        let (whole, last) = rest.as_chunks();
        let (first_word, words) = words.split_at(usize::from(!first.is_empty()));
        for word in first_word {
            replace(word, offset % 8, first);
        }
        let (words, last_word) = words.split_at(whole.len());
        for (bytes, word) in whole.iter().zip(words) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        for word in last_word {
            replace(word, 0, last);
        }
    }
}

/// How many of `len` bytes at `offset` are before the first word boundary.
fn before_word(offset: usize, len: usize) -> usize {
    (offset.next_multiple_of(8) - offset).min(len)
}

fn bytes_of(word: &AtomicU64) -> [u8; 8] {
    word.load(Ordering::Relaxed).to_ne_bytes()
}

/// How often a part of a word is written while others write the rest. More attempts are needed only if a process writes
/// to the word all the time.
const ATTEMPTS: usize = 1000;

/// Writes a part of a word.
fn replace(word: &AtomicU64, from: usize, bytes: &[u8]) {
    let with = |word: u64| {
        let mut all = word.to_ne_bytes();
        all[from..from + bytes.len()].copy_from_slice(bytes);
        u64::from_ne_bytes(all)
    };
    let mut seen = word.load(Ordering::Relaxed);
    for _ in 0..ATTEMPTS {
        let changed =
            word.compare_exchange_weak(seen, with(seen), Ordering::Relaxed, Ordering::Relaxed);
        match changed {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
    word.store(with(seen), Ordering::Relaxed);
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::super::copy_once::LONG;
    use super::*;

    #[test]
    fn whatever_is_copied_in_comes_out_and_its_neighbours_stay() {
        const LEN: usize = 40;
        let (memory, _) = SharedMapping::create(LEN).expect("memory");
        let mut expected = [0; LEN];
        for offset in 0..=LEN {
            for len in 0..=LEN - offset {
                let bytes: Vec<u8> = (0..len).map(|n| (offset * 7 + len * 3 + n) as u8).collect();
                memory.store(offset, &bytes);
                expected[offset..offset + len].copy_from_slice(&bytes);
                let mut all = [0; LEN];
                memory.load(0, &mut all);
                assert_eq!(all, expected, "{len} at {offset}");
                let mut part = vec![0; len];
                memory.load(offset, &mut part);
                assert_eq!(part, bytes, "{len} at {offset}");
            }
        }
    }

    #[test]
    fn whatever_is_written_is_read_onto_what_is_there() {
        let len = 3 * LONG.min(1000);
        let (memory, _) = SharedMapping::create(len).expect("memory");
        let bytes: Vec<u8> = (0..len).map(|n| (n * 7 % 251) as u8).collect();
        memory.write(0, &bytes);
        for (offset, count) in
            (0..40).flat_map(|at| [(at, at), (at, LONG.min(500) + at), (2 * at, 0)])
        {
            let mut target = vec![9];
            memory.read_onto(offset, count, &mut target);
            assert_eq!(target, [&[9], &bytes[offset..][..count]].concat());
        }
    }

    #[test]
    fn neighbours_that_are_written_at_the_same_time_do_not_undo_each_other() {
        let (memory, _) = SharedMapping::create(8).expect("memory");
        std::thread::scope(|scope| {
            for place in 0..4 {
                let memory = &memory;
                scope.spawn(move || {
                    for n in 0..10_000_u16 {
                        memory.store(place * 2, &n.to_ne_bytes());
                        let mut own = [0; 2];
                        memory.load(place * 2, &mut own);
                        assert_eq!(u16::from_ne_bytes(own), n);
                    }
                });
            }
        });
    }
}
