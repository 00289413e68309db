//! How the fork server tells of the end of a process that it has forked.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use bytes::BytesMut;
use tokio_util::codec::{Decoder as _, LengthDelimitedCodec};

use crate::process::start::Connection;
use crate::sys::{self, Exit};
use crate::wire::frame;
use crate::wire::zygote::{FromZygote, LONGEST};

/// The socket of a process, from which the one that has forked it tells how it ended.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) socket: Arc<OwnedFd>,
    codec: LengthDelimitedCodec,
    /// What came behind the last word of the process itself.
    buffer: BytesMut,
}

impl Word {
    pub(super) fn new(connection: Connection) -> io::Result<Self> {
        Ok(Self {
            socket: Arc::new(connection.stream.into_std()?.into()),
            codec: frame::codec(LONGEST),
            buffer: connection.buffer,
        })
    }

    /// How the process ended; nothing if that has not been told yet. Without the one that was to tell
    /// it, it remains unknown.
    pub(super) fn take(&mut self) -> Option<Exit> {
        loop {
            match self.codec.decode(&mut self.buffer) {
                Ok(Some(frame)) => return Some(exit(FromZygote::parse(frame.freeze().into()))),
                Ok(None) => {}
                Err(_) => return Some(Exit::default()),
            }
            let mut bytes = [0; 64];
            match sys::read_now(self.socket.as_fd(), &mut bytes) {
                Ok(len @ 1..) => self.buffer.extend_from_slice(&bytes[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Ok(0) | Err(_) => return Some(Exit::default()),
            }
        }
    }
}

fn exit(told: Option<FromZygote>) -> Exit {
    match told {
        Some(FromZygote::Exited { code, signal, .. }) => Exit { code, signal },
        _ => Exit::default(),
    }
}
