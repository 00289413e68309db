//! The queue as one process sees it: memory, bell and sockets together. This file knows items only as bytes and
//! descriptors.
//!
//! All changes are made under one lock, by the rule of [`robust`](crate::multiprocessing::robust::lock): ring, change,
//! commit by one store. A process rings only if a wait may be over: after a put into an empty queue, a take from a full
//! one, the last item that is done, a close, and when a process takes its first item of a queue that tasks may join.
//! Many puts wake a sleeping consumer once.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::QueueError;
use super::holders::{self, Holders};
use super::ring::{BASE, QueueRing, check};
use super::state::{RingState, StoredState};
use crate::multiprocessing::known::{Part, recognised};
use crate::multiprocessing::robust::lock::{RobustGuard, RobustLock};
use crate::multiprocessing::waiting::bell::Bell;
use crate::multiprocessing::waiting::driver::Driver;
use crate::multiprocessing::waiting::local::Local;
use crate::multiprocessing::waiting::turns::Turns;
use crate::sys::{self, SharedMapping};
use crate::wire::descriptors::Descriptor;

/// The layout of the first page: the constants, the lock, the state.
const MAGIC: usize = 0;
const CAPACITY: usize = 8;
const COUNTS_DONE: usize = 16;
/// A unique number of the queue.
const NUMBER: usize = 24;
const LOCK: usize = 128;
const STATE: usize = 256;
const _: () =
    assert!(LOCK + RobustLock::BYTES <= STATE && STATE + StoredState::BYTES <= holders::START);

/// The first word of a queue's memory.
const QUEUE: u64 = u64::from_le_bytes(*b"cf queue");

/// More packets than a socket holds. After this number, another process sends faster than this one drops.
pub(super) const MOST_PACKETS: usize = 4096;

/// How often a method that must not wait tries to take the lock.
const TRIES: usize = 16;

#[derive(Debug)]
pub(super) struct SharedQueue {
    file: Descriptor,
    bell: Bell,
    /// Where the descriptors of the items arrive.
    pub(super) from: Descriptor,
    /// Whether this is the state of a getter, which does not hold the other end of `from`.
    has_end: bool,
    words: Arc<SharedMapping>,
    pub(super) lock: RobustLock,
    putters: Turns,
    getters: Turns,
    /// Used only under the lock. A thread of this process may use it while another one forks.
    ring: Local<Mutex<QueueRing>>,
    /// 0 for an unbounded queue.
    capacity: u64,
    /// Whether the items of each process are counted.
    pub(super) counts_done: bool,
    /// The last known place of this process among the holders.
    pub(super) hint: AtomicUsize,
}

impl SharedQueue {
    /// A new queue, and the end by which descriptors are sent.
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
            ring: Local::new(Mutex::new(QueueRing::new(file.clone()))),
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

    /// A unique number of the queue.
    pub(super) fn number(&self) -> u64 {
        self.words.word(NUMBER).load(Ordering::Relaxed)
    }

    /// A recent state.
    pub(super) fn glance(&self) -> RingState {
        self.stored_state().glance()
    }

    /// Runs `put` under the lock, if no putter of this process waits.
    pub(super) fn put_at_once<R>(
        &self,
        put: impl FnOnce(&mut RobustGuard<'_>) -> Option<R>,
    ) -> Option<R> {
        self.lock.check_at_once(&self.putters, put)
    }

    /// Waits until `put` returns a result under the lock. Putters take turns. `None` if time is up.
    pub(super) async fn put_in_turn<D: Driver, R>(
        &self,
        driver: &D,
        put: impl FnMut(&mut RobustGuard<'_>) -> Option<R>,
    ) -> Option<R> {
        let is_over = || {
            let state = self.glance();
            state.is_closed() || !self.is_full(&state)
        };
        let wait = self.lock.check_in_turn(driver, &self.putters, is_over, put);
        wait.await
    }

    /// Runs `take` under the lock, if no getter of this process waits.
    pub(super) fn get_at_once<R>(
        &self,
        take: impl FnOnce(&mut RobustGuard<'_>) -> Option<R>,
    ) -> Option<R> {
        self.lock.check_at_once(&self.getters, take)
    }

    /// Waits until `take` returns a result under the lock. Getters take turns. `None` if time is up.
    pub(super) async fn get_in_turn<D: Driver, R>(
        &self,
        driver: &D,
        take: impl FnMut(&mut RobustGuard<'_>) -> Option<R>,
    ) -> Option<R> {
        let is_over = || {
            let state = self.glance();
            state.is_closed() || state.len() > 0
        };
        let wait = self
            .lock
            .check_in_turn(driver, &self.getters, is_over, take);
        wait.await
    }

    pub(super) fn is_full(&self, state: &RingState) -> bool {
        self.capacity > 0 && state.len() >= self.capacity
    }

    pub(super) fn stored_state(&self) -> StoredState<'_> {
        StoredState::new(&self.words, STATE)
    }

    pub(super) fn holders(&self) -> Holders<'_> {
        Holders(&self.words)
    }

    pub(super) fn ring(&self) -> MutexGuard<'_, QueueRing> {
        let new = || Mutex::new(QueueRing::new(self.file.clone()));
        let ring = self.ring.get_or(new);
        ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` under the lock, if the lock is free without a wait.
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
        let mut state = self.stored_state().load();
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
            self.stored_state().commit(&state);
            return 0;
        }
        if self.counts_done {
            state.done += cleared;
        }
        self.ring().clear(self.stored_state(), state);
        self.drop_packets();
        cleared as usize
    }

    /// Drops all packets.
    pub(super) fn drop_packets(&self) {
        for _ in 0..MOST_PACKETS {
            match sys::next_packet(&self.from) {
                Ok(Some(_)) => sys::drop_packet(&self.from),
                _ => break,
            }
        }
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
