//! What goes back to the parent. A finished frame is put into the shared page before anything
//! else, so that it is not lost should this process die before it has written it to the socket.
//!
//! Frames are written together where that delays none: at the latest when the worker would wait
//! for input; and when an item runs for long, by the thread that watches for the parent's end.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sys::{self, Bell};
use crate::wire::Chain;
use crate::wire::bulk::{LARGE, Split};
use crate::wire::message::{self, OUTCOME_HEAD, OutcomeHead, Status};
use crate::wire::page::{OUTBOX, Page};
use crate::wire::ring::{Ring, Way};
use crate::wire::spare::Spare;

/// How long a finished frame may wait while an item runs.
const LINGER: Duration = Duration::from_millis(1);
/// How many bytes of them may.
const ENOUGH: usize = 32 * 1024;

#[derive(Debug)]
pub(super) struct Outbox {
    frames: Mutex<Frames>,
    /// The watching thread looks after the frames every `LINGER`, until there are none.
    attended: AtomicBool,
    bell: Bell,
}

#[derive(Debug)]
struct Frames {
    socket: UnixStream,
    page: Arc<Page>,
    limit: usize,
    /// What was not written yet; the page holds the same bytes.
    unsent: Chain,
    /// The frame that is being made.
    frame: Chain,
    /// What a result lay in.
    spare: Spare,
    /// The socket's failure. It ends the worker, but an entry cannot be told of it.
    broken: Option<io::Error>,
}

impl Outbox {
    /// Makes it, and the thread that watches: as soon as the parent goes away, it ends this process
    /// and what that has started. A task that computes, or sleeps, would not notice.
    pub(super) fn open(
        socket: UnixStream,
        parent: Option<OwnedFd>,
        page: Arc<Page>,
        limit: usize,
    ) -> io::Result<Arc<Self>> {
        let watched = socket.try_clone()?;
        let frames = Frames {
            socket,
            page,
            limit,
            unsent: Chain::new(),
            frame: Chain::new(),
            spare: Spare::default(),
            broken: None,
        };
        let outbox = Arc::new(Self {
            frames: Mutex::new(frames),
            attended: AtomicBool::new(false),
            bell: Bell::new()?,
        });
        let attendant = outbox.clone();
        let watch = move || {
            let bell = &attendant.bell;
            let _ = sys::wait_for_parents_end(&watched, parent.as_ref(), bell, LINGER, || {
                attendant.attend()
            });
            sys::kill_own_group();
        };
        std::thread::Builder::new()
            .name("parent-watch".into())
            .stack_size(64 * 1024)
            .spawn(watch)?;
        Ok(outbox)
    }

    fn lock(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.lock().limit = limit;
    }

    /// Sends a message at once.
    pub(super) fn send(&self, put: impl FnOnce(&mut Chain)) -> io::Result<()> {
        let mut frames = self.lock();
        put(&mut frames.unsent);
        frames.flush();
        frames.check()
    }

    /// Puts an outcome where the parent will find it, whatever happens to this process.
    pub(super) fn post(&self, head: OutcomeHead, payload: &Chain) {
        let mut frames = self.lock();
        frames.post(head, payload);
        if frames.unsent.len() >= ENOUGH {
            frames.flush();
        }
    }

    /// The payload of the last outcome of a call is not needed any more.
    pub(super) fn keep(&self, payload: Chain) {
        if payload.len() >= LARGE {
            self.lock().spare.keep(payload);
        }
    }

    /// What a result lay in, if there is something.
    pub(super) fn spare(&self) -> Spare {
        std::mem::take(&mut self.lock().spare)
    }

    /// Writes what waits.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut frames = self.lock();
        frames.flush();
        frames.check()
    }

    /// An item is about to run, nobody knows for how long: sees to it that what waits is written
    /// meanwhile.
    pub(super) fn leave_to_attendant(&self) {
        if !self.lock().unsent.is_empty() && !self.attended.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }

    /// Writes what waits. False if nothing did: then the bell has to ring again. (It says so before
    /// it looks, so what is left after it has looked rings the bell.)
    fn attend(&self) -> bool {
        self.attended.store(false, Ordering::Release);
        let mut frames = self.lock();
        let waited = !frames.unsent.is_empty();
        frames.flush();
        drop(frames);
        if waited {
            self.attended.store(true, Ordering::Release);
        }
        waited
    }
}

impl Frames {
    fn post(&mut self, head: OutcomeHead, payload: &Chain) {
        if head.status == Status::Value && payload.len() > self.limit {
            return self.refuse(head, payload.len());
        }
        let size = OUTCOME_HEAD + payload.len();
        if self.unsent.len() + size > OUTBOX {
            self.flush();
        }
        if size <= OUTBOX {
            message::put_outcome(&mut self.frame, &head, payload);
            let mut at = self.unsent.len();
            for piece in self.frame.pieces() {
                self.page.post(at, piece);
                at += piece.len();
            }
            self.unsent.append(&mut self.frame);
        } else {
            self.send_large(&head, payload);
        }
    }

    /// The large pieces of a large outcome go by the ring, all of it by the socket if there is no
    /// memory for that.
    fn send_large(&mut self, head: &OutcomeHead, payload: &Chain) {
        let page = self.page.clone();
        let ring = page.ring(Way::FromWorker);
        match Split::of(payload) {
            Some(split) if ring.prepare(split.len(), false) => {
                message::put_bulk(&mut self.unsent, &split.parts);
                message::put_outcome(&mut self.unsent, head, &split.rest);
                for piece in &split.pieces {
                    self.put(ring, piece);
                }
            }
            _ => {
                message::put_outcome(&mut self.unsent, head, payload);
                self.flush();
            }
        }
    }

    /// Puts bytes into the ring. Their frame is written as soon as the first are there.
    fn put(&mut self, ring: Ring<'_>, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.broken.is_none() {
            let moved = ring.put(bytes);
            bytes = &bytes[moved.len..];
            if moved.is_awaited {
                message::put_moved(&mut self.unsent);
            }
            self.flush();
            if moved.len == 0
                && let Some(wait) = ring.want_room(bytes.len())
            {
                wait.block();
            }
        }
    }

    #[cold]
    fn refuse(&mut self, head: OutcomeHead, size: usize) {
        let reason = format!(
            "its result encodes to {size} bytes, and a frame may have {}; raise `max_frame_length`",
            self.limit
        );
        let mut payload = Chain::new();
        message::put_text(&mut payload, &reason);
        self.post(
            OutcomeHead {
                status: Status::Unencodable,
                ..head
            },
            &payload,
        );
    }

    fn flush(&mut self) {
        if self.unsent.is_empty() {
            return;
        }
        let mut socket = &self.socket;
        if let Err(error) = self
            .unsent
            .write_with(|slices| socket.write_vectored(slices))
        {
            self.unsent.clear();
            self.broken = Some(error);
        }
        self.page.clear_outbox();
    }

    fn check(&mut self) -> io::Result<()> {
        self.broken.take().map_or(Ok(()), Err)
    }
}
