//! The standard streams of a process.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};

use crate::sys;

/// What a [`Process`](super::Process) has as its stdin, stdout or stderr; what the standard library's
/// [`Stdio`](std::process::Stdio) is to a command. (That one cannot be passed to the process that forks.)
///
/// Whatever is a descriptor can be one: a file, a pipe's end, a socket.
///
/// ```
/// use concurrent_futures::multiprocessing::{Process, Stdio};
/// # concurrent_futures::init_before_main!();
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let log = tempfile::tempfile()?;
/// let process = Process::builder()
///     .stdout(log.try_clone()?)
///     .stderr(Stdio::null())
///     .spawn(|| println!("text"), ())
///     .await?;
/// process.join().await?;
/// assert_eq!(log.metadata()?.len(), 5);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Stdio(StdioKind);

#[derive(Debug)]
enum StdioKind {
    Inherit,
    Null,
    Piped,
    Fd(OwnedFd),
}

impl Stdio {
    /// The same as this process's own. The default for stdout and stderr.
    ///
    /// The process is not in the foreground of a terminal: if it reads from one, the terminal stops it.
    pub fn inherit() -> Self {
        Self(StdioKind::Inherit)
    }

    /// Nothing: there is nothing to read, and what is written is lost. The default for stdin.
    pub fn null() -> Self {
        Self(StdioKind::Null)
    }

    /// A pipe, whose other end is taken from the [`Process`](super::Process).
    pub fn piped() -> Self {
        Self(StdioKind::Piped)
    }

    /// The process's end of its stdin, nothing if that is empty; and ours, if it is a pipe.
    pub(super) fn open_input(self) -> io::Result<(Option<OwnedFd>, Option<PipeWriter>)> {
        Ok(match self.0 {
            StdioKind::Null => (None, None),
            StdioKind::Inherit => (Some(sys::own_stream(&io::stdin())?), None),
            StdioKind::Fd(fd) => (Some(sys::above_standard_streams(fd)?), None),
            StdioKind::Piped => {
                let (theirs, ours) = io::pipe()?;
                (
                    Some(sys::above_standard_streams(theirs.into())?),
                    Some(ours),
                )
            }
        })
    }

    /// The process's end of a stream that is `own` in this process; and ours, if it is a pipe.
    pub(super) fn open_output(self, own: &impl AsFd) -> io::Result<(OwnedFd, Option<PipeReader>)> {
        Ok(match self.0 {
            StdioKind::Null => (sys::nowhere()?, None),
            StdioKind::Inherit => (sys::own_stream(own)?, None),
            StdioKind::Fd(fd) => (sys::above_standard_streams(fd)?, None),
            StdioKind::Piped => {
                let (ours, theirs) = io::pipe()?;
                (sys::above_standard_streams(theirs.into())?, Some(ours))
            }
        })
    }
}

impl<T: Into<OwnedFd>> From<T> for Stdio {
    fn from(stream: T) -> Self {
        Self(StdioKind::Fd(stream.into()))
    }
}
