//! The queue as one process sees it: memory, bell and sockets together. This file knows items only as bytes and
//! descriptors.
//!
//! Everything happens under one lock, by the rule of [`robust`](crate::multiprocessing::robust::lock): ring, change,
//! commit by one store. A ring happens only where a wait may be over: a put into an empty queue, a take from a
//! full one, and the last item that is done. It wakes all waiters, and those that find nothing wait for the
//! next ring. Many puts wake a sleeping consumer once.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::QueueError;
use super::holders::{self, Holders};
use super::ring::{BASE, ItemHead, QueueRing, check};
use super::state::{Kept, RingState};
use super::store::step;
use crate::multiprocessing::item::{IncomingItem, OutgoingItem};
use crate::multiprocessing::known::{Part, recognised};
use crate::multiprocessing::robust::lock::{RobustGuard, RobustLock};
use crate::multiprocessing::waiting::bell::Bell;
use crate::multiprocessing::waiting::driver::Driver;
use crate::multiprocessing::waiting::turns::Turns;
use crate::sys::{self, AsFd as _, BorrowedFd, ProcessIdentity, SharedMapping};
use crate::wire::CodecError;
use crate::wire::descriptors::Descriptor;

/// The layout of the first page: the constants, the lock, the state.
const MAGIC: usize = 0;
const CAPACITY: usize = 8;
const COUNTS_DONE: usize = 16;
const LOCK: usize = 128;
const STATE: usize = 256;
const _: () = assert!(LOCK + RobustLock::BYTES <= STATE && STATE + Kept::BYTES <= holders::START);

/// The first word of a queue's memory.
const QUEUE: u64 = u64::from_le_bytes(*b"cf queue");

/// More packets than a socket holds. After them, a process sends faster than this one drops.
const MOST_PACKETS: usize = 4096;

/// How often a method that must not wait tries to take the lock.
const TRIES: usize = 16;

#[derive(Debug)]
pub(super) struct SharedQueue {
    file: Descriptor,
    bell: Bell,
    /// One end is for sending, the other for receiving.
    sockets: [Descriptor; 2],
    words: Arc<SharedMapping>,
    pub(super) lock: RobustLock,
    putters: Turns,
    getters: Turns,
    /// Used only under the lock.
    ring: Mutex<QueueRing>,
    /// 0 for an unbounded queue.
    capacity: u64,
    /// Whether the items of each process are counted.
    pub(super) counts_done: bool,
    /// The last known place of this process among the holders.
    hint: AtomicUsize,
}

impl SharedQueue {
    pub(super) fn create(capacity: u64, counts_done: bool) -> Result<Self, QueueError> {
        let file = sys::growing_file()?;
        sys::lengthen(&file, BASE).map_err(QueueError::no_space)?;
        let words = SharedMapping::window(&file, 0, BASE as usize)?;
        words.secure(0, if counts_done { BASE as usize } else { 4096 })?;
        for (at, value) in [
            (MAGIC, QUEUE),
            (CAPACITY, capacity),
            (COUNTS_DONE, counts_done.into()),
        ] {
            words.word(at).store(value, Ordering::Relaxed);
        }
        let (to, from) = sys::packet_pair()?;
        Ok(Self::new(
            file.into(),
            Bell::new()?,
            [to.into(), from.into()],
            words,
        ))
    }

    /// The queue of this process that this one is.
    pub(super) fn recognised(self) -> Arc<Self> {
        let first = Part::file(&self.file);
        recognised(self, first, |known| {
            let [to, from] = &known.sockets;
            Some(vec![
                known.bell.part()?,
                Part::socket(to)?,
                Part::socket(from)?,
            ])
        })
    }

    pub(super) fn receive<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Self>, D::Error> {
        let (file, bell, sockets) = Deserialize::deserialize(deserializer)?;
        let received = Self::open(file, bell, sockets).map_err(serde::de::Error::custom)?;
        Ok(received.recognised())
    }

