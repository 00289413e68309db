//! How many tasks to request from which lane. Pure: the caller passes the counts and the time.
//!
//! A pull requests some tasks of one lane and waits at the server until they exist. A task does not say which pull it
//! answers, so a task counts for the oldest pull of its lane. The server reports the end of a pull that got too few
//! tasks, and how many were missing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The lanes of a queue, by priority. The first is served first.
pub(super) const LANES: usize = 3;

/// How long a pull waits at the server. If the node with the pulls is killed, a worker that is connected to another
/// node does not notice. Its lane has no pull for this time.
pub(super) const PULL: Duration = Duration::from_secs(5);

/// The message that a pull has ended may be lost. After this time the pull counts as ended.
const GRACE: Duration = Duration::from_secs(1);

/// A task without a record may be claimed until this time after the end of its pull. Outcomes are kept for longer.
const FRESH: Duration = Duration::from_secs(3);

/// How long no pull of a lane is sent after the server refused one: its consumer does not exist, or has no leader.
const REST: Duration = Duration::from_millis(250);

/// A lane whose pull waits for this long is empty, even if its last task said otherwise: other workers take tasks too.
const DRY: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(super) struct Demand([LaneDemand; LANES]);

#[derive(Debug, Default)]
struct LaneDemand {
    pulls: VecDeque<Pull>,
    /// How many tasks the pulls still wait for.
    requested: u32,
    /// How many tasks the lane has left, according to its last task.
    pending: u64,
    /// When its last task arrived, or a pull was sent while no other waited.
    active_at: Option<Instant>,
    /// A pull waits, and the lane was empty after its last task.
    is_empty: bool,
    /// No pull is sent before this time.
    rests_until: Option<Instant>,
}

#[derive(Debug)]
struct Pull {
    left: u32,
    ends: Instant,
}

impl Demand {
    /// A task arrived. `pending`: how many more the lane has. Returns the latest time to claim it if it has no record,
    /// or `None` if that time is over.
    ///
    /// This program may have been stopped after the server sent the task. Then another worker may have run it, and the
    /// outcome may have expired. The end of the pull limits how long ago the server sent the task.
    pub(super) fn on_task(&mut self, lane: usize, pending: u64, now: Instant) -> Option<Instant> {
        let lane = &mut self.0[lane];
        let fresh_until = lane.pulls.front().map(|pull| pull.ends + FRESH);
        lane.pending = pending;
        lane.active_at = Some(now);
        lane.take(1);
        lane.is_empty = pending == 0 && lane.requested > 0;
        fresh_until.filter(|until| now <= *until)
    }

    /// A pull has ended with this many tasks missing.
    pub(super) fn on_end(&mut self, lane: usize, lacked: u32) {
        let lane = &mut self.0[lane];
        lane.pending = 0; // Tasks are missing only if the lane is empty.
        lane.take(lacked);
    }

    /// The server refuses the pulls of a lane.
    pub(super) fn on_refusal(&mut self, lane: usize, now: Instant) {
        self.0[lane] = LaneDemand {
            rests_until: Some(now + REST),
            ..LaneDemand::default()
        };
    }

    /// The connection is new, so the server has no pulls.
    pub(super) fn on_reconnect(&mut self) {
        *self = Self::default();
    }

    /// Returns how many tasks to request from each lane. The caller must send these pulls. `room`: how many more tasks
    /// of each lane the worker can hold.
    ///
    /// While all lanes are empty, each is pulled, so up to three times as many tasks may arrive. A lower lane is not
    /// pulled while a higher one has tasks.
    pub(super) fn pull(&mut self, room: [u32; LANES], now: Instant) -> [u32; LANES] {
        let mut pulls = [0; LANES];
        for ((lane, pull), room) in self.0.iter_mut().zip(&mut pulls).zip(room) {
            lane.prune(now);
            // Few large pulls are cheaper than many small ones.
            if lane.requested <= room / 2 && room > 0 && !lane.rests(now) {
                *pull = room - lane.requested;
                lane.request(*pull, now);
            }
            if !lane.is_dry(now) {
                break;
            }
        }
        pulls
    }

