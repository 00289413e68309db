//! Requests to a fork server, and its answers. They follow the same first messages as with a worker:
//! `Hello`, `Greeting`, `Setup` (the initializer is the preload), `Ready` or `Failed`; see
//! [`message`](super::message). Descriptors travel beside a frame.

use bytes::BufMut as _;

use super::chain::{Chain, Reader};
use super::message::{Role, get_text, put, put_text};

mod tag {
    pub(super) const FORK: u8 = 16;
    pub(super) const REAP: u8 = 17;

    pub(super) const FORKED: u8 = 80;
    pub(super) const REFUSED: u8 = 81;
    pub(super) const EXITED: u8 = 82;
}

/// The most bytes of a request or an answer.
pub(crate) const LONGEST: usize = 128 * 1024;

/// A request of the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToForkServer {
    /// Fork a process. Descriptors travel beside it:
    /// - the socket, stdout and stderr of the process;
    /// - for a process that runs one function, a pipe: the fork server reaps it unasked and writes the exit
    ///   status there;
    /// - if it changes variables, the file with their [changes](super::surroundings);
    /// - if it changes its folder, that folder.
    Fork {
        request: u64,
        role: Role,
        changes_variables: bool,
        changes_folder: bool,
    },
    /// Reap a worker when it ends, and send its exit status.
    Reap { pid: u32 },
}

/// An answer of the fork server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FromForkServer {
    /// A pidfd travels beside it.
    Forked {
        request: u64,
        pid: u32,
    },
    Refused {
        request: u64,
        reason: String,
    },
    /// The exit code and the signal that ended it.
    Exited {
        pid: u32,
        code: Option<i32>,
        signal: Option<i32>,
    },
}

impl ToForkServer {
    pub(crate) fn put(self, out: &mut Chain) {
        match self {
            Self::Fork {
                request,
                role,
                changes_variables,
                changes_folder,
            } => put(out, tag::FORK, &Chain::new(), |out| {
                out.put_u64_le(request);
                out.put_u8(role as u8);
                out.put_u8(u8::from(changes_variables));
                out.put_u8(u8::from(changes_folder));
            }),
            Self::Reap { pid } => put(out, tag::REAP, &Chain::new(), |out| out.put_u32_le(pid)),
        }
    }

    pub(crate) fn parse(mut frame: Reader) -> Option<Self> {
        match frame.u8()? {
            tag::FORK => Some(Self::Fork {
                request: frame.u64()?,
                role: Role::of_byte(frame.u8()?)?,
                changes_variables: frame.u8()? == 1,
                changes_folder: frame.u8()? == 1,
            }),
            tag::REAP => Some(Self::Reap { pid: frame.u32()? }),
            _ => None,
        }
    }
}

impl FromForkServer {
    pub(crate) fn put(&self, out: &mut Chain) {
        let mut payload = Chain::new();
        match self {
            Self::Forked { request, pid } => put(out, tag::FORKED, &payload, |out| {
                out.put_u64_le(*request);
                out.put_u32_le(*pid);
            }),
            Self::Refused { request, reason } => {
                put_text(&mut payload, reason);
                put(out, tag::REFUSED, &payload, |out| out.put_u64_le(*request));
            }
            Self::Exited { pid, code, signal } => put(out, tag::EXITED, &payload, |out| {
                out.put_u32_le(*pid);
                for value in [code, signal] {
                    out.put_u8(u8::from(value.is_some()));
                    out.put_u32_le(value.unwrap_or_default().cast_unsigned());
                }
            }),
        }
    }

    pub(crate) fn parse(mut frame: Reader) -> Option<Self> {
        match frame.u8()? {
            tag::FORKED => Some(Self::Forked {
                request: frame.u64()?,
                pid: frame.u32()?,
            }),
            tag::REFUSED => Some(Self::Refused {
                request: frame.u64()?,
                reason: get_text(&mut frame)?,
            }),
            tag::EXITED => Some(Self::Exited {
                pid: frame.u32()?,
                code: get_optional(&mut frame)?,
                signal: get_optional(&mut frame)?,
            }),
            _ => None,
        }
    }
}

fn get_optional(frame: &mut Reader) -> Option<Option<i32>> {
    let present = frame.u8()? == 1;
    let value = frame.u32()?.cast_signed();
    Some(present.then_some(value))
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/forkserver.rs"]
mod tests;
