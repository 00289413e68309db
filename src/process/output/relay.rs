//! A stream that is copied to this process's own.

use std::io::{self, PipeReader};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::parent_stream::{MOST_WAITING, ParentStream, RelayProgress};
use super::pipe::{OutputPipe, read_some};
use super::tail::OutputTail;
use super::{MOST_REST, OutputStream};
use crate::process::turn::Turn;
use crate::sys;
use crate::wire::page::Page;

/// How long an unfinished line waits for its end. In this time, no other worker's line splits it.
const UNFINISHED: Duration = Duration::from_millis(50);
/// Reading stops while this number of bytes waits for this process's stream. The worker's pipe then fills, and the
/// worker blocks.
const MOST_UNWRITTEN: u64 = 64 * 1024;

pub(super) struct OutputRelay {
    /// `None` once the end was reached.
    pipe: Option<OutputPipe>,
    stream: &'static ParentStream,
    /// The start of a line.
    unfinished: Vec<u8>,
    /// When `unfinished` is written without its end.
    unfinished_until: Option<Instant>,
    progress: Arc<RelayProgress>,
    /// The end of what was read, and the number of bytes read.
    tail: OutputTail,
    /// Outcomes wait until this number of bytes is written.
    awaited: u64,
    /// How many bytes may already wait for `stream` when more are added.
    most_waiting: usize,
}

impl OutputRelay {
    pub(super) fn new(pipe: OutputPipe, stream: OutputStream) -> Self {
        Self {
            pipe: Some(pipe),
            stream: ParentStream::of(stream),
            unfinished: Vec::new(),
            unfinished_until: None,
            progress: Arc::default(),
            tail: OutputTail::default(),
            awaited: 0,
            most_waiting: usize::MAX,
        }
    }

    pub(super) fn stream(&self) -> OutputStream {
        self.stream.stream()
    }

