//! Messages that are sent whole over a socket, with many descriptors, and that a receiver can inspect before it takes
//! them. No function here blocks.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketFlags,
    SocketType,
};

use super::call::Call as _;
use super::print::both_above_standard_streams;
use super::socket::{MOST_FDS, raised, send_with_fds};

const SPACE: usize = rustix::cmsg_space!(ScmRights(MOST_FDS));

/// Two connected sockets.
pub(crate) fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    pair_of(SocketType::SEQPACKET)
}

/// The most bytes that any process may request as the buffer of a socket. The system doubles it.
const ROOM: usize = 212_992;

/// As `packet_pair`, with the largest buffers.
pub(crate) fn roomy_packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    roomy(SocketType::SEQPACKET)
}

/// As `roomy_packet_pair`, for a stream of bytes.
pub(crate) fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    roomy(SocketType::STREAM)
}

fn roomy(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = pair_of(kind)?;
    make_roomy(&pair.0);
    make_roomy(&pair.1);
    Ok(pair)
}

/// Gives a socket the largest buffer.
pub(super) fn make_roomy(socket: &OwnedFd) {
    // If this fails, the system's default is enough, only slower.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(socket, ROOM);
}

fn pair_of(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let pair = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None);
    both_above_standard_streams(pair.of_call("socketpair")?)
}

/// Sends a number with descriptors. Returns false if there is no room for it until another packet is taken.
pub(crate) fn send_packet(
    socket: impl AsFd,
    number: u64,
    beside: &[BorrowedFd<'_>],
) -> io::Result<bool> {
    let number = number.to_ne_bytes();
    let slices = [io::IoSlice::new(&number)];
    match send_with_fds(socket.as_fd(), &slices, beside) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// The number of the next packet, which stays in the socket.
pub(crate) fn next_packet(socket: impl AsFd) -> io::Result<Option<u64>> {
    receive(socket, &mut RecvAncillaryBuffer::default(), RecvFlags::PEEK)
        .map(|received| received.map(|(number, _)| number))
}

/// Copies of the descriptors of the next packet, which stays in the socket. Fails if this process may not open that
/// many.
pub(crate) fn descriptors_of_next_packet(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = receive(socket, &mut control, RecvFlags::PEEK)?;
    let mut found = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            found.extend(received.map(raised));
        }
    }
    match received {
        Some((_, flags)) if flags.contains(ReturnFlags::CTRUNC) => {
            Err(Errno::MFILE).of_call("recvmsg")
        }
        _ => Ok(found),
    }
}

/// Takes the next packet and closes its descriptors.
pub(crate) fn drop_packet(socket: impl AsFd) {
    let _ = receive(
        socket,
        &mut RecvAncillaryBuffer::default(),
        RecvFlags::empty(),
    );
}

fn receive(
    socket: impl AsFd,
    control: &mut RecvAncillaryBuffer<'_>,
    flags: RecvFlags,
) -> io::Result<Option<(u64, ReturnFlags)>> {
    let mut number = [0; 8];
    let received = rustix::io::retry_on_intr(|| {
        let mut slices = [io::IoSliceMut::new(&mut number)];
        // Not by the socket's own flag: every process with this end can change it.
        let flags = flags | RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        rustix::net::recvmsg(&socket, &mut slices, control, flags)
    });
    match received {
        Ok(received) if received.bytes == 8 => {
            Ok(Some((u64::from_ne_bytes(number), received.flags)))
        }
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error).of_call("recvmsg"),
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_packet_can_be_looked_at_and_stays_until_it_is_dropped() {
        let (to, from) = packet_pair().expect("sockets");
        let (mut one, other) = UnixStream::pair().expect("sockets");
        assert_eq!(next_packet(&from).expect("the socket is open"), None);
        let many = vec![other.as_fd(); MOST_FDS];
        assert!(send_packet(&to, 7, &many).expect("it is open"));
        assert!(send_packet(&to, 8, &[to.as_fd()]).expect("it is open"));
        drop(other);
        for _ in 0..3 {
            assert_eq!(next_packet(&from).expect("it is open"), Some(7));
            let found = descriptors_of_next_packet(&from).expect("it is open");
            assert_eq!(found.len(), MOST_FDS);
            let copy = found.into_iter().last().expect("there are some");
            UnixStream::from(copy).write_all(&[5]).expect("it is open");
            one.read_exact(&mut [0]).expect("a byte");
        }
        drop_packet(&from);
        assert_eq!(
            one.read(&mut [0]).expect("the end"),
            0,
            "all copies are closed"
        );
        assert_eq!(next_packet(&from).expect("it is open"), Some(8));
        drop_packet(&from);
        assert_eq!(next_packet(&from).expect("it is open"), None);
        assert!(
            descriptors_of_next_packet(&from)
                .expect("it is open")
                .is_empty()
        );
    }

    #[test]
    fn there_is_room_for_so_many_and_again_when_one_was_taken() {
        let (to, from) = packet_pair().expect("sockets");
        let mut sent = 0;
        while send_packet(&to, sent, &[to.as_fd()]).expect("it is open") {
            sent += 1;
        }
        assert!(sent > 50, "there is room for {sent}");
        (0..sent / 2).for_each(|_| drop_packet(&from));
        assert!(send_packet(&to, sent, &[to.as_fd()]).expect("it is open"));
        assert_eq!(next_packet(&from).expect("it is open"), Some(sent / 2));
    }

    #[test]
    fn more_descriptors_than_travel_together_are_refused() {
        let (to, from) = packet_pair().expect("sockets");
        let many = vec![to.as_fd(); MOST_FDS + 1];
        assert!(send_packet(&to, 1, &many).is_err());
        assert_eq!(next_packet(&from).expect("it is open"), None);
    }
}
