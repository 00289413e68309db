//! The timeout of a stream or a wait. The task that polls the stream also drives the timer, so a blocked runtime does
//! not delay the others.

use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep_until};

use crate::home::{Alarm, Home};
use crate::panic;

/// The time counts from its creation. The first poll creates the timer.
#[derive(Debug)]
pub(crate) struct Deadline {
    since: Instant,
    /// The creation by the clock of the runtime, which a test may have paused.
    since_here: tokio::time::Instant,
    limit: Option<Duration>,
    timer: Option<WaitTimer>,
}

#[derive(Debug)]
enum WaitTimer {
    /// A timer of the runtime that polls.
    Theirs(Id, Pin<Box<Sleep>>),
    /// An alarm of the crate's own thread: the caller has no runtime, or one without timers.
    Own(
        oneshot::Receiver<()>,
        #[expect(dead_code, reason = "held until the deadline is dropped")] Alarm,
    ),
}

impl Deadline {
    /// Starts to count, without a limit.
    pub(crate) fn from_now() -> Self {
        Self {
            since: Instant::now(),
            since_here: tokio::time::Instant::now(),
            limit: None,
            timer: None,
        }
    }

    pub(crate) fn set(&mut self, limit: Duration) {
        self.limit = Some(limit);
        self.timer = None;
    }

    pub(crate) fn is_set(&self) -> bool {
        self.limit.is_some()
    }

    /// Ready with the limit once the deadline has passed.
    pub(crate) fn poll_passed(&mut self, cx: &mut task::Context<'_>) -> Poll<Duration> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let ends = (
            self.since.checked_add(limit),
            self.since_here.checked_add(limit),
        );
        let (Some(end), Some(end_here)) = ends else {
            return Poll::Pending; // The clock cannot represent this deadline, so it never passes.
        };
        let here = Handle::try_current().map(|runtime| runtime.id()).ok();
        let timer = match &mut self.timer {
            Some(timer) if timer.runs_in(here) => timer,
            none => {
                // A timer that is due fires only at the runtime's next turn, so the clock is read here.
                let is_due = match here {
                    Some(_) => end_here <= tokio::time::Instant::now(),
                    None => end <= Instant::now(),
                };
                if is_due {
                    return Poll::Ready(limit);
                }
                none.insert(WaitTimer::new(here, end, end_here))
            }
        };
        ready!(timer.poll(cx));
        Poll::Ready(limit)
    }
}

impl WaitTimer {
    fn new(here: Option<Id>, end: Instant, end_here: tokio::time::Instant) -> Self {
        // Tokio panics if the runtime has no timers.
        let sleep = |_| panic::quietly(|| Box::pin(sleep_until(end_here))).ok();
        if let Some((here, sleep)) = here.and_then(|here| Some((here, sleep(here)?))) {
            return Self::Theirs(here, sleep);
        }
        let span = end.saturating_duration_since(Instant::now());
        let (alarm, rung) = Alarm::channel(&Home::new(), span);
        Self::Own(rung, alarm)
    }

    fn runs_in(&self, here: Option<Id>) -> bool {
        match self {
            Self::Theirs(runtime, _) => here == Some(*runtime),
            Self::Own(rung, _) => !rung.is_terminated(),
        }
    }

    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        match self {
            Self::Theirs(_, sleep) => sleep.as_mut().poll(cx),
            Self::Own(rung, _) => match ready!(Pin::new(rung).poll(cx)) {
                Ok(()) => Poll::Ready(()),
                Err(_) => Poll::Pending, // No thread for alarms could be started. The next poll tries again.
            },
        }
    }
}
