//! The pipes of one worker, from their creation to their last byte.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, PipeReader};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::lines::Lines;
use super::relay::OutputRelay;
use super::{Output, OutputKind, OutputOrigin, OutputStream};
use crate::process::link::Link;
use crate::sys::{self, OwnedFd};
use crate::wire::mark::Token;
use crate::wire::message::Captured;

/// Where the output of each worker goes.
#[derive(Debug)]
pub(in crate::process) struct Outlets {
    /// Where stderr goes unless it is set.
    pub(in crate::process) stdout: Option<Output>,
    pub(in crate::process) stderr: Output,
}

/// The stdout and stderr of a worker.
pub(in crate::process) struct OutputEnds {
    pub(in crate::process) stdout: OwnedFd,
    pub(in crate::process) stderr: OwnedFd,
}

/// This process's ends of the pipes, where there are pipes.
pub(in crate::process) struct Pipes {
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    token: Token,
}

impl Outlets {
    pub(in crate::process) fn new(stdout: Option<Output>, stderr: Option<Output>) -> Self {
        Self {
            stdout,
            stderr: stderr.unwrap_or_else(Output::relay),
        }
    }

    /// Creates both ends for a new worker.
    pub(in crate::process) fn open(&self) -> io::Result<(OutputEnds, Pipes)> {
        let (stderr, our_stderr) = self.stderr.open(OutputStream::Stderr)?;
        let (stdout, our_stdout) = match &self.stdout {
            Some(output) => output.open(OutputStream::Stdout)?,
            None => (sys::own_descriptor(&stderr)?, None),
        };
        let pipes = Pipes {
            stdout: our_stdout,
            stderr: our_stderr,
            token: Token::random(),
        };
        Ok((OutputEnds { stdout, stderr }, pipes))
    }

    /// The streams that a worker has to mark, if any.
    pub(in crate::process) fn captured(&self, pipes: &Pipes) -> Option<Captured> {
        let is_captured = |output: &Output| matches!(output.0, OutputKind::Lines(_));
        let captured = Captured {
            token: pipes.token,
            stdout: self.stdout.as_ref().is_some_and(is_captured),
            stderr: is_captured(&self.stderr),
        };
        (captured.stdout || captured.stderr).then_some(captured)
    }

    /// Starts to handle the output of a worker.
    pub(in crate::process) fn attend(
        &self,
        pipes: Pipes,
        worker_id: u64,
        worker_pid: u32,
    ) -> io::Result<Outputs> {
        let mut outputs = Outputs {
            relays: Vec::new(),
            lines: Vec::new(),
        };
        let worker = OutputOrigin {
            id: worker_id,
            pid: worker_pid,
        };
        let streams = [
            (OutputStream::Stdout, self.stdout.as_ref(), pipes.stdout),
            (OutputStream::Stderr, Some(&self.stderr), pipes.stderr),
        ];
        for (stream, output, pipe) in streams {
            match (output.map(|output| &output.0), pipe) {
                (Some(OutputKind::Relay), Some(pipe)) => {
                    outputs.relays.push(OutputRelay::start(stream, pipe)?);
                }
                (Some(OutputKind::Lines(tell)), Some(pipe)) => {
                    let lines = Lines::new(pipe, stream, worker, pipes.token, tell.clone())?;
                    outputs.lines.push(lines);
                }
                _ => {}
            }
        }
        Ok(outputs)
    }
}

impl Output {
    /// The worker's end of a stream, and this process's end if it is a pipe.
    fn open(&self, stream: OutputStream) -> io::Result<(OwnedFd, Option<PipeReader>)> {
        match (&self.0, stream) {
            (OutputKind::Inherit, OutputStream::Stdout) => {
                Ok((sys::own_stream(&io::stdout())?, None))
            }
            (OutputKind::Inherit, OutputStream::Stderr) => {
                Ok((sys::own_stream(&io::stderr())?, None))
            }
            (OutputKind::Null, _) => Ok((sys::nowhere()?, None)),
            (OutputKind::Relay | OutputKind::Lines(_), _) => {
                let (ours, theirs) = sys::pipe_from_child()?;
                Ok((theirs, Some(ours)))
            }
        }
    }
}

/// The output of one worker.
pub(in crate::process) struct Outputs {
    relays: Vec<Arc<OutputRelay>>,
    lines: Vec<Lines>,
}

impl Outputs {
    /// Handles the lines of a worker that has no task yet.
    pub(in crate::process) async fn tell_lines(&mut self) -> Infallible {
        loop {
            poll_fn(|cx| self.poll_lines(cx, None)).await;
        }
    }

    /// Reads some output and passes on its lines. Ready when it has done so. The link has the names of the
    /// tasks.
    pub(in crate::process) fn poll_lines(
        &mut self,
        cx: &mut Context<'_>,
        link: Option<&Link>,
    ) -> Poll<()> {
        let mut outcome = Poll::Pending;
        for lines in &mut self.lines {
            if lines.poll_read(cx, link).is_ready() {
                outcome = Poll::Ready(());
            }
        }
        outcome
    }

    /// Passes on all lines that have been written by now.
    pub(in crate::process) fn drain(&mut self, link: Option<&Link>) {
        for lines in &mut self.lines {
            lines.drain(link);
        }
    }

    /// Passes on the last lines of a worker that has ended. All its output is in the pipes by now.
    pub(in crate::process) fn finish(&mut self, link: Option<&Link>) {
        for lines in &mut self.lines {
            lines.finish(link);
        }
    }

    /// The end of the stderr of a worker that has ended, after its last lines.
    pub(in crate::process) fn into_tail(self) -> String {
        let mut stderr = Vec::new();
        for relay in self.relays {
            let is_stderr = relay.stream() == OutputStream::Stderr;
            let tail = relay.into_tail();
            if is_stderr {
                stderr = tail;
            }
        }
        for lines in self.lines {
            if lines.stream() == OutputStream::Stderr {
                stderr = lines.into_tail();
            }
        }
        String::from_utf8_lossy(&stderr).into_owned()
    }
}
