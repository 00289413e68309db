//! A send. For a large value, a packet announces a separate stream, whose other end is a descriptor of the packet. If
//! the sender is dropped before all is written, the receiver finds an early end of the stream and skips the value. If
//! the receiver is dropped without the value, the sender sends it again. So neither blocks the other side.

use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;

use super::error::ConnectionError;
use super::outbox::PipeOutbox;
use super::packet::{AT_ONCE, MOST, ValuePlace};
use super::step::{Reasons, Step, Transfer};
use super::watch::{Lasts, SocketWatch};
use crate::multiprocessing::item::OutgoingItem;
use crate::sys::{self, AsFd as _, Direction, OwnedFd};
use crate::wire::descriptors::Descriptor;

/// Sends a value that has passed `check`. If this is dropped before it is done, the value is not received.
pub(super) struct Send<'a> {
    outbox: &'a PipeOutbox,
    item: &'a OutgoingItem<'a>,
    stage: SendStage<'a>,
}

#[derive(Debug)]
enum SendStage<'a> {
    /// A small value waits for room.
    Small,
    /// A large value has no stream.
    Large,
    /// A large value has a stream, and its announcement waits for room.
    Announcing { ours: OwnedFd, theirs: OwnedFd },
    /// A large value is written to its stream.
    Writing(OutgoingStream<'a>),
}

type Sent = Result<(), ConnectionError>;

impl<'a> Send<'a> {
    pub(super) fn new(outbox: &'a PipeOutbox, item: &'a OutgoingItem<'a>) -> Self {
        let is_small = item.value().len() <= MOST;
        Self {
            outbox,
            item,
            stage: if is_small {
                SendStage::Small
            } else {
                SendStage::Large
            },
        }
    }

    fn announce(&mut self, ours: OwnedFd, theirs: OwnedFd) -> Option<Step<Sent>> {
        match self
            .outbox
            .post(self.item, ValuePlace::Stream, Some(&theirs))
        {
            None => {
                self.stage = SendStage::Announcing { ours, theirs };
                None
            }
            Some(Err(error)) => Some(Step::Done(Err(error))),
            Some(Ok(())) => {
                let stream = OutgoingStream::new(ours, self.item.value());
                self.stage = SendStage::Writing(stream);
                Some(Step::Part)
            }
        }
    }
}

impl Transfer for Send<'_> {
    type Done = Sent;

    fn step(&mut self) -> Option<Step<Sent>> {
        if let SendStage::Writing(stream) = &mut self.stage {
            return Some(match stream.write()? {
                Ok(Written::All) => Step::Done(Ok(())),
                Ok(Written::Some) => Step::Part,
                Ok(Written::ForNoOne) => {
                    self.stage = SendStage::Large;
                    Step::Part
                }
                Err(error) => Step::Done(Err(error)),
            });
        }
        match mem::replace(&mut self.stage, SendStage::Large) {
            SendStage::Announcing { ours, theirs } => self.announce(ours, theirs),
            SendStage::Small => {
                self.stage = SendStage::Small;
                let sent = self.outbox.post(self.item, ValuePlace::Here, None);
                sent.map(Step::Done)
            }
            _ => match sys::stream_pair() {
                Ok((ours, theirs)) => self.announce(ours, theirs),
                Err(error) => Some(Step::Done(Err(error.into()))),
            },
        }
    }

    fn waits_for(&self) -> Reasons {
        match &self.stage {
            SendStage::Writing(stream) => Reasons::socket(&stream.room),
            _ => Reasons::socket(&self.outbox.room),
        }
    }
}

/// The stream of a large value.
#[derive(Debug)]
struct OutgoingStream<'a> {
    to: Descriptor,
    room: Arc<SocketWatch>,
    /// The bytes that are still to be written.
    bytes: &'a [u8],
}

#[derive(Debug)]
enum Written {
    All,
    Some,
    /// The other end was dropped, or its owner could not receive it.
    ForNoOne,
}

impl<'a> OutgoingStream<'a> {
    fn new(to: OwnedFd, bytes: &'a [u8]) -> Self {
        let to = Descriptor::from(to);
        let room = SocketWatch::new(to.clone(), Direction::Out, Lasts::WhileWaiting);
        let room = Arc::new(room);
        Self { to, room, bytes }
    }

    /// Writes as much as there is room for. `None` if that is not all.
    fn write(&mut self) -> Option<Result<Written, ConnectionError>> {
        let mut at_once = &self.bytes[..self.bytes.len().min(AT_ONCE)];
        while !at_once.is_empty() {
            match sys::send_with_fds(self.to.as_fd(), &[IoSlice::new(at_once)], &[]) {
                Ok(written) => {
                    at_once = &at_once[written..];
                    self.bytes = &self.bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if sys::is_hangup(&error) => return Some(Ok(Written::ForNoOne)),
                Err(error) => return Some(Err(error.into())),
            }
        }
        let is_all = self.bytes.is_empty();
        Some(Ok(if is_all { Written::All } else { Written::Some }))
    }
}
