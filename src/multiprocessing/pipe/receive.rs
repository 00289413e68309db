//! A receive, and a wait for something to receive.

use std::marker::PhantomData;

use super::arriving::PartRead;
use super::error::ConnectionError;
use super::inbox::{Message, PipeInbox};
use super::put_back::HeldValue;
use super::step::{OtherReason, Reasons, Step, Transfer};
use crate::executor::data::Data;

/// Receives the next value. A large one that it does not receive completely is put back when this is dropped.
#[derive(Debug)]
pub(super) struct Receive<'a, T> {
    inbox: &'a PipeInbox,
    /// A large value that is being read.
    held: Option<HeldValue<'a>>,
    value: PhantomData<fn() -> T>,
}

type Received<T> = Result<T, ConnectionError>;

impl<'a, T: Data> Receive<'a, T> {
    pub(super) fn new(inbox: &'a PipeInbox) -> Self {
        Self {
            inbox,
            held: None,
            value: PhantomData,
        }
    }

    fn read(&mut self) -> Option<Step<Received<T>>> {
        let arrived = self.held.as_mut()?.get_mut().read()?;
        Some(match arrived {
            Err(error) => Step::Done(Err(error)),
            Ok(PartRead::Some) => Step::Part,
            Ok(PartRead::All) => Step::Done(self.held.take()?.take().decode()),
            Ok(PartRead::Torn) => {
                drop(self.held.take()?.take()); // The sender ended early: skips this value.
                Step::Part
            }
        })
    }
}

impl<T: Data> Transfer for Receive<'_, T> {
    type Done = Received<T>;

    fn step(&mut self) -> Option<Step<Received<T>>> {
        if self.held.is_some() {
            return self.read();
        }
        Some(match self.inbox.take()? {
            Ok(Message::Value(value)) => Step::Done(Ok(value)),
            Ok(Message::Large(value)) => {
                self.held = Some(HeldValue::new(self.inbox.put_back(), value));
                self.read().unwrap_or(Step::Part)
            }
            Err(error) => Step::Done(Err(error)),
        })
    }

    fn waits_for(&self) -> Reasons {
        match &self.held {
            Some(held) => Reasons::socket(&held.get().news),
            None => self.inbox.reasons(),
        }
    }
}

/// Waits until a value can be received, or the other end is closed. Receives nothing.
#[derive(Debug)]
pub(super) struct AwaitNews<'a>(pub(super) &'a PipeInbox);

impl Transfer for AwaitNews<'_> {
    type Done = ();

    fn step(&mut self) -> Option<Step<()>> {
        self.0.has_news().then_some(Step::Done(()))
    }

    fn waits_for(&self) -> Reasons {
        self.0.reasons()
    }
}

