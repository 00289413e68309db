//! Memory that starts with its lock: the base of [`Value`](super::Value) and [`Array`](super::Array).

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::multiprocessing::known::{Part, recognised};
use crate::multiprocessing::robust::lock::{RobustGuard, RobustLock};
use crate::multiprocessing::waiting::bell::Bell;
use crate::sys::SharedMapping;
use crate::wire::descriptors::Descriptor;

/// Memory with a lock. A clone is the same memory.
#[derive(Clone)]
pub(crate) struct Locked(Arc<LockedMemory>);

struct LockedMemory {
    memory: Arc<SharedMapping>,
    len: usize,
    descriptor: Descriptor,
    bell: Bell,
    lock: RobustLock,
}

/// The layout: the lock, then the id of a process that died as the holder.
const LOCK: usize = 0;
const ABANDONED_BY: usize = RobustLock::BYTES;

impl Locked {
    /// The memory from here on belongs to the user of this type.
    pub(crate) const DATA: usize = ABANDONED_BY + 8;

    /// Creates memory, all zeros except for what `fill` writes before any other process has it.
    pub(crate) fn create(
        len: Option<usize>,
        fill: impl FnOnce(&SharedMapping),
    ) -> io::Result<Self> {
        let len = len.ok_or(io::ErrorKind::OutOfMemory)?;
        let (memory, fd) = SharedMapping::create_reserved(len)?;
        fill(&memory);
        Ok(Self::of(memory, len, fd.into(), Bell::new()?))
    }

    fn of(memory: SharedMapping, len: usize, descriptor: Descriptor, bell: Bell) -> Self {
        let (file, memory) = (Part::file(&descriptor), Arc::new(memory));
        let locked = LockedMemory {
            lock: RobustLock::new(memory.clone(), LOCK, bell.clone()),
            memory,
            len,
            descriptor,
            bell,
        };
        Self(recognised(locked, file, |known| {
            Some(vec![known.bell.part()?, Part::Size(known.len)])
        }))
    }

    pub(crate) fn memory(&self) -> &SharedMapping {
        &self.0.memory
    }

    pub(crate) async fn lock(&self) -> RobustGuard<'_> {
        self.note(self.0.lock.lock().await)
    }

    pub(crate) fn try_lock(&self) -> Option<RobustGuard<'_>> {
        self.0.lock.try_lock().map(|held| self.note(held))
    }

    pub(crate) fn blocking_lock(&self) -> RobustGuard<'_> {
        let held = self.0.lock.blocking_lock(None);
        self.note(held.expect("a wait without a timeout always has a result"))
    }

    pub(crate) fn blocking_lock_timeout(&self, timeout: Duration) -> Option<RobustGuard<'_>> {
        let held = self.0.lock.blocking_lock(Some(timeout));
        held.map(|held| self.note(held))
    }

    /// The lock reports a dead holder only to the next holder, which may not read the report. So it is kept here.
    fn note<'a>(&'a self, held: RobustGuard<'a>) -> RobustGuard<'a> {
        if let Some(pid) = held.abandoned_by() {
            let word = self.memory().word(ABANDONED_BY);
            word.store(pid.into(), Ordering::Relaxed);
        }
        held
    }

    /// The last process that died as the holder, if no guard has read this since.
    pub(crate) fn abandoned_by(&self, _held: &RobustGuard<'_>) -> Option<u32> {
        let word = self.memory().word(ABANDONED_BY);
        let pid = word.swap(0, Ordering::Relaxed);
        (pid != 0).then_some(pid as u32)
    }

    /// What travels to another process, with a size that describes the content of the memory.
    pub(crate) fn sent(&self, size: usize) -> impl Serialize + '_ {
        (&self.0.descriptor, &self.0.bell, size)
    }

    /// The received memory, and the size sent with it; `len` computes the memory's length from the size.
    pub(crate) fn receive<'de, D: Deserializer<'de>>(
        deserializer: D,
        len: impl FnOnce(usize) -> Option<usize>,
    ) -> Result<(Self, usize), D::Error> {
        let (descriptor, bell, size) = <(Descriptor, Bell, usize)>::deserialize(deserializer)?;
        let len = len(size)
            .ok_or_else(|| D::Error::custom("the received size of a shared value is not valid"))?;
        let memory = SharedMapping::open_reserved(&descriptor, len).map_err(D::Error::custom)?;
        Ok((Self::of(memory, len, descriptor, bell), size))
    }
}
