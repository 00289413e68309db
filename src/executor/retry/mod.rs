//! A task that is attempted again. The caller's future drives the attempts: it submits each as a task of its own. So
//! the executor knows nothing of retries, and the future sees decoded results, which an executor does not. `policy`
//! decides.

mod policy;

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

pub use self::policy::Retry;
use super::deadline::Deadline;
use super::error::TaskError;
use super::handle::JoinHandle;
use crate::block::block_on;
use crate::observe;

/// Attempts a task until its outcome is one that `policy` and [`when`](Retrying::when) do not cover, or no retries are
/// left.
///
/// `submit` is called for each attempt. It submits the task to any executor, with options if it has any, and clones
/// what the task consumes. Nothing runs before the first poll.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::{Retry, TaskOptions, ThreadPoolExecutor, retry};
///
/// fn ask(server: String) -> Result<String, u16> {
///     Ok(format!("{server} says hello"))
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ThreadPoolExecutor::new()?;
/// let server = "db1".to_owned();
/// let options = TaskOptions::new().timeout(Duration::from_secs(1)); // For each attempt.
/// let policy = Retry::new(3)
///     .on_timeout()
///     .backoff(Duration::from_millis(20), Duration::from_secs(1));
/// let answer = retry(policy, || pool.submit_with(&options, ask, server.clone()))
///     .when(|outcome| matches!(outcome, Ok(Err(503))))
///     .await?;
/// assert_eq!(answer.as_deref(), Ok("db1 says hello"));
/// # Ok(()) }
/// ```
///
/// Each attempt is a task of its own, queued behind those that already wait. It has its own time limits, statistics and
/// span. [`TaskOptions::retries`](crate::TaskOptions::retries) of the task apply within each attempt.
///
/// A cancelled task and a shut-down executor end the attempts, whatever the policy is.
///
/// # Errors
/// The error of the last attempt. Its [`attempts`](TaskError::attempts) counts all.
///
/// # Cancel safety
/// Awaiting `&mut retrying` is cancel safe. Dropping it cancels the attempt that waits or runs, as
/// [`abort_on_drop`](JoinHandle::abort_on_drop) does, and starts no other. To let the attempts go on by themselves,
/// spawn it.
#[doc(alias("backoff", "tenacity"))]
pub fn retry<'a, T>(
    policy: Retry,
    submit: impl FnMut() -> JoinHandle<T> + Send + 'a,
) -> Retrying<'a, T> {
    Retrying {
        policy,
        submit: Box::new(submit),
        when: None,
        on_retry: None,
        began: None,
        submitted: 0,
        earlier: 0,
        has_started: false,
        phase: RetryPhase::Submit,
    }
}

/// A task that is attempted again if it fails: the future that [`retry`] makes. [`wait`](crate::wait) and
/// [`as_completed`](crate::as_completed) accept it beside handles.
///
/// # Panics
/// Polling it again after it returned its outcome panics.
#[must_use = "no attempt begins until it is awaited"]
pub struct Retrying<'a, T> {
    policy: Retry,
    submit: Box<dyn FnMut() -> JoinHandle<T> + Send + 'a>,
    when: Option<Predicate<'a, T>>,
    on_retry: Option<OnRetry<'a, T>>,
    /// When the first attempt began.
    began: Option<Instant>,
    /// How many attempts were submitted.
    submitted: u32,
    /// How many attempts have failed, including those made by its executor.
    earlier: u32,
    /// Whether the function began in any failed attempt.
    has_started: bool,
    phase: RetryPhase<T>,
}

type Predicate<'a, T> = Box<dyn FnMut(&Result<T, TaskError>) -> bool + Send + 'a>;

type OnRetry<'a, T> = Box<dyn FnMut(&Result<T, TaskError>, Duration) + Send + 'a>;

enum RetryPhase<T> {
    /// The next attempt is due.
    Submit,
    Attempt(JoinHandle<T>),
    Pause(Deadline),
    /// The outcome was returned, or the predicate panicked.
    Done,
}

impl<'a, T> Retrying<'a, T> {
    /// Attempts the task again also if `predicate` returns true for its outcome: an error of the task's own `Result`,
    /// or a [`TaskError`] that the policy does not cover. It is not called for a cancelled task or a shut-down
    /// executor.
    ///
    /// ```
    /// use concurrent_futures::{Retry, ThreadPoolExecutor, retry};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let mut attempts = 0;
    /// let parsed = retry(Retry::new(2), || {
    ///     let text = ["x", "7"][attempts]; // Another input for each attempt.
    ///     attempts += 1;
    ///     pool.submit(str::parse::<u32>, text)
    /// });
    /// assert_eq!(parsed.when(|outcome| matches!(outcome, Ok(Err(_)))).await?, Ok(7));
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// A panic of `predicate` reaches the caller that polls.
    pub fn when(
        mut self,
        predicate: impl FnMut(&Result<T, TaskError>) -> bool + Send + 'a,
    ) -> Self {
        self.when = Some(Box::new(predicate));
        self
    }

