//! Processes wait for changes that others make, under the lock or without it, and some of these are killed. Each waiter
//! sees each change that was made.

use loom::sync::Arc;
use loom::thread;

use super::atomic::{AtomicU64, Ordering, explore};
use super::changes::Changes;
use super::mark::Mark;
use super::system::{System, die, until_it_dies};
use super::word::Word;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    /// Waits until all changes have been made that will be made.
    Waits,
    /// Makes a change under the lock.
    Changes,
    /// Makes a change by one instruction, and announces it afterwards.
    ChangesAtOnce,
    /// Is killed after it has increased the version, and before it rings.
    DiesBeforeItRings,
    /// Is killed after it has rung, and before it clears the mark.
    DiesAfterItRang,
    /// Is killed after it has announced a change, and before it makes the change.
    DiesBeforeItChanges,
    /// Is killed after it has made a change, while it holds the lock.
    DiesWithTheLock,
    /// Is killed after it has made a change by one instruction, and before it announces the change.
    DiesBeforeItAnnounces,
    /// Is killed after it has made a change by one instruction and increased the version.
    DiesBeforeItRingsForIt,
}

use Process::{
    Changes as ChangesIt, ChangesAtOnce, DiesAfterItRang, DiesBeforeItAnnounces,
    DiesBeforeItChanges, DiesBeforeItRings, DiesBeforeItRingsForIt, DiesWithTheLock, Waits,
};

impl Process {
    /// Whether its change is made, whatever happens to it.
    fn changes(self) -> bool {
        !matches!(
            self,
            Waits | DiesBeforeItRings | DiesAfterItRang | DiesBeforeItChanges
        )
    }
}

struct Guarded {
    holder: AtomicU64,
    waiting: AtomicU64,
    version: AtomicU64,
    listening: AtomicU64,
    /// How many changes have been made.
    made: AtomicU64,
    system: System,
}

impl Guarded {
    fn new() -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self {
            holder: zero(),
            waiting: zero(),
            version: zero(),
            listening: zero(),
            made: zero(),
            system: System::new(),
        })
    }

    fn word(&self) -> Word<'_> {
        Word {
            holder: &self.holder,
            waiting: Mark(&self.waiting),
        }
    }

    fn changes(&self) -> Changes<'_> {
        Changes {
            version: &self.version,
            listening: Mark(&self.listening),
        }
    }

    fn locked<T>(&self, own: u64, work: impl FnOnce() -> T) -> T {
        assert!(self.system.lock(self.word(), own, || false));
        let outcome = work();
        self.word().give_back(own, || self.system.ring());
        outcome
    }

    /// Waits as `robust/wait_until.rs` does. It also watches processes that may make a change without the lock.
    fn wait_until(&self, own: u64, goal: u64, mut watched: Vec<u64>) {
        let mut listener = None;
        loop {
            let check = || {
                let version = self.changes().version();
                (version, self.made.load(Ordering::SeqCst))
            };
            let (version, made) = self.locked(own, check);
            if made == goal {
                return;
            }
            let listener = listener.get_or_insert_with(|| self.system.listen());
            while self.changes().listen() == version {
                if let Some(ended) = listener.wait(&watched) {
                    watched.retain(|process| *process != ended);
                    break;
                }
            }
        }
    }

    fn change(&self) {
        self.made.fetch_add(1, Ordering::SeqCst);
    }

    fn announce(&self) {
        self.changes().announce(|| self.system.ring());
    }

    fn run(&self, own: u64, process: Process, goal: u64, watched: Vec<u64>) {
        match process {
            Waits => return self.wait_until(own, goal, watched),
            ChangesIt => {
                return self.locked(own, || {
                    self.announce();
                    self.change();
                });
            }
            ChangesAtOnce => {
                self.change();
                return self.announce();
            }
            DiesBeforeItRings => until_it_dies(|| {
                self.locked(own, || self.changes().announce(die));
            }),
            DiesAfterItRang => until_it_dies(|| {
                self.locked(own, || {
                    self.changes().announce(|| {
                        self.system.ring();
                        die();
                    });
                    die(); // No process waited.
                });
            }),
            DiesBeforeItChanges => until_it_dies(|| {
                self.locked(own, || {
                    self.announce();
                    die();
                });
            }),
            DiesWithTheLock => until_it_dies(|| {
                self.locked(own, || {
                    self.announce();
                    self.change();
                    die();
                });
            }),
            DiesBeforeItAnnounces => self.change(),
            DiesBeforeItRingsForIt => until_it_dies(|| {
                self.change();
                self.changes().announce(die);
            }),
        }
        self.system.end(own);
    }
}

fn in_every_order(preemptions: usize, processes: &'static [Process]) {
    let makers = processes.iter().filter(|process| process.changes());
    let goal = makers.count() as u64;
    let is_watched =
        |process: Process| matches!(process, DiesBeforeItAnnounces | DiesBeforeItRingsForIt);
    explore(preemptions, move || {
        let guarded = Guarded::new();
        let all = processes.iter().zip(1..);
        let watched = all.clone().filter(|(process, _)| is_watched(**process));
        let watched: Vec<u64> = watched.map(|(_, number)| number).collect();
        let others = all.skip(1).map(|(process, number)| {
            let (guarded, watched) = (guarded.clone(), watched.clone());
            thread::spawn(move || guarded.run(number, *process, goal, watched))
        });
        let others: Vec<_> = others.collect();
        guarded.run(1, processes[0], goal, watched);
        for process in others {
            process.join().unwrap(); // Each ends, or loom finds it waiting forever.
        }
    });
}

#[test]
fn a_waiter_for_changes_sees_each() {
    in_every_order(3, &[Waits, ChangesIt]);
    in_every_order(1, &[Waits, ChangesIt, ChangesIt]);
    in_every_order(1, &[Waits, Waits, ChangesIt]);
}

#[test]
fn a_change_without_the_lock_takes_no_others_wake_up() {
    in_every_order(3, &[Waits, ChangesAtOnce]);
    in_every_order(1, &[Waits, ChangesAtOnce, ChangesAtOnce]);
    in_every_order(1, &[Waits, ChangesAtOnce, ChangesIt]);
}

#[test]
fn a_kill_during_an_announcement_leaves_no_waiter() {
    in_every_order(1, &[Waits, ChangesIt, DiesBeforeItRings]);
    in_every_order(1, &[Waits, ChangesIt, DiesAfterItRang]);
    in_every_order(1, &[Waits, ChangesIt, DiesBeforeItChanges]);
    in_every_order(1, &[Waits, ChangesAtOnce, DiesBeforeItRings]);
}

#[test]
fn a_change_whose_maker_is_killed_after_it_is_seen() {
    in_every_order(3, &[Waits, DiesWithTheLock]);
    in_every_order(1, &[Waits, ChangesIt, DiesWithTheLock]);
    in_every_order(3, &[Waits, DiesBeforeItAnnounces]);
    in_every_order(3, &[Waits, DiesBeforeItRingsForIt]);
    in_every_order(1, &[Waits, ChangesIt, DiesBeforeItRingsForIt]);
}
