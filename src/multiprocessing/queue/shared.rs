//! The queue as one process sees it: memory, bell and sockets together. This file knows items only as bytes and
//! descriptors.
//!
//! Everything happens under one lock, by the rule of [`robust`](crate::multiprocessing::robust::lock): ring, change,
//! commit by one store. A ring happens only where a wait may be over: a put into an empty queue, a take from a full
//! one, the last item that is done, a close, and a process that takes its first item of a queue that tasks may join.
//! Many puts wake a sleeping consumer once.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::QueueError;
use super::holders::{self, Entry, Holders};
use super::ring::{BASE, ItemHead, QueueRing, check};
use super::state::{Kept, RingState};
use super::store::step;
use crate::multiprocessing::item::{IncomingItem, OutgoingItem};
use crate::multiprocessing::known::{Part, recognised};
use crate::multiprocessing::robust::lock::{RobustGuard, RobustLock};
use crate::multiprocessing::waiting::bell::Bell;
use crate::multiprocessing::waiting::driver::Driver;
use crate::multiprocessing::waiting::turns::Turns;
use crate::sys::{self, AsFd as _, BorrowedFd, SharedMapping};
use crate::wire::CodecError;
use crate::wire::descriptors::Descriptor;

/// The layout of the first page: the constants, the lock, the state.
const MAGIC: usize = 0;
const CAPACITY: usize = 8;
const COUNTS_DONE: usize = 16;
/// A number that no other queue has.
const NUMBER: usize = 24;
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
    /// Where the descriptors of the items arrive.
    from: Descriptor,
    /// Whether this is the view of a getter, which does not hold the other end of `from`.
    has_end: bool,
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
    pub(super) hint: AtomicUsize,
}

impl SharedQueue {
    /// A new queue, and the end that descriptors are sent by.
    pub(super) fn create(
        capacity: u64,
        counts_done: bool,
    ) -> Result<(Self, Descriptor), QueueError> {
        let file = sys::growing_file()?;
        sys::lengthen(&file, BASE).map_err(QueueError::no_space)?;
        let words = SharedMapping::window(&file, 0, BASE as usize)?;
        words.secure(0, if counts_done { BASE as usize } else { 4096 })?;
        for (at, value) in [
            (MAGIC, QUEUE),
            (CAPACITY, capacity),
            (COUNTS_DONE, counts_done.into()),
            (NUMBER, RandomState::new().hash_one(0)),
        ] {
            words.word(at).store(value, Ordering::Relaxed);
        }
        let (to, from) = sys::packet_pair()?;
        let view = Self::new(file.into(), Bell::new()?, from.into(), words.into());
        Ok((view, to.into()))
    }

    /// Returns the known queue of this process if this is the same one, or else this one.
    pub(super) fn recognised(self) -> Arc<Self> {
        let first = Part::file(&self.file);
        recognised(self, first, |known| {
            Some(vec![
                known.bell.part()?,
                Part::socket(&known.from)?,
                Part::Size(known.has_end.into()),
            ])
        })
    }

    /// The same queue for a getter. Its waits also end when all copies of the sending end are closed.
    pub(super) fn of_getter(&self) -> Arc<Self> {
        let bell = self.bell.with_end(self.from.clone());
        let [file, from] = [&self.file, &self.from].map(Descriptor::clone);
        let getter = Self {
            has_end: true,
            ..Self::new(file, bell, from, self.words.clone())
        };
        getter.recognised()
    }

    fn open(file: Descriptor, bell: Bell, from: Descriptor) -> io::Result<Self> {
        let words = SharedMapping::window(&file, 0, BASE as usize)?;
        sys::check_packets(&from)?;
        if words.word(MAGIC).load(Ordering::Relaxed) != QUEUE {
            let what = "the received memory is not that of a queue";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Self::new(file, bell, from, words.into()))
    }

