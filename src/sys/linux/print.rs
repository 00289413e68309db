//! The standard streams of this process, and what is held back before them.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};

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
    rustix::io::fcntl_dupfd_cloexec(of, 3).of_call("fcntl")
}

/// Another descriptor for a standard stream of this process, which is not passed on by exec; for nowhere,
/// if that stream has been closed.
pub(crate) fn own_stream(stream: &impl AsFd) -> io::Result<OwnedFd> {
    match rustix::io::fcntl_dupfd_cloexec(stream, 3) {
        Err(rustix::io::Errno::BADF) => nowhere(),
        outcome => outcome.of_call("fcntl"),
    }
}

/// The same descriptor with a number above 2. A process without standard streams gets their numbers for other files.
pub(crate) fn above_standard_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    match fd.as_raw_fd() {
        0..=2 => own_descriptor(&fd),
        _ => Ok(fd),
    }
}

/// A descriptor of `/dev/null`.
pub(crate) fn nowhere() -> io::Result<OwnedFd> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    above_standard_streams(null.of_call("open")?)
}

/// Writes at most `PIPE_BUF` bytes to a pipe, in one piece. Waits while the pipe is full, even if it is non-blocking.
pub(crate) fn write_in_one(to: &impl AsFd, bytes: &[u8]) -> io::Result<()> {
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::write(to, bytes)) {
            Err(rustix::io::Errno::AGAIN) => {
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
