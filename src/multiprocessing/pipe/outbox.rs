//! The sending side of an end. A small value is one packet, sent by one system call: completely or not at all.
//! For a large value, a packet announces a separate stream, whose other end is a descriptor of the packet. If
//! the sender goes away before all is written, the receiver finds the end of the stream too early, and skips
//! the value. If the receiver goes away without the value, the sender sends it again. So neither blocks the
//! others.

use std::io::{self, IoSlice};

use super::error::ConnectionError;
use super::packet::{MOST, ValuePlace};
use super::watch::{Other, SocketWatch};
use crate::multiprocessing::item::OutgoingItem;
use crate::multiprocessing::waiting::linger::{linger, linger_in_turn};
use crate::sys::{self, AsFd as _, BorrowedFd, Direction, OwnedFd};
use crate::wire::descriptors::Descriptor;

/// The number of bytes to copy before the other tasks of the runtime run.
const AT_ONCE: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct PipeOutbox {
    socket: Descriptor,
    room: SocketWatch,
}

impl PipeOutbox {
    pub(super) fn new(socket: Descriptor) -> Self {
        Self {
            room: SocketWatch::new(socket.clone(), Direction::Out, false),
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

    /// Sends a small value, if there is room for it. `None` if there is none, or the value is large.
    pub(super) fn send_at_once(
        &self,
        item: &OutgoingItem<'_>,
    ) -> Option<Result<(), ConnectionError>> {
        if item.value().len() > MOST {
            return None;
        }
        self.post(item, ValuePlace::Here, None)
    }

    /// Like [`send`](Self::send), of a value that may not have been encoded.
    pub(super) async fn send_encoded(
        &self,
        item: Result<OutgoingItem<'_>, ConnectionError>,
    ) -> Result<(), ConnectionError> {
        self.send(&item?).await
    }

    /// Sends a value that has passed [`check`].
    ///
    /// # Cancel safety
    /// If the future is dropped, no one receives the value.
    pub(super) async fn send(&self, item: &OutgoingItem<'_>) -> Result<(), ConnectionError> {
        if item.value().len() <= MOST {
            return self.post_in_time(item, ValuePlace::Here, None).await;
        }
        loop {
            let (ours, theirs) = sys::stream_pair()?;
            self.post_in_time(item, ValuePlace::Stream, Some(&theirs))
                .await?;
            drop(theirs);
            let mut stream = Stream::new(ours, item.value());
            loop {
                match stream.pour().await? {
                    Poured::All => return Ok(()),
                    Poured::Some => tokio::task::yield_now().await,
                    Poured::ForNobody => break,
                }
            }
            // A receiver that takes no value must not keep this task busy.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Like [`send`](Self::send), in a thread.
    pub(super) fn blocking_send(&self, item: &OutgoingItem<'_>) -> Result<(), ConnectionError> {
        if item.value().len() <= MOST {
            return self.blocking_post(item, ValuePlace::Here, None);
        }
        loop {
            let (ours, theirs) = sys::stream_pair()?;
            self.blocking_post(item, ValuePlace::Stream, Some(&theirs))?;
            drop(theirs);
            let mut stream = Stream::new(ours, item.value());
            loop {
                match stream.blocking_pour()? {
                    Poured::All => return Ok(()),
                    Poured::Some => {}
                    Poured::ForNobody => break,
                }
            }
        }
    }

    async fn post_in_time(
        &self,
        item: &OutgoingItem<'_>,
        place: ValuePlace,
        stream: Option<&OwnedFd>,
    ) -> Result<(), ConnectionError> {
        let post = || self.post(item, place, stream);
        match linger_in_turn(post).await {
            Some(posted) => posted,
            None => self.room.until(post).await,
        }
    }

    fn blocking_post(
        &self,
        item: &OutgoingItem<'_>,
        place: ValuePlace,
        stream: Option<&OwnedFd>,
    ) -> Result<(), ConnectionError> {
        let post = || self.post(item, place, stream);
        linger(post).unwrap_or_else(|| forever(self.room.blocking_until(None, Other::None, post)))
    }

    /// Sends the packet. `None` if there is no room for it.
    fn post(
        &self,
        item: &OutgoingItem<'_>,
        place: ValuePlace,
        stream: Option<&OwnedFd>,
    ) -> Option<Result<(), ConnectionError>> {
        let (front, value) = (item.front(), item.value());
        let own_len = item.head.own_len;
        // Bytes that are contiguous are sent from there.
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

/// The result of a wait without a deadline.
fn forever<T>(found: Option<T>) -> T {
    found.expect("a wait without a deadline always has a result")
}

/// The stream of a large value.
struct Stream<'a> {
    rest: UnsentRest<'a>,
    room: SocketWatch,
}

/// The bytes that are still to be written.
struct UnsentRest<'a> {
    to: Descriptor,
    bytes: &'a [u8],
}

enum Poured {
    All,
    Some,
    /// The other end was dropped, or its owner could not receive it.
    ForNobody,
}

impl<'a> Stream<'a> {
    fn new(to: OwnedFd, bytes: &'a [u8]) -> Self {
        let to = Descriptor::from(to);
        let room = SocketWatch::new(to.clone(), Direction::Out, false);
        let rest = UnsentRest { to, bytes };
        Self { rest, room }
    }

    async fn pour(&mut self) -> Result<Poured, ConnectionError> {
        let (room, rest) = (&self.room, &mut self.rest);
        match linger_in_turn(|| rest.pour()).await {
            Some(poured) => poured,
            None => room.until(|| rest.pour()).await,
        }
    }

    fn blocking_pour(&mut self) -> Result<Poured, ConnectionError> {
        let (room, rest) = (&self.room, &mut self.rest);
        let poured = linger(|| rest.pour());
        poured.unwrap_or_else(|| forever(room.blocking_until(None, Other::None, || rest.pour())))
    }
}

impl UnsentRest<'_> {
    /// Writes as much as there is room for. `None` if that is not all.
    fn pour(&mut self) -> Option<Result<Poured, ConnectionError>> {
        let mut at_once = &self.bytes[..self.bytes.len().min(AT_ONCE)];
        while !at_once.is_empty() {
            match sys::send_with_fds(self.to.as_fd(), &[IoSlice::new(at_once)], &[]) {
                Ok(written) => {
                    at_once = &at_once[written..];
                    self.bytes = &self.bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if sys::is_hangup(&error) => return Some(Ok(Poured::ForNobody)),
                Err(error) => return Some(Err(error.into())),
            }
        }
        let is_all = self.bytes.is_empty();
        Some(Ok(if is_all { Poured::All } else { Poured::Some }))
    }
}
