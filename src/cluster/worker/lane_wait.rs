//! How long a lane with a fresh pull must be silent before a task of a lower lane starts. On a loaded machine a task of
//! the higher lane takes longer from the server to this worker, as claims do.

use std::time::Duration;

use super::average_time::AverageTime;

/// The wait on an idle machine. A task takes less than that from the server to a worker.
const LEAST: Duration = Duration::from_millis(10);

/// The longest wait. A slot may be idle meanwhile, and a task that waits for longer goes back to the queue.
const MOST: Duration = Duration::from_millis(50);

/// The wait is this many times the time of a claim.
const CLAIMS: u32 = 8;

/// The wait, by the time that the latest claims took.
#[derive(Debug, Default)]
pub(super) struct LaneWait(AverageTime);

impl LaneWait {
    /// A claim took this time. A long one counts at once.
    pub(super) fn note_claim(&self, time: Duration) {
        match time > self.0.get() {
            true => self.0.set(time),
            false => self.0.add(time),
        }
    }

    pub(super) fn get(&self) -> Duration {
        self.0.get().saturating_mul(CLAIMS).clamp(LEAST, MOST)
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_lower_lane_waits_longer_while_claims_take_long() {
        let wait = LaneWait::default();
        wait.note_claim(Duration::from_micros(300));
        assert_eq!(wait.get(), LEAST);
        wait.note_claim(Duration::from_millis(5));
        assert_eq!(wait.get(), Duration::from_millis(40));
        wait.note_claim(Duration::MAX);
        assert_eq!(wait.get(), MOST);
        (0..999).for_each(|_| wait.note_claim(Duration::ZERO));
        assert_eq!(wait.get(), LEAST);
    }
}
