//! The standard streams of a process.

use std::io::{self, PipeReader, PipeWriter};

use crate::sys::{self, AsFd, OwnedFd};

/// The stdin, stdout or stderr of a [`Process`](super::Process), like the standard library's
/// [`Stdio`](std::process::Stdio) for a command. (That type cannot be passed to the process that forks.)
///
/// Everything that converts into a descriptor converts into it: a file, the end of a pipe, a socket.
///
/// ```
/// use concurrent_futures::multiprocessing::{Process, Stdio};
/// # concurrent_futures::init_before_main!();
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (output, input) = std::io::pipe()?;
/// let process = Process::builder()
///     .stdout(input)
///     .stderr(Stdio::null())
///     .spawn(|| println!("text"), ())
///     .await?;
/// process.join().await?;
/// assert_eq!(std::io::read_to_string(output)?, "text\n");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Stdio(StdioKind);

#[derive(Debug)]
enum StdioKind {
    Inherit,
    Null,
    Piped,
    #[cfg(unix)]
    Fd(std::os::fd::OwnedFd),
}

impl Stdio {
    /// The same stream as this process's. The default for stdout and stderr.
    ///
    /// The process gets an open file description of its own if the system opens one. It opens none for a socket or a
    /// terminal of another user. Both processes then share an open file: if one makes it non-blocking, prints of the
    /// other may fail.
    ///
    /// The process is not in the foreground of a terminal: a read from the terminal fails.
    pub fn inherit() -> Self {
        Self(StdioKind::Inherit)
    }

    /// An empty input, or an output that is discarded. The default for stdin.
    pub fn null() -> Self {
        Self(StdioKind::Null)
    }

    /// A pipe. Take its other end from the [`Process`](super::Process).
    pub fn piped() -> Self {
        Self(StdioKind::Piped)
    }

    /// The process's end of its stdin, `None` if that is empty; and this process's end, if it is a pipe.
    pub(super) fn open_input(self) -> io::Result<(Option<OwnedFd>, Option<PipeWriter>)> {
        Ok(match self.0 {
            StdioKind::Null => (None, None),
            StdioKind::Inherit => (Some(sys::own_stream(&io::stdin())?), None),
            #[cfg(unix)]
            StdioKind::Fd(fd) => (Some(sys::above_standard_streams(fd)?), None),
            StdioKind::Piped => {
                let (theirs, ours) = sys::pipe_to_child()?;
                (Some(sys::above_standard_streams(theirs)?), Some(ours))
            }
        })
    }

    /// The process's end of an output that is `own` in this process; and this process's end, if the output is a pipe.
    pub(super) fn open_output(self, own: &impl AsFd) -> io::Result<(OwnedFd, Option<PipeReader>)> {
        Ok(match self.0 {
            StdioKind::Null => (sys::nowhere()?, None),
            StdioKind::Inherit => (sys::own_stream(own)?, None),
            #[cfg(unix)]
            StdioKind::Fd(fd) => (sys::above_standard_streams(fd)?, None),
            StdioKind::Piped => {
                let (ours, theirs) = sys::pipe_from_child()?;
                (sys::above_standard_streams(theirs)?, Some(ours))
            }
        })
    }
}

#[cfg(unix)]
impl<T: Into<std::os::fd::OwnedFd>> From<T> for Stdio {
    fn from(stream: T) -> Self {
        Self(StdioKind::Fd(stream.into()))
    }
}
