//! The output of one worker, from its first to its last byte. The task that drives the worker drives this too.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::yield_now;

use super::OutputStream;
use super::lines::Lines;
use super::relay::OutputRelay;
use crate::home::timeout;
use crate::process::link::Link;
use crate::process::turn::Turn;
use crate::wire::page::Page;

/// How long outcomes wait for a stream that accepts their output slowly.
const LONGEST_HOLD: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(in crate::process) struct Outputs {
    relays: Vec<OutputRelay>,
    lines: Vec<Lines>,
    /// Outcomes wait for the output before them, at most until this instant.
    hold: Option<Instant>,
}

/// What is known about the process that writes.
#[derive(Clone, Copy, Default)]
pub(in crate::process) struct OutputWriter<'a> {
    /// Shows the worker how much of its stderr was read, and shows how much the worker has written.
    page: Option<&'a Page>,
    /// Has the names of its tasks.
    link: Option<&'a Link>,
}

impl<'a> OutputWriter<'a> {
    /// The page, if this relay counts in it what it reads.
    fn page_of(self, relay: &OutputRelay) -> Option<&'a Page> {
        self.page.filter(|_| relay.stream() == OutputStream::Stderr)
    }
}

impl<'a> From<&'a Page> for OutputWriter<'a> {
    fn from(page: &'a Page) -> Self {
        Self {
            page: Some(page),
            link: None,
        }
    }
}

impl<'a> From<&'a Link> for OutputWriter<'a> {
    fn from(link: &'a Link) -> Self {
        Self {
            page: Some(&link.page),
            link: Some(link),
        }
    }
}

impl Outputs {
    pub(super) fn new(relays: Vec<OutputRelay>, lines: Vec<Lines>) -> Self {
        Self {
            relays,
            lines,
            hold: None,
        }
    }

    /// Passes on output until the last pipe is closed. For a process that no supervisor drives.
    pub(in crate::process) async fn attend(&mut self, writer: OutputWriter<'_>) {
        while self.is_open() {
            let (deadline, mut turn) = (self.deadline(), Turn::new());
            let printed = poll_fn(|cx| self.poll(cx, writer, &mut turn));
            match before(deadline, printed).await {
                Some(()) => yield_now().await, // The process may write endlessly.
                None => self.on_deadline(Instant::now()),
            }
        }
    }

    /// As `attend`, but continues to wait after the process has closed its streams.
    pub(in crate::process) async fn attend_on(&mut self, writer: OutputWriter<'_>) -> Infallible {
        self.attend(writer).await;
        pending().await
    }

    /// Whether the process may still write.
    pub(in crate::process) fn is_open(&self) -> bool {
        self.relays.iter().any(OutputRelay::is_open) || self.lines.iter().any(Lines::is_open)
    }

