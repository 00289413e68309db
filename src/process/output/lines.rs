//! A stream that is told line by line. The worker marks in the stream itself where a task begins
//! and ends, see [`mark`](crate::wire::mark), so however late it is read, a line is told of the
//! task that wrote it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::unix::pipe;

use super::relay::keep_tail;
use super::{OutputLine, OutputOrigin, OutputStream, TaskIdentity, Tell};
use crate::process::link::Link;
use crate::sys;
use crate::wire::mark::{FIRST_BYTE, MARK, MarkScan, Token};

/// The most bytes that a line has; a longer one comes in pieces.
const LONGEST: usize = 64 * 1024;
/// How much is read at once.
const READ: usize = 16 * 1024;

pub(super) struct Lines {
    /// Nothing when its end was reached.
    pipe: Option<pipe::Receiver>,
    text: LineText,
    teller: Teller,
}

/// What is known of the next line, and who is told.
struct Teller {
    stream: OutputStream,
    worker: OutputOrigin,
    task: Option<TaskIdentity>,
    tell: Tell,
    tail: Vec<u8>,
}

impl Lines {
    pub(super) fn new(
        pipe: OwnedFd,
        stream: OutputStream,
        worker: OutputOrigin,
        token: Token,
        tell: Tell,
    ) -> io::Result<Self> {
        Ok(Self {
            pipe: Some(pipe::Receiver::from_owned_fd(pipe)?),
            text: LineText::new(token),
            teller: Teller {
                stream,
                worker,
                task: None,
                tell,
                tail: Vec::new(),
            },
        })
    }

    pub(super) fn stream(&self) -> OutputStream {
        self.teller.stream
    }

    /// Reads once, and tells what came. Pending also at the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, link: Option<&Link>) -> Poll<()> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Pending;
        };
        let mut buffer = [0; READ];
        let mut buffer = ReadBuf::new(&mut buffer);
        match std::task::ready!(Pin::new(pipe).poll_read(cx, &mut buffer)) {
            Ok(()) if !buffer.filled().is_empty() => self.push(buffer.filled(), link),
            _ => self.pipe = None,
        }
        Poll::Ready(())
    }

    /// Reads what is in the pipe now, past tokio, which may not have been told yet that there is
    /// something; and no more than that, for somebody may go on writing without end.
    pub(super) fn drain(&mut self, link: Option<&Link>) {
        let mut buffer = [0; READ];
        let Some(pipe) = &self.pipe else { return };
        let mut waiting = sys::bytes_waiting(pipe.as_fd());
        while waiting > 0
            && let Some(pipe) = &self.pipe
        {
            let most = waiting.min(READ);
            match sys::read_now(pipe.as_fd(), &mut buffer[..most]) {
                Ok(len @ 1..) => {
                    waiting -= len;
                    self.push(&buffer[..len], link);
                }
                _ => return,
            }
        }
    }

    /// The worker has ended: reads what it left. A line that it did not finish ends here.
    pub(super) fn finish(&mut self, link: Option<&Link>) {
        self.drain(link);
        self.pipe = None;
        self.text.finish(&mut |piece| self.teller.take(piece, link));
    }

    fn push(&mut self, bytes: &[u8], link: Option<&Link>) {
        self.text
            .push(bytes, &mut |piece| self.teller.take(piece, link));
    }

    pub(super) fn into_tail(self) -> Vec<u8> {
        self.teller.tail
    }
}

impl Teller {
    fn take(&mut self, piece: Piece<'_>, link: Option<&Link>) {
        match piece {
            Piece::Line(line) => {
                if self.stream == OutputStream::Stderr {
                    keep_tail(&mut self.tail, line);
                    keep_tail(&mut self.tail, b"\n");
                }
                let line = OutputLine {
                    text: String::from_utf8_lossy(line).into_owned(),
                    stream: self.stream,
                    worker: self.worker,
                    task: self.task.clone(),
                };
                // It runs in the task that drives the worker, which its panic must not end.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| (self.tell)(line)));
            }
            Piece::Task(task) => {
                self.task = task.map(|id| TaskIdentity {
                    id,
                    name: link.and_then(|link| link.name_of(id)),
                });
            }
        }
    }
}

/// Bytes on their way to become lines.
struct LineText {
    token: Token,
    /// A line that is not finished, and perhaps the first part of a mark.
    pending: Vec<u8>,
    /// How much of that has been looked at.
    looked_at: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Line(&'a [u8]),
    /// This task runs from here on, or none.
    Task(Option<u64>),
}

impl LineText {
    fn new(token: Token) -> Self {
        Self {
            token,
            pending: Vec::new(),
            looked_at: 0,
        }
    }

