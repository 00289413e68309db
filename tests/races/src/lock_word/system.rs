//! The system's part for processes that wait for each other: it rings a bell, and reports which processes have ended.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use loom::sync::{Condvar, Mutex};

use super::word::Word;

#[derive(Default)]
struct Known {
    rings: u32,
    ended: Vec<u64>,
}

pub(crate) struct System {
    known: Mutex<Known>,
    happened: Condvar,
}

/// A listener, and the number of rings that it has heard.
pub(crate) struct Listener<'a> {
    system: &'a System,
    heard: u32,
}

impl System {
    pub(crate) fn new() -> Self {
        Self {
            known: Mutex::new(Known::default()),
            happened: Condvar::new(),
        }
    }

    pub(crate) fn ring(&self) {
        self.known.lock().unwrap().rings += 1;
        self.happened.notify_all();
    }

    pub(crate) fn end(&self, process: u64) {
        self.known.lock().unwrap().ended.push(process);
        self.happened.notify_all();
    }

    /// Waits for a lock, as `robust.rs` does. Returns false if the process was killed before it checked again.
    pub(crate) fn lock(&self, word: Word<'_>, own: u64, is_killed: impl Fn() -> bool) -> bool {
        if word.take(own).is_ok() {
            return true;
        }
        let (mut listener, mut ended) = (self.listen(), None);
        loop {
            word.waiting.raise();
            if is_killed() {
                return false;
            }
            let Err(holder) = word.take_or_seize(own, ended) else {
                return true;
            };
            assert_ne!(
                Some(holder),
                ended,
                "the one that was quicker is to be seen"
            );
            ended = listener.wait(&[holder]);
        }
    }

    pub(crate) fn listen(&self) -> Listener<'_> {
        let heard = self.known.lock().unwrap().rings;
        Listener {
            system: self,
            heard,
        }
    }
}

impl Listener<'_> {
    /// Waits until the bell rings, or until one of these processes has ended, which is then returned.
    pub(crate) fn wait(&mut self, watched: &[u64]) -> Option<u64> {
        let mut known = self.system.known.lock().unwrap();
        loop {
            let ended = watched.iter().find(|process| known.ended.contains(process));
            if let Some(ended) = ended {
                return Some(*ended);
            }
            if known.rings != self.heard {
                self.heard = known.rings;
                return None;
            }
            known = self.system.happened.wait(known).unwrap();
        }
    }
}

struct Dead;

/// The process is killed at this point.
pub(crate) fn die() {
    resume_unwind(Box::new(Dead));
}

/// Runs a process until it is killed.
pub(crate) fn until_it_dies(work: impl FnOnce()) {
    if let Err(other) = catch_unwind(AssertUnwindSafe(work))
        && !other.is::<Dead>()
    {
        resume_unwind(other);
    }
}
