//! Gives the descriptors of a worker high numbers, so that its tasks do not close them by mistake. A task may close
//! descriptors that are not its own: all from 3 on, or one of its own twice. Files that it opens later get the lowest
//! free numbers. If a worker's descriptor had such a number, the worker would write into the task's file.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use rustix::io::Errno;

use super::call::errno_of;
use super::limits::OwnLimit;

/// Up to this number, the system's table of descriptors is small.
const END: u64 = 1024;
/// How many numbers before that are used for the descriptors of a worker.
const ROOM: u64 = 64;

/// The same descriptor with a high number, if this process may have one.
pub(crate) fn out_of_reach(fd: OwnedFd) -> OwnedFd {
    let limit = OwnLimit::OpenFiles.get();
    let first = limit.unwrap_or(END).min(END).saturating_sub(ROOM) as RawFd;
    if fd.as_raw_fd() >= first {
        return fd;
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, first).unwrap_or(fd)
}

/// The error for a descriptor that was closed, or whose number is another file's now.
pub(crate) fn closed() -> io::Error {
    Errno::BADF.into()
}

/// Whether an error says that a descriptor was closed, or that its number is another file's now.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    let errno = errno_of(error);
    errno.is_some_and(|errno| [Errno::BADF, Errno::NOTSOCK].contains(&errno))
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;
    use crate::sys::linux::call::Call as _;

    #[test]
    fn an_error_says_that_a_descriptor_is_closed_with_and_without_the_name_of_its_call() {
        assert!(is_closed(&closed()));
        let named = Err::<(), _>(Errno::NOTSOCK).of_call("recvmsg");
        assert!(is_closed(&named.unwrap_err()));
        let other = Err::<(), _>(Errno::PIPE).of_call("recvmsg");
        assert!(!is_closed(&other.unwrap_err()));
        assert!(!is_closed(&io::ErrorKind::BrokenPipe.into()));
    }
}
