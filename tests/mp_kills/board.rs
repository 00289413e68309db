//! Where those who take part note what they do: words in memory that all of them have, also when a
//! process has been killed.

use concurrent_futures::multiprocessing::SharedMemory;
use serde::{Deserialize, Serialize};

/// So many can take part in a trial, in all.
pub(super) const MOST: usize = 64;

/// Words that are anybody's, before those that are each one's own.
const COMMON: usize = 8;

/// How many words each has.
const OWN: usize = 3;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Board(SharedMemory);

/// One of those who take part, on the board.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) board: Board,
    pub(super) who: usize,
}

/// Where it is noted that it is time to end.
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

    /// A word that is anybody's, from 1 on.
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

    /// The words of this number of all who take part.
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

    /// It has done that once more.
    pub(super) fn count(&self, at: usize) {
        self.set_own(at, self.own(at) + 1);
    }
}
