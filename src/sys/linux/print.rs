//! The standard streams of this process, and what is held back before them.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::call::Call as _;

/// Makes the two descriptors this process's standard output and standard error.
pub(crate) fn set_output(stdout: OwnedFd, stderr: OwnedFd) -> io::Result<()> {
    rustix::stdio::dup2_stdout(stdout).of_call("dup2")?;
    rustix::stdio::dup2_stderr(stderr).of_call("dup2")
}

/// Makes the descriptor this process's standard input.
pub(crate) fn set_input(stdin: OwnedFd) -> io::Result<()> {
    rustix::stdio::dup2_stdin(stdin).of_call("dup2")
}

/// Another descriptor for the same, which is not passed on by exec.
pub(crate) fn own_descriptor(of: &impl AsFd) -> io::Result<OwnedFd> {
    copy_above_standard_streams(of).of_call("fcntl")
}

fn copy_above_standard_streams(of: &impl AsFd) -> rustix::io::Result<OwnedFd> {
    match rustix::io::fcntl_dupfd_cloexec(of, 3) {
        Err(Errno::INVAL) => Err(Errno::MFILE), // This process may have no number above 2.
        outcome => outcome,
    }
}

/// Another descriptor for a standard stream of this process, which is not passed on by exec; for nowhere,
/// if that stream has been closed.
pub(crate) fn own_stream(stream: &impl AsFd) -> io::Result<OwnedFd> {
    match copy_above_standard_streams(stream) {
        Err(Errno::BADF) => nowhere(),
        outcome => outcome.of_call("fcntl"),
    }
}

/// The same descriptor with a number above 2. A process without standard streams gets their numbers for other files,
/// and whatever the program prints would go there.
pub(crate) fn above_standard_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    match fd.as_raw_fd() {
        0..=2 => own_descriptor(&fd),
        _ => Ok(fd),
    }
}

/// As `above_standard_streams`, for both ends of a pipe or a pair of sockets.
pub(super) fn both_above_standard_streams(
    (one, other): (impl Into<OwnedFd>, impl Into<OwnedFd>),
) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok((
        above_standard_streams(one.into())?,
        above_standard_streams(other.into())?,
    ))
}

/// A descriptor of `/dev/null`.
pub(crate) fn nowhere() -> io::Result<OwnedFd> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    match null {
        Err(error) if ![Errno::MFILE, Errno::NFILE, Errno::NOMEM].contains(&error) => {
            Err(io::Error::new(
                io::Error::from(error).kind(),
                format!(
                    "open /dev/null: {error}; create it with `mknod -m 666 /dev/null c 1 3`, or mount /dev"
                ),
            ))
        }
        null => above_standard_streams(null.of_call("open")?),
    }
}

/// An input that is at its end.
pub(super) fn empty_input() -> io::Result<OwnedFd> {
    match nowhere() {
        // Without /dev/null: a pipe that nothing writes to.
        Err(_) => Ok(both_above_standard_streams(io::pipe().of_call("pipe2")?)?.0),
        null => null,
    }
}

/// Writes at most `PIPE_BUF` bytes to a pipe, in one piece. Waits while the pipe is full, even if it is non-blocking.
pub(crate) fn write_in_one(to: &impl AsFd, bytes: &[u8]) -> io::Result<()> {
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::write(to, bytes)) {
            Err(Errno::AGAIN) => {
                rustix::io::retry_on_intr(|| {
                    rustix::event::poll(&mut [PollFd::new(to, PollFlags::OUT)], None)
                })
                .of_call("poll")?;
            }
            outcome => return outcome.map(drop).of_call("write"),
        }
    }
}

/// Writes what Rust's and C's standard output hold back.
pub(crate) fn flush_stdout() {
    unsafe extern "C" {
        static stdout: *mut libc::FILE;
    }
    let _ = io::stdout().flush();
    // SAFETY: the library has this variable, and sets it before anything runs.
    let stream = unsafe { stdout };
    // SAFETY: it is an open stream, which has a lock of its own. (Not all streams at once: one that
    // another thread is blocked in reading of would block this thread too.)
    unsafe { libc::fflush(stream) };
}
