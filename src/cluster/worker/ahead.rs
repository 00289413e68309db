//! How many tasks a worker takes ahead of its slots. A pull and a claim take as long as a short task, so without any a
//! slot would be idle most of the time. Long tasks are not taken ahead: another worker may be idle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::average_time::AverageTime;

/// How long a task that is taken ahead waits for a slot, at the pace of the latest tasks.
const WAIT: Duration = Duration::from_millis(2);

/// The most tasks that are taken ahead, for each slot.
const MOST: u128 = 32;

/// The most of them that are claimed, for each slot. If the worker is killed, they count as started.
const MOST_CLAIMED: u128 = 8;

/// If no task starts or ends for this time, the running tasks are long ones.
const STALL: Duration = Duration::from_millis(8);

/// A task that takes this many times as long as the average is much longer.
const MUCH_LONGER: u32 = 8;

/// How fast tasks use the slots.
#[derive(Debug)]
pub(super) struct SlotPace {
    /// The time that a task runs. A new worker assumes long tasks.
    average: AverageTime,
    /// When a task started or ended last, in nanoseconds after `since`.
    latest: AtomicU64,
    since: Instant,
}

impl Default for SlotPace {
    fn default() -> Self {
        Self {
            average: AverageTime::new(WAIT * 2),
            latest: AtomicU64::new(0),
            since: Instant::now(),
        }
    }
}

impl SlotPace {
    /// A task starts.
    pub(super) fn note_start(&self, now: Instant) {
        let latest = now.saturating_duration_since(self.since).as_nanos();
        self.latest.store(latest as u64, Ordering::Relaxed); // Of two threads, either may be the latest.
    }

    /// A task has run for this time.
    pub(super) fn note_end(&self, time: Duration, now: Instant) {
        self.note_start(now);
        // A much longer task changes the average at once, so that no other task waits for it.
        match time > self.average.get().saturating_mul(MUCH_LONGER) {
            true => self.average.set(time / 2),
            false => self.average.add(time),
        }
    }

    /// How many tasks to take ahead of this number of slots.
    pub(super) fn ahead(&self, slots: u32) -> u32 {
        self.limited(slots, MOST)
    }

    /// How many of them to claim.
    pub(super) fn claims_ahead(&self, slots: u32) -> u32 {
        self.limited(slots, MOST_CLAIMED)
    }

    /// Whether tasks run that take longer than the latest ones.
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        let latest = self.since + Duration::from_nanos(self.latest.load(Ordering::Relaxed));
        now.saturating_duration_since(latest) > STALL
    }

    fn limited(&self, slots: u32, most: u128) -> u32 {
        let each = WAIT.as_nanos() / self.average.get().as_nanos().max(1);
        u32::try_from(u128::from(slots) * each.min(most)).unwrap_or(u32::MAX)
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    /// The pace after tasks of these times, the last of which has just ended.
    fn paced(times: impl IntoIterator<Item = Duration>) -> (SlotPace, Instant) {
        let (pace, now) = (SlotPace::default(), Instant::now());
        times.into_iter().for_each(|time| pace.note_end(time, now));
        (pace, now)
    }

    #[test]
    fn a_worker_takes_short_tasks_ahead_and_long_ones_not() {
        let ahead = |times: &[Duration], slots| {
            let (pace, _) = paced(times.iter().copied());
            (pace.ahead(slots), pace.claims_ahead(slots))
        };
        assert_eq!(ahead(&[], 8), (0, 0));
        assert_eq!(ahead(&[Duration::from_micros(480); 99], 2), (8, 8));
        assert_eq!(ahead(&[Duration::from_millis(3); 99], 2), (0, 0));
        let most = (2 * MOST as u32, 2 * MOST_CLAIMED as u32);
        assert_eq!(ahead(&[Duration::ZERO; 999], 2), most);
    }

    #[test]
    fn one_long_task_stops_a_worker_from_taking_tasks_ahead() {
        let short = [Duration::from_micros(100); 99];
        let (pace, _) = paced(short.into_iter().chain([Duration::from_secs(1)]));
        assert_eq!(pace.ahead(2), 0);
        let (pace, _) = paced([Duration::MAX]);
        assert_eq!(pace.ahead(u32::MAX), 0);
    }

    #[test]
    fn slots_are_stalled_while_no_task_starts_or_ends() {
        let (pace, now) = paced([Duration::ZERO; 99]);
        assert!(!pace.is_stalled(now + STALL));
        assert!(pace.is_stalled(now + STALL * 2));
        pace.note_start(now + STALL * 2);
        assert!(!pace.is_stalled(now + STALL * 3));
    }
}
