//! The receiving side of an end. A small value is received by one system call, as a whole. A large value
//! arrives through a stream. A receiver that has started to read one and gives up, by a timeout or a drop, puts
//! it back, and the next receiver continues.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::{coop, yield_now};

use super::error::ConnectionError;
use super::packet::{self, LONGEST, ValuePlace};
use super::watch::{Other, SocketWatch};
use crate::executor::data::Data;
use crate::multiprocessing::item::LARGEST_ITEM;
use crate::multiprocessing::waiting::driver::is_over;
use crate::multiprocessing::waiting::linger::{linger, linger_in_turn};
use crate::sys::{self, AsFd as _, Direction, OwnedFd};
use crate::wire::CodecError;
use crate::wire::codec::{self, ValueHead};
use crate::wire::descriptors::{self, Descriptor};

/// The number of values that a receiver which must not wait skips because they never arrived completely.
const MOST_TORN: usize = 64;

/// The memory that is reserved for a large value before any of it arrives. From then on the memory grows by this factor:
/// a value takes memory in proportion to the bytes that are there.
const FIRST: usize = 16 << 20;
const GROWTH: usize = 8;

/// The number of bytes to copy before the other tasks of the runtime run.
const AT_ONCE: usize = 256 * 1024;

/// The page size of the system's packet buffers. A copy from the start of one page to a place just after the
/// start of another takes three times as long as a copy to the middle of one: the processor mistakes its last
/// writes for its next reads.
const PAGE: usize = 4096;

