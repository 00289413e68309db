//! The average of times that any task may add to. It forgets old ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The weight of the latest time is one in this number.
const WEIGHT: u64 = 8;

/// An exponentially weighted moving average, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct AverageTime(AtomicU64);

// A value that is lost to another thread does no harm.
impl AverageTime {
    pub(super) fn new(time: Duration) -> Self {
        Self(AtomicU64::new(nanos(time)))
    }

    pub(super) fn add(&self, time: Duration) {
        let average = self.nanos();
        self.set_nanos(average - average / WEIGHT + nanos(time) / WEIGHT);
    }

    /// Forgets all times.
    pub(super) fn set(&self, time: Duration) {
        self.set_nanos(nanos(time));
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    fn nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set_nanos(&self, nanos: u64) {
        self.0.store(nanos, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn an_average_follows_the_latest_times_and_overflows_for_none() {
        let average = AverageTime::new(Duration::from_millis(8));
        average.add(Duration::ZERO);
        assert_eq!(average.get(), Duration::from_millis(7));
        (0..999).for_each(|_| average.add(Duration::from_secs(1)));
        assert!(average.get() > Duration::from_millis(999));
        (0..999).for_each(|_| average.add(Duration::MAX));
        assert!(average.get() > Duration::from_secs(1 << 33));
        average.set(Duration::ZERO);
        assert_eq!(average.get(), Duration::ZERO);
    }
}
