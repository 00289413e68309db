//! Checks received descriptors. Another process may send any file instead of the expected one: one that blocks its
//! reader, one that others can shorten, or one with holes, whose memory the reader would have to pay for.
//!
//! Each check starts with a call that no file system answers, because one that a process serves (FUSE) may never
//! answer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, OFlags, SealFlags, StatxFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::call::Call as _;
use super::growing::file_memory;

/// The kind of the file system of memory files with small pages. A file with huge pages may lack memory at any access.
const SMALL_PAGES: u64 = 0x0102_1994;

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The seals of a file in memory. Reading such a file never waits for another process.
fn seals_of(file: BorrowedFd<'_>) -> io::Result<SealFlags> {
    let seals = rustix::fs::fcntl_get_seals(file);
    let seals = seals.map_err(|_| invalid("the received file is not a file in memory"))?;
    let system = rustix::fs::fstatfs(file).of_call("fstatfs")?;
    if system.f_type as u64 != SMALL_PAGES {
        return Err(invalid("the received file is not a file in memory"));
    }
    Ok(seals)
}

/// Whether both are the same file in memory, however this process received each.
pub(crate) fn is_same_file(one: impl AsFd, other: impl AsFd) -> bool {
    let file = |fd: BorrowedFd<'_>| {
        let found = rustix::fs::fstat(fd).ok()?;
        Some((found.st_dev, found.st_ino))
    };
    let one = file(one.as_fd());
    one.is_some() && one == file(other.as_fd())
}

/// Checks that no process can shorten the file, so that no access to a mapping of it faults, and that it has at least
/// `end` bytes.
pub(super) fn check_mappable(file: impl AsFd, end: u64) -> io::Result<()> {
    let file = file.as_fd();
    if !seals_of(file)?.contains(SealFlags::SHRINK) {
        return Err(invalid(
            "the received shared memory is not sealed, so another process could shorten it",
        ));
    }
    check_len(file, end)
}

/// Checks that it is a file in memory with `len` bytes.
fn check_len(file: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    let file_len = rustix::fs::fstat(file).of_call("fstat")?.st_size;
    if file_len.unsigned_abs() < len {
        return Err(invalid(
            "the received shared memory is shorter than announced",
        ));
    }
    Ok(())
}

/// Checks that it is a file in memory whose first `len` bytes have memory already. (A process that has it can free that
/// memory again. An access then allocates at most this much again.)
pub(crate) fn check_reserved(file: impl AsFd, len: u64) -> io::Result<()> {
    let file = file.as_fd();
    seals_of(file)?;
    check_len(file, len)?;
    if file_memory(file)? < len {
        return Err(invalid("the received shared memory has holes"));
    }
    Ok(())
}

/// Checks that it is a file in memory that no process can change.
pub(crate) fn check_sealed(file: impl AsFd) -> io::Result<()> {
    if !seals_of(file.as_fd())?.contains(SealFlags::SHRINK | SealFlags::WRITE) {
        return Err(invalid(
            "the received file is not sealed, so another process could change it",
        ));
    }
    Ok(())
}

/// Checks that it is an end of a pipe.
pub(crate) fn check_pipe(end: impl AsFd) -> io::Result<()> {
    match rustix::pipe::fcntl_getpipe_size(end) {
        Ok(_) => Ok(()),
        Err(_) => Err(invalid("the received descriptor is not an end of a pipe")),
    }
}

/// Checks that it is a local socket for whole messages.
pub(crate) fn check_packets(socket: impl AsFd) -> io::Result<()> {
    check_socket(socket.as_fd(), SocketType::SEQPACKET)
}

/// Checks that it is a local socket for a stream of bytes.
pub(crate) fn check_stream(socket: impl AsFd) -> io::Result<()> {
    check_socket(socket.as_fd(), SocketType::STREAM)
}

fn check_socket(socket: BorrowedFd<'_>, kind: SocketType) -> io::Result<()> {
    let found = sockopt::socket_type(socket);
    let is_local = || sockopt::socket_domain(socket) == Ok(AddressFamily::UNIX);
    if found == Ok(kind) && is_local() {
        return Ok(());
    }
    Err(invalid(
        "the received descriptor is not a socket of the expected kind",
    ))
}

