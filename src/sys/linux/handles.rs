//! The system's types that the code above `sys` uses. On Linux they are those of std and tokio.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::ffi::OsStringExt as _;

pub(crate) use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
pub(crate) use std::os::unix::net::UnixStream as Socket;
pub(crate) use tokio::io::unix::AsyncFd;

use super::call::{Call as _, named};
use super::print::both_above_standard_streams;

/// A pipe: this process reads, and another one writes.
pub(crate) fn pipe_from_child() -> io::Result<(PipeReader, OwnedFd)> {
    let (ours, theirs) = both_above_standard_streams(io::pipe().of_call("pipe2")?)?;
    Ok((ours.into(), theirs))
}

/// A pipe: another process reads, and this one writes.
pub(crate) fn pipe_to_child() -> io::Result<(OwnedFd, PipeWriter)> {
    let (theirs, ours) = both_above_standard_streams(io::pipe().of_call("pipe2")?)?;
    Ok((theirs, ours.into()))
}

/// The error of a thread that the system refused to start.
pub(crate) fn no_thread(error: io::Error) -> io::Error {
    named("pthread_create", error)
}

/// The error for a descriptor over the limit of this process.
pub(crate) fn too_many_descriptors() -> io::Error {
    named("recvmsg", rustix::io::Errno::MFILE.into())
}

/// Text of the system from the bytes that
/// [`as_encoded_bytes`](std::ffi::OsStr::as_encoded_bytes) of another process returned.
pub(crate) fn os_string(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}