impl PipeInbox {
    fn reasons(&self) -> Reasons {
        Reasons {
            socket: Some(self.news.clone()),
            other: OtherReason::PutBack(self.put_back().clone()),
        }
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::io::{self, IoSlice};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::multiprocessing::item::LARGEST_ITEM;
    use crate::multiprocessing::pipe::packet::ValuePlace;
    use crate::multiprocessing::pipe::step::{MOST_PARTS, at_once, in_thread};
    use crate::multiprocessing::waiting::driver::end_of;
    use crate::sys::{self, AsFd as _, BorrowedFd, OwnedFd};

    /// An end whose other end sends packets of any form.
    fn inbox() -> (PipeInbox, OwnedFd) {
        let (ours, theirs) = sys::roomy_packet_pair().expect("sockets");
        (PipeInbox::new(ours.into()), theirs)
    }

    /// Announces a value of `len` bytes that is elsewhere.
    fn announce(to: &OwnedFd, len: u64, place: ValuePlace, beside: &[BorrowedFd<'_>]) {
        let mut packet = Vec::new();
        let mut rest = len << 1 | 1;
        while rest >= 0x80 {
            packet.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        packet.push(rest as u8);
        packet.extend_from_slice(place.mark());
        let sent = sys::send_with_fds(to.as_fd(), &[IoSlice::new(&packet)], beside);
        assert_eq!(sent.expect("there is room"), packet.len());
    }

    fn received(inbox: &PipeInbox) -> Option<Result<Vec<u8>, ConnectionError>> {
        in_thread(Receive::new(inbox), end_of(Some(Duration::from_millis(2))))
    }

    #[test]
    fn a_value_that_arrives_through_anything_but_a_stream_is_an_error_and_blocks_no_one() {
        let (inbox, theirs) = inbox();
        let (reader, _writer) = io::pipe().expect("a pipe");
        let (packets, _other) = sys::packet_pair().expect("sockets");
        let eventfd = sys::eventfd().expect("an eventfd");
        for fd in [reader.as_fd(), packets.as_fd(), eventfd.as_fd()] {
            announce(&theirs, 1 << 20, ValuePlace::Stream, &[fd]);
            let error = received(&inbox).expect("a packet").expect_err("no stream");
            assert!(error.is_codec(), "{error}");
        }
        announce(&theirs, 1 << 20, ValuePlace::Stream, &[]);
        assert!(
            received(&inbox)
                .expect("a packet")
                .expect_err("no stream")
                .is_codec()
        );
    }

    #[test]
    fn a_value_in_anything_but_a_whole_file_in_memory_is_an_error_and_takes_no_memory() {
        let (inbox, theirs) = inbox();
        let (reader, _writer) = io::pipe().expect("a pipe");
        let sparse = sys::growing_file().expect("a file");
        sys::lengthen(&sparse, 1 << 29).expect("it grows");
        let short = sys::file_of(5, [&b"short"[..]].into_iter()).expect("a file");
        for fd in [reader.as_fd(), sparse.as_fd(), short.as_fd()] {
            announce(&theirs, 1 << 29, ValuePlace::File, &[fd]);
            let error = received(&inbox).expect("a packet").expect_err("no file");
            assert!(error.is_codec(), "{error}");
        }
    }

    #[test]
    fn a_value_takes_memory_as_it_arrives() {
        let (inbox, theirs) = inbox();
        let (ours, stream) = sys::stream_pair().expect("sockets");
        announce(&theirs, 1 << 29, ValuePlace::Stream, &[stream.as_fd()]);
        drop(stream);
        sys::send_with_fds(ours.as_fd(), &[IoSlice::new(b"part")], &[]).expect("there is room");
        assert!(received(&inbox).is_none(), "a part is there");
        let kept = inbox.put_back().take().expect("it was put back");
        assert_eq!(kept.bytes(), b"part");
        assert!(kept.bytes().capacity() <= 32 << 20);
        let too_large = LARGEST_ITEM as u64 + 1;
        announce(&theirs, too_large, ValuePlace::Stream, &[ours.as_fd()]);
        assert!(
            received(&inbox)
                .expect("a packet")
                .expect_err("too large")
                .is_codec()
        );
    }

    #[test]
    fn values_that_never_arrive_keep_no_receiver_busy() {
        let (inbox, theirs) = inbox();
        let (ours, stream) = sys::stream_pair().expect("sockets");
        drop(ours);
        let torn = |count| {
            for _ in 0..count {
                announce(&theirs, 1 << 20, ValuePlace::Stream, &[stream.as_fd()]);
            }
        };
        let receive = || Receive::<Vec<u8>>::new(&inbox);
        torn(MOST_PARTS);
        announce(&theirs, 1 << 20, ValuePlace::Stream, &[]);
        assert!(at_once(receive()).is_none(), "the receive must not wait");
        assert!(received(&inbox).expect("the last").is_err());
        torn(MOST_PARTS + 3);
        let end = Some(Instant::now());
        assert!(in_thread(receive(), end).is_none(), "the time is over");
        assert!(inbox.has_news(), "some are left");
    }
}
