//! A read-write lock in shared memory that outlives killed readers and writers. For its words see
//! [`readers`](super::readers).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::{Deserializer, Serialize, Serializer};

use super::lock::{RobustGuard, RobustLock};
use super::readers::ReaderPlace;
use super::shared::SharedObject;
use crate::multiprocessing::waiting::driver::Driver;
use crate::multiprocessing::waiting::mark::Mark;
use crate::multiprocessing::waiting::wait::{WatchedProcesses, wait_for};
use crate::multiprocessing::waiting::waiter::Waiter as _;
use crate::sys::ProcessIdentity;

/// The layout: the gate, the mark of the writer that waits for readers, the process that writes, the process that died
/// while it wrote, the number of places ever used, the places.
const WAITING: usize = RobustLock::BYTES;
const WRITER: usize = WAITING + 8;
const ABANDONED_BY: usize = WRITER + 8;
const USED: usize = ABANDONED_BY + 8;
const START: usize = USED + 8;
const PLACE: usize = 16;
const BYTES: usize = 4096;

/// The number of processes that can read at the same time. More read one at a time.
const PLACES: usize = (BYTES - START) / PLACE;

/// How often a call that must not wait checks whether the gate is still closed. A reader closes it for a moment.
const TRIES: usize = 16;

#[derive(Debug)]
pub(crate) struct RobustRw {
    shared: SharedObject,
    /// Held by the writer, and for a moment by each reader that waited.
    gate: RobustLock,
    /// The place of this process.
    hint: AtomicUsize,
}

/// How a reader holds the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReadHold {
    /// It counts at this place.
    Place(usize),
    /// All places are taken by other processes, so it keeps the gate.
    Gate,
}

/// What a new reader or writer learns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RwHeld<H> {
    pub(crate) hold: H,
    /// The process that died while it wrote, if no writer has held the lock since.
    pub(crate) abandoned_by: Option<u32>,
    /// A fork of this process does not hold the lock.
    pub(crate) owner: ProcessIdentity,
}