    fn open(file: Descriptor, bell: Bell, sockets: [Descriptor; 2]) -> io::Result<Self> {
        let words = SharedMapping::window(&file, 0, BASE as usize)?;
        sockets.iter().try_for_each(sys::check_packets)?;
        if words.word(MAGIC).load(Ordering::Relaxed) != QUEUE {
            let what = "the received memory is not that of a queue";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Self::new(file, bell, sockets, words))
    }

    fn new(file: Descriptor, bell: Bell, sockets: [Descriptor; 2], words: SharedMapping) -> Self {
        let words = Arc::new(words);
        Self {
            lock: RobustLock::new(words.clone(), LOCK, bell.clone()),
            putters: Turns::default(),
            getters: Turns::default(),
            ring: Mutex::new(QueueRing::new(file.clone())),
            capacity: words.word(CAPACITY).load(Ordering::Relaxed),
            counts_done: words.word(COUNTS_DONE).load(Ordering::Relaxed) != 0,
            hint: AtomicUsize::new(0),
            file,
            bell,
            sockets,
            words,
        }
    }

    pub(super) fn capacity(&self) -> Option<u64> {
        (self.capacity > 0).then_some(self.capacity)
    }

    /// The state a moment ago.
    pub(super) fn glance(&self) -> RingState {
        self.kept().glance()
    }

    /// Waits until `put` returns a result under the lock. Putters take turns. `None` if time is up.
    pub(super) async fn wait_to_put<D: Driver, R>(
        &self,
        driver: &D,
        put: impl FnMut(&mut RobustGuard<'_>) -> Option<R>,
    ) -> Option<R> {
        let has_room = || !self.is_full(&self.glance());
        let wait = self.lock.wait_in_turn(driver, &self.putters, has_room, put);
        wait.await
    }

    /// Waits until `take` returns a result under the lock. Getters take turns. `None` if time is up.
    pub(super) async fn wait_to_get<D: Driver, R>(
        &self,
        driver: &D,
        take: impl FnMut(&mut RobustGuard<'_>) -> Option<R>,
    ) -> Option<R> {
        let has_some = || self.glance().len() > 0;
        let wait = self
            .lock
            .wait_in_turn(driver, &self.getters, has_some, take);
        wait.await
    }

    pub(super) fn is_full(&self, state: &RingState) -> bool {
        self.capacity > 0 && state.len() >= self.capacity
    }

    fn kept(&self) -> Kept<'_> {
        Kept::new(&self.words, STATE)
    }

    fn holders(&self) -> Holders<'_> {
        Holders(&self.words)
    }

