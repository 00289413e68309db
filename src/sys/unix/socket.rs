//! Bytes over a socket, with descriptors beside them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Two connected sockets, closed on exec.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Whether a failure of a socket says that its other end was closed.
pub(crate) fn is_hangup(error: &io::Error) -> bool {
    [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&error.kind())
}

/// Reads what is there, from a descriptor that does not block.
pub(crate) fn read_now(from: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| {
        rustix::io::read(from, &mut *bytes)
    })?)
}

/// How many bytes there are to be read.
pub(crate) fn bytes_waiting(from: BorrowedFd<'_>) -> usize {
    let waiting = rustix::io::ioctl_fionread(from).unwrap_or(0);
    usize::try_from(waiting).unwrap_or(usize::MAX)
}

/// The most descriptors that travel together (the kernel's `SCM_MAX_FD`).
pub(crate) const MOST_FDS: usize = 253;

/// Sends bytes with descriptors beside them. If the other end is gone, that is an error and no signal.
pub(crate) fn send_with_fds(
    socket: BorrowedFd<'_>,
    bytes: &[io::IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(rustix::net::sendmsg(
        socket,
        bytes,
        &mut control,
        SendFlags::NOSIGNAL,
    )?)
}

/// What was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// How many bytes.
    pub(crate) len: usize,
    /// There were more descriptors than this process may have. Nobody can tell which ones are missing.
    pub(crate) is_short: bool,
}

/// Receives bytes, and the descriptors beside them.
pub(crate) fn receive_with_fds(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    fds: &mut impl Extend<OwnedFd>,
) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [io::IoSliceMut::new(bytes)];
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok(Received {
        len: received.bytes,
        is_short: received.flags.contains(ReturnFlags::CTRUNC),
    })
}