impl RobustRw {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        Ok(Self::of(SharedObject::new(BYTES, BYTES)?))
    }

    fn of(shared: SharedObject) -> Arc<Self> {
        let make = |shared: SharedObject| Self {
            gate: shared.robust(),
            shared,
            hint: AtomicUsize::new(0),
        };
        shared.recognised(make, |rw| &rw.shared)
    }

    /// The received lock.
    pub(crate) fn receive<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Self>, D::Error> {
        SharedObject::receive(deserializer, BYTES).map(Self::of)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        self.shared.memory().word(at)
    }

    fn place(&self, place: usize) -> ReaderPlace<'_> {
        let at = START + place * PLACE;
        ReaderPlace {
            process: self.word(at),
            readers: self.word(at + 8),
        }
    }

    fn used(&self) -> usize {
        (self.word(USED).load(Ordering::SeqCst) as usize).min(PLACES)
    }

    fn waiting(&self) -> Mark<'_> {
        Mark(self.word(WAITING))
    }

    /// Takes the lock for reading, in a wait that has started. `None` if time is up.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver. On a thread that drives async
    /// code, if the driver is that of a thread.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn read_in_turn<D: Driver>(&self, driver: &D) -> Option<RwHeld<ReadHold>> {
        Some(self.enter_under(self.gate.take_by(driver).await?))
    }

    /// Takes the lock for reading if no writer holds it or waits for its readers.
    pub(crate) fn try_read(&self) -> Option<RwHeld<ReadHold>> {
        self.at_once(|| {
            let enter = || Some(self.enter_under(self.gate.try_lock()?));
            self.enter().or_else(enter)
        })
    }

    /// Takes the lock for writing. `None` if time is up.
    ///
    /// # Panics
    /// Like [`read_in_turn`](Self::read_in_turn).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn write<D: Driver>(&self, driver: &D) -> Option<RwHeld<()>> {
        let held = self.gate.lock_by(driver).await?;
        self.note_dead_writer(&held);
        let mut is_drained = false;
        let check_once = || {
            is_drained = self.check_once().is_some();
            is_drained
        };
        driver.linger(check_once).await;
        if !is_drained {
            let mut waiter = D::Waiter::new(self.shared.bell());
            let drained = wait_for(driver, &mut waiter, |watched| {
                self.waiting().raise();
                self.check_readers(watched)
            });
            drained.await?;
        }
        Some(self.begin_to_write(held))
    }

    /// Takes the lock for writing if it is free.
    pub(crate) fn try_write(&self) -> Option<RwHeld<()>> {
        let held = self.at_once(|| self.gate.try_lock())?;
        self.note_dead_writer(&held);
        self.clear_dead(&held);
        self.check_once().map(|()| self.begin_to_write(held))
    }

    fn at_once<T>(&self, mut check: impl FnMut() -> Option<T>) -> Option<T> {
        (0..TRIES).find_map(|_| {
            let found = check();
            if found.is_none() {
                std::thread::yield_now(); // The holder of the gate may wait for this CPU.
            }
            found
        })
    }

    /// Takes the lock for reading while the gate is open.
    pub(crate) fn enter(&self) -> Option<RwHeld<ReadHold>> {
        let is_open = || self.gate.holder().is_none();
        let number = is_open().then(|| self.own_place())??;
        let place = self.place(number);
        place.enter();
        if is_open() {
            return Some(self.taken(ReadHold::Place(number)));
        }
        place.leave(self.waiting(), || self.shared.bell().ring());
        None
    }

    /// Enters as the holder of the gate.
    fn enter_under(&self, held: RobustGuard<'_>) -> RwHeld<ReadHold> {
        self.note_dead_writer(&held);
        let taken = self.taken(self.hold_under(&held));
        if matches!(taken.hold, ReadHold::Gate) {
            held.keep();
        }
        taken
    }

    fn hold_under(&self, held: &RobustGuard<'_>) -> ReadHold {
        let place = self.own_place().or_else(|| {
            self.clear_dead(held);
            self.own_place()
        });
        match place {
            Some(place) => {
                self.place(place).enter();
                ReadHold::Place(place)
            }
            None => ReadHold::Gate,
        }
    }

    /// The place of this process, which it claims if it has none.
    fn own_place(&self) -> Option<usize> {
        let (own, hint) = (
            ProcessIdentity::own().to_word(),
            self.hint.load(Ordering::Relaxed),
        );
        if self.place(hint).is_of(own) {
            return Some(hint);
        }
        let is_own = |place: &usize| self.place(*place).is_of(own);
        let claim = |place: &usize| {
            self.place(*place).is_free() && {
                // First, so that no thread of this process enters at a place that a writer does not check.
                self.word(USED)
                    .fetch_max(*place as u64 + 1, Ordering::SeqCst);
                self.place(*place).claim(own)
            }
        };
        let found = (0..self.used()).find(is_own);
        let place = found.or_else(|| (0..PLACES).find(claim))?;
        self.hint.store(place, Ordering::Relaxed);
        Some(place)
    }

    /// A writer's check of the readers, with the gate closed.
    fn check_readers(&self, watched: &mut WatchedProcesses) -> Option<()> {
        let mut reading = false;
        for place in (0..self.used()).map(|place| self.place(place)) {
            if let Some(process) = place.reading() {
                match watched.watch_word(process) {
                    Some(ended) => place.clear(ended.to_word()),
                    None => reading = true,
                }
            }
        }
        (!reading).then_some(())
    }

    fn check_once(&self) -> Option<()> {
        self.check_readers(&mut WatchedProcesses::default())
    }

    /// Clears the places of all dead processes.
    fn clear_dead(&self, _held: &RobustGuard<'_>) {
        for place in (0..self.used()).map(|place| self.place(place)) {
            let process = place.process.load(Ordering::SeqCst);
            if ProcessIdentity::from_word(process).is_some_and(ProcessIdentity::has_ended) {
                place.clear(process);
            }
        }
    }

    /// A writer that still writes, although its gate was taken over, has died.
    fn note_dead_writer(&self, _held: &RobustGuard<'_>) {
        let writer = self.word(WRITER).load(Ordering::Acquire);
        if let Some(dead) = ProcessIdentity::from_word(writer) {
            // In this order: this process may be killed in between.
            self.word(ABANDONED_BY)
                .store(dead.pid().into(), Ordering::Release);
            self.word(WRITER).store(0, Ordering::Release);
        }
    }

    fn begin_to_write(&self, held: RobustGuard<'_>) -> RwHeld<()> {
        let taken = self.taken(());
        self.word(WRITER)
            .store(taken.owner.to_word(), Ordering::Release);
        held.keep();
        taken
    }

    fn taken<H>(&self, hold: H) -> RwHeld<H> {
        let dead = self.word(ABANDONED_BY).load(Ordering::Acquire) as u32;
        RwHeld {
            hold,
            abandoned_by: (dead != 0).then_some(dead),
            owner: ProcessIdentity::own(),
        }
    }

    /// Releases the lock after reading.
    pub(crate) fn end_reading(&self, taken: &RwHeld<ReadHold>) {
        if taken.owner != ProcessIdentity::own() {
            return;
        }
        match taken.hold {
            ReadHold::Place(place) => {
                let place = self.place(place);
                place.leave(self.waiting(), || self.shared.bell().ring());
            }
            ReadHold::Gate => self.gate.give_back(taken.owner),
        }
    }

    /// Releases the lock after writing.
    pub(crate) fn end_writing(&self, taken: &RwHeld<()>) {
        if taken.owner == ProcessIdentity::own() {
            self.stop_writing(taken);
            self.gate.give_back(taken.owner);
        }
    }

    /// Keeps the lock for reading instead of writing. No other writer takes it in between.
    pub(crate) fn downgrade(&self, taken: &RwHeld<()>) -> RwHeld<ReadHold> {
        let mut reading = RwHeld {
            hold: ReadHold::Gate,
            abandoned_by: taken.abandoned_by,
            owner: taken.owner,
        };
        if taken.owner == ProcessIdentity::own() {
            if let Some(place) = self.own_place() {
                self.place(place).enter();
                reading.hold = ReadHold::Place(place);
            }
            self.stop_writing(taken);
            if matches!(reading.hold, ReadHold::Place(_)) {
                self.gate.give_back(taken.owner);
            }
        }
        reading
    }

    fn stop_writing(&self, taken: &RwHeld<()>) {
        if taken.abandoned_by.is_some() {
            self.word(ABANDONED_BY).store(0, Ordering::Release); // This writer saw the id.
        }
        self.word(WRITER).store(0, Ordering::Release);
    }

    /// The process that writes.
    pub(crate) fn writer(&self) -> Option<ProcessIdentity> {
        ProcessIdentity::from_word(self.word(WRITER).load(Ordering::Acquire))
    }

    /// The number of processes that read.
    pub(crate) fn reading(&self) -> usize {
        let places = (0..self.used()).map(|place| self.place(place));
        places.filter(|place| place.reading().is_some()).count()
    }
}

