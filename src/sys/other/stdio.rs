//! The standard streams and the surroundings of a child process, of which there are none.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::Path;

use super::handles::{AsFd, OwnedFd, Socket};
use super::unsupported;

/// This process is never a worker.
pub(crate) fn become_child(_: &str, _: bool) -> Option<io::Result<(OsString, Socket)>> {
    None
}

pub(crate) fn init_is_late(_: bool) -> bool {
    false
}

pub(crate) fn settle_forked(
    _: bool,
    _: &[(OsString, OsString)],
    _: Option<&Path>,
) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn change_variables(
    _: impl Iterator<Item = impl AsRef<OsStr>>,
    _: impl Iterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
) -> io::Result<()> {
    Err(unsupported())
}

/// A directory that another process could enter.
pub(crate) type FolderIdentity = u64;

pub(crate) fn current_folder() -> Option<FolderIdentity> {
    None
}

pub(crate) fn open_folder(_: &Path) -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn enter_folder(_: OwnedFd) -> io::Result<()> {
    Err(unsupported())
}

/// Whether a variable of an environment can have that name.
pub(crate) fn is_variable(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    !name.is_empty() && !name.iter().any(|byte| b"=\0".contains(byte))
}

pub(crate) fn set_output(_: OwnedFd, _: OwnedFd) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn set_input(_: OwnedFd) -> io::Result<()> {
    Err(unsupported())
}

/// Takes any descriptor: a Unix program has std's.
pub(crate) fn own_descriptor<Fd>(_: &Fd) -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn own_stream(_: &impl AsFd) -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn reopened_stream(_: &impl AsFd) -> io::Result<OwnedFd> {
    Err(unsupported())
}

/// Takes any descriptor: a Unix program has std's.
pub(crate) fn above_standard_streams<Fd>(_: Fd) -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn nowhere() -> io::Result<OwnedFd> {
    Err(unsupported())
}

pub(crate) fn write_in_one(_: &impl AsFd, _: &[u8]) -> io::Result<()> {
    Err(unsupported())
}

/// The most bytes that a pipe takes as one piece.
pub(crate) const WHOLE: usize = 4096;

pub(crate) fn write_now(_: &impl AsFd, _: &[u8]) -> io::Result<usize> {
    Err(unsupported())
}

pub(crate) fn write_patiently(_: &impl AsFd, _: &[u8]) -> io::Result<usize> {
    Err(unsupported())
}

pub(crate) fn flush_stdout() {
    let _ = io::stdout().flush();
}
