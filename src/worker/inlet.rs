//! Input from the parent: messages on the socket, the descriptors beside them, and the large parts of calls in the
//! ring.

use std::collections::VecDeque;
use std::io::{self, Read, Write as _};
use std::sync::Arc;

use super::closed::unless_closed;
use super::log::Log;
use super::outbox::WorkerOutbox;
use crate::sys::{self, AsFd as _, OwnedFd, Socket};
use crate::wire::bulk::{IncomingPayload, PayloadPart};
use crate::wire::descriptors::Descriptor;
use crate::wire::frame::{self, Frames};
use crate::wire::identity::BuildIdentity;
use crate::wire::message::{self, FirstMessage, FromWorker};
use crate::wire::page::Page;
use crate::wire::ring::RingDirection;
use crate::wire::{Chain, Reader};

/// The most bytes of a `Hello`.
const HELLO_LIMIT: usize = 4096;

/// Reads the parent's frames, and keeps all descriptors that come with them.
pub(super) struct Inlet {
    pub(super) socket: Socket,
    pub(super) frames: Frames,
    pub(super) fds: VecDeque<OwnedFd>,
    /// Whether the system has dropped descriptors that arrived, because this process may open no more.
    is_short: bool,
    /// Whether the parent is the same build, so that its function offsets are valid here.
    is_kin: bool,
}

impl Inlet {
    /// Reads the parent's identity. `None` if the parent has closed the socket.
    pub(super) fn open(socket: Socket) -> io::Result<Option<Self>> {
        let mut inlet = Self {
            socket,
            frames: Frames::new(HELLO_LIMIT),
            fds: VecDeque::new(),
            is_short: false,
            is_kin: false,
        };
        let Some(frame) = inlet.next_frame()? else {
            return Ok(None);
        };
        let parent = BuildIdentity::parse_hello(frame);
        let parent = parent.ok_or_else(|| invalid("the parent's first message is not a hello"))?;
        inlet.is_kin = parent == BuildIdentity::own();
        inlet.frames.set_limit(frame::LARGEST);
        Ok(Some(inlet))
    }

    /// Moves the socket out of the reach of user code, which runs in this process.
    pub(super) fn out_of_reach(self) -> Self {
        Self {
            socket: sys::out_of_reach(self.socket.into()).into(),
            ..self
        }
    }

    /// Reads the setup of this process. `None` if the parent has closed the socket, or is another build.
    ///
    /// Sends the greeting before any step that may take long or may end this process. Otherwise returns the greeting,
    /// to send it with the next message, so that the parent wakes only once.
    pub(super) fn meet<T: FirstMessage>(&mut self) -> io::Result<Option<Met<T>>> {
        let Some(mut greeting) = self.greet()? else {
            return Ok(None);
        };
        let Some(frame) = self.next_frame()? else {
            return Ok(None);
        };
        let (setup, args) = message::get_with::<T>(frame).ok_or_else(invalid_frame)?;
        if !setup.is_plain() {
            self.say(&mut greeting)?;
        }
        Ok(Some(Met {
            setup,
            args,
            greeting,
        }))
    }

    /// Sends the greeting, or returns it if the parent's next message has arrived with the hello. `None` if the parent
    /// is another build: its messages have another meaning here. The parent sees that from the greeting.
    fn greet(&mut self) -> io::Result<Option<Chain>> {
        let mut greeting = Chain::new();
        BuildIdentity::own().put_greeting(&mut greeting);
        if !self.is_kin || !self.frames.has_next() {
            self.say(&mut greeting)?;
        }
        Ok(self.is_kin.then_some(greeting))
    }

    /// Sends a message at once. A worker uses it until it is ready; later messages go through the pipe.
    pub(super) fn say(&self, words: &mut Chain) -> io::Result<()> {
        let mut socket = &self.socket;
        unless_closed(words.write_with(|slices| socket.write_vectored(slices)))
    }

    /// The parent's next frame. `None` if the parent has closed the socket.
    pub(super) fn next_frame(&mut self) -> io::Result<Option<Reader>> {
        let mut source = WithFds {
            socket: &self.socket,
            fds: &mut self.fds,
            is_short: &mut self.is_short,
        };
        Ok(self.frames.next(&mut source)?.map(Reader::from))
    }