    /// Whether more may be written.
    pub(super) fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads once, and passes on the whole lines. Stays pending at the end, and while too much waits for this process's
    /// stream.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        page: Option<&Page>,
        turn: &mut Turn,
    ) -> Poll<()> {
        if self.pauses() {
            self.progress.wake_on_change(cx.waker());
            if self.pauses() {
                return Poll::Pending;
            }
        }
        let Some(pipe) = &mut self.pipe else {
            return Poll::Pending;
        };
        let total = self.tail.total();
        let read = |pipe: &PipeReader| counted(page, total, || read_some(pipe, usize::MAX));
        match ready!(pipe.poll_read(cx, read)) {
            Ok(bytes) if !bytes.is_empty() => self.push(&bytes, turn),
            _ => self.close(),
        }
        Poll::Ready(())
    }

    /// From now on, outcomes wait for what the ended calls of the worker have written, but at most for what is in the
    /// pipe now: another process may write endlessly.
    pub(super) fn await_written(&mut self, page: Option<&Page>) {
        let written = page.map_or(Some(u64::MAX), Page::output_written);
        let written = written.unwrap_or(u64::MAX);
        self.awaited = if written <= self.tail.total() {
            written // The usual case takes no system call.
        } else {
            written.min(self.written_so_far())
        };
    }

    /// As `await_written`, for the last output of an ended worker, all of which is in the pipe already.
    pub(super) fn await_rest(&mut self) {
        let most = self.tail.total().saturating_add(MOST_REST as u64);
        self.awaited = self.written_so_far().min(most);
        self.most_waiting = MOST_WAITING;
    }

    /// Whether everything is read that an outcome waits for.
    pub(super) fn is_read(&self) -> bool {
        self.unread() == 0
    }

    /// Passes on what an outcome waits for until the turn is over. Does not wait for the runtime's events, which may be
    /// late. Stops while too much waits for this process's stream, unless this is the last output.
    pub(super) fn read_awaited(&mut self, page: Option<&Page>, turn: &mut Turn) {
        let is_rest = self.most_waiting == MOST_WAITING;
        while self.unread() > 0 && !turn.is_over() && (is_rest || !self.pauses()) {
            let Some(pipe) = &self.pipe else { break };
            let most = usize::try_from(self.unread()).unwrap_or(usize::MAX);
            match counted(page, self.tail.total(), || pipe.read_now(most)) {
                Ok(bytes) if !bytes.is_empty() => self.push(&bytes, turn),
                _ => self.close(),
            }
        }
        if self.unread() == 0 {
            self.pass_on_awaited();
        }
    }

    /// The number of bytes that have been written, including those in the pipe.
    fn written_so_far(&self) -> u64 {
        let waiting = self.pipe.as_ref().map_or(0, OutputPipe::waiting);
        self.tail.total() + waiting as u64
    }

    /// The number of bytes in the pipe that an outcome waits for.
    fn unread(&self) -> u64 {
        self.awaited.saturating_sub(self.tail.total())
    }

    /// The number of bytes that wait for this process's stream.
    fn unwritten(&self) -> u64 {
        self.tail.total() - self.unfinished.len() as u64 - self.progress.settled()
    }

    /// Whether everything is written that an outcome waits for.
    pub(super) fn is_out(&self) -> bool {
        self.progress.settled() >= self.awaited
    }

    /// As `is_out`. Continues to read, and wakes the task when something changes.
    pub(super) fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
        page: Option<&Page>,
        turn: &mut Turn,
    ) -> Poll<()> {
        if !self.is_out() {
            self.progress.wake_on_change(cx.waker());
            self.read_awaited(page, turn);
        }
        if self.is_out() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Until when an outcome waits. `None` if this process's stream accepts everything.
    pub(super) fn stall_end(&self) -> Option<Instant> {
        self.stream.stall_end()
    }

    /// When to call `on_deadline`. While reading is paused, the end of a line may be in the pipe.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.unfinished_until.filter(|_| !self.pauses())
    }

    /// Passes on a line whose end has not arrived in time.
    pub(super) fn on_deadline(&mut self, now: Instant) {
        if self.deadline().is_some_and(|end| end <= now) {
            self.pass_on_unfinished();
        }
    }

    /// Whether reading pauses, because too much waits for this process's stream.
    fn pauses(&self) -> bool {
        self.unwritten() >= MOST_UNWRITTEN || self.stream.is_crowded(&self.progress)
    }

    /// Passes on a line that the ended worker did not finish.
    pub(super) fn finish(&mut self) {
        self.close();
    }

    fn push(&mut self, bytes: &[u8], turn: &mut Turn) {
        turn.moved(bytes.len());
        self.tail.push(bytes);
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let (lines, rest) = bytes.split_at(end.map_or(0, |end| end + 1));
        if self.unfinished.is_empty() {
            self.pass_on(lines);
        } else if !lines.is_empty() {
            self.unfinished.extend_from_slice(lines);
            self.pass_on_unfinished();
        }
        self.unfinished.extend_from_slice(rest);
        if self.unfinished.len() >= sys::WHOLE {
            self.pass_on_unfinished(); // A line this long would be split anyway.
        } else if !self.unfinished.is_empty() {
            let end = || Instant::now() + UNFINISHED;
            self.unfinished_until.get_or_insert_with(end);
        }
    }

    fn pass_on_unfinished(&mut self) {
        self.unfinished_until = None;
        let text = std::mem::take(&mut self.unfinished);
        self.pass_on(&text);
    }

    /// Passes on the part of an unfinished line that an outcome waits for. The rest may be the start of the next task's
    /// line.
    fn pass_on_awaited(&mut self) {
        let passed_on = self.tail.total() - self.unfinished.len() as u64;
        let most = self.unfinished.len();
        let awaited = self.awaited.saturating_sub(passed_on);
        let awaited = usize::try_from(awaited).map_or(most, |awaited| awaited.min(most));
        if awaited > 0 {
            self.pass_on(&self.unfinished[..awaited]);
            self.unfinished.drain(..awaited);
        }
        if self.unfinished.is_empty() {
            self.unfinished_until = None;
        }
    }

    fn pass_on(&self, text: &[u8]) {
        if !text.is_empty() {
            self.stream.write(text, &self.progress, self.most_waiting);
        }
    }

    fn close(&mut self) {
        self.pipe = None;
        self.pass_on_unfinished();
        self.awaited = self.tail.total();
    }

    /// The text that follows the first `start` bytes of the output.
    pub(super) fn tail(&self, start: u64) -> &[u8] {
        self.tail.after(start)
    }
}

/// Passes on what was read, even if no task drives this any more.
impl Drop for OutputRelay {
    fn drop(&mut self) {
        if self.pipe.is_some() {
            self.await_rest();
            self.read_awaited(None, &mut Turn::endless());
            self.finish();
        }
    }
}

/// Reads bytes that follow the first `total` of the output, and counts them in the page. There the worker also sees
/// that bytes leave the pipe right now.
fn counted(
    page: Option<&Page>,
    total: u64,
    read: impl FnOnce() -> io::Result<Vec<u8>>,
) -> io::Result<Vec<u8>> {
    let Some(page) = page else { return read() };
    page.begin_output_read(total);
    let outcome = read();
    page.end_output_read(total + outcome.as_ref().map_or(0, |bytes| bytes.len() as u64));
    outcome
}
