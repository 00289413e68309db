//! Sends outcomes to the parent. Each outcome goes into the shared page first, so that it is not lost if
//! this process dies before it writes the outcome to the parent's pipe.
//!
//! Several outcomes are written together if that delays none. The worker writes them before it waits for input, at the
//! latest. If an item runs for long, the attendant writes them: the thread that also watches for the parent's end. Only
//! the thread that serves calls appends to the page, without a lock. Writing to the pipe takes a lock.

use std::io::{self, PipeWriter, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::closed::unless_closed;
use crate::sys::{self, OwnedFd, Socket, WakeFd};
use crate::wire::Chain;
use crate::wire::bulk::Split;
use crate::wire::message::{self, FromWorker};
use crate::wire::page::Page;
use crate::wire::ring::{PayloadRing, RingDirection};

/// How long a finished outcome may wait while an item runs.
const LINGER: Duration = Duration::from_millis(1);
/// After this many checks that find nothing to write, the attendant stops checking.
const VAIN_LOOKS: u32 = 3;

#[derive(Debug)]
pub(super) struct WorkerOutbox {
    page: Arc<Page>,
    sender: Mutex<Sender>,
    /// Whether the attendant checks every `LINGER` for something to write.
    attended: AtomicBool,
    bell: WakeFd,
}

#[derive(Debug)]
struct Sender {
    /// The pipe that the parent reads.
    answers: PipeWriter,
    /// How much of the page's outbox was written.
    sent: usize,
    /// The pipe's failure. `check` returns it, which ends the worker.
    broken: Option<io::Error>,
}

impl WorkerOutbox {
    pub(super) fn open(answers: PipeWriter, page: Arc<Page>) -> io::Result<Arc<Self>> {
        let sender = Sender {
            answers,
            sent: 0,
            broken: None,
        };
        Ok(Arc::new(Self {
            page,
            sender: Mutex::new(sender),
            attended: AtomicBool::new(false),
            bell: WakeFd::new()?,
        }))
    }

    /// Starts the attendant. When the parent ends, the attendant kills this process and the processes that it started.
    /// A task that computes or sleeps would not notice.
    pub(super) fn start_attendant(
        self: &Arc<Self>,
        socket: Socket,
        parent: Option<OwnedFd>,
    ) -> io::Result<()> {
        let attendant = self.clone();
        let watch = move || {
            let mut vain = 0;
            let _ = sys::wait_for_parents_end(
                &socket,
                parent.as_ref(),
                &attendant.bell,
                LINGER,
                || attendant.attend(&mut vain),
            );
            sys::kill_own_group();
        };
        std::thread::Builder::new()
            .name("parent-watch".into())
            .stack_size(64 * 1024)
            .spawn(watch)
            .map_err(sys::no_thread)?;
        sys::note_silent_thread();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Sender> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message at once.
    pub(super) fn send(&self, put: impl FnOnce(&mut Chain)) -> io::Result<()> {
        let mut message = Chain::new();
        put(&mut message);
        self.lock().send(&mut message)
    }

    /// Writes what waits, and empties the page's outbox.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut sender = self.lock();
        sender.flush(&self.page);
        sender.check()?; // The parent reads from the page what it did not receive.
        sender.sent = 0;
        self.page.clear_outbox();
        Ok(())
    }

    /// Writes an entry that is too large for the page, after the entries in `head`. Everything that was
    /// posted must have been written. Returns the memory of the entry.
    ///
    /// Its large pieces go through the ring. Without memory for that, everything goes through the pipe.
    pub(super) fn send_large(&self, head: &[u8], mut entry: Chain) -> Chain {
        let mut outcome = Chain::new();
        outcome.tail().extend_from_slice(head);
        entry.seal();
        outcome.put_chain(&entry);
        outcome.seal();
        drop(entry);
        let ring = self.page.ring(RingDirection::FromWorker);
        let mut split = Split::of(&outcome).filter(|split| ring.prepare(split.len(), false));
        let mut frame = Chain::new();
        if let Some(split) = &mut split {
            let parts = std::mem::take(&mut split.parts);
            message::put(&mut frame, &FromWorker::Bulk(parts));
        }
        let rest = split.as_ref().map_or(&outcome, |split| &split.rest);
        let head = message::outcomes_head(rest.len());
        frame.tail().extend_from_slice(&head);
        frame.put_chain(rest);
        let mut sender = self.lock();
        let sent = match &split {
            Some(split) => sender.send_by_ring(frame, ring, split),
            None => sender.send(&mut frame),
        };
        if let Err(error) = sent {
            sender.broken = Some(error);
        }
        outcome
    }

    /// Called when an item is about to run for an unknown time and something waits. Makes the attendant write it.
    pub(super) fn wake_attendant(&self) {
        if !self.attended.load(Ordering::Acquire) && !self.attended.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }

    /// Writes what waits. Returns false if nothing waited for a while: the bell must then ring again. Before that last
    /// check this clears `attended`, so an outcome that is posted after the check rings the bell.
    fn attend(&self, vain: &mut u32) -> bool {
        let is_last = *vain == VAIN_LOOKS;
        if is_last {
            self.attended.store(false, Ordering::Release);
        }
        let waited = self.lock().flush(&self.page);
        *vain = if waited || is_last { 0 } else { *vain + 1 };
        if is_last && waited {
            self.attended.store(true, Ordering::Release);
        }
        waited || !is_last
    }
}

impl Sender {
    fn send(&mut self, message: &mut Chain) -> io::Result<()> {
        message.write_with(|slices| self.answers.write_vectored(slices))
    }

    /// Puts pieces into the ring. Writes their frame as soon as the first bytes are there.
    fn send_by_ring(
        &mut self,
        mut frame: Chain,
        ring: PayloadRing<'_>,
        split: &Split,
    ) -> io::Result<()> {
        for piece in &split.pieces {
            let mut bytes = &piece[..];
            while !bytes.is_empty() {
                let moved = ring.put(bytes);
                bytes = &bytes[moved.len..];
                if moved.is_awaited {
                    message::put(&mut frame, &FromWorker::Moved);
                }
                self.send(&mut frame)?;
                if moved.len == 0
                    && let Some(wait) = ring.want_room(bytes.len())
                {
                    wait.block();
                }
            }
        }
        Ok(())
    }

    /// Writes the part of the page's outbox that has not been written. Returns whether there was any.
    fn flush(&mut self, page: &Page) -> bool {
        let posted = page.posted();
        if self.sent == posted {
            return false;
        }
        if let Err(error) = self.write(page, posted) {
            self.broken = Some(error);
        }
        self.sent = posted;
        true
    }

    fn write(&mut self, page: &Page, posted: usize) -> io::Result<()> {
        let mut head = &message::outcomes_head(posted - self.sent)[..];
        let mut start = self.sent;
        while !head.is_empty() || start < posted {
            match page.write_posted(&self.answers, head, start..posted) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    start += sent.saturating_sub(head.len());
                    head = &head[sent.min(head.len())..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn check(&mut self) -> io::Result<()> {
        unless_closed(self.broken.take().map_or(Ok(()), Err))
    }
}
