//! The waits of a pipe, written once: a [`Transfer`] consists of steps that never wait, and one of three drivers takes
//! the steps: [`in_task`], [`in_thread`] or [`at_once`].

use std::future::pending;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use tokio::sync::futures::Notified;
use tokio::task::yield_now;

use super::put_back::PutBack;
use super::watch::SocketWatch;
use crate::multiprocessing::waiting::driver::is_over;
use crate::multiprocessing::waiting::linger::{linger, linger_in_turn};
use crate::multiprocessing::waiting::pause::CHECK_INTERVAL;
use crate::sys::AsFd as _;

/// The number of parts that a driver takes in a row if it must not wait, or must not wait any longer.
pub(in crate::multiprocessing) const MOST_PARTS: usize = 64;

/// Something to do that may have to wait, in any number of parts.
pub(in crate::multiprocessing) trait Transfer {
    /// Its result.
    type Done;

    /// Does what is possible now. Returns `None` if it must wait.
    ///
    /// A step that changes what the transfer waits for returns [`Step::Part`].
    fn step(&mut self) -> Option<Step<Self::Done>>;

    /// The reasons for the next step, if the last one returned `None`.
    fn waits_for(&self) -> Reasons;
}

/// What a step has done.
#[derive(Debug)]
pub(in crate::multiprocessing) enum Step<T> {
    /// It is complete.
    Done(T),
    /// It has completed a part that took a while. The other tasks run before the next part.
    Part,
}

/// The reasons for a transfer that waits to take its next step.
#[derive(Debug)]
pub(in crate::multiprocessing) struct Reasons {
    /// This socket is ready, or its other end is closed.
    pub(in crate::multiprocessing) socket: Option<Arc<SocketWatch>>,
    pub(in crate::multiprocessing) other: OtherReason,
}

/// Another reason to take the next step, besides a socket.
#[derive(Debug)]
pub(in crate::multiprocessing) enum OtherReason {
    Nothing,
    /// A receiver of this process gives up a value that it has started to read.
    PutBack(Arc<PutBack>),
    /// This time has passed.
    At(Instant),
}

impl Reasons {
    pub(super) fn socket(socket: &Arc<SocketWatch>) -> Self {
        Self {
            socket: Some(socket.clone()),
            other: OtherReason::Nothing,
        }
    }
}

/// Runs a transfer in a task.
///
/// # Panics
/// If it has to wait outside of a tokio runtime, or in one without an I/O driver (or a timer, if it waits for a time).
///
/// # Cancel safety
/// If the future is dropped, the transfer is.
pub(in crate::multiprocessing) async fn in_task<T: Transfer>(mut transfer: T) -> T::Done {
    loop {
        let step = match linger_in_turn(|| transfer.step()).await {
            Some(step) => step,
            None => sleep_in_task(&mut transfer).await,
        };
        match step {
            Step::Done(done) => return done,
            Step::Part => yield_now().await,
        }
    }
}

async fn sleep_in_task<T: Transfer>(transfer: &mut T) -> Step<T::Done> {
    loop {
        let Reasons { socket, other } = transfer.waits_for();
        let (put_back, time) = match &other {
            OtherReason::Nothing => (None, None),
            OtherReason::PutBack(values) => (Some(values.notified()), None),
            OtherReason::At(time) => (None, Some(*time)),
        };
        // This task is woken only by values that are put back from here on.
        if let Some(step) = transfer.step() {
            return step;
        }
        let ready = async {
            match socket {
                Some(socket) => socket.until(|| transfer.step()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            step = ready => return step,
            () = either(put_back, time) => {}
        }
    }
}

async fn either(put_back: Option<Notified<'_>>, time: Option<Instant>) {
    match (put_back, time) {
        (Some(put_back), _) => put_back.await,
        (_, Some(time)) => tokio::time::sleep_until(time.into()).await,
        _ => pending().await,
    }
}

/// Runs a transfer on a thread. `None` if it is not complete by `end`.
pub(in crate::multiprocessing) fn in_thread<T: Transfer>(
    mut transfer: T,
    end: Option<Instant>,
) -> Option<T::Done> {
    let mut late = 0;
    loop {
        let step = linger(|| transfer.step()).or_else(|| sleep_in_thread(&mut transfer, end));
        match step? {
            Step::Done(done) => return Some(done),
            // Another process could send parts without end.
            Step::Part if is_over(end) && late >= MOST_PARTS => return None,
            Step::Part => late += usize::from(is_over(end)),
        }
    }
}

fn sleep_in_thread<T: Transfer>(transfer: &mut T, end: Option<Instant>) -> Option<Step<T::Done>> {
    loop {
        let Reasons { socket, other } = transfer.waits_for();
        let (bell, time) = match &other {
            OtherReason::Nothing => (None, None),
            OtherReason::PutBack(values) => match values.bell() {
                Some(bell) => (Some(bell.as_fd()), None),
                None => (None, Some(Instant::now() + CHECK_INTERVAL)),
            },
            OtherReason::At(time) => (None, Some(*time)),
        };
        // The bell reports only values that are put back from here on.
        let step = transfer.step();
        if step.is_some() || is_over(end) {
            return step;
        }
        let wake = [end, time].into_iter().flatten().min();
        match socket {
            Some(socket) => socket.sleep(bell, wake),
            None => sleep(wake),
        }
    }
}

fn sleep(wake: Option<Instant>) {
    let wake = wake.expect("a transfer that waits for no socket waits for a time");
    thread::sleep(wake.saturating_duration_since(Instant::now()));
}

/// Runs a transfer if it need not wait. `None` if it must.
pub(in crate::multiprocessing) fn at_once<T: Transfer>(mut transfer: T) -> Option<T::Done> {
    for _ in 0..MOST_PARTS {
        match transfer.step()? {
            Step::Done(done) => return Some(done),
            Step::Part => {}
        }
    }
    None
}
