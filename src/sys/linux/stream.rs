//! Writes to a stream that other processes share, such as stderr. The stream may be a full pipe or a slow terminal. No
//! function here makes it non-blocking, because the flag would affect those processes.

use std::io::{self, IoSlice, IsTerminal as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::SendFlags;

/// The most bytes that a pipe accepts as one piece, so that no other writer splits them.
pub(crate) const WHOLE: usize = 4096;
/// The most bytes to write to a terminal of which only some room is known.
const LITTLE: usize = 256;

/// Writes as many bytes as the stream accepts without a wait: at most [`WHOLE`]. Fails with `WouldBlock` if it accepts
/// none.
pub(crate) fn write_now(to: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let (to, bytes) = (to.as_fd(), &bytes[..bytes.len().min(WHOLE)]);
    let here = u64::MAX; // The current position, not an offset.
    let written = rustix::io::retry_on_intr(|| {
        rustix::io::pwritev2(to, &[IoSlice::new(bytes)], here, ReadWriteFlags::NOWAIT)
    });
    match written {
        // Terminals and most files do not support this, nor do pipes before Linux 6.4.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
            Ok(write_by_kind(to, bytes)?)
        }
        outcome => Ok(outcome?),
    }
}

fn write_by_kind(to: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<usize> {
    let write = |to, bytes| rustix::io::retry_on_intr(|| rustix::io::write(to, bytes));
    match FileType::from_raw_mode(rustix::fs::fstat(to)?.st_mode) {
        FileType::Socket => rustix::io::retry_on_intr(|| {
            rustix::net::send(to, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        }),
        FileType::Fifo => write_by_own_description(to, bytes, WHOLE),
        FileType::CharacterDevice if to.is_terminal() => {
            write_by_own_description(to, bytes, LITTLE)
        }
        _ => write(to, bytes), // A file waits only for its disk.
    }
}

/// Opens the same pipe or terminal once more, without blocking. If this process lacks the right to do that, it writes a
/// `little`, if there is room.
fn write_by_own_description(
    to: BorrowedFd<'_>,
    bytes: &[u8],
    little: usize,
) -> rustix::io::Result<usize> {
    let path = format!("/proc/self/fd/{}", to.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let write = |to, bytes| rustix::io::retry_on_intr(|| rustix::io::write(to, bytes));
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(own) => write(own.as_fd(), bytes),
        // Another process may use the room first. There is no better way here.
        Err(_) if is_writable(to, Some(&Timespec::default()))? => {
            write(to, &bytes[..bytes.len().min(little)])
        }
        Err(_) => Err(Errno::AGAIN),
    }
}

/// Writes some of the bytes: at most [`WHOLE`]. Blocks until the stream accepts them.
pub(crate) fn write_patiently(to: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let (to, bytes) = (to.as_fd(), &bytes[..bytes.len().min(WHOLE)]);
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::write(to, bytes)) {
            // Another process has made it non-blocking.
            Err(Errno::AGAIN) => drop(is_writable(to, None)?),
            outcome => return Ok(outcome?),
        }
    }
}

fn is_writable(to: BorrowedFd<'_>, within: Option<&Timespec>) -> rustix::io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, within))?;
    Ok(ready > 0)
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read as _};

    use super::*;

    type WriteNow = fn(BorrowedFd<'_>, &[u8]) -> io::Result<usize>;

    /// The three ways: by the flag of the system call, by an open file description of its own, and by neither.
    const WAYS: [WriteNow; 3] = [
        |to, bytes| write_now(&to, bytes),
        |to, bytes| Ok(write_by_kind(to, bytes)?),
        |to, bytes| match is_writable(to, Some(&Timespec::default()))? {
            true => Ok(rustix::io::write(to, &bytes[..bytes.len().min(WHOLE)])?),
            false => Err(io::ErrorKind::WouldBlock.into()),
        },
    ];

    fn is_non_blocking(fd: &impl AsFd) -> bool {
        let flags = rustix::fs::fcntl_getfl(fd).expect("it is open");
        flags.contains(OFlags::NONBLOCK)
    }

    fn fill(to: &impl AsFd, write: WriteNow) -> usize {
        let mut filled = 0;
        loop {
            match write(to.as_fd(), &[b'x'; WHOLE]) {
                Ok(len) => filled += len,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    return filled;
                }
            }
        }
    }

    #[test]
    fn a_full_pipe_refuses_at_once_and_stays_as_it_is() {
        for write in WAYS {
            let (mut reader, writer): (PipeReader, PipeWriter) = io::pipe().expect("a pipe");
            let filled = fill(&writer, write);
            assert!(filled > WHOLE && !is_non_blocking(&writer));
            let mut text = vec![0; filled];
            reader.read_exact(&mut text).expect("it is full");
            assert_eq!(write(writer.as_fd(), b"more").expect("there is room"), 4);
            drop(reader);
            let error = write(writer.as_fd(), b"more").expect_err("nobody reads");
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }

    #[test]
    fn a_full_socket_refuses_at_once() {
        for write in &WAYS[..2] {
            let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
            assert!(fill(&ours, *write) > 0 && !is_non_blocking(&ours));
        }
    }

    #[test]
    fn a_terminal_that_shows_nothing_refuses_at_once() {
        let open = |path: &str| {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).expect("a terminal")
        };
        let controller = open("/dev/ptmx");
        let unlock = 0_i32;
        // SAFETY: the request reads an `int`.
        let unlocked = unsafe { libc::ioctl(controller.as_raw_fd(), libc::TIOCSPTLCK, &unlock) };
        assert_eq!(unlocked, 0);
        let mut number = 0_i32;
        // SAFETY: the request writes an `int`.
        let found = unsafe { libc::ioctl(controller.as_raw_fd(), libc::TIOCGPTN, &mut number) };
        assert_eq!(found, 0);
        let terminal = open(&format!("/dev/pts/{number}"));
        for write in &WAYS[..2] {
            fill(&terminal, *write);
        }
        assert!(!is_non_blocking(&terminal));
    }

    #[test]
    fn a_file_and_nowhere_accept_everything() {
        for write in WAYS {
            let null = std::fs::File::options().write(true).open("/dev/null");
            let null = null.expect("a device");
            assert_eq!(write(null.as_fd(), b"text").expect("it accepts"), 4);
            let file = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC);
            let file = file.expect("a file");
            assert_eq!(write(file.as_fd(), b"text").expect("it accepts"), 4);
        }
    }
}