/// Checks that it is an eventfd, or another object of the kernel that has no file and blocks no writer.
pub(crate) fn check_eventfd(fd: impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd();
    let flags = rustix::fs::fcntl_getfl(fd).of_call("fcntl")?;
    // Not `fstat`, which queries the file system.
    let (how, what) = (AtFlags::EMPTY_PATH, StatxFlags::TYPE);
    let mode = match rustix::fs::statx(fd, "", how | AtFlags::STATX_DONT_SYNC, what) {
        Ok(found) => found.stx_mode.into(),
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::fstat(fd).of_call("fstat")?.st_mode,
        Err(error) => return Err(error).of_call("statx"),
    };
    let has_no_file = FileType::from_raw_mode(mode) == FileType::Unknown;
    if !has_no_file || !flags.contains(OFlags::NONBLOCK | OFlags::RDWR) {
        return Err(invalid("the received descriptor is not an eventfd"));
    }
    Ok(())
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::event::EventfdFlags;
    use rustix::fs::{MemfdFlags, Mode};

    use super::*;
    use crate::sys::{self, SharedMapping};

    const LEN: usize = 64 * 1024;

    fn memory_file(flags: MemfdFlags) -> OwnedFd {
        let file = rustix::fs::memfd_create("test", flags | MemfdFlags::CLOEXEC);
        let file = file.expect("a file");
        rustix::fs::ftruncate(&file, LEN as u64).expect("it grows");
        file
    }

    fn disk_file() -> OwnedFd {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
        rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR).expect("a file")
    }

    fn pipe_end() -> OwnedFd {
        std::io::pipe().expect("a pipe").1.into()
    }

    #[test]
    fn memory_that_another_process_could_shorten_is_not_mapped() {
        let sealed = memory_file(MemfdFlags::ALLOW_SEALING);
        SharedMapping::open(&sealed, LEN).expect_err("it is not sealed yet");
        SharedMapping::window(&sealed, 0, LEN).expect_err("it is not sealed yet");
        rustix::fs::fcntl_add_seals(&sealed, SealFlags::SHRINK).expect("it can be sealed");
        SharedMapping::open(&sealed, LEN).expect("it is sealed");
        SharedMapping::window(&sealed, 0, LEN).expect("it is sealed");
        SharedMapping::open(&sealed, LEN + 1).expect_err("it is shorter");
        for other in [memory_file(MemfdFlags::empty()), disk_file(), pipe_end()] {
            SharedMapping::open(&other, 0).expect_err("it cannot be sealed");
        }
    }

    #[test]
    fn memory_with_huge_pages_is_not_mapped() {
        let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB | MemfdFlags::CLOEXEC;
        let Ok(file) = rustix::fs::memfd_create("test", flags) else {
            return; // The system has none.
        };
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).expect("it can be sealed");
        SharedMapping::open(&file, 0).expect_err("it may lack pages");
    }

    #[test]
    fn a_file_that_a_process_could_change_is_not_sealed() {
        let file = memory_file(MemfdFlags::ALLOW_SEALING);
        check_sealed(&file).expect_err("it is not sealed yet");
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).expect("it can be sealed");
        check_sealed(&file).expect_err("it can be written");
        rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE).expect("it can be sealed");
        check_sealed(&file).expect("it is sealed");
        for other in [disk_file(), pipe_end()] {
            check_sealed(&other).expect_err("it cannot be sealed");
        }
        check_pipe(pipe_end()).expect("it is one");
        for other in [disk_file(), file] {
            check_pipe(&other).expect_err("it is a file");
        }
    }

    #[test]
    fn a_file_with_holes_is_not_reserved() {
        let file = memory_file(MemfdFlags::empty());
        check_reserved(&file, LEN as u64).expect_err("it has no memory");
        let bytes = vec![7; LEN];
        assert_eq!(rustix::io::pwrite(&file, &bytes, 0), Ok(LEN));
        check_reserved(&file, LEN as u64).expect("it has memory");
        check_reserved(&file, 2 * LEN as u64).expect_err("it is shorter");
        check_reserved(disk_file(), 0).expect_err("a disk may be slow");
        check_reserved(pipe_end(), 0).expect_err("a pipe is no file");
    }

    #[test]
    fn a_socket_of_another_kind_is_refused() {
        let (packets, _other) = sys::packet_pair().expect("sockets");
        let (stream, _other) = sys::stream_pair().expect("sockets");
        check_packets(&packets).expect("it is one");
        check_stream(&stream).expect("it is one");
        check_packets(&stream).expect_err("it is a stream");
        check_stream(&packets).expect_err("it has packets");
        let network = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        check_stream(&network).expect_err("it may wait for another machine");
        check_stream(pipe_end()).expect_err("it is no socket");
    }

    #[test]
    fn only_an_eventfd_that_does_not_block_is_a_bell() {
        check_eventfd(sys::eventfd().expect("an eventfd")).expect("it is one");
        let blocking = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        check_eventfd(blocking).expect_err("it blocks");
        for other in [pipe_end(), disk_file(), memory_file(MemfdFlags::empty())] {
            let flags = rustix::fs::fcntl_getfl(&other).expect("it is open");
            rustix::fs::fcntl_setfl(&other, flags | OFlags::NONBLOCK).expect("it is open");
            check_eventfd(other).expect_err("it is a file");
        }
    }
}
