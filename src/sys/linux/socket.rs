//! Transfers bytes over a socket, with descriptors, or over a pipe.

use std::io::{self, PipeReader};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use bytes::BytesMut;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use super::call::Call as _;
use super::handles::pipe_from_child;
use super::print::{both_above_standard_streams, own_descriptor};

/// Two connected sockets, closed on exec.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    let pair = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None);
    both_above_standard_streams(pair.of_call("socketpair")?)
}

/// The size of a pipe for outcomes: a few times what a worker collects.
const PIPE: usize = 256 * 1024;

/// A pipe for outcomes: an end to read from, which never blocks, and one to write to.
pub(crate) fn pipe() -> io::Result<(PipeReader, OwnedFd)> {
    let (reader, writer) = pipe_from_child()?;
    rustix::io::ioctl_fionbio(&reader, true).of_call("ioctl")?;
    // The system limits a user's memory for pipes. If that is used up, the pipe stays smaller.
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, PIPE);
    Ok((reader, writer))
}

/// Makes reading from a pipe fail rather than block. The other end is not affected.
pub(crate) fn never_wait(pipe: &PipeReader) -> io::Result<()> {
    rustix::io::ioctl_fionbio(pipe, true).of_call("ioctl")
}

/// Whether an error of a socket says that its other end was closed.
pub(crate) fn is_hangup(error: &io::Error) -> bool {
    [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&error.kind())
}

/// Appends available bytes of a descriptor that does not block to `buffer`, as many as it has room for.
pub(crate) fn read_onto(from: BorrowedFd<'_>, buffer: &mut BytesMut) -> io::Result<usize> {
    let read = rustix::io::retry_on_intr(|| {
        let (read, _) = rustix::io::read(from, buffer.spare_capacity_mut())?;
        Ok(read.len())
    });
    let read = read.of_io("read")?;
    // SAFETY: `read` bytes after the old length have just been written.
    unsafe { buffer.set_len(buffer.len() + read) }
    Ok(read)
}

/// As `read_onto`, after making room for `most` bytes.
pub(crate) fn read_more(
    from: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    most: usize,
) -> io::Result<usize> {
    let read = rustix::io::retry_on_intr(|| {
        let (read, _) = rustix::io::read(from, &mut buffer.spare_capacity_mut()[..most])?;
        Ok(read.len())
    });
    let read = read.of_io("read")?;
    // SAFETY: `read` bytes after the old length have just been written.
    unsafe { buffer.set_len(buffer.len() + read) }
    Ok(read)
}

/// As `read_more`, from a socket. Never blocks: see `send_with_fds`.
pub(crate) fn receive_more(
    from: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    most: usize,
) -> io::Result<usize> {
    let received = rustix::io::retry_on_intr(|| {
        let room = &mut buffer.spare_capacity_mut()[..most];
        let (_, len) = rustix::net::recv(from, room, RecvFlags::DONTWAIT)?;
        Ok(len)
    });
    let received = received.of_io("recvfrom")?;
    // SAFETY: `received` bytes after the old length have just been written.
    unsafe { buffer.set_len(buffer.len() + received) }
    Ok(received)
}

/// Ends sending for all copies of this end of a socket.
pub(crate) fn end_sending(socket: BorrowedFd<'_>) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write); // The other end may be closed.
}

/// How many bytes can be read.
pub(crate) fn bytes_waiting(from: BorrowedFd<'_>) -> usize {
    let waiting = rustix::io::ioctl_fionread(from).unwrap_or(0);
    usize::try_from(waiting).unwrap_or(usize::MAX)
}

/// The most descriptors that travel together (the kernel's `SCM_MAX_FD`).
pub(crate) const MOST_FDS: usize = 253;

/// Sends bytes with descriptors. If the other end is closed, this fails and raises no signal. Never blocks, whatever
/// the socket's own flag, which every process with this end can change.
pub(crate) fn send_with_fds(
    socket: BorrowedFd<'_>,
    bytes: &[io::IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    send_by(SendFlags::DONTWAIT, socket, bytes, fds)
}

/// As `send_with_fds`. Blocks if the socket does.
pub(crate) fn send_patiently(
    socket: BorrowedFd<'_>,
    bytes: &[io::IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    send_by(SendFlags::empty(), socket, bytes, fds)
}

fn send_by(
    flags: SendFlags,
    socket: BorrowedFd<'_>,
    bytes: &[io::IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let flags = flags | SendFlags::NOSIGNAL;
    if let ([bytes], []) = (bytes, fds) {
        // With fewer arguments, the system has less to check.
        return rustix::net::send(socket, bytes, flags).of_io("sendto");
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(socket, bytes, &mut control, flags).of_io("sendmsg")
}

/// Receives bytes. The system closes descriptors that come with them. Never blocks.
pub(crate) fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    let flags = RecvFlags::DONTWAIT;
    let received = rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut *bytes, flags));
    received.map(|(len, _)| len).of_io("recvfrom")
}

/// Receives bytes, and the descriptor that comes with them, if there is one. Further descriptors are closed. Never
/// blocks.
pub(crate) fn receive_with_fd(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut fds = Vec::new();
    let received = receive_beside(RecvFlags::DONTWAIT, socket, bytes, &mut space, &mut fds)?;
    Ok((received.len, fds.into_iter().next()))
}

/// What was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// The number of bytes.
    pub(crate) len: usize,
    /// Whether there were more descriptors than this process may open. It is unknown which ones are missing.
    pub(crate) is_short: bool,
}

/// The same descriptor with a number above those of the standard streams, if this process may have another number.
pub(super) fn raised(fd: OwnedFd) -> OwnedFd {
    match fd.as_raw_fd() {
        0..=2 => own_descriptor(&fd).unwrap_or(fd),
        _ => fd,
    }
}

/// Receives bytes and the descriptors that come with them. Never blocks: see `send_with_fds`.
pub(crate) fn receive_with_fds(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    fds: &mut impl Extend<OwnedFd>,
) -> io::Result<Received> {
    receive_by(RecvFlags::DONTWAIT, socket, bytes, fds)
}

/// As `receive_with_fds`. Blocks if the socket does.
pub(crate) fn receive_patiently(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    fds: &mut impl Extend<OwnedFd>,
) -> io::Result<Received> {
    receive_by(RecvFlags::empty(), socket, bytes, fds)
}

fn receive_by(
    flags: RecvFlags,
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    fds: &mut impl Extend<OwnedFd>,
) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    receive_beside(flags, socket, bytes, &mut space, fds)
}

fn receive_beside(
    flags: RecvFlags,
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    space: &mut [MaybeUninit<u8>],
    fds: &mut impl Extend<OwnedFd>,
) -> io::Result<Received> {
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let mut control = RecvAncillaryBuffer::new(space);
    let mut slices = [io::IoSliceMut::new(bytes)];
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut slices, &mut control, flags)
    });
    let received = received.of_io("recvmsg")?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received.map(raised));
        }
    }
    Ok(Received {
        len: received.bytes,
        is_short: received.flags.contains(ReturnFlags::CTRUNC),
    })
}
