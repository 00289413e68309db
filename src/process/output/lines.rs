//! A stream that is split into lines. The worker marks in the stream itself where a task starts and ends, see
//! [`mark`](crate::wire::mark). So each line is attributed to the task that wrote it, even if it is read late.

use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll, ready};

use super::pipe::{OutputPipe, read_some};
use super::tail::OutputTail;
use super::{LineCallback, MOST_REST, OutputLine, OutputOrigin, OutputStream, TaskIdentity};
use crate::process::link::Link;
use crate::process::turn::Turn;
use crate::wire::mark::{FIRST_BYTE, MARK, MarkScan, Token};

/// The maximal length of a line in bytes; a longer one arrives in pieces.
const LONGEST: usize = 64 * 1024;

pub(super) struct Lines {
    /// `None` once the end was reached.
    pipe: Option<OutputPipe>,
    text: LineText,
    reporter: LineReporter,
    /// How many bytes must be read before an outcome is passed on.
    awaited: usize,
}

/// Passes lines to the user's callback, each with the task that wrote it.
struct LineReporter {
    stream: OutputStream,
    worker: OutputOrigin,
    task: Option<TaskIdentity>,
    callback: LineCallback,
    /// What the running task, or otherwise the last one, has written to stderr.
    tail: OutputTail,
}

impl Lines {
    pub(super) fn new(
        pipe: OutputPipe,
        stream: OutputStream,
        worker: OutputOrigin,
        token: Token,
        callback: LineCallback,
    ) -> Self {
        Self {
            pipe: Some(pipe),
            text: LineText::new(token),
            reporter: LineReporter {
                stream,
                worker,
                task: None,
                callback,
                tail: OutputTail::default(),
            },
            awaited: 0,
        }
    }

    /// Whether more may be written.
    pub(super) fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    pub(super) fn stream(&self) -> OutputStream {
        self.reporter.stream
    }

    /// Reads once, and calls the callback for each line. Stays pending at the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        link: Option<&Link>,
        turn: &mut Turn,
    ) -> Poll<()> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Pending;
        };
        match ready!(pipe.poll_read(cx, |pipe| read_some(pipe, usize::MAX))) {
            Ok(bytes) if !bytes.is_empty() => self.push(&bytes, link, turn),
            _ => self.close(),
        }
        Poll::Ready(())
    }

    /// From now on, outcomes wait for what is in the pipe now and no longer: another process may write endlessly.
    pub(super) fn await_written(&mut self) {
        self.awaited = self.pipe.as_ref().map_or(0, OutputPipe::waiting);
    }

    /// As `await_written`, for the last output of an ended worker.
    pub(super) fn await_rest(&mut self) {
        self.await_written();
        self.awaited = self.awaited.min(MOST_REST);
    }

    /// Whether everything is read that an outcome waits for.
    pub(super) fn is_read(&self) -> bool {
        self.awaited == 0
    }

    /// Reads what an outcome waits for until the turn is over. Does not wait for the runtime's events, which may be
    /// late.
    pub(super) fn read_awaited(&mut self, link: Option<&Link>, turn: &mut Turn) {
        while self.awaited > 0
            && !turn.is_over()
            && let Some(pipe) = &self.pipe
        {
            match pipe.read_now(self.awaited) {
                Ok(bytes) if !bytes.is_empty() => self.push(&bytes, link, turn),
                _ => self.awaited = 0, // `poll_read` finds the end of the pipe.
            }
        }
    }

    /// Passes on a line that the ended worker did not finish.
    pub(super) fn finish(&mut self, link: Option<&Link>) {
        self.close();
        self.text
            .finish(&mut |piece| self.reporter.take(piece, link));
    }

    fn close(&mut self) {
        self.pipe = None;
        self.awaited = 0;
    }

    fn push(&mut self, bytes: &[u8], link: Option<&Link>, turn: &mut Turn) {
        self.awaited = self.awaited.saturating_sub(bytes.len());
        turn.moved(bytes.len());
        self.text.push(bytes, &mut |piece| {
            turn.handled_messages(1);
            self.reporter.take(piece, link);
        });
    }

    pub(super) fn tail(&self) -> &[u8] {
        self.reporter.tail.after(0)
    }
}