    fn new(file: Descriptor, bell: Bell, from: Descriptor, words: Arc<SharedMapping>) -> Self {
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
            from,
            has_end: false,
            words,
        }
    }

    pub(super) fn capacity(&self) -> Option<u64> {
        (self.capacity > 0).then_some(self.capacity)
    }

    /// A number that no other queue has.
    pub(super) fn number(&self) -> u64 {
        self.words.word(NUMBER).load(Ordering::Relaxed)
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
        let is_over = || {
            let state = self.glance();
            state.is_closed() || !self.is_full(&state)
        };
        let wait = self.lock.wait_in_turn(driver, &self.putters, is_over, put);
        wait.await
    }

    /// Waits until `take` returns a result under the lock. Getters take turns. `None` if time is up.
    pub(super) async fn wait_to_get<D: Driver, R>(
        &self,
        driver: &D,
        take: impl FnMut(&mut RobustGuard<'_>) -> Option<R>,
    ) -> Option<R> {
        let is_over = || {
            let state = self.glance();
            state.is_closed() || state.len() > 0
        };
        let wait = self.lock.wait_in_turn(driver, &self.getters, is_over, take);
        wait.await
    }

    pub(super) fn is_full(&self, state: &RingState) -> bool {
        self.capacity > 0 && state.len() >= self.capacity
    }

    pub(super) fn kept(&self) -> Kept<'_> {
        Kept::new(&self.words, STATE)
    }

    pub(super) fn holders(&self) -> Holders<'_> {
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

    /// Whether no process can put items into the queue.
    pub(super) fn is_closed(&self, state: &RingState) -> bool {
        state.is_closed() || self.has_end && sys::is_hung_up(&self.from)
    }

    /// Closes the queue, and with `clears` removes its items. Returns their number.
    pub(super) fn close(&self, held: &mut RobustGuard<'_>, clears: bool) -> usize {
        let mut state = self.kept().load();
        let cleared = if clears && check(&state).is_ok() {
            state.len()
        } else {
            0
        };
        if state.is_closed() && cleared == 0 {
            return 0;
        }
        held.announce();
        state.closed = 1;
        if cleared == 0 {
            self.kept().commit(&state);
            return 0;
        }
        if self.counts_done {
            state.done += cleared;
        }
        self.ring().clear(self.kept(), state);
        self.drop_packets();
        cleared as usize
    }

    /// Puts an item, with `to` for its descriptors. `None` if there is no room.
    pub(super) fn put(
        &self,
        held: &mut RobustGuard<'_>,
        to: &Descriptor,
        item: &OutgoingItem<'_>,
    ) -> Option<Result<(), QueueError>> {
        let mut state = self.kept().load();
        if state.is_closed() {
            return Some(Err(QueueError::CLOSED));
        }
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
            match self.send(&mut state, to, item) {
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
        let pieces = [item.value()].into_iter().filter(|_| !head.is_in_file);
        let done = self.ring().put(self.kept(), state, head, pieces);
        Some(done.map_err(QueueError::from))
    }

    /// Sends the descriptors of an item under a new number, before the item itself: no item may be without
    /// them. If this process is killed in between, no item has that number. False if the system accepts no more
    /// until another item is taken.
    fn send(
        &self,
        state: &mut RingState,
        to: &Descriptor,
        item: &OutgoingItem<'_>,
    ) -> io::Result<bool> {
        let beside: Vec<BorrowedFd<'_>> = item.beside.iter().map(|fd| fd.as_fd()).collect();
        state.parcels = state.parcels.wrapping_add(1);
        self.kept().commit(state);
        step();
        let sent = sys::send_packet(to, state.parcels, &beside)?;
        if !sent && state.len() == 0 {
            // Only packets of killed processes are left.
            self.drop_packets();
            return sys::send_packet(to, state.parcels, &beside);
        }
        Ok(sent)
    }

    /// Drops all packets.
    fn drop_packets(&self) {
        for _ in 0..MOST_PACKETS {
            match sys::next_packet(&self.from) {
                Ok(Some(_)) => sys::drop_packet(&self.from),
                _ => break,
            }
        }
    }

    /// Takes the first item. `None` while there is none.
    pub(super) fn take(
        &self,
        held: &mut RobustGuard<'_>,
        item: &mut IncomingItem,
    ) -> Option<Result<(), QueueError>> {
        self.take_as(held, item, Entry::Counted)
    }

    /// Like [`take`](Self::take), and enters the item like this, if items are counted.
    pub(super) fn take_as(
        &self,
        held: &mut RobustGuard<'_>,
        item: &mut IncomingItem,
        entry: Entry<'_>,
    ) -> Option<Result<(), QueueError>> {
        self.try_take(held, item, entry).transpose()
    }

    fn try_take(
        &self,
        held: &mut RobustGuard<'_>,
        item: &mut IncomingItem,
        entry: Entry<'_>,
    ) -> Result<Option<()>, QueueError> {
        let state = self.kept().load();
        let mut ring = self.ring();
        let Some(head) = ring.first(&state)? else {
            // Under the lock: no process puts an item between the two checks.
            return if self.is_closed(&state) {
                Err(QueueError::ENDED)
            } else {
                Ok(None)
            };
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
        if head.parcel.is_some() || self.is_full(&state) {
            held.announce();
        }
        if self.counts_done {
            self.enter(held, &state, entry)?;
        }
        ring.pass(self.kept(), state, &head)?;
        if was_found {
            step(); // If the packet stays, the search for a later one drops it.
            sys::drop_packet(&self.from);
        }
        if is_missing {
            return Err(CodecError::new("a descriptor of the item is missing or invalid").into());
        }
        Ok(Some(()))
    }

    /// Copies of the descriptors that were sent under this number. Earlier packets are from killed processes.
    fn find(&self, number: u64) -> io::Result<Option<Vec<Descriptor>>> {
        let from = &self.from;
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
}

impl Serialize for SharedQueue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.file, &self.bell, &self.from).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedQueue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (file, bell, from) = Deserialize::deserialize(deserializer)?;
        Self::open(file, bell, from).map_err(serde::de::Error::custom)
    }
}

