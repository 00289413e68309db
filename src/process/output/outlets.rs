//! The pipes of one worker, from their creation to their last byte.

use std::io::{self, PipeReader};

use super::lines::Lines;
use super::outputs::Outputs;
use super::pipe::OutputPipe;
use super::relay::OutputRelay;
use super::{Output, OutputKind, OutputOrigin, OutputStream};
use crate::sys::{self, AsFd, OwnedFd};
use crate::wire::mark::Token;
use crate::wire::message::Captured;

/// Where the output of each worker goes.
#[derive(Debug)]
pub(in crate::process) struct Outlets {
    /// `None`: to the same place as stderr.
    pub(in crate::process) stdout: Option<Output>,
    pub(in crate::process) stderr: Output,
}

/// The stdout and stderr of a worker.
pub(in crate::process) struct OutputEnds {
    pub(in crate::process) stdout: OwnedFd,
    pub(in crate::process) stderr: OwnedFd,
}

/// This process's ends of the pipes, for the streams that have one.
pub(in crate::process) struct Pipes {
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    token: Token,
}

fn is_captured(output: &Output) -> bool {
    matches!(output.0, OutputKind::Lines(_))
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

    /// The streams that a worker must mark, if any.
    pub(in crate::process) fn captured(&self, pipes: &Pipes) -> Option<Captured> {
        let captured = Captured {
            token: pipes.token,
            stdout: self.stdout.as_ref().is_some_and(is_captured),
            stderr: is_captured(&self.stderr),
        };
        (captured.stdout || captured.stderr).then_some(captured)
    }

    /// Whether the tasks that read the streams call code of the user.
    pub(in crate::process) fn call_back(&self) -> bool {
        self.stdout.as_ref().is_some_and(is_captured) || is_captured(&self.stderr)
    }

    /// Whether a worker must record where the output of each call begins. A marked stream contains this itself.
    pub(in crate::process) fn follows_stderr(&self) -> bool {
        matches!(self.stderr.0, OutputKind::Relay)
    }

    /// Takes over this process's ends of the pipes of a worker.
    pub(in crate::process) fn attend(
        &self,
        pipes: Pipes,
        worker_id: u64,
        worker_pid: u32,
    ) -> io::Result<Outputs> {
        let (mut relays, mut lines) = (Vec::new(), Vec::new());
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
                (Some(OutputKind::Relay | OutputKind::Inherit), Some(pipe)) => {
                    relays.push(OutputRelay::new(OutputPipe::new(pipe)?, stream));
                }
                (Some(OutputKind::Lines(callback)), Some(pipe)) => {
                    let pipe = OutputPipe::new(pipe)?;
                    lines.push(Lines::new(
                        pipe,
                        stream,
                        worker,
                        pipes.token,
                        callback.clone(),
                    ));
                }
                _ => {}
            }
        }
        Ok(Outputs::new(relays, lines))
    }
}

impl Output {
    /// The worker's end of a stream, and this process's end if it is a pipe.
    fn open(&self, stream: OutputStream) -> io::Result<(OwnedFd, Option<PipeReader>)> {
        match (&self.0, stream) {
            (OutputKind::Inherit, OutputStream::Stdout) => inherited(&io::stdout()),
            (OutputKind::Inherit, OutputStream::Stderr) => inherited(&io::stderr()),
            #[cfg(feature = "multiprocessing")]
            (OutputKind::Share, OutputStream::Stdout) => {
                Ok((sys::own_stream(&io::stdout())?, None))
            }
            #[cfg(feature = "multiprocessing")]
            (OutputKind::Share, OutputStream::Stderr) => {
                Ok((sys::own_stream(&io::stderr())?, None))
            }
            (OutputKind::Null, _) => Ok((sys::nowhere()?, None)),
            (OutputKind::Relay | OutputKind::Lines(_), _) => piped(),
        }
    }
}

/// The worker's own open file description for a stream of this process. If there is none, the stream is relayed.
fn inherited(stream: &impl AsFd) -> io::Result<(OwnedFd, Option<PipeReader>)> {
    match sys::reopened_stream(stream) {
        Ok(own) => Ok((own, None)),
        Err(_) => piped(),
    }
}

fn piped() -> io::Result<(OwnedFd, Option<PipeReader>)> {
    let (ours, theirs) = sys::pipe_from_child()?;
    Ok((theirs, Some(ours)))
}
