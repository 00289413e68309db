//! When a task is attempted again, and after which pause. Pure: the caller passes the time and the random number.

use std::time::Duration;

use crate::executor::error::TaskError;

/// When and how often [`retry`](crate::retry()) attempts a task again.
///
/// A new policy covers a lost worker, as [`TaskOptions::retries`](crate::TaskOptions::retries) does, and does not pause
/// between attempts. The task may run more than once, so use it only for tasks for which that is safe.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::Retry;
///
/// const UPLOADS: Retry = Retry::new(4) // At most five attempts.
///     .on_timeout()
///     .on_busy()
///     .backoff(Duration::from_millis(50), Duration::from_secs(2))
///     .give_up_after(Duration::from_secs(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a policy does nothing until it is passed to `retry`"]
pub struct Retry {
    retries: u32,
    on_lost_worker: bool,
    on_timeout: bool,
    on_panic: bool,
    on_busy: bool,
    /// The ceiling of the first pause, and of all pauses.
    pauses: (Duration, Duration),
    has_jitter: bool,
    limit: Option<Duration>,
}

impl Retry {
    /// Attempts a task again up to `retries` times if its worker is lost: `retries + 1` attempts in all.
    pub const fn new(retries: u32) -> Self {
        Self {
            retries,
            on_lost_worker: true,
            on_timeout: false,
            on_panic: false,
            on_busy: false,
            pauses: (Duration::ZERO, Duration::ZERO),
            has_jitter: true,
            limit: None,
        }
    }

    /// Covers a [`timeout`](crate::TaskOptions::timeout) of the task, which applies to each attempt separately. The
    /// caller gets that error at once. So a function that still runs, on a thread or in its
    /// [`grace_period`](crate::TaskOptions::grace_period), may overlap with the next attempt.
    pub const fn on_timeout(mut self) -> Self {
        self.on_timeout = true;
        self
    }

    /// Covers a panic of the task.
    pub const fn on_panic(mut self) -> Self {
        self.on_panic = true;
        self
    }

    /// Covers a refusal because the executor has too much to do: its queue is full, or the task waited there for its
    /// [`queue_timeout`](crate::TaskOptions::queue_timeout). Use it with a [`backoff`](Self::backoff).
    pub const fn on_busy(mut self) -> Self {
        self.on_busy = true;
        self
    }

    /// Does not cover a lost worker. [`Retrying::when`](crate::Retrying::when) can still cover some of these errors.
    ///
    /// ```
    /// use concurrent_futures::{Retry, ThreadPoolExecutor, retry};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = ThreadPoolExecutor::new()?;
    /// // A task that needs too much memory would need as much the next time.
    /// let sum = retry(Retry::new(2).not_on_lost_worker(), || pool.submit(|| 2 + 2, ()))
    ///     .when(|outcome| outcome.as_ref().is_err_and(|e| e.is_worker_lost() && !e.is_out_of_memory()))
    ///     .await?;
    /// assert_eq!(sum, 4);
    /// # Ok(()) }
    /// ```
    pub const fn not_on_lost_worker(mut self) -> Self {
        self.on_lost_worker = false;
        self
    }

    /// Pauses before each retry. The ceiling of the pause is `first` before the first retry, and doubles with each
    /// retry, up to `most`. The pause is a random part of its ceiling, so that tasks that failed together are not all
    /// retried together ("full jitter" in Marc Brooker's [Exponential Backoff And
    /// Jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)).
    pub const fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.pauses = (first, most);
        self
    }

    /// Makes each pause of [`backoff`](Self::backoff) as long as its ceiling.
    pub const fn without_jitter(mut self) -> Self {
        self.has_jitter = false;
        self
    }

    /// Begins no attempt later than `limit` after the first, and no pause that would end later: the last outcome is
    /// returned instead. It does not end a running attempt. To limit all attempts together, await the whole in
    /// [`tokio::time::timeout`].
    pub const fn give_up_after(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Whether the policy itself covers this error.
    pub(super) fn covers(&self, error: &TaskError) -> bool {
        (self.on_lost_worker && error.is_worker_lost())
            || (self.on_timeout && error.is_timeout())
            || (self.on_panic && error.is_panic())
            || (self.on_busy && error.is_busy())
    }

    /// The pause before the next attempt, or `None` if there is none. `attempts` have ended, the last of them `elapsed`
    /// after the first began.
    pub(super) fn next_pause(
        &self,
        attempts: u32,
        elapsed: Duration,
        random: u64,
    ) -> Option<Duration> {
        if attempts > self.retries {
            return None;
        }
        let pause = self.pause(attempts.saturating_sub(1), random);
        let is_late = self
            .limit
            .is_some_and(|limit| elapsed.saturating_add(pause) > limit);
        (!is_late).then_some(pause)
    }

    /// The pause before a retry. The first retry has number 0.
    fn pause(&self, retry: u32, random: u64) -> Duration {
        let (first, most) = self.pauses;
        let factor = 1_u128.checked_shl(retry).unwrap_or(u128::MAX);
        let ceiling = first.as_nanos().saturating_mul(factor);
        let ceiling = ceiling.min(most.as_nanos());
        match self.has_jitter {
            true => from_nanos(part(ceiling, random)),
            false => from_nanos(ceiling),
        }
    }
}

/// `whole * random / 2^64`. A duration has at most 94 bits of nanoseconds, so no product overflows.
fn part(whole: u128, random: u64) -> u128 {
    let (high, low) = (whole >> 64, whole & u128::from(u64::MAX));
    let random = u128::from(random);
    high * random + ((low * random) >> 64)
}

/// Returns `nanos` as a duration.
fn from_nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let seconds = u64::try_from(nanos / SECOND).unwrap_or(u64::MAX);
    Duration::new(seconds, (nanos % SECOND) as u32)
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/executor/retry_policy.rs"]
mod properties;