    fn push(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Piece<'_>)) {
        self.pending.extend_from_slice(bytes);
        let mut start = 0;
        let mut at = self.looked_at;
        loop {
            let Some(found) = self.pending[at..].iter().position(|byte| is_special(*byte)) else {
                at = self.pending.len();
                break;
            };
            at += found;
            let (before, rest) = (&self.pending[start..at], &self.pending[at..]);
            if rest[0] == b'\n' {
                tell_pieces(before.strip_suffix(b"\r").unwrap_or(before), tell);
                at += 1;
                start = at;
                continue;
            }
            match self.token.look(rest) {
                MarkScan::Mark(task) => {
                    tell_rest(before, tell); // Nobody else's text may be joined to it.
                    tell(Piece::Task(task));
                    at += MARK;
                    start = at;
                }
                MarkScan::Torn => break, // The rest of the mark is on its way.
                MarkScan::Other => at += 1,
            }
        }
        while at - start > LONGEST {
            let cut = cut(&self.pending[start..at]);
            tell(Piece::Line(&self.pending[start..start + cut]));
            start += cut;
        }
        self.pending.drain(..start);
        self.looked_at = at - start;
    }

    /// Nothing more will come.
    fn finish(&mut self, tell: &mut dyn FnMut(Piece<'_>)) {
        tell_rest(&std::mem::take(&mut self.pending), tell);
        self.looked_at = 0;
    }
}

fn is_special(byte: u8) -> bool {
    byte == b'\n' || byte == FIRST_BYTE
}

/// What was written of a line that ends without being finished.
fn tell_rest(text: &[u8], tell: &mut dyn FnMut(Piece<'_>)) {
    if !text.is_empty() {
        tell_pieces(text, tell);
    }
}

fn tell_pieces(mut line: &[u8], tell: &mut dyn FnMut(Piece<'_>)) {
    while line.len() > LONGEST {
        let (piece, rest) = line.split_at(cut(line));
        tell(Piece::Line(piece));
        line = rest;
    }
    tell(Piece::Line(line));
}

/// Where to cut a line that is too long: not in the middle of a character.
fn cut(line: &[u8]) -> usize {
    let is_boundary = |at: &usize| line[*at] & 0b1100_0000 != 0b1000_0000;
    (LONGEST - 3..=LONGEST)
        .rev()
        .find(is_boundary)
        .unwrap_or(LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Owned {
        Line(Vec<u8>),
        Task(Option<u64>),
    }

    fn told(text: &mut LineText, inputs: &[&[u8]]) -> Vec<Owned> {
        let mut pieces = Vec::new();
        let mut keep = |piece: Piece<'_>| {
            pieces.push(match piece {
                Piece::Line(line) => Owned::Line(line.to_vec()),
                Piece::Task(task) => Owned::Task(task),
            });
        };
        for input in inputs {
            text.push(input, &mut keep);
        }
        text.finish(&mut keep);
        pieces
    }

    fn line(text: &str) -> Owned {
        Owned::Line(text.as_bytes().to_vec())
    }

    proptest! {
        #[test]
        fn lines_and_marks_are_the_same_however_the_input_is_cut(
            parts in prop::collection::vec(prop_oneof![
                "[a-c\u{1e}]{0,5}\n?".prop_map(Err),
                any::<Option<u64>>().prop_map(Ok),
            ], 0..20),
            step in 1_usize..80,
        ) {
            let token = Token(7);
            let parts = parts.into_iter().map(|part| match part {
                Ok(task) => token.mark(task),
                Err(text) => text,
            });
            let bytes = parts.collect::<String>().into_bytes();
            let whole = told(&mut LineText::new(token), &[&bytes]);
            let cut = told(&mut LineText::new(token), &bytes.chunks(step).collect::<Vec<_>>());
            prop_assert_eq!(whole, cut);
        }
    }

    #[test]
    fn a_mark_ends_the_line_before_it_and_leaves_no_trace() {
        let token = Token(1);
        let (begin, end) = (token.mark(Some(5)), token.mark(None));
        let input = format!("early\nhalf{begin}one\r\n\nrest{end}{begin}{end}\x1eno mark\n");
        let expected = [
            line("early"),
            line("half"),
            Owned::Task(Some(5)),
            line("one"),
            line(""),
            line("rest"),
            Owned::Task(None),
            Owned::Task(Some(5)),
            Owned::Task(None),
            line("\x1eno mark"),
        ];
        assert_eq!(
            told(&mut LineText::new(token), &[input.as_bytes()]),
            expected
        );
    }

    #[test]
    fn a_line_that_is_too_long_comes_in_pieces_cut_between_characters_and_little_is_held() {
        let long = "x".to_owned() + &"\u{fffd}".repeat(LONGEST);
        let mut text = LineText::new(Token(1));
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for input in long.as_bytes().chunks(1000) {
            text.push(input, &mut |piece| match piece {
                Piece::Line(line) => pieces.push(line.to_vec()),
                Piece::Task(_) => unreachable!("no mark is in it"),
            });
            assert!(text.pending.len() <= LONGEST);
        }
        text.push(b"\n", &mut |piece| match piece {
            Piece::Line(line) => pieces.push(line.to_vec()),
            Piece::Task(_) => unreachable!("no mark is in it"),
        });
        assert!(pieces.iter().all(|piece| piece.len() <= LONGEST));
        assert!(
            pieces
                .iter()
                .all(|piece| std::str::from_utf8(piece).is_ok())
        );
        assert_eq!(pieces.concat(), long.as_bytes());
        assert_eq!(pieces.len(), 4);
        // What is no text is cut all the same.
        let pieces = told(&mut LineText::new(Token(1)), &[&[0x80; 2 * LONGEST + 1]]);
        assert_eq!(pieces.len(), 3);
    }
}
