//! What an end sends. A small value is one packet, sent by one system call: it has been sent as a whole, or
//! not at all. A large one has a packet that says so, and a stream of its own, whose other end is beside the
//! packet. If its sender goes before all is in there, whoever reads it finds the end too early, and passes
//! over it; if its reader goes, without having it, the sender sends it anew. So neither leaves anything in
//! the way of others.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::error::ConnectionError;
use super::packet::{MOST, ValuePlace};
use super::watch::{Other, SocketWatch};
use crate::multiprocessing::item::OutgoingItem;
use crate::multiprocessing::linger::{linger, linger_in_turn};
use crate::sys::{self, Direction};
use crate::wire::descriptors::Descriptor;

/// No more is copied without a turn for the other tasks of the runtime.
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

    /// Sends a value that has been [`prepared`](prepare), if there is room for it. One that is large
    /// goes in a file.
    pub(super) fn try_send(&self, item: &mut OutgoingItem) -> Result<(), ConnectionError> {
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

    /// Sends a value that is small, if there is room for it. Nothing if not.
    pub(super) fn send_at_once(&self, item: &OutgoingItem) -> Option<Result<(), ConnectionError>> {
        if item.value().len() > MOST {
            return None;
        }
        self.post(item, ValuePlace::Here, None)
    }

    /// Sends a value that has been prepared.
    ///
    /// # Cancel safety
    /// If it is dropped before it has returned, nobody receives the value.
    pub(super) async fn send(&self, item: &OutgoingItem) -> Result<(), ConnectionError> {
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
        }
    }

    /// As [`send`](Self::send), in a thread.
    pub(super) fn blocking_send(&self, item: &OutgoingItem) -> Result<(), ConnectionError> {
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
        item: &OutgoingItem,
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
        item: &OutgoingItem,
        place: ValuePlace,
        stream: Option<&OwnedFd>,
    ) -> Result<(), ConnectionError> {
        let post = || self.post(item, place, stream);
        linger(post).unwrap_or_else(|| forever(self.room.blocking_until(None, Other::None, post)))
    }

    /// Sends the packet. Nothing if there is no room for it.
    fn post(
        &self,
        item: &OutgoingItem,
        place: ValuePlace,
        stream: Option<&OwnedFd>,
    ) -> Option<Result<(), ConnectionError>> {
        let (front, value) = (item.front(), item.value());
        let own_len = item.head.own_len;
        // What lies together is sent from there.
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

    /// Nothing will be sent any more, by nobody who has this end.
    pub(super) fn close(&self) {
        sys::end_sending(self.socket.as_fd());
    }
}

/// Whether a value can travel at all.
pub(super) fn check(item: &OutgoingItem) -> Result<(), ConnectionError> {
    let is_large = item.value().len() > MOST;
    Ok(item.fits_with(is_large.into())?)
}

/// Who waits for ever gets it.
fn forever<T>(found: Option<T>) -> T {
    found.expect("a wait without an end has none")
}

/// The stream of a large value.
struct Stream<'a> {
    rest: UnsentRest<'a>,
    room: SocketWatch,
}

/// What has not been written to it yet.
struct UnsentRest<'a> {
    to: Descriptor,
    bytes: &'a [u8],
}

enum Poured {
    All,
    Some,
    /// Whoever had the other end has gone, or could not receive it.
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
    /// Writes as much as there is room for. Nothing if that is not all.
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