    /// Whether a task of a lane may start: no higher lane has tasks, as far as this worker knows. A lane whose pull waits
    /// for `lane_wait` is empty.
    pub(super) fn may_start(&self, lane: usize, now: Instant, lane_wait: Duration) -> bool {
        let mut higher = self.0[..lane].iter();
        higher.all(|higher| higher.counts_as_empty(now, lane_wait))
    }

    /// When to call `pull` next if no event arrives: a lane may count as empty by then, or a pull as ended.
    pub(super) fn next_pull_at(&self, now: Instant, lane_wait: Duration) -> Instant {
        let times = self.0.iter().filter_map(|lane| {
            let dry = lane.active_at.map(|active_at| match lane.pending {
                0 => active_at + lane_wait,
                _ => active_at + DRY,
            });
            let dry = dry.filter(|at| lane.requested > 0 && *at > now);
            let over = lane.pulls.front().map(|pull| pull.ends + GRACE);
            let rested = lane.rests_until.filter(|at| *at > now);
            dry.into_iter().chain(over).chain(rested).min()
        });
        times.min().unwrap_or(now + PULL)
    }
}

impl LaneDemand {
    fn request(&mut self, tasks: u32, now: Instant) {
        if self.requested == 0 {
            self.active_at = Some(now);
            self.is_empty = false;
        }
        self.requested += tasks;
        self.pulls.push_back(Pull {
            left: tasks,
            ends: now + PULL,
        });
    }

    /// Subtracts tasks from the oldest pulls.
    fn take(&mut self, mut tasks: u32) {
        while tasks > 0
            && let Some(oldest) = self.pulls.front_mut()
        {
            let taken = tasks.min(oldest.left);
            oldest.left -= taken;
            self.requested -= taken;
            tasks -= taken;
            if oldest.left == 0 {
                self.pulls.pop_front();
            }
        }
    }

    /// Removes the pulls that must have ended.
    fn prune(&mut self, now: Instant) {
        while let Some(oldest) = self.pulls.front()
            && oldest.ends + GRACE <= now
        {
            self.requested -= oldest.left;
            self.pulls.pop_front();
        }
    }

    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    fn is_dry(&self, now: Instant) -> bool {
        self.pending == 0 || (self.requested > 0 && self.is_quiet(DRY, now))
    }

    /// Whether it is empty. Unlike `is_dry`, this does not rely on the count of an old task.
    fn counts_as_empty(&self, now: Instant, lane_wait: Duration) -> bool {
        match self.pending {
            0 if self.requested > 0 => self.is_empty || self.is_quiet(lane_wait, now),
            0 => self.rests(now) || !self.is_quiet(DRY, now),
            _ => self.requested > 0 && self.is_quiet(DRY.max(lane_wait), now),
        }
    }

