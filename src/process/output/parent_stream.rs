//! The stdout or stderr of this process, as relays write to it. A write never waits. Text that the stream does not
//! accept at once waits in a queue, and a thread writes it. The thread exists while the queue is not empty.
//!
//! All relays of a program share a queue, so their texts reach the stream one after the other, and a line is not
//! split by another worker's.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

use super::OutputStream;
use crate::sys;

/// How long an outcome waits for a stream that accepts nothing.
const STALL_LIMIT: Duration = Duration::from_secs(1);
/// While more bytes than this wait for a stream, no relay reads, and the last output of ended workers is dropped.
pub(super) const MOST_WAITING: usize = 1024 * 1024;

pub(super) struct ParentStream {
    stream: OutputStream,
    queue: Mutex<StreamQueue>,
}

/// Texts that wait, in the order of their arrival.
struct StreamQueue {
    texts: VecDeque<WaitingText>,
    /// The number of bytes in `texts`.
    len: usize,
    /// When the stream last accepted something. `None` before the first queue.
    moved_at: Option<Instant>,
    /// The relays to wake when `texts` is shorter.
    paused: Vec<Arc<RelayProgress>>,
    /// The number of bytes that were dropped since the stream last reported it.
    dropped: usize,
    has_thread: bool,
}

struct WaitingText {
    bytes: Vec<u8>,
    /// How many bytes of the text are written.
    written: usize,
    progress: Arc<RelayProgress>,
}

/// How much of a relay's text has left the queue.
#[derive(Debug, Default)]
pub(super) struct RelayProgress {
    settled: AtomicU64,
    waker: AtomicWaker,
}

impl RelayProgress {
    /// The number of bytes that were written, or that the stream has refused permanently.
    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// Wakes the task at the next change of the number.
    pub(super) fn wake_on_change(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    fn add(&self, len: usize) {
        self.settled.fetch_add(len as u64, Ordering::AcqRel);
    }
}

impl ParentStream {
    const fn new(stream: OutputStream) -> Self {
        Self {
            stream,
            queue: Mutex::new(StreamQueue {
                texts: VecDeque::new(),
                len: 0,
                moved_at: None,
                paused: Vec::new(),
                dropped: 0,
                has_thread: false,
            }),
        }
    }

    pub(super) fn of(stream: OutputStream) -> &'static Self {
        static STDOUT: ParentStream = ParentStream::new(OutputStream::Stdout);
        static STDERR: ParentStream = ParentStream::new(OutputStream::Stderr);
        match stream {
            OutputStream::Stdout => &STDOUT,
            OutputStream::Stderr => &STDERR,
        }
    }

    pub(super) fn stream(&self) -> OutputStream {
        self.stream
    }

