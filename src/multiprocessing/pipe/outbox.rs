//! The sending side of an end. A small value is one packet, sent by one system call: completely or not at all.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::error::ConnectionError;
use super::packet::{MOST, ValuePlace};
use super::watch::{Lasts, SocketWatch};
use crate::multiprocessing::item::OutgoingItem;
use crate::sys::{self, AsFd as _, BorrowedFd, Direction, OwnedFd};
use crate::wire::descriptors::Descriptor;

#[derive(Debug)]
pub(super) struct PipeOutbox {
    socket: Descriptor,
    pub(super) room: Arc<SocketWatch>,
}

impl PipeOutbox {
    pub(super) fn new(socket: Descriptor) -> Self {
        let room = SocketWatch::new(socket.clone(), Direction::Out, Lasts::WhileWaiting);
        Self {
            room: Arc::new(room),
            socket,
        }
    }

    /// Sends a value that has passed [`check`], if there is room for it. A large one goes into a file.
    pub(super) fn try_send(&self, item: &mut OutgoingItem<'_>) -> Result<(), ConnectionError> {
        item.pack(MOST + 1)?;
        if !item.is_in_file && item.value().len() > MOST {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory).into());
        }
        let place = if item.is_in_file {
            ValuePlace::File
        } else {
            ValuePlace::Here
        };
        let posted = self.post(item, place, None);
        posted.unwrap_or(Err(ConnectionError::FULL))
    }

    /// Sends the packet of a value. `None` if there is no room for it.
    pub(super) fn post(
        &self,
        item: &OutgoingItem<'_>,
        place: ValuePlace,
        stream: Option<&OwnedFd>,
    ) -> Option<Result<(), ConnectionError>> {
        let (front, value) = (item.front(), item.value());
        let own_len = item.head.own_len;
        // Bytes that are contiguous in memory are sent from there.
        let bytes = match place {
            ValuePlace::Here if front.len() > own_len => [IoSlice::new(front), IoSlice::new(&[])],
            ValuePlace::Here => [IoSlice::new(front), IoSlice::new(value)],
            _ => [IoSlice::new(&front[..own_len]), IoSlice::new(place.mark())],
        };
        let bytes = if bytes[1].is_empty() {
            &bytes[..1]
        } else {
            &bytes
        };
        let beside = item.beside.iter().map(|fd| fd.as_fd());
        let beside: Vec<BorrowedFd<'_>> = beside.chain(stream.map(|fd| fd.as_fd())).collect();
        loop {
            return match sys::send_with_fds(self.socket.as_fd(), bytes, &beside) {
                Ok(_) => Some(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Some(Err(error.into())),
            };
        }
    }

    /// Ends sending, for all copies of this end.
    pub(super) fn close(&self) {
        sys::end_sending(self.socket.as_fd());
    }
}

/// Checks that a value can be sent at all.
pub(super) fn check(item: &OutgoingItem<'_>) -> Result<(), ConnectionError> {
    let is_large = item.value().len() > MOST;
    Ok(item.fits_with(is_large.into())?)
}