    /// Reads some output and passes it on. Ready when it has done so, when outcomes need not wait any more, or when the
    /// turn is over.
    pub(in crate::process) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        writer: OutputWriter<'_>,
        turn: &mut Turn,
    ) -> Poll<()> {
        let mut outcome = Poll::Pending;
        for lines in &mut self.lines {
            if lines.poll_read(cx, writer.link, turn).is_ready() {
                outcome = Poll::Ready(());
            }
        }
        if self.hold.is_some() {
            return match self.poll_out(cx, writer, turn) {
                Poll::Pending if !turn.is_over() => outcome,
                _ => Poll::Ready(()),
            };
        }
        for relay in &mut self.relays {
            if relay.poll_read(cx, writer.page_of(relay), turn).is_ready() {
                outcome = Poll::Ready(());
            }
        }
        outcome
    }

    fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
        writer: OutputWriter<'_>,
        turn: &mut Turn,
    ) -> Poll<()> {
        let mut outcome = Poll::Ready(());
        for lines in &mut self.lines {
            lines.read_awaited(writer.link, turn);
            if !lines.is_read() {
                outcome = Poll::Pending;
            }
        }
        for relay in &mut self.relays {
            if relay.poll_out(cx, writer.page_of(relay), turn).is_pending() {
                outcome = Poll::Pending;
            }
        }
        outcome
    }

    fn is_out(&self) -> bool {
        self.relays.iter().all(OutputRelay::is_out) && self.are_lines_read()
    }

    fn are_lines_read(&self) -> bool {
        self.lines.iter().all(Lines::is_read)
    }

    /// Passes on everything that the ended calls of the worker have written. Returns false if the turn ends before
    /// that, or if this process's own stream does not accept it at once: outcomes that have arrived then wait, see
    /// `holds_outcomes`.
    pub(in crate::process) fn drain(&mut self, writer: OutputWriter<'_>, turn: &mut Turn) -> bool {
        // No outcome waits twice.
        if self.hold.take().is_none() {
            for lines in &mut self.lines {
                lines.await_written();
                lines.read_awaited(writer.link, turn);
            }
            for relay in &mut self.relays {
                let page = writer.page_of(relay);
                relay.await_written(page);
                relay.read_awaited(page, turn);
            }
            if !self.is_out() {
                self.hold = Some(Instant::now() + LONGEST_HOLD);
            }
        }
        let holds = self.holds_outcomes();
        self.hold = self.hold.filter(|_| holds);
        !holds
    }

    /// Whether outcomes must wait. If so, `drain` must be called again once they need not: `poll` or `deadline`
    /// determines when.
    pub(in crate::process) fn holds_outcomes(&self) -> bool {
        self.held_until().is_some()
    }

    /// Until when outcomes wait, if they do.
    fn held_until(&self) -> Option<Instant> {
        self.hold_end().filter(|end| Instant::now() < *end)
    }

    /// Until when outcomes wait for output that is not yet written. They do not wait for a stream that has accepted
    /// nothing for long.
    fn hold_end(&self) -> Option<Instant> {
        let longest = self.hold.filter(|_| !self.is_out())?;
        if !self.are_lines_read() {
            return Some(longest);
        }
        let blocked = self.relays.iter().filter(|relay| !relay.is_out());
        let stall_end = blocked.filter_map(OutputRelay::stall_end).max();
        Some(stall_end.map_or(longest, |end| end.min(longest)))
    }

    /// When to check `holds_outcomes` and to call `on_deadline`.
    pub(in crate::process) fn deadline(&self) -> Option<Instant> {
        let unfinished = self.relays.iter().filter_map(OutputRelay::deadline);
        unfinished.chain(self.held_until()).min()
    }

    pub(in crate::process) fn on_deadline(&mut self, now: Instant) {
        for relay in &mut self.relays {
            relay.on_deadline(now);
        }
    }

    /// Passes on the last output of a process that has ended. All of it is in the pipes already. Returns when it is
    /// written, or when this process's own stream has accepted nothing for long.
    pub(in crate::process) async fn finish(&mut self, writer: OutputWriter<'_>) {
        self.read_rest(writer).await;
        self.hold = Some(Instant::now() + LONGEST_HOLD);
        while self.holds_outcomes() {
            let (end, mut turn) = (self.hold_end(), Turn::new());
            let out = poll_fn(|cx| self.poll_out(cx, writer, &mut turn));
            before(end, out).await;
        }
        self.hold = None;
    }

    /// As `finish`, without waiting for this process's own stream: the rest is written when that accepts it.
    pub(in crate::process) async fn read_rest(&mut self, writer: OutputWriter<'_>) {
        self.lines.iter_mut().for_each(Lines::await_rest);
        self.relays.iter_mut().for_each(OutputRelay::await_rest);
        loop {
            let mut turn = Turn::new();
            for lines in &mut self.lines {
                lines.read_awaited(writer.link, &mut turn);
            }
            for relay in &mut self.relays {
                relay.read_awaited(writer.page_of(relay), &mut turn);
            }
            if self.are_lines_read() && self.relays.iter().all(OutputRelay::is_read) {
                break;
            }
            yield_now().await;
        }
        for lines in &mut self.lines {
            lines.finish(writer.link);
        }
        self.relays.iter_mut().for_each(OutputRelay::finish);
    }

    /// The end of what the last task of an ended process wrote to stderr, or the end of all output if it ran no task.
    pub(in crate::process) fn tail(&self, writer: OutputWriter<'_>) -> String {
        let start = writer.page.map_or(0, Page::output_before_last_call);
        let is_stderr = |stream| stream == OutputStream::Stderr;
        let relays = self.relays.iter().filter(|relay| is_stderr(relay.stream()));
        let lines = self.lines.iter().filter(|lines| is_stderr(lines.stream()));
        let mut tails = relays
            .map(|relay| relay.tail(start))
            .chain(lines.map(Lines::tail));
        String::from_utf8_lossy(tails.next().unwrap_or_default()).into_owned()
    }
}

/// Awaits `future` until an instant, if there is one. `None` after that.
async fn before<F: Future>(moment: Option<Instant>, future: F) -> Option<F::Output> {
    match moment {
        Some(moment) => timeout(moment.saturating_duration_since(Instant::now()), future).await,
        None => Some(future.await),
    }
}