impl LineReporter {
    fn take(&mut self, piece: Piece<'_>, link: Option<&Link>) {
        match piece {
            Piece::Line(line) => {
                if self.stream == OutputStream::Stderr {
                    self.tail.push(line);
                    self.tail.push(b"\n");
                }
                let line = OutputLine {
                    text: String::from_utf8_lossy(line).into_owned(),
                    stream: self.stream,
                    worker: self.worker,
                    task: self.task.clone(),
                };
                // The callback runs in the task that drives the worker, which must survive a panic.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| (self.callback)(line)));
            }
            Piece::Task(task) => {
                if task.is_some() {
                    self.tail.clear();
                }
                self.task = task.map(|id| TaskIdentity {
                    id,
                    name: link.and_then(|link| link.name_of(id)),
                });
            }
        }
    }
}

/// Bytes that are being split into lines.
struct LineText {
    token: Token,
    /// An unfinished line, and perhaps the first part of a mark.
    pending: Vec<u8>,
    /// The number of these bytes that were scanned.
    scanned: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Line(&'a [u8]),
    /// The task that runs from this point on, or none.
    Task(Option<u64>),
}

impl LineText {
    fn new(token: Token) -> Self {
        Self {
            token,
            pending: Vec::new(),
            scanned: 0,
        }
    }

    fn push(&mut self, bytes: &[u8], emit: &mut dyn FnMut(Piece<'_>)) {
        self.pending.extend_from_slice(bytes);
        let mut start = 0;
        let mut at = self.scanned;
        loop {
            let Some(found) = self.pending[at..].iter().position(|byte| is_special(*byte)) else {
                at = self.pending.len();
                break;
            };
            at += found;
            let (before, rest) = (&self.pending[start..at], &self.pending[at..]);
            if rest[0] == b'\n' {
                emit_pieces(before.strip_suffix(b"\r").unwrap_or(before), emit);
                at += 1;
                start = at;
                continue;
            }
            match self.token.scan(rest) {
                MarkScan::Mark(task) => {
                    emit_rest(before, emit); // Text of another task must not be joined to it.
                    emit(Piece::Task(task));
                    at += MARK;
                    start = at;
                }
                MarkScan::Torn => break, // The rest of the mark is still in transit.
                MarkScan::Other => at += 1,
            }
        }
        while at - start > LONGEST {
            let cut = cut(&self.pending[start..at]);
            emit(Piece::Line(&self.pending[start..start + cut]));
            start += cut;
        }
        self.pending.drain(..start);
        self.scanned = at - start;
    }

    /// Emits the last line: no more bytes follow.
    fn finish(&mut self, emit: &mut dyn FnMut(Piece<'_>)) {
        emit_rest(&std::mem::take(&mut self.pending), emit);
        self.scanned = 0;
    }
}

fn is_special(byte: u8) -> bool {
    byte == b'\n' || byte == FIRST_BYTE
}

/// Emits an unfinished line.
fn emit_rest(text: &[u8], emit: &mut dyn FnMut(Piece<'_>)) {
    if !text.is_empty() {
        emit_pieces(text, emit);
    }
}

fn emit_pieces(mut line: &[u8], emit: &mut dyn FnMut(Piece<'_>)) {
    while line.len() > LONGEST {
        let (piece, rest) = line.split_at(cut(line));
        emit(Piece::Line(piece));
        line = rest;
    }
    emit(Piece::Line(line));
}

/// The place to cut a line that is too long, which is not within a character.
fn cut(line: &[u8]) -> usize {
    let is_boundary = |at: &usize| line[*at] & 0b1100_0000 != 0b1000_0000;
    (LONGEST - 3..=LONGEST)
        .rev()
        .find(is_boundary)
        .unwrap_or(LONGEST)
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/process/output/lines.rs"]
mod tests;