    fn ring(&self) -> MutexGuard<'_, QueueRing> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` under the lock, if that is free without waiting.
    pub(super) fn at_once(
        &self,
        act: impl FnOnce(&mut RobustGuard<'_>) -> Result<(), QueueError>,
    ) -> Result<(), QueueError> {
        let held = (0..TRIES).find_map(|_| {
            let held = self.lock.try_lock();
            if held.is_none() {
                std::thread::yield_now(); // The holder may wait for this CPU.
            }
            held
        });
        act(&mut held.ok_or(QueueError::BUSY)?)
    }

    /// Puts an item. `None` if there is no room.
    pub(super) fn put(
        &self,
        held: &mut RobustGuard<'_>,
        item: &OutgoingItem,
    ) -> Option<Result<(), QueueError>> {
        let mut state = self.kept().load();
        if self.is_full(&state) {
            return None;
        }
        let mut head = ItemHead {
            len: item.head.len as u64,
            is_plain: item.head.is_plain,
            is_in_file: false,
            parcel: None,
        };
        if !item.beside.is_empty() {
            match self.send(&mut state, item) {
                Ok(true) => {
                    head.is_in_file = item.is_in_file;
                    head.parcel = Some(state.parcels);
                }
                _ if item.beside.len() == usize::from(item.is_in_file) => {} // The bytes go through the ring.
                Ok(false) => return None,
                Err(error) => return Some(Err(error.into())),
            }
        }
        if state.len() == 0 {
            held.announce();
        }
        let pieces = item.pieces().filter(|_| !head.is_in_file);
        let done = self.ring().put(self.kept(), state, head, pieces);
        Some(done.map_err(QueueError::from))
    }

    /// Sends the descriptors of an item under a new number, before the item itself: no item may be without
    /// them. If this process is killed in between, no item has that number. False if the system accepts no more
    /// until another item is taken.
    fn send(&self, state: &mut RingState, item: &OutgoingItem) -> io::Result<bool> {
        let [to, from] = &self.sockets;
        let beside: Vec<BorrowedFd<'_>> = item.beside.iter().map(|fd| fd.as_fd()).collect();
        state.parcels = state.parcels.wrapping_add(1);
        self.kept().commit(state);
        step();
        let sent = sys::send_packet(to, state.parcels, &beside)?;
        if !sent && state.len() == 0 {
            // Only packets of killed processes are left.
            for _ in 0..MOST_PACKETS {
                match sys::next_packet(from)? {
                    Some(_) => sys::drop_packet(from),
                    None => break,
                }
            }
            return sys::send_packet(to, state.parcels, &beside);
        }
        Ok(sent)
    }

    /// Takes the first item. `None` if there is none.
    pub(super) fn take(
        &self,
        held: &mut RobustGuard<'_>,
        item: &mut IncomingItem,
    ) -> Option<Result<(), QueueError>> {
        self.try_take(held, item).transpose()
    }

    fn try_take(
        &self,
        held: &mut RobustGuard<'_>,
        item: &mut IncomingItem,
    ) -> Result<Option<()>, QueueError> {
        let state = self.kept().load();
        let mut ring = self.ring();
        let Some(head) = ring.first(&state)? else {
            return Ok(None);
        };
        ring.read(&state, &head, &mut item.bytes)?;
        item.is_plain = head.is_plain;
        let (mut was_found, mut is_missing) = (false, false);
        if let Some(number) = head.parcel {
            match self.find(number)? {
                Some(found) => (item.beside, was_found) = (found, true),
                None => is_missing = true,
            }
            if head.is_in_file {
                let file = item.beside.pop();
                let file = file.filter(|file| sys::check_reserved(file, head.len).is_ok());
                is_missing |= file.is_none();
                // Allocate its memory first: without that, the item has to stay.
                sys::enlarge(
                    &mut item.bytes,
                    file.as_ref().map_or(0, |_| head.len as usize),
                )?;
                item.file = file.map(|file| (file, head.len));
            }
        }
        let is_new = self.counts_done && self.enter()?;
        if is_new || head.parcel.is_some() || self.is_full(&state) {
            held.announce();
        }
        if self.counts_done {
            self.holders().add(self.hint.load(Ordering::Relaxed));
        }
        ring.pass(self.kept(), state, &head)?;
        if was_found {
            step(); // If the packet stays, the search for a later one drops it.
            sys::drop_packet(&self.sockets[1]);
        }
        if is_missing {
            return Err(CodecError::new("a descriptor of the item is missing or invalid").into());
        }
        Ok(Some(()))
    }

    /// Copies of the descriptors that were sent under this number. Earlier packets are from killed processes.
    fn find(&self, number: u64) -> io::Result<Option<Vec<Descriptor>>> {
        let from = &self.sockets[1];
        for _ in 0..MOST_PACKETS {
            let Some(next) = sys::next_packet(from)?.filter(|next| *next <= number) else {
                break;
            };
            if next == number {
                let found = sys::descriptors_of_next_packet(from)?;
                return Ok(Some(found.into_iter().map(Descriptor::from).collect()));
            }
            sys::drop_packet(from);
        }
        Ok(None)
    }

    /// Ensures that this process has a place among the holders. Returns whether it is new.
    fn enter(&self) -> Result<bool, QueueError> {
        let (own, hint) = (ProcessIdentity::own(), self.hint.load(Ordering::Relaxed));
        let found = self.holders().find(own, hint);
        let place = match found {
            Some(place) => place,
            None => self.holders().enter(own).ok_or_else(|| {
                io::Error::other("too many processes hold unfinished items of the queue")
            })?,
        };
        self.hint.store(place, Ordering::Relaxed);
        Ok(found.is_none())
    }

    /// Marks a taken item as done.
    pub(super) fn task_done(&self, held: &mut RobustGuard<'_>) -> Result<(), QueueError> {
        let mut state = self.kept().load();
        check(&state)?;
        if state.done >= state.taken {
            return Err(QueueError::NOTHING_TAKEN);
        }
        let hint = self.hint.load(Ordering::Relaxed);
        let place = self.holders().find(ProcessIdentity::own(), hint);
        self.holders().take_off(place);
        state.done += 1;
        if state.is_done() {
            held.announce();
        }
        self.kept().commit(&state);
        Ok(())
    }

    /// The number of items ever lost with the processes that had taken them, if no other item is unfinished. A
    /// waiter watches all processes that hold items, and looks again without one that has ended.
    pub(super) fn all_done(&self, held: &mut RobustGuard<'_>) -> Option<u64> {
        let mut state = self.kept().load();
        if !state.is_done() {
            let mut had_by_living = 0;
            for (who, count) in self.holders().without(held.ended()) {
                had_by_living = u64::saturating_add(had_by_living, count);
                held.watch(who);
            }
            let lost = (state.taken.saturating_sub(state.done)).saturating_sub(had_by_living);
            if lost > 0 {
                state.done = state.done.saturating_add(lost);
                state.lost = state.lost.saturating_add(lost);
                if state.is_done() {
                    held.announce();
                }
                self.kept().commit(&state);
            }
        }
        state.is_done().then_some(state.lost)
    }
}

impl Serialize for SharedQueue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.file, &self.bell, &self.sockets).serialize(serializer)
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::process::{Child, Command};
    use std::time::Duration;

    use super::super::store::{Cut, cut_after};
    use super::*;
    use crate::multiprocessing::Event;
    use crate::multiprocessing::waiting::driver::InThread;

    /// A queue of processes that are cut off after a number of steps. They leave what a killed process leaves:
    /// it does not release the lock, which is taken over from it.
    struct TriedQueue(SharedQueue);

    /// With a descriptor.
    type Item = (u64, Event);

    impl TriedQueue {
        fn new(counts_done: bool) -> Self {
            Self(SharedQueue::create(0, counts_done).expect("a queue"))
        }

        fn locked<R>(
            &self,
            steps: u64,
            act: impl FnOnce(&mut RobustGuard<'_>) -> R,
        ) -> Result<R, Cut> {
            cut_after(steps, || {
                let mut held = self.0.lock.try_lock().expect("it is free");
                act(&mut held)
            })
        }

        fn put(&self, steps: u64, item: &Item) -> Result<(), Cut> {
            let mut outgoing = OutgoingItem::of(item.clone()).expect("it can be encoded");
            outgoing.pack(usize::MAX).expect("it is small");
            self.locked(steps, |held| {
                let put = self.0.put(held, &outgoing).expect("there is room");
                put.expect("there is memory");
            })
        }

        fn take(&self, steps: u64) -> Result<Option<Item>, Cut> {
            let mut incoming = IncomingItem::for_type::<Item>();
            let taken = self.locked(steps, |held| self.0.take(held, &mut incoming))?;
            Ok(taken.map(|taken| {
                taken.expect("it is whole");
                incoming.into_item().expect("it can be decoded")
            }))
        }

        /// Takes the remaining items, which have to be these, in this order.
        fn has(&self, items: &[Item]) {
            for (number, event) in items {
                let taken = self.take(u64::MAX).expect("it is not cut off");
                let (found, beside) = taken.expect("it is there");
                beside.set();
                assert!(found == *number && event.is_set());
                event.clear();
            }
            assert!(self.take(u64::MAX).expect("it is not cut off").is_none());
        }

        /// The process that took items so far has ended.
        fn end(&self, as_process: &Child) {
            let ended = ProcessIdentity::from_word(as_process.id().into()).expect("not 0");
            self.0.holders().rename(ProcessIdentity::own(), ended);
        }

        fn done(&self, steps: u64) -> Result<(), Cut> {
            let done = self.locked(steps, |held| self.0.task_done(held))?;
            done.expect("one was taken");
            Ok(())
        }

        fn all_done(&self) -> Option<u64> {
            let look = |held: &mut RobustGuard<'_>| self.0.all_done(held);
            let driver = InThread::within(Some(Duration::ZERO));
            InThread::run(self.0.lock.wait_until(&driver, look))
        }
    }

    fn items() -> [Item; 3] {
        [1, 2, 3].map(|number| (number, Event::new().expect("an event")))
    }

    fn ended() -> Child {
        let child = Command::new("true").spawn().expect("a process");
        let identity = ProcessIdentity::from_word(child.id().into()).expect("not 0");
        while !identity.has_ended() {
            std::thread::yield_now();
        }
        child
    }

    #[test]
    fn a_put_that_is_cut_off_leaves_whole_items_with_what_goes_beside_them() {
        let [first, second, third] = items();
        for steps in 0.. {
            let tried = TriedQueue::new(false);
            tried.put(u64::MAX, &first).expect("it is not cut off");
            let outcome = tried.put(steps, &second);
            let is_there = tried.0.glance().len() == 2;
            assert!(is_there || outcome.is_err());
            tried.put(u64::MAX, &third).expect("it is not cut off");
            if is_there {
                tried.has(&[first.clone(), second.clone(), third.clone()]);
            } else {
                tried.has(&[first.clone(), third.clone()]);
            }
            if outcome.is_ok() {
                assert!(steps >= 10);
                return;
            }
        }
    }

    #[test]
    fn a_take_that_is_cut_off_leaves_whole_items_with_what_goes_beside_them() {
        for steps in 0.. {
            let (tried, items) = (TriedQueue::new(false), items());
            for item in &items {
                tried.put(u64::MAX, item).expect("it is not cut off");
            }
            let outcome = tried.take(steps);
            let left = tried.0.glance().len() as usize;
            assert!(left == 2 || left == 3 && outcome.is_err());
            tried.has(&items[3 - left..]);
            if outcome.is_ok() {
                assert!(steps >= 10);
                return;
            }
        }
    }

    #[test]
    fn what_was_taken_by_one_that_is_cut_off_is_lost_and_counted_once() {
        let mut child = ended();
        for steps in 0.. {
            let (tried, items) = (TriedQueue::new(true), items());
            for item in &items {
                tried.put(u64::MAX, item).expect("it is not cut off");
            }
            let outcome = tried.take(steps);
            let left = tried.0.glance().len();
            assert_eq!(tried.all_done(), None, "some are in the queue");
            tried.end(&child);
            for _ in 0..left {
                tried.take(u64::MAX).expect("it is not cut off");
                assert_eq!(tried.all_done(), None, "it is in our hands");
                tried.done(u64::MAX).expect("it is not cut off");
            }
            assert_eq!(tried.all_done(), Some(3 - left));
            assert_eq!(tried.all_done(), Some(3 - left));
            if outcome.is_ok() {
                assert!(steps >= 10);
                break;
            }
        }
        child.wait().expect("it has ended");
    }

    #[test]
    fn an_item_that_is_done_by_one_that_is_cut_off_is_done_or_lost() {
        let mut child = ended();
        for steps in 0.. {
            let (tried, [first, second, _]) = (TriedQueue::new(true), items());
            for item in [first, second] {
                tried.put(u64::MAX, &item).expect("it is not cut off");
                tried.take(u64::MAX).expect("it is not cut off");
            }
            let outcome = tried.done(steps);
            let done = tried.0.glance().done;
            assert!(done == 1 || done == 0 && outcome.is_err());
            tried.end(&child);
            assert_eq!(tried.all_done(), Some(2 - done));
            if outcome.is_ok() {
                assert!(steps >= 10);
                break;
            }
        }
        child.wait().expect("it has ended");
    }
}
