//! Processes read and write, and some are killed. Each gets the lock, and no process reads or writes beside a writer.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::atomic::{AtomicU64, Ordering, explore};
use super::mark::Mark;
use super::readers::ReaderPlace;
use super::system::{System, die, until_it_dies};
use super::word::Word;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    /// Waits for the lock, reads, and releases it.
    Reads,
    /// Waits for the lock, writes, and releases it.
    Writes,
    /// Is killed when it counts as a reader, before it checks the gate.
    DiesEntering,
    /// Is killed while it reads.
    DiesReading,
    /// Is killed after it has left, and before it rings for the writer.
    DiesLeaving,
    /// Is killed with the gate, before it checks for readers.
    DiesBeforeItWrites,
    /// Is killed while it writes.
    DiesWriting,
    /// Is killed after it has cleared the place of a dead process, or has found none to clear.
    DiesClearing,
}

use Process::{
    DiesBeforeItWrites, DiesClearing, DiesEntering, DiesLeaving, DiesReading, DiesWriting, Reads,
    Writes,
};

const PLACES: usize = 2;

struct Lock {
    gate: AtomicU64,
    gate_waiting: AtomicU64,
    drain_waiting: AtomicU64,
    places: Vec<[AtomicU64; 2]>,
    /// Loom checks that no thread writes to it while another one reads or writes.
    guarded: UnsafeCell<()>,
    system: System,
}

impl Lock {
    fn new() -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self {
            gate: zero(),
            gate_waiting: zero(),
            drain_waiting: zero(),
            places: (0..PLACES).map(|_| [zero(), zero()]).collect(),
            guarded: UnsafeCell::new(()),
            system: System::new(),
        })
    }

    fn gate(&self) -> Word<'_> {
        Word {
            holder: &self.gate,
            waiting: Mark(&self.gate_waiting),
        }
    }

    fn drain(&self) -> Mark<'_> {
        Mark(&self.drain_waiting)
    }

    fn places(&self) -> impl Iterator<Item = ReaderPlace<'_>> {
        self.places
            .iter()
            .map(|[process, readers]| ReaderPlace { process, readers })
    }

    fn own_place(&self, own: u64) -> ReaderPlace<'_> {
        let claim =
            |place: &ReaderPlace<'_>| place.is_of(own) || place.is_free() && place.claim(own);
        self.places()
            .find(claim)
            .expect("there is one for each reader")
    }

    fn take_gate(&self, own: u64) {
        assert!(self.system.lock(self.gate(), own, || false));
    }

    fn open_gate(&self, own: u64) {
        self.gate().give_back(own, || self.system.ring());
    }

    /// Enters as in `rw.rs`.
    fn enter(&self, own: u64, process: Process) -> ReaderPlace<'_> {
        let place = self.own_place(own);
        place.enter();
        if process == DiesEntering {
            die();
        }
        if self.gate.load(Ordering::SeqCst) == 0 {
            return place;
        }
        place.leave(self.drain(), || self.system.ring());
        self.take_gate(own);
        let place = self.own_place(own);
        place.enter();
        self.open_gate(own);
        place
    }

    fn read(&self, own: u64, process: Process) {
        let place = self.enter(own, process);
        self.guarded.with(|_| ());
        if process == DiesReading {
            die();
        }
        place.leave(self.drain(), || match process {
            DiesLeaving => die(),
            _ => self.system.ring(),
        });
        if process == DiesLeaving {
            die(); // No writer waits.
        }
    }

    /// Checks as in `rw.rs`. Returns whether there are readers.
    fn check(&self, ended: Option<u64>, watched: &mut Vec<u64>) -> bool {
        for place in self.places() {
            match place.reading() {
                Some(reader) if Some(reader) == ended => place.clear(reader),
                Some(reader) => watched.push(reader),
                None => {}
            }
        }
        watched.is_empty()
    }

    fn write(&self, own: u64, process: Process) {
        self.take_gate(own);
        if process == DiesBeforeItWrites {
            die();
        }
        let (mut listener, mut ended) = (self.system.listen(), None);
        loop {
            self.drain().raise();
            let mut watched = Vec::new();
            let drained = self.check(ended, &mut watched);
            if process == DiesClearing && (drained || ended.is_some()) {
                die();
            }
            if drained {
                break;
            }
            ended = listener.wait(&watched);
        }
        self.guarded.with_mut(|_| ());
        if process == DiesWriting {
            die();
        }
        self.open_gate(own);
    }

    fn run(&self, own: u64, process: Process) {
        match process {
            Reads => return self.read(own, process),
            Writes => return self.write(own, process),
            DiesEntering | DiesReading | DiesLeaving => until_it_dies(|| self.read(own, process)),
            DiesBeforeItWrites | DiesWriting | DiesClearing => {
                until_it_dies(|| self.write(own, process))
            }
        }
        self.system.end(own);
    }
}

fn in_every_order(preemptions: usize, processes: &'static [Process]) {
    threads_in_every_order(preemptions, processes, &[1, 2, 3]);
}

/// Each is a thread of the process with this number.
fn threads_in_every_order(
    preemptions: usize,
    threads: &'static [Process],
    numbers: &'static [u64],
) {
    explore(preemptions, move || {
        let lock = Lock::new();
        let others = threads.iter().zip(numbers).skip(1);
        let others = others.map(|(process, number)| {
            let lock = lock.clone();
            thread::spawn(move || lock.run(*number, *process))
        });
        let others: Vec<_> = others.collect();
        lock.run(numbers[0], threads[0]);
        for process in others {
            process.join().unwrap(); // Each ends, or loom finds it waiting forever.
        }
    });
}

#[test]
fn no_one_reads_or_writes_beside_a_writer_and_each_gets_the_lock() {
    in_every_order(4, &[Reads, Writes]);
    in_every_order(4, &[Writes, Writes]);
    in_every_order(2, &[Reads, Reads, Writes]);
    in_every_order(2, &[Reads, Writes, Writes]);
}

#[test]
fn readers_of_one_process_share_its_place_and_the_last_of_them_lets_the_writer_in() {
    threads_in_every_order(2, &[Writes, Reads, Reads], &[1, 2, 2]);
    threads_in_every_order(2, &[Writes, Reads, Reads], &[1, 1, 2]);
}

#[test]
fn a_reader_that_is_killed_at_any_step_keeps_no_writer_waiting() {
    for process in [
        &[Writes, DiesEntering],
        &[Writes, DiesReading],
        &[Writes, DiesLeaving],
    ] {
        in_every_order(4, process);
    }
    in_every_order(2, &[Writes, Reads, DiesReading]);
    in_every_order(2, &[Writes, Reads, DiesLeaving]);
}

#[test]
fn a_writer_that_is_killed_at_any_step_keeps_no_one_waiting() {
    for process in [
        &[Reads, DiesBeforeItWrites],
        &[Reads, DiesWriting],
        &[Reads, DiesClearing],
    ] {
        in_every_order(4, process);
    }
    in_every_order(2, &[Writes, DiesBeforeItWrites]);
    in_every_order(2, &[Writes, DiesWriting]);
    in_every_order(2, &[Writes, DiesClearing, DiesReading]);
    in_every_order(2, &[Reads, DiesClearing, DiesReading]);
}
