//! What comes from the parent, before and beside the calls: messages, and descriptors with them.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::sys;
use crate::wire::Reader;
use crate::wire::frame::{self, Frames};
use crate::wire::message::{self, Identity, Setup, ToWorker};

/// The most that a `Hello` may have.
const HELLO_LIMIT: usize = 4096;

/// The parent's frames, read so that no descriptor beside them is lost.
pub(super) struct Inlet {
    pub(super) socket: UnixStream,
    pub(super) frames: Frames,
    pub(super) fds: VecDeque<OwnedFd>,
}

impl Inlet {
    /// Learns who the parent is. It is the parent that decides whether the two get along. Nothing if
    /// it has hung up.
    pub(super) fn open(socket: UnixStream) -> io::Result<Option<Self>> {
        let mut inlet = Self {
            socket,
            frames: Frames::new(HELLO_LIMIT),
            fds: VecDeque::new(),
        };
        match inlet.next_message()? {
            Some(ToWorker::Hello) => {
                inlet.frames.set_limit(frame::LARGEST);
                Ok(Some(inlet))
            }
            None => Ok(None),
            Some(other) => Err(invalid(&format!("{other:?} came instead of a hello"))),
        }
    }

    /// What this process is to be. Nothing if the parent has hung up, as one of another build does.
    pub(super) fn setup(&mut self) -> io::Result<Option<(Setup, Reader)>> {
        match self.next_message()? {
            Some(ToWorker::Setup(setup, args)) => Ok(Some((setup, args))),
            None | Some(ToWorker::Exit) => Ok(None),
            Some(other) => Err(invalid(&format!("{other:?} came before the setup"))),
        }
    }

    fn next_message(&mut self) -> io::Result<Option<ToWorker>> {
        let frame = self.next_frame()?;
        frame.map(parse).transpose()
    }

    pub(super) fn next_frame(&mut self) -> io::Result<Option<Reader>> {
        let mut source = WithFds(&self.socket, &mut self.fds);
        Ok(self.frames.next(&mut source)?.map(Reader::from))
    }
}

struct WithFds<'a>(&'a UnixStream, &'a mut VecDeque<OwnedFd>);

impl Read for WithFds<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        sys::receive_with_fds(self.0.as_fd(), bytes, self.1)
    }
}

pub(super) fn parse(frame: Reader) -> io::Result<ToWorker> {
    ToWorker::parse(frame).ok_or_else(|| invalid("the parent sent a frame that makes no sense"))
}

/// What this process says of itself.
pub(super) fn put_greeting(out: &mut crate::wire::Chain) {
    message::put_greeting(out, &Identity::own());
}

pub(super) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