    fn is_quiet(&self, time: Duration, now: Instant) -> bool {
        let active_at = self
            .active_at
            .map(|active_at| now.saturating_duration_since(active_at));
        active_at.is_none_or(|since| since >= time)
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    const LANE_WAIT: Duration = Duration::from_millis(10);

    #[test]
    fn an_idle_worker_waits_at_all_lanes() {
        let mut demand = Demand::default();
        let now = Instant::now();
        assert_eq!(demand.pull([4; LANES], now), [4, 4, 4]);
        assert_eq!(
            demand.pull([4; LANES], now),
            [0, 0, 0],
            "they are requested"
        );
    }

    #[test]
    fn a_pull_is_sent_again_when_half_of_the_room_is_free() {
        let mut demand = Demand::default();
        let now = Instant::now();
        demand.pull([4; LANES], now);
        demand.on_task(0, 0, now);
        assert_eq!(
            demand.pull([4; LANES], now),
            [0, 0, 0],
            "3 of 4 are requested"
        );
        demand.on_task(0, 0, now);
        assert_eq!(demand.pull([4; LANES], now), [2, 0, 0]);
        assert_eq!(demand.pull([0; LANES], now), [0, 0, 0]);
    }

    #[test]
    fn a_lower_lane_waits_while_a_higher_one_has_tasks() {
        let mut demand = Demand::default();
        let now = Instant::now();
        demand.pull([1; LANES], now);
        for lane in 0..LANES {
            demand.on_task(lane, 5, now);
        }
        assert_eq!(demand.pull([1; LANES], now), [1, 0, 0]);
        demand.on_task(0, 0, now);
        assert_eq!(demand.pull([1; LANES], now), [1, 1, 0]);
    }

    #[test]
    fn a_task_of_a_lower_lane_starts_once_the_higher_ones_are_found_empty() {
        let mut demand = Demand::default();
        let now = Instant::now();
        demand.pull([1; LANES], now);
        assert!(demand.may_start(0, now, LANE_WAIT) && !demand.may_start(2, now, LANE_WAIT));
        assert_eq!(demand.next_pull_at(now, LANE_WAIT), now + LANE_WAIT);
        let later = now + LANE_WAIT;
        assert!(demand.may_start(2, later, LANE_WAIT));
        // The task is the only one of its lane, and another may follow it.
        demand.on_task(0, 0, later);
        assert!(demand.may_start(2, later, LANE_WAIT));
        assert!(
            !demand.may_start(2, later + DRY, LANE_WAIT),
            "it was long ago"
        );
        assert_eq!(demand.pull([1; LANES], later + DRY), [1, 0, 0]);
        assert!(demand.may_start(2, later + DRY + LANE_WAIT, LANE_WAIT));
    }

    #[test]
    fn a_lane_that_other_workers_have_emptied_stops_no_lower_one() {
        let mut demand = Demand::default();
        let now = Instant::now();
        demand.pull([1; LANES], now);
        demand.on_task(0, 5, now);
        demand.on_task(1, 0, now);
        assert_eq!(demand.pull([1; LANES], now), [1, 0, 0]);
        assert_eq!(demand.next_pull_at(now + LANE_WAIT, LANE_WAIT), now + DRY);
        assert_eq!(demand.pull([1; LANES], now + DRY), [0, 1, 0]);
    }

    #[test]
    fn a_pull_is_sent_again_once_it_ended_with_or_without_a_message() {
        let mut demand = Demand::default();
        let now = Instant::now();
        demand.pull([4; LANES], now);
        demand.on_task(1, 0, now);
        demand.on_end(1, 3);
        assert_eq!(demand.pull([4; LANES], now), [0, 4, 0]);
        let over = now + PULL + GRACE;
        assert_eq!(demand.next_pull_at(now + DRY, LANE_WAIT), over);
        assert_eq!(demand.pull([4; LANES], over), [4, 4, 4]);
    }

    #[test]
    fn a_task_that_came_while_the_program_was_stopped_is_not_claimed() {
        let mut demand = Demand::default();
        let now = Instant::now();
        demand.pull([2; LANES], now);
        let until = now + PULL + FRESH;
        assert_eq!(demand.on_task(0, 0, now), Some(until));
        assert_eq!(demand.on_task(0, 0, until + DRY), None);
        assert_eq!(demand.on_task(0, 0, now), None, "no pull is known");
    }

    #[test]
    fn a_lane_has_no_pull_for_a_while_after_a_refusal() {
        let mut demand = Demand::default();
        let now = Instant::now();
        demand.pull([2; LANES], now);
        demand.on_refusal(0, now);
        assert_eq!(demand.pull([2; LANES], now), [0, 0, 0]);
        assert_eq!(demand.next_pull_at(now + LANE_WAIT, LANE_WAIT), now + REST);
        assert_eq!(demand.pull([2; LANES], now + REST), [2, 0, 0]);
    }

    #[test]
    fn a_count_that_the_server_gets_wrong_harms_nothing() {
        let mut demand = Demand::default();
        let now = Instant::now();
        demand.on_task(2, u64::MAX, now);
        demand.on_end(0, u32::MAX);
        assert_eq!(demand.pull([1; LANES], now), [1, 1, 1]);
        demand.on_reconnect();
        assert_eq!(demand.pull([2; LANES], now), [2, 2, 2]);
    }
}