    /// Takes `count` of the descriptors that arrived.
    pub(super) fn take_descriptors(&mut self, count: u32) -> io::Result<Vec<Descriptor>> {
        let count = count as usize;
        if self.is_short || self.fds.len() < count {
            return Err(io::Error::other(
                "descriptors that came with a call are lost, because the process has reached its limit of open \
                 files; raise `Limits::open_files`, or the limit of the parent",
            ));
        }
        Ok(self.fds.drain(..count).map(Descriptor::of_parent).collect())
    }
}

/// What a process has received once it has met its parent.
pub(super) struct Met<T> {
    /// Its setup.
    pub(super) setup: T,
    /// The arguments of the function that it calls first.
    pub(super) args: Reader,
    /// Sent before the next message. Empty if it was sent already.
    pub(super) greeting: Chain,
}

struct WithFds<'a> {
    socket: &'a Socket,
    fds: &'a mut VecDeque<OwnedFd>,
    is_short: &'a mut bool,
}

impl Read for WithFds<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let received = sys::receive_patiently(self.socket.as_fd(), bytes, self.fds);
        let received = unless_closed(received)?;
        *self.is_short |= received.is_short;
        Ok(received.len)
    }
}

/// The error for an invalid frame of the parent.
pub(super) fn invalid_frame() -> io::Error {
    invalid("the parent sent an invalid frame")
}

pub(super) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Receives the large parts of calls. A worker that waits here for the parent has nothing else to do. If the parent
/// exits, the attendant ends this process, and the wait with it.
#[derive(Debug)]
pub(super) struct Dock {
    page: Arc<Page>,
    outbox: Arc<WorkerOutbox>,
    announced: Option<IncomingPayload>,
}

impl Dock {
    pub(super) fn new(page: Arc<Page>, outbox: Arc<WorkerOutbox>) -> Self {
        let announced = None;
        Self {
            page,
            outbox,
            announced,
        }
    }

    /// Records that parts of the next call come through the ring.
    pub(super) fn announce(&mut self, parts: Vec<PayloadPart>) {
        self.announced = Some(IncomingPayload::new(parts));
    }

    /// The whole payload of a call. `rest` came in the frame. The parts are read even if the call is no longer wanted,
    /// because the bytes of the next call follow them.
    pub(super) fn complete(&mut self, rest: Reader, log: &mut Log) -> io::Result<Reader> {
        let mut spare = log.take_spare();
        let Some(mut parts) = self.announced.take() else {
            return Ok(rest); // The task may need the memory of the spare buffer.
        };
        parts.use_spare(&mut spare);
        let ring = self.page.ring(RingDirection::ToWorker);
        while parts.missing() > 0 {
            let moved = parts.take(ring)?;
            if moved.is_awaited {
                self.outbox
                    .send(|out| message::put(out, &FromWorker::Moved))?;
            }
            if moved.len == 0
                && let Some(wait) = ring.want_bytes(parts.missing())
            {
                log.flush()?; // Finished outcomes must not wait for this input.
                wait.block();
            }
        }
        let joined = parts.join(rest);
        joined.ok_or_else(|| invalid("the parent sent parts that do not fit the frame"))
    }
}

#[cfg(all(test, target_os = "linux", not(properties)))]
mod tests {
    use super::*;
    use crate::wire::message::Setup;

    /// A parent sends its hello and a setup together. Returns whether the process greets at once, and
    /// whether it accepts the setup.
    fn meets(parent: &BuildIdentity) -> (bool, bool) {
        let (mut ours, theirs) = Socket::pair().expect("a socket pair");
        let setup = Setup {
            worker_id: 1,
            ..Setup::default()
        };
        let mut out = Chain::new();
        parent.put_hello(&mut out);
        message::put(&mut out, &setup);
        ours.write_all(&out.into_reader().front)
            .expect("the socket has room");
        let mut inlet = Inlet::open(theirs).expect("a hello").expect("a parent");
        let met = inlet.meet::<Setup>().expect("frames");
        (sys::bytes_waiting(ours.as_fd()) > 0, met.is_some())
    }

    #[test]
    fn a_process_heeds_no_setup_of_another_build_or_version() {
        let own = BuildIdentity::own();
        assert_eq!(meets(&own), (false, true));
        let build = [own.build.clone(), vec![0]].concat();
        let version = own.version;
        assert_eq!(meets(&BuildIdentity { version, build }), (true, false));
        let version = version + 1;
        assert_eq!(meets(&BuildIdentity { version, ..own }), (true, false));
    }
}
