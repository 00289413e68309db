//! Selects the names that are checked for owners when a segment is created. Each check takes some 10 µs, so a program
//! that creates thousands of segments would spend its time on names that it checked a moment ago.
//!
//! The first creation of a process checks all names, so a program that starts again after a crash frees the memory that
//! it left. Each later one checks the next [`SHARE`] of a list, and reads a new list after the last. So the cost of a
//! creation does not grow with the number of names. With up to `SHARE` names, each creation still checks all of them.

/// The number of names that a creation checks.
const SHARE: usize = 8;

/// The names that remain to be checked.
#[derive(Debug)]
pub(super) struct Sweep {
    unchecked: Vec<String>,
    is_first: bool,
}

impl Sweep {
    pub(super) const fn new() -> Self {
        Self {
            unchecked: Vec::new(),
            is_first: true,
        }
    }

    /// The names to check now. `list` returns all existing names.
    pub(super) fn next(&mut self, list: impl FnOnce() -> Vec<String>) -> Vec<String> {
        if std::mem::take(&mut self.is_first) {
            return list();
        }
        if self.unchecked.is_empty() {
            self.unchecked = list();
        }
        let rest = self.unchecked.len().saturating_sub(SHARE);
        self.unchecked.split_off(rest)
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| number.to_string()).collect()
    }

    #[test]
    fn the_first_creation_of_a_process_checks_all_names() {
        let mut sweep = Sweep::new();
        assert_eq!(sweep.next(|| names(1000)).len(), 1000);
    }

    #[test]
    fn each_creation_checks_all_of_a_few_names() {
        let mut sweep = Sweep::new();
        for _ in 0..3 {
            assert_eq!(sweep.next(|| names(SHARE)), names(SHARE));
        }
    }

    #[test]
    fn the_names_that_each_of_many_creations_reads_and_checks_do_not_grow_with_their_number() {
        let (mut sweep, mut read, mut checked) = (Sweep::new(), 0, 0);
        for created in 0..2000 {
            let list = || {
                read += created;
                names(created)
            };
            checked += sweep.next(list).len();
        }
        assert!(checked <= 2000 * SHARE, "{checked}");
        assert!(read <= 2000 * SHARE + 2000, "{read}");
    }

    #[test]
    fn every_name_is_checked_in_turn() {
        let mut sweep = Sweep::new();
        sweep.next(Vec::new);
        let turns = 0..100_usize.div_ceil(SHARE);
        let mut checked: Vec<_> = turns.flat_map(|_| sweep.next(|| names(100))).collect();
        assert_eq!(checked.len(), 100);
        checked.sort();
        checked.dedup();
        assert_eq!(checked.len(), 100);
    }
}
