//! What comes from the parent, before and beside the calls: messages, and descriptors with them.

use std::collections::VecDeque;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::sys;
use crate::wire::descriptors::Descriptor;
use crate::wire::errand::Errand;
use crate::wire::frame::{self, Frames};
use crate::wire::message::{self, Identity, Setup, ToWorker};
use crate::wire::{Chain, Reader};

/// The most that a `Hello` may have.
const HELLO_LIMIT: usize = 4096;

/// The parent's frames, read so that no descriptor beside them is lost.
pub(super) struct Inlet {
    pub(super) socket: UnixStream,
    pub(super) frames: Frames,
    pub(super) fds: VecDeque<OwnedFd>,
    /// The system has dropped some that came: this process may have no more.
    is_short: bool,
    /// The parent is of the same build, so its functions are ours.
    is_kin: bool,
}

impl Inlet {
    /// Learns who the parent is. Nothing if it has hung up.
    pub(super) fn open(socket: UnixStream) -> io::Result<Option<Self>> {
        let mut inlet = Self {
            socket,
            frames: Frames::new(HELLO_LIMIT),
            fds: VecDeque::new(),
            is_short: false,
            is_kin: false,
        };
        match inlet.next_message()? {
            Some(ToWorker::Hello(parent)) => {
                inlet.is_kin = parent == Identity::own();
                inlet.frames.set_limit(frame::LARGEST);
                Ok(Some(inlet))
            }
            None => Ok(None),
            Some(other) => Err(invalid(&format!("{other:?} came instead of a hello"))),
        }
    }

    /// Whether what this process is to be has come already, behind the hello.
    pub(super) fn has_setup(&self) -> bool {
        self.is_kin && self.frames.has_next()
    }

    /// What this process is to be. Nothing if the parent has hung up, or is of another build: what it
    /// says then means something else here. It learns that from our greeting.
    pub(super) fn setup(&mut self) -> io::Result<Option<(Setup, Reader)>> {
        if !self.is_kin {
            return Ok(None);
        }
        match self.next_message()? {
            Some(ToWorker::Setup(setup, args)) => Ok(Some((setup, args))),
            None | Some(ToWorker::Exit) => Ok(None),
            Some(other) => Err(invalid(&format!("{other:?} came before the setup"))),
        }
    }

    /// As `setup`, for a process that runs one function.
    pub(super) fn errand(&mut self) -> io::Result<Option<(Errand, Reader)>> {
        let frame = if self.is_kin {
            self.next_frame()?
        } else {
            None
        };
        let errand = frame.map(|frame| Errand::parse(frame).ok_or_else(nonsense));
        errand.transpose()
    }

    /// What the parent says next. Nothing if it has hung up.
    pub(super) fn next_message(&mut self) -> io::Result<Option<ToWorker>> {
        let frame = self.next_frame()?;
        frame.map(parse).transpose()
    }

    pub(super) fn next_frame(&mut self) -> io::Result<Option<Reader>> {
        let mut source = WithFds {
            socket: &self.socket,
            fds: &mut self.fds,
            is_short: &mut self.is_short,
        };
        Ok(self.frames.next(&mut source)?.map(Reader::from))
    }

    /// Says one of the words that come before the calls.
    pub(super) fn send(&self, put: impl FnOnce(&mut Chain)) -> io::Result<()> {
        send(&self.socket, put)
    }

    /// Takes so many of the descriptors that came.
    pub(super) fn take_descriptors(&mut self, count: u32) -> io::Result<Vec<Descriptor>> {
        let count = count as usize;
        if self.is_short || self.fds.len() < count {
            return Err(io::Error::other(
                "it may not open as many files as came with a call; raise `Limits::open_files`, or the \
                 limit of the parent",
            ));
        }
        Ok(self.fds.drain(..count).map(Descriptor::from).collect())
    }
}

/// Says something over a socket.
pub(super) fn send(mut socket: &UnixStream, put: impl FnOnce(&mut Chain)) -> io::Result<()> {
    let mut words = Chain::new();
    put(&mut words);
    words.write_with(|slices| socket.write_vectored(slices))
}

struct WithFds<'a> {
    socket: &'a UnixStream,
    fds: &'a mut VecDeque<OwnedFd>,
    is_short: &'a mut bool,
}

impl Read for WithFds<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let received = sys::receive_with_fds(self.socket.as_fd(), bytes, self.fds)?;
        *self.is_short |= received.is_short;
        Ok(received.len)
    }
}

fn parse(frame: Reader) -> io::Result<ToWorker> {
    ToWorker::parse(frame).ok_or_else(nonsense)
}

fn nonsense() -> io::Error {
    invalid("the parent sent a frame that makes no sense")
}

/// What this process says of itself.
pub(super) fn put_greeting(out: &mut Chain) {
    message::put_greeting(out, &Identity::own());
}

pub(super) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::wire::Chain;

    /// What a process makes of a parent that sends its hello and a setup at once.
    fn meets(parent: &Identity) -> (bool, bool) {
        let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
        let setup = Setup {
            worker_id: 1,
            max_frame: 1,
            limits: Vec::new(),
            captured: None,
            initializer: None,
            descriptors: 0,
            events: 0,
        };
        let mut out = Chain::new();
        message::put_hello(&mut out, parent);
        message::put_setup(&mut out, &setup, &Chain::new());
        ours.write_all(&out.into_reader().front)
            .expect("it has room");
        let mut inlet = Inlet::open(theirs).expect("a hello").expect("a parent");
        let has_setup = inlet.has_setup();
        (has_setup, inlet.setup().expect("frames").is_some())
    }

    #[test]
    fn a_process_heeds_no_setup_of_another_build_or_version() {
        let own = Identity::own();
        assert_eq!(meets(&own), (true, true));
        let build = [own.build.clone(), vec![0]].concat();
        let version = own.version;
        assert_eq!(meets(&Identity { version, build }), (false, false));
        let version = version + 1;
        assert_eq!(meets(&Identity { version, ..own }), (false, false));
    }
}
