//! The board, on which members record what they do: words in memory that all of them share, and that survives a killed
//! process.

use concurrent_futures::multiprocessing::SharedMemory;
use serde::{Deserialize, Serialize};

/// The most members in a trial, in total.
pub(super) const MOST: usize = 64;

/// The words that all members share, before the words of each member.
const COMMON: usize = 8;

/// How many words each member has.
const OWN: usize = 3;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Board(SharedMemory);

/// A member, and its place on the board.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) board: Board,
    pub(super) who: usize,
}

/// The word that says that it is time to end.
const OVER: usize = 0;

impl Board {
    pub(super) fn new() -> Self {
        let words = COMMON + OWN * MOST;
        Self(SharedMemory::create(words * 8).expect("memory"))
    }

    pub(super) fn member(&self, who: usize) -> Member {
        let board = self.clone();
        assert!(who < MOST);
        Member { board, who }
    }

    fn word(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        self.0.read(at * 8, &mut word);
        u64::from_ne_bytes(word)
    }

    fn set_word(&self, at: usize, word: u64) {
        self.0.write(at * 8, &word.to_ne_bytes());
    }

    /// A shared word, from 1 on.
    pub(super) fn common(&self, at: usize) -> u64 {
        self.word(at)
    }

    pub(super) fn set_common(&self, at: usize, word: u64) {
        assert!(at < COMMON);
        self.set_word(at, word);
    }

    pub(super) fn is_over(&self) -> bool {
        self.word(OVER) == 1
    }

    pub(super) fn end(&self) {
        self.set_word(OVER, 1);
    }

    /// Word number `at` of each member.
    pub(super) fn all(&self, at: usize) -> Vec<u64> {
        let word = |who| self.word(COMMON + OWN * who + at);
        (0..MOST).map(word).collect()
    }

    pub(super) fn sum(&self, at: usize) -> u64 {
        self.all(at).into_iter().sum()
    }
}

impl Member {
    /// One of its own words.
    pub(super) fn own(&self, at: usize) -> u64 {
        self.board.word(COMMON + OWN * self.who + at)
    }

    pub(super) fn set_own(&self, at: usize, word: u64) {
        assert!(at < OWN);
        self.board.set_word(COMMON + OWN * self.who + at, word);
    }

    /// Counts one more event in one of its own words.
    pub(super) fn count(&self, at: usize) {
        self.set_own(at, self.own(at) + 1);
    }
}