/// Where the descriptors of items are sent. The getters of a split queue see when all copies are closed.
#[derive(Debug)]
pub(super) struct SendingEnd(pub(super) Descriptor);

impl SendingEnd {
    /// Returns the known end of this process if this is the same one, or else this one.
    pub(super) fn recognised(end: Descriptor) -> Arc<Self> {
        let socket = Part::socket(&end);
        recognised(Self(end), socket, |_| Some(Vec::new()))
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
    use crate::sys::ProcessIdentity;

    /// A queue of processes that are cut off after a number of steps. They leave what a killed process leaves:
    /// it does not release the lock, which is taken over from it.
    struct TriedQueue(SharedQueue, Descriptor);

    /// With a descriptor.
    type Item = (u64, Event);

    impl TriedQueue {
        fn new(counts_done: bool) -> Self {
            let (queue, to) = SharedQueue::create(0, counts_done).expect("a queue");
            Self(queue, to)
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
            let mut outgoing = OutgoingItem::of(item).expect("it can be encoded");
            outgoing.pack(usize::MAX).expect("it is small");
            self.locked(steps, |held| {
                let put = self.0.put(held, &self.1, &outgoing).expect("there is room");
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

    #[test]
    fn an_item_with_a_receipt_is_done_or_lost_whoever_is_cut_off() {
        let mut child = ended();
        for steps in 0.. {
            let (tried, [first, second, _]) = (TriedQueue::new(true), items());
            for item in [first, second] {
                tried.put(u64::MAX, &item).expect("it is not cut off");
            }
            let take = |steps| {
                let mut incoming = IncomingItem::for_type::<Item>();
                let taken =
                    tried.locked(steps, |held| tried.0.take_with_receipt(held, &mut incoming));
                taken.map(|taken| taken.expect("there is one").expect("it is whole"))
            };
            let done = |steps, place| {
                tried.locked(steps, |held| {
                    tried.0.item_done(held, place).expect("it is unfinished")
                })
            };
            let taken = take(steps);
            let left = tried.0.glance().len();
            assert!(left == 1 || left == 2 && taken.is_err());
            let finished = taken
                .as_ref()
                .is_ok_and(|place| done(steps, *place).is_ok());
            let is_done = tried.0.glance().done;
            assert!(is_done == u64::from(finished) || is_done == 1);
            tried.end(&child);
            for _ in 0..left {
                let place = take(u64::MAX).expect("it is not cut off");
                assert_eq!(tried.all_done(), None, "it is in our hands");
                done(u64::MAX, place).expect("it is not cut off");
            }
            assert_eq!(tried.all_done(), Some(2 - left - is_done));
            if finished {
                assert!(steps >= 10);
                break;
            }
        }
        child.wait().expect("it has ended");
    }

    #[test]
    fn a_close_that_is_cut_off_leaves_all_items_or_none() {
        for steps in 0.. {
            let (tried, items) = (TriedQueue::new(true), items());
            for item in &items {
                tried.put(u64::MAX, item).expect("it is not cut off");
            }
            let outcome = tried.locked(steps, |held| tried.0.close(held, true));
            let state = tried.0.glance();
            if state.is_closed() {
                assert_eq!((state.len(), tried.all_done()), (0, Some(0)));
            } else {
                assert!(outcome.is_err());
                tried.has(&items);
            }
            if let Ok(cleared) = outcome {
                assert_eq!(cleared, 3);
                return;
            }
        }
    }
}
