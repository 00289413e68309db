//! The working directory of a process, without its name: a directory that was removed has none.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};

use super::call::Call as _;
use super::print::above_standard_streams;

/// The identity of a directory. No other directory has the same while a process uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FolderIdentity {
    device: (u32, u32),
    inode: u64,
}

/// The working directory of this process. `None` if the system does not report it.
pub(crate) fn current_folder() -> Option<FolderIdentity> {
    // Without a request to a file server, which may not answer.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    match rustix::fs::statx(CWD, "", flags, StatxFlags::INO) {
        Ok(found) => Some(FolderIdentity {
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
        }),
        // Some container runtimes deny that call.
        Err(_) => {
            let found = rustix::fs::stat(".").ok()?;
            Some(FolderIdentity {
                device: (
                    rustix::fs::major(found.st_dev),
                    rustix::fs::minor(found.st_dev),
                ),
                inode: found.st_ino,
            })
        }
    }
}

/// Opens a directory for another process to enter.
pub(crate) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    above_standard_streams(rustix::fs::open(path, flags, Mode::empty()).of_call("open")?)
}

/// Makes a directory the working directory of this process.
pub(crate) fn enter_folder(folder: OwnedFd) -> io::Result<()> {
    rustix::process::fchdir(folder).of_call("fchdir")
}