thread_local! {
    /// The buffer for packets, used from the middle of a page on.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[derive(Debug)]
pub(super) struct PipeInbox {
    socket: Descriptor,
    news: SocketWatch,
    /// Large values that a receiver has started to read and then put back.
    put_back: Mutex<VecDeque<Large>>,
    /// Whether there are some.
    has_some: AtomicBool,
    /// Wakes tasks that wait for the socket when a value is put back.
    for_tasks: Notify,
    /// Readable while there are some; threads wait for it. Created by the first thread that waits.
    for_threads: OnceLock<Option<Descriptor>>,
}

type Found<T> = Result<ReceivedValue<T>, ConnectionError>;

/// The result of a look.
enum ReceivedValue<T> {
    Value(T),
    Large(Large),
}

impl PipeInbox {
    pub(super) fn new(socket: Descriptor) -> Self {
        Self {
            news: SocketWatch::new(socket.clone(), Direction::In, true),
            socket,
            put_back: Mutex::default(),
            has_some: AtomicBool::new(false),
            for_tasks: Notify::new(),
            for_threads: OnceLock::new(),
        }
    }

    /// Receives a value.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing was received.
    pub(super) async fn receive<T: Data>(&self) -> Result<T, ConnectionError> {
        coop::consume_budget().await;
        loop {
            let found = match self.look() {
                Some(found) => found,
                None => self.news().await,
            };
            match found? {
                ReceivedValue::Value(value) => return Ok(value),
                ReceivedValue::Large(large) => {
                    if let Some(value) = self.held(large).finish().await? {
                        return Ok(value);
                    }
                    // A sender of values that never arrive must not keep this task busy.
                    coop::consume_budget().await;
                }
            }
        }
    }

    /// Receives a value if there is one. `None` if not.
    pub(super) fn try_receive<T: Data>(&self) -> Option<Result<T, ConnectionError>> {
        for _ in 0..MOST_TORN {
            match self.look()? {
                Ok(ReceivedValue::Value(value)) => return Some(Ok(value)),
                Ok(ReceivedValue::Large(large)) => match self.held(large).finish_now() {
                    Ok(Some(Some(value))) => return Some(Ok(value)),
                    Ok(Some(None)) => {}
                    Ok(None) => return None,
                    Err(error) => return Some(Err(error)),
                },
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    /// Receives a value in this thread. `None` if there is none until `end`.
    pub(super) fn blocking_receive<T: Data>(
        &self,
        end: Option<Instant>,
    ) -> Option<Result<T, ConnectionError>> {
        loop {
            let found = match self.look() {
                Some(found) => found,
                None => self.blocking_news(end)?,
            };
            match found {
                Ok(ReceivedValue::Value(value)) => return Some(Ok(value)),
                Ok(ReceivedValue::Large(large)) => match self.held(large).blocking_finish(end)? {
                    Ok(Some(value)) => return Some(Ok(value)),
                    Ok(None) if is_over(end) => return None,
                    Ok(None) => {}
                    Err(error) => return Some(Err(error)),
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Whether there is something to receive, or no one can send.
    pub(super) fn has_news(&self) -> bool {
        self.has_some.load(Ordering::Acquire) || sys::is_readable(&self.socket)
    }

    /// Waits until [`has_news`](Self::has_news) is true.
    pub(super) async fn until_news(&self) {
        loop {
            let put_back = self.for_tasks.notified();
            if self.has_news() {
                return;
            }
            tokio::select! {
                () = self.news.until(|| self.has_news().then_some(())) => return,
                () = put_back => {}
            }
        }
    }

    /// Like [`until_news`](Self::until_news), in a thread. False if there is none until `end`.
    pub(super) fn blocking_until_news(&self, end: Option<Instant>) -> bool {
        let has_news = || self.has_news().then_some(());
        let wait = || {
            let other = self.other();
            has_news().or_else(|| self.news.blocking_until(end, other, has_news))
        };
        has_news().or_else(wait).is_some()
    }

    async fn news<T: Data>(&self) -> Found<T> {
        let mut found = linger_in_turn(|| self.look()).await;
        loop {
            if let Some(found) = found {
                return found;
            }
            let put_back = self.for_tasks.notified();
            found = self.look();
            if found.is_none() {
                tokio::select! {
                    news = self.news.until(|| self.look()) => return news,
                    () = put_back => {}
                }
            }
        }
    }

    fn blocking_news<T: Data>(&self, end: Option<Instant>) -> Option<Found<T>> {
        linger(|| self.look()).or_else(|| {
            let other = self.other();
            let last_look = self.look(); // `other` reports no value that was put back before.
            last_look.or_else(|| self.news.blocking_until(end, other, || self.look()))
        })
    }

    fn other(&self) -> Other<'_> {
        // A receiver that puts a value back takes this lock too: either before, and the next look finds the
        // value, or after, and it signals this descriptor.
        let _kept = self.kept();
        let made = self.for_threads.get_or_init(|| {
            let made = sys::eventfd().ok()?;
            Some(made.into())
        });
        made.as_ref().map_or(Other::Blind, Other::Too)
    }

    fn look<T: Data>(&self) -> Option<Found<T>> {
        if self.has_some.load(Ordering::Acquire)
            && let Some(large) = self.take_back()
        {
            return Some(Ok(ReceivedValue::Large(large)));
        }
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.resize(LONGEST + 2 * PAGE, 0);
        let start = buffer.as_ptr().align_offset(PAGE) + PAGE / 2;
        let found = self.take_packet(&mut buffer[start..][..LONGEST]);
        let _ = BUFFER.try_with(|kept| kept.set(buffer));
        found
    }

    /// Takes the next packet. `None` if there is none.
    fn take_packet<T: Data>(&self, buffer: &mut [u8]) -> Option<Found<T>> {
        let mut beside: Vec<OwnedFd> = Vec::new();
        let received = loop {
            match sys::receive_with_fds(self.socket.as_fd(), buffer, &mut beside) {
                Ok(received) => break received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // The other end was closed before it had read everything. What it has sent is still there.
                Err(error) if sys::is_hangup(&error) => {}
                Err(error) => return Some(Err(error.into())),
            }
        };
        if received.len == 0 {
            return Some(Err(ConnectionError::CLOSED));
        }
        if received.is_short {
            return Some(Err(ConnectionError::too_few_descriptors()));
        }
        let Some((head, place, value)) = packet::read(&buffer[..received.len]) else {
            return Some(Err(CodecError::new(
                "the received packet is not a valid pipe message",
            )
            .into()));
        };
        let mut beside: Vec<Descriptor> = beside.into_iter().map(Descriptor::from).collect();
        if place == ValuePlace::Here {
            let value = descriptors::supply(&mut beside, || codec::get_from(head.is_plain, value));
            return Some(
                value
                    .map(ReceivedValue::Value)
                    .map_err(ConnectionError::from),
            );
        }
        Some(arrive(head, place, beside))
    }

    fn held(&self, large: Large) -> HeldValue<'_> {
        HeldValue {
            inbox: self,
            large: Some(large),
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Large>> {
        self.put_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_back(&self, large: Large) {
        let mut kept = self.kept();
        kept.push_back(large);
        self.has_some.store(true, Ordering::Release);
        self.for_tasks.notify_waiters();
        if let Some(Some(bell)) = self.for_threads.get() {
            sys::signal(bell.as_fd());
        }
    }

    fn take_back(&self) -> Option<Large> {
        let mut kept = self.kept();
        let large = kept.pop_front();
        if kept.is_empty() {
            self.has_some.store(false, Ordering::Release);
            if let Some(Some(bell)) = self.for_threads.get() {
                sys::silence(bell.as_fd());
            }
        }
        large
    }
}

/// A value that is not in its packet.
fn arrive<T: Data>(head: ValueHead, place: ValuePlace, mut beside: Vec<Descriptor>) -> Found<T> {
    let missing = || CodecError::new("the descriptor of a received value is missing");
    let from = beside.pop().ok_or_else(missing)?;
    let news = SocketWatch::new(from.clone(), Direction::In, false);
    let mut part = ValuePart {
        from,
        is_plain: head.is_plain,
        len: head.len,
        bytes: Vec::new(),
        beside,
    };
    if head.len > LARGEST_ITEM {
        return Err(CodecError::new("a received value is larger than any that can be sent").into());
    }
    if place == ValuePlace::File {
        sys::check_reserved(&part.from, head.len as u64)?;
        sys::read_file(&part.from, head.len, &mut part.bytes)?;
        return part.decode().map(ReceivedValue::Value);
    }
    sys::check_stream(&part.from)?;
    Ok(ReceivedValue::Large(Large { news, part }))
}

/// A value that arrives through a stream of its own.
#[derive(Debug)]
struct Large {
    news: SocketWatch,
    part: ValuePart,
}

/// The part of it that has arrived.
#[derive(Debug)]
struct ValuePart {
    from: Descriptor,
    is_plain: bool,
    len: usize,
    bytes: Vec<u8>,
    beside: Vec<Descriptor>,
}

enum Read {
    All,
    Some,
    /// Its sender has ended, or has stopped sending it.
    Torn,
}

impl ValuePart {
    /// Reads what is available. `None` if that is not all yet.
    fn read(&mut self) -> Option<Result<Read, ConnectionError>> {
        let enough = self.len.min(self.bytes.len() + AT_ONCE);
        if self.bytes.capacity() < enough {
            let larger = FIRST.max(self.bytes.len().saturating_mul(GROWTH));
            if let Err(error) = sys::enlarge(&mut self.bytes, self.len.min(larger)) {
                return Some(Err(error.into()));
            }
        }
        while self.bytes.len() < enough {
            let most = enough - self.bytes.len();
            match sys::receive_more(self.from.as_fd(), &mut self.bytes, most) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Ok(0) | Err(_) => return Some(Ok(Read::Torn)),
            }
        }
        let is_all = self.bytes.len() == self.len;
        Some(Ok(if is_all { Read::All } else { Read::Some }))
    }

    fn decode<T: Data>(mut self) -> Result<T, ConnectionError> {
        let (is_plain, bytes) = (self.is_plain, &mut self.bytes);
        let value = descriptors::supply(&mut self.beside, || codec::get_bare(is_plain, bytes))?;
        Ok(value)
    }
}

/// A large value that is being read. It is put back if the read does not complete.
struct HeldValue<'a> {
    inbox: &'a PipeInbox,
    large: Option<Large>,
}

impl HeldValue<'_> {
    /// `None` if it was never sent completely.
    async fn finish<T: Data>(mut self) -> Result<Option<T>, ConnectionError> {
        loop {
            match self.read().await? {
                Read::Some => yield_now().await,
                end => return self.end(end),
            }
        }
    }

    /// `None` if it has not arrived completely yet; then it is put back.
    fn finish_now<T: Data>(mut self) -> Result<Option<Option<T>>, ConnectionError> {
        loop {
            match self.large().part.read().transpose()? {
                Some(Read::Some) => {}
                Some(end) => return self.end(end).map(Some),
                None => return Ok(None),
            }
        }
    }

    fn blocking_finish<T: Data>(
        mut self,
        end: Option<Instant>,
    ) -> Option<Result<Option<T>, ConnectionError>> {
        loop {
            match self.blocking_read(end)? {
                Ok(Read::Some) => {}
                Ok(read) => return Some(self.end(read)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn large(&mut self) -> &mut Large {
        self.large.as_mut().expect("it is present until it is read")
    }

    async fn read(&mut self) -> Result<Read, ConnectionError> {
        let Large { news, part } = self.large();
        match linger_in_turn(|| part.read()).await {
            Some(read) => read,
            None => news.until(|| part.read()).await,
        }
    }

    fn blocking_read(&mut self, end: Option<Instant>) -> Option<Result<Read, ConnectionError>> {
        let Large { news, part } = self.large();
        linger(|| part.read()).or_else(|| news.blocking_until(end, Other::None, || part.read()))
    }

    fn end<T: Data>(&mut self, read: Read) -> Result<Option<T>, ConnectionError> {
        let large = self.large.take().expect("it is present until it is read");
        match read {
            Read::Torn => Ok(None),
            _ => large.part.decode().map(Some),
        }
    }
}

impl Drop for HeldValue<'_> {
    fn drop(&mut self) {
        if let Some(large) = self.large.take() {
            self.inbox.put_back(large);
        }
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use std::io::IoSlice;
    use std::time::Duration;

    use super::*;
    use crate::multiprocessing::waiting::driver::end_of;
    use crate::sys::BorrowedFd;

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
        inbox.blocking_receive(end_of(Some(Duration::from_millis(2))))
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
        let kept = inbox.take_back().expect("it was put back");
        assert_eq!(kept.part.bytes, b"part");
        assert!(kept.part.bytes.capacity() <= 2 * FIRST);
        let too_large = LARGEST_ITEM as u64 + 1;
        announce(&theirs, too_large, ValuePlace::Stream, &[ours.as_fd()]);
        assert!(
            received(&inbox)
                .expect("a packet")
                .expect_err("too large")
                .is_codec()
        );
    }

    #[tokio::test]
    async fn values_that_never_arrive_keep_no_receiver_busy() {
        let (inbox, theirs) = inbox();
        let (ours, stream) = sys::stream_pair().expect("sockets");
        drop(ours);
        for _ in 0..MOST_TORN {
            announce(&theirs, 1 << 20, ValuePlace::Stream, &[stream.as_fd()]);
        }
        announce(&theirs, 1 << 20, ValuePlace::Stream, &[]);
        assert!(inbox.try_receive::<Vec<u8>>().is_none(), "it must not wait");
        assert!(received(&inbox).expect("the last").is_err());
        for _ in 0..3 {
            announce(&theirs, 1 << 20, ValuePlace::Stream, &[stream.as_fd()]);
        }
        let end = Some(Instant::now());
        assert!(
            inbox.blocking_receive::<Vec<u8>>(end).is_none(),
            "its time is over"
        );
        assert!(sys::is_readable(&inbox.socket), "two are left");
    }
}
