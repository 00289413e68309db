//! The standard streams of this process, and their buffers.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, OFlags};
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

/// Another descriptor of the same open file, which is closed on exec.
pub(crate) fn own_descriptor(of: &impl AsFd) -> io::Result<OwnedFd> {
    copy_above_standard_streams(of).of_call("fcntl")
}

fn copy_above_standard_streams(of: &impl AsFd) -> rustix::io::Result<OwnedFd> {
    match rustix::io::fcntl_dupfd_cloexec(of, 3) {
        Err(Errno::INVAL) => Err(Errno::MFILE), // This process may not have a number above 2.
        outcome => outcome,
    }
}

/// Another open file description for a standard stream of this process, so that a process that has it cannot make this
/// one's non-blocking. For a file that is not opened for appending, it is the same one: both need the same position,
/// and files never block. If the stream was closed, the result is `/dev/null`. Fails if the system opens none: for a
/// socket, for a terminal of another user, or without `/proc`.
pub(crate) fn reopened_stream(stream: &impl AsFd) -> io::Result<OwnedFd> {
    let stream = stream.as_fd();
    let flags = match rustix::fs::fcntl_getfl(stream) {
        Err(Errno::BADF) => return nowhere(),
        flags => flags.of_call("fcntl")?,
    };
    let stat = rustix::fs::fstat(stream).of_call("fstat")?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_file && !flags.contains(OFlags::APPEND) {
        return own_descriptor(&stream);
    }
    let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
    let kept = flags & (OFlags::RWMODE | OFlags::APPEND);
    // Without this, opening a named pipe that no process reads would block.
    let opened = kept | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let own = rustix::fs::open(path, opened, Mode::empty()).of_call("open")?;
    rustix::fs::fcntl_setfl(&own, kept).of_call("fcntl")?;
    above_standard_streams(own)
}

/// As [`reopened_stream`] if possible, or otherwise another descriptor of the same open file description.
pub(crate) fn own_stream(stream: &impl AsFd) -> io::Result<OwnedFd> {
    reopened_stream(stream).or_else(|error| own_descriptor(stream).map_err(|_| error))
}

/// The same descriptor with a number above 2. In a process without standard streams, other files would get these
/// numbers, and the program's prints would be written to them.
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

/// Writes the buffers of Rust's and C's standard output.
pub(crate) fn flush_stdout() {
    unsafe extern "C" {
        static stdout: *mut libc::FILE;
    }
    let _ = io::stdout().flush();
    // SAFETY: the library has this variable, and sets it before any code runs.
    let stream = unsafe { stdout };
    // SAFETY: it is an open stream, which has a lock of its own. (Flushing all streams would block if another thread is
    // blocked in a read from one.)
    unsafe { libc::fflush(stream) };
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn is_non_blocking(fd: &impl AsFd) -> bool {
        let flags = rustix::fs::fcntl_getfl(fd).expect("it is open");
        flags.contains(OFlags::NONBLOCK)
    }

    #[test]
    fn a_reopened_stream_has_a_mode_of_its_own() {
        let (mut reader, pipe): (PipeReader, PipeWriter) = io::pipe().expect("a pipe");
        let own = reopened_stream(&pipe).expect("a pipe can be opened again");
        assert!(!is_non_blocking(&own));
        rustix::io::ioctl_fionbio(&own, true).expect("a pipe");
        assert!(is_non_blocking(&own) && !is_non_blocking(&pipe));
        rustix::io::write(&own, b"text").expect("there is room");
        drop((own, pipe));
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("a pipe");
        assert_eq!(text, "text");
    }

    #[test]
    fn a_reopened_file_has_the_output_of_both_processes() {
        let path = std::env::temp_dir().join(format!("reopened-{}", std::process::id()));
        for append in [true, false] {
            let mut options = std::fs::File::options();
            options.create(true).write(true).append(append);
            let log = options.open(&path).expect("a file");
            let own = reopened_stream(&log).expect("a file can be opened again");
            for _ in 0..2 {
                rustix::io::write(&own, b"theirs.").expect("a file");
                rustix::io::write(&log, b"ours.").expect("a file");
            }
            let text = std::fs::read_to_string(&path).expect("a file");
            std::fs::remove_file(&path).expect("a file");
            assert_eq!(text, "theirs.ours.theirs.ours.");
        }
    }

    #[test]
    fn a_socket_cannot_be_opened_again() {
        let (socket, _other) = UnixStream::pair().expect("a pair");
        assert!(reopened_stream(&socket).is_err());
        assert!(own_stream(&socket).is_ok());
    }
}
