//! The receiving side of an end. A small value is received as a whole by one system call. A large value arrives through
//! a stream.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use super::arriving::{ArrivingValue, read_file};
use super::error::ConnectionError;
use super::packet::{self, LONGEST, ValuePlace};
use super::put_back::PutBack;
use super::watch::{Lasts, SocketWatch};
use crate::executor::data::Data;
use crate::multiprocessing::waiting::local::Local;
use crate::sys::{self, AsFd as _, Direction, OwnedFd};
use crate::wire::CodecError;
use crate::wire::codec;
use crate::wire::descriptors::{self, Descriptor};

/// The page size of the system's packet buffers. A copy from the start of one page to a place just after the start of
/// another takes three times as long as a copy to the middle of a page: the processor mistakes its last writes for its
/// next reads.
const PAGE: usize = 4096;

thread_local! {
    /// The buffer for packets, used from the middle of a page on.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[derive(Debug)]
pub(super) struct PipeInbox {
    socket: Descriptor,
    pub(super) news: Arc<SocketWatch>,
    put_back: Local<Arc<PutBack>>,
}

/// What a receiver finds.
pub(super) enum Message<T> {
    Value(T),
    Large(ArrivingValue),
}

impl PipeInbox {
    pub(super) fn new(socket: Descriptor) -> Self {
        let news = SocketWatch::new(socket.clone(), Direction::In, Lasts::Always);
        Self {
            news: Arc::new(news),
            socket,
            put_back: Local::default(),
        }
    }

    /// What receivers of this process have put back.
    pub(super) fn put_back(&self) -> &Arc<PutBack> {
        self.put_back.get()
    }

    /// Whether a message can be received, or the other end is closed.
    pub(super) fn has_news(&self) -> bool {
        self.put_back().has_some() || sys::is_readable(&self.socket)
    }

    /// Takes the next message. `None` if there is none.
    pub(super) fn take<T: Data>(&self) -> Option<Result<Message<T>, ConnectionError>> {
        if let Some(value) = self.put_back().take() {
            return Some(Ok(Message::Large(value)));
        }
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.resize(LONGEST + 2 * PAGE, 0);
        let start = buffer.as_ptr().align_offset(PAGE) + PAGE / 2;
        let packet = &mut buffer[start..][..LONGEST];
        let found = self.take_packet(packet);
        let found = found.map(|found| found.and_then(|(len, beside)| open(&packet[..len], beside)));
        let _ = BUFFER.try_with(|kept| kept.set(buffer));
        found
    }

    /// Takes the next packet: its length, and its descriptors. `None` if there is none.
    fn take_packet(
        &self,
        buffer: &mut [u8],
    ) -> Option<Result<(usize, Vec<OwnedFd>), ConnectionError>> {
        let mut beside: Vec<OwnedFd> = Vec::new();
        let received = loop {
            match sys::receive_with_fds(self.socket.as_fd(), buffer, &mut beside) {
                Ok(received) => break received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // The other end was closed before it read everything, but its own messages are still there.
                Err(error) if sys::is_hangup(&error) => {}
                Err(error) => return Some(Err(error.into())),
            }
        };
        Some(match received.len {
            0 => Err(ConnectionError::CLOSED),
            _ if received.is_short => Err(ConnectionError::too_few_descriptors()),
            len => Ok((len, beside)),
        })
    }
}

/// Opens a packet.
fn open<T: Data>(packet: &[u8], beside: Vec<OwnedFd>) -> Result<Message<T>, ConnectionError> {
    let invalid = || CodecError::new("the received packet is not a valid pipe message");
    let (head, place, value) = packet::read(packet).ok_or_else(invalid)?;
    let mut beside: Vec<Descriptor> = beside.into_iter().map(Descriptor::from).collect();
    Ok(match place {
        ValuePlace::Here => {
            let decode = || codec::get_from(head.is_plain, value);
            Message::Value(descriptors::supply(&mut beside, decode)?)
        }
        ValuePlace::File => Message::Value(read_file(head, beside)?),
        ValuePlace::Stream => Message::Large(ArrivingValue::new(head, beside)?),
    })
}