impl Serialize for RobustRw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shared.serialize(serializer)
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn process(program: &str) -> (Child, ProcessIdentity) {
        let mut process = Command::new(program);
        let process = process.stdin(Stdio::piped()).spawn().expect("a process");
        let identity = ProcessIdentity::from_word(process.id().into()).expect("not 0");
        (process, identity)
    }

    fn ended() -> (Child, ProcessIdentity) {
        let (process, identity) = process("true");
        while !identity.has_ended() {
            std::thread::yield_now();
        }
        (process, identity)
    }

    #[test]
    fn a_dead_writer_is_named_to_all_until_a_writer_has_released_the_lock() {
        let (rw, (mut process, dead)) = (RobustRw::new().expect("memory"), ended());
        let gate = 0;
        rw.word(gate).store(dead.to_word(), Ordering::SeqCst);
        rw.word(WRITER).store(dead.to_word(), Ordering::SeqCst);
        for _ in 0..2 {
            let reading = rw.try_read().expect("it is free");
            assert_eq!(reading.abandoned_by, Some(process.id()));
            rw.end_reading(&reading);
        }
        let writing = rw.try_write().expect("it is free");
        assert_eq!(writing.abandoned_by, Some(process.id()));
        rw.end_writing(&writing);
        assert_eq!(rw.try_write().expect("it is free").abandoned_by, None);
        process.wait().expect("it has ended");
    }

    #[test]
    fn readers_without_a_place_for_their_process_read_one_at_a_time() {
        let (rw, (mut process, other)) = (RobustRw::new().expect("memory"), process("cat"));
        for place in 0..PLACES {
            assert!(rw.place(place).claim(other.to_word()));
        }
        rw.word(USED).store(PLACES as u64, Ordering::SeqCst);
        let reading = rw.try_read().expect("it is free");
        assert!(matches!(reading.hold, ReadHold::Gate));
        assert!(rw.try_read().is_none() && rw.try_write().is_none());
        rw.end_reading(&reading);
        let writing = rw.downgrade(&rw.try_write().expect("it is free"));
        assert!(matches!(writing.hold, ReadHold::Gate) && rw.try_write().is_none());
        rw.end_reading(&writing);
        // The places of dead processes are used again.
        rw.place(7).enter();
        drop(process.stdin.take());
        while !other.has_ended() {
            std::thread::yield_now();
        }
        let reading = rw.try_read().expect("it is free");
        assert!(matches!(reading.hold, ReadHold::Place(_)) && rw.reading() == 1);
        rw.end_reading(&reading);
        assert!(rw.try_write().is_some());
        process.wait().expect("it has ended");
    }
}
