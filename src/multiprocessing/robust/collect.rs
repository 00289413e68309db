//! Several permits for one caller: all of them or none.
//!
//! One caller at a time collects, under the [robust lock](super::lock) `collector`, and keeps what it finds until it
//! has all. So two callers never wait for what the other has collected, and a stream of callers that want one permit
//! each does not pass a caller that wants many. A collector that is killed leaves permits of a dead holder and a lock
//! of a dead holder, which the others take over.

use super::lock::RobustGuard;
use super::permits::{Permits, TakenPermit};
use crate::multiprocessing::waiting::driver::Driver;

/// The number of times that a call which must not wait checks whether another one still collects.
const TRIES: usize = 20;

/// The permits of one caller. The first needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct TakenPermits {
    first: Option<TakenPermit>,
    more: Vec<TakenPermit>,
}

impl TakenPermits {
    fn of(first: TakenPermit) -> Self {
        Self {
            first: Some(first),
            more: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &TakenPermit> {
        self.first.iter().chain(&self.more)
    }

    pub(crate) fn push(&mut self, permit: TakenPermit) {
        match self.first {
            None => self.first = Some(permit),
            Some(_) => self.more.push(permit),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<TakenPermit> {
        self.more.pop().or_else(|| self.first.take())
    }

    /// Takes each of them out.
    #[inline]
    pub(crate) fn take_each(&mut self, mut act: impl FnMut(TakenPermit)) {
        if let Some(first) = self.first.take() {
            act(first);
        }
        while let Some(permit) = self.more.pop() {
            act(permit);
        }
    }

    /// Splits `count` of them off, of at least that many.
    pub(crate) fn split(&mut self, count: usize) -> Self {
        let mut split = Self::default();
        (0..count)
            .filter_map(|_| self.pop())
            .for_each(|permit| split.push(permit));
        split
    }
}

/// The permits that are collected so far. Dropping them releases them.
struct Collection<'a> {
    permits: &'a Permits,
    taken: TakenPermits,
    wanted: usize,
}

impl<'a> Collection<'a> {
    fn new(permits: &'a Permits, wanted: usize) -> Self {
        let taken = TakenPermits::default();
        Self {
            permits,
            taken,
            wanted,
        }
    }

    fn is_whole(&self) -> bool {
        self.taken.len() >= self.wanted
    }

    fn into_taken(mut self) -> TakenPermits {
        std::mem::take(&mut self.taken)
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        let permits = self.permits;
        self.taken.take_each(|permit| permits.give_back(permit));
    }
}

impl Permits {
    /// Takes `count` permits if that is one, a permit is free, and no task or thread of this process waits.
    #[inline]
    pub(crate) fn take_at_once(&self, count: usize) -> Option<TakenPermits> {
        let first = (count == 1).then(|| self.at_once())?;
        first.map(TakenPermits::of)
    }

    /// Waits for `count` permits. `None` if time is up.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime, or in one without an I/O driver. On a thread that drives async
    /// code, if the driver is that of a thread.
    ///
    /// # Cancel safety
    /// Cancel safe: what is collected so far is released.
    pub(crate) async fn wait_many<D: Driver>(
        &self,
        driver: &D,
        count: usize,
    ) -> Option<TakenPermits> {
        let mut found = Collection::new(self, count);
        // A caller that wants one permit never holds a part that another could wait for.
        let _alone = match count {
            0 => {
                driver.begin().await; // Each of the other waits begins below.
                None
            }
            1 => None,
            _ => Some(self.collector.lock_by(driver).await?),
        };
        while !found.is_whole() {
            found.taken.push(self.wait_by(driver).await?);
        }
        Some(found.into_taken())
    }

    /// Takes `count` permits if all of them are free or their holders have ended. Fails while another caller collects.
    pub(crate) fn try_take_many(&self, count: usize) -> Option<TakenPermits> {
        let mut found = Collection::new(self, count);
        let _alone = match count {
            0 | 1 => None,
            _ => Some(self.collect_at_once()?),
        };
        while !found.is_whole() {
            found.taken.push(self.try_take()?);
        }
        Some(found.into_taken())
    }

    /// The right to collect. Another caller may hold it for a moment, while it takes permits that are all free.
    fn collect_at_once(&self) -> Option<RobustGuard<'_>> {
        (0..TRIES).find_map(|_| {
            let alone = self.collector.try_lock();
            if alone.is_none() {
                std::thread::yield_now();
            }
            alone
        })
    }
}