    /// Calls `callback` before each retry, with the outcome of the attempt that failed and the pause before the next.
    /// Use it to log outcomes that would otherwise be lost.
    ///
    /// # Panics
    /// A panic of `callback` reaches the caller that polls.
    #[doc(alias = "notify")]
    pub fn on_retry(
        mut self,
        callback: impl FnMut(&Result<T, TaskError>, Duration) + Send + 'a,
    ) -> Self {
        self.on_retry = Some(Box::new(callback));
        self
    }

    /// Returns the number of attempts that have started. After `(&mut retrying).await` this counts all attempts, also if the last
    /// one succeeded.
    pub fn attempts(&self) -> u32 {
        self.submitted
    }

    /// Blocks this thread until the outcome is there, pauses included. Needs no runtime. In async code, await the
    /// future instead.
    ///
    /// ```
    /// use concurrent_futures::{Retry, ThreadPoolExecutor, retry};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = ThreadPoolExecutor::new()?;
    /// let error = retry(Retry::new(2).on_panic(), || pool.submit(|| panic!("again"), ()))
    ///     .blocking_join()
    ///     .unwrap_err();
    /// assert_eq!(error.attempts(), 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Like awaiting it.
    ///
    /// # Panics
    /// On a thread that drives async code.
    #[track_caller]
    pub fn blocking_join(self) -> Result<T, TaskError> {
        block_on(self)
    }

    /// Submits the next attempt.
    fn submit(&mut self) -> JoinHandle<T> {
        self.began.get_or_insert_with(Instant::now);
        self.submitted = self.submitted.saturating_add(1);
        let attempt = self.earlier.saturating_add(1);
        let handle = observe::as_attempt(attempt, &mut self.submit);
        handle.abort_on_drop()
    }

    fn note_failure(&mut self, outcome: &Result<T, TaskError>) {
        let (attempts, has_started) = match outcome {
            Ok(_) => (1, true),
            Err(error) => (error.attempts(), error.was_started()),
        };
        self.earlier = self.earlier.saturating_add(attempts);
        self.has_started |= has_started;
    }

    /// The pause before the next attempt, or `None` if this outcome is final.
    fn pause_after(&mut self, outcome: &Result<T, TaskError>) -> Option<Duration> {
        let is_final = |error: &TaskError| error.is_cancelled() || error.is_shutdown();
        let is_covered = match outcome {
            Err(error) if is_final(error) => return None,
            Err(error) => self.policy.covers(error),
            Ok(_) => false,
        };
        let elapsed = self.began.map(|began| began.elapsed()).unwrap_or_default();
        let pause = self.policy.next_pause(self.submitted, elapsed, random())?;
        let is_named = |when: &mut Predicate<'a, T>| when(outcome);
        (is_covered || self.when.as_mut().is_some_and(is_named)).then_some(pause)
    }
}

impl<T> Future for Retrying<'_, T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match &mut this.phase {
                RetryPhase::Submit => this.phase = RetryPhase::Attempt(this.submit()),
                RetryPhase::Pause(pause) => {
                    ready!(pause.poll_passed(cx));
                    this.phase = RetryPhase::Submit;
                }
                RetryPhase::Attempt(handle) => {
                    let outcome = ready!(Pin::new(handle).poll(cx));
                    this.phase = RetryPhase::Done;
                    let Some(pause) = this.pause_after(&outcome) else {
                        let after = |error: TaskError| error.after(this.earlier, this.has_started);
                        return Poll::Ready(outcome.map_err(after));
                    };
                    if let Some(on_retry) = &mut this.on_retry {
                        on_retry(&outcome, pause);
                    }
                    this.note_failure(&outcome);
                    if pause.is_zero() {
                        // The next attempt waits for the next poll: a task that is always refused would keep the
                        // caller's thread in this loop.
                        this.phase = RetryPhase::Submit;
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    let mut deadline = Deadline::from_now();
                    deadline.set(pause);
                    this.phase = RetryPhase::Pause(deadline);
                }
                RetryPhase::Done => panic!("a Retrying was polled after it returned its outcome"),
            }
        }
    }
}

/// The closures are called through `&mut`, and never pinned.
impl<T> Unpin for Retrying<'_, T> {}

impl<T> fmt::Debug for Retrying<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying")
            .field("policy", &self.policy)
            .field("attempts", &self.submitted)
            .finish_non_exhaustive()
    }
}

/// A random number: the keys of std's hash maps are random, and each `RandomState` has different ones.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