    /// Writes the text, or queues what the stream does not accept. If more than `most` bytes wait already, drops the
    /// text and counts it, and the stream reports that later. Discards text that the stream refuses with an error:
    /// there is no other place for it.
    pub(super) fn write(&'static self, text: &[u8], progress: &Arc<RelayProgress>, most: usize) {
        let mut queue = self.lock();
        let mut rest = text;
        while queue.texts.is_empty() && !rest.is_empty() {
            match self.write_now(first_piece(rest)) {
                Ok(len) => rest = &rest[len..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => rest = &[],
            }
        }
        if queue.len > most {
            queue.dropped += rest.len();
            rest = &[];
        }
        progress.add(text.len() - rest.len());
        if !rest.is_empty() {
            self.queue(&mut queue, rest, progress);
        }
    }

    #[cold]
    fn queue(&'static self, queue: &mut StreamQueue, text: &[u8], progress: &Arc<RelayProgress>) {
        if queue.texts.is_empty() {
            queue.moved_at = Some(Instant::now());
        }
        queue.len += text.len();
        queue.texts.push_back(WaitingText {
            bytes: text.to_vec(),
            written: 0,
            progress: progress.clone(),
        });
        if !queue.has_thread {
            // If no thread can be started, the text waits until the next one arrives.
            let thread = thread::Builder::new().name("relayed-output".into());
            let started = thread.stack_size(64 * 1024).spawn(|| self.write_queue());
            queue.has_thread = started.is_ok();
        }
    }

    /// Whether too much waits, so that no relay reads. Wakes this relay when that changes.
    pub(super) fn is_crowded(&self, relay: &Arc<RelayProgress>) -> bool {
        let mut queue = self.lock();
        let is_crowded = queue.len > MOST_WAITING;
        if is_crowded && !queue.paused.iter().any(|paused| Arc::ptr_eq(paused, relay)) {
            queue.paused.push(relay.clone());
        }
        is_crowded
    }

    /// Until when an outcome waits if the stream accepts nothing. `None` if nothing is queued.
    pub(super) fn stall_end(&self) -> Option<Instant> {
        let queue = self.lock();
        let moved_at = queue.moved_at.filter(|_| !queue.texts.is_empty())?;
        moved_at.checked_add(STALL_LIMIT)
    }

    /// Runs on the thread. Does not hold the lock while it blocks.
    fn write_queue(&self) {
        let mut queue = self.lock();
        while let Some(text) = queue.next() {
            let piece = first_piece(&text.bytes[text.written..]).to_vec();
            drop(queue);
            let written = self.write_patiently(&piece);
            let moved = self.lock().advance(written, Instant::now());
            for progress in moved {
                progress.waker.wake();
            }
            queue = self.lock();
        }
        queue.has_thread = false;
    }

    fn write_now(&self, text: &[u8]) -> io::Result<usize> {
        match self.stream {
            OutputStream::Stdout => sys::write_now(&io::stdout(), text),
            OutputStream::Stderr => sys::write_now(&io::stderr(), text),
        }
    }

    fn write_patiently(&self, text: &[u8]) -> io::Result<usize> {
        match self.stream {
            OutputStream::Stdout => sys::write_patiently(&io::stdout(), text),
            OutputStream::Stderr => sys::write_patiently(&io::stderr(), text),
        }
    }

    fn lock(&self) -> MutexGuard<'_, StreamQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamQueue {
    /// The next text to write. After all others, a report of how much was dropped.
    fn next(&mut self) -> Option<&WaitingText> {
        if self.texts.is_empty() && self.dropped > 0 {
            let bytes = format!(
                "concurrent-futures: {} bytes of ended workers are dropped, because this stream accepted too little\n",
                std::mem::take(&mut self.dropped)
            );
            self.len += bytes.len();
            self.texts.push_back(WaitingText {
                bytes: bytes.into(),
                written: 0,
                progress: Arc::default(),
            });
        }
        self.texts.front()
    }

    /// Called when the stream has accepted a part of the first text, or has refused it permanently and so all others.
    /// Returns the relays whose text has left the queue, and those that may read again.
    fn advance(&mut self, written: io::Result<usize>, now: Instant) -> Vec<Arc<RelayProgress>> {
        self.moved_at = Some(now);
        let mut moved = Vec::new();
        while let Some(text) = self.texts.front_mut() {
            let rest = text.bytes.len() - text.written;
            let len = written.as_ref().map_or(rest, |len| rest.min(*len));
            text.written += len;
            text.progress.add(len);
            moved.push(text.progress.clone());
            self.len -= len;
            if len == rest {
                self.texts.pop_front();
            }
            if written.is_ok() {
                break;
            }
        }
        if self.len <= MOST_WAITING {
            moved.append(&mut self.paused);
        }
        moved
    }
}

/// What to write in one call: whole lines, if a line is not too long for that.
fn first_piece(text: &[u8]) -> &[u8] {
    if text.len() <= sys::WHOLE {
        return text;
    }
    let text = &text[..sys::WHOLE];
    match text.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => &text[..=end],
        None => text,
    }
}

#[cfg(all(test, properties))]
#[path = "../../../tests/properties/process/output/parent_stream.rs"]
mod tests;
