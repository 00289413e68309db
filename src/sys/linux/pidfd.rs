//! What the system knows about the process of a pidfd: its id, its parent, and how it ended. A pidfd that arrives from
//! another process may be of any process, or no pidfd at all.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::call::Call as _;

/// A process and its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PidfdProcess {
    pub(super) pid: Pid,
    pub(super) parent: Option<Pid>,
}

impl PidfdProcess {
    /// The process of a pidfd, which is no child of this process.
    pub(super) fn of(pidfd: BorrowedFd<'_>) -> io::Result<Self> {
        check(pidfd)?;
        // SAFETY: `check` has found that this is a pidfd.
        match unsafe { ask_system(pidfd, 0) }.and_then(Self::try_from) {
            // Before Linux 6.13.
            Err(Errno::NOTTY | Errno::INVAL | Errno::NOSYS | Errno::PERM) => find(pidfd),
            asked => asked.of_call("ioctl"),
        }
    }
}

/// Fails unless this is a pidfd of a process that is no child of this one. Of all system calls that take a descriptor,
/// this one reaches no driver or server behind it.
fn check(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match rustix::process::waitid(WaitId::PidFd(pidfd), options) {
        Err(Errno::CHILD) => Ok(()),
        Err(Errno::BADF | Errno::INVAL) => Err(invalid("it is no pidfd")),
        Ok(_) => Err(invalid("it is a child of this process")),
        // The call is denied. Reading the file's name reaches no driver either, and the parent of the process is
        // checked later.
        Err(Errno::NOSYS | Errno::PERM) if is_called_pidfd(pidfd)? => Ok(()),
        Err(Errno::NOSYS | Errno::PERM) => Err(invalid("it is no pidfd")),
        Err(error) => Err(error).of_call("waitid"),
    }
}

fn is_called_pidfd(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let name = rustix::fs::readlink(link, Vec::new()).of_call("readlink")?;
    let name = name.as_bytes();
    // The second name is used before Linux 6.9.
    Ok(name.starts_with(b"pidfd:[") || name == b"anon_inode:[pidfd]")
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The first version of the structure in <linux/pidfd.h>.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct PidfdInfo {
    mask: u64,
    control_group: u64,
    pid: u32,
    thread_group: u32,
    parent: u32,
    users_and_groups: [u32; 8],
    exit_code: i32,
}

const GET_INFO: rustix::ioctl::Opcode = rustix::ioctl::opcode::read_write::<PidfdInfo>(0xff, 11);

/// What the system knows about a process. `mask` selects the fields to fill, and the answer says which were filled.
///
/// # Safety
/// `pidfd` must be a pidfd. For another file, the number may mean any operation.
unsafe fn ask_system(pidfd: BorrowedFd<'_>, mask: u64) -> rustix::io::Result<PidfdInfo> {
    let mut info = PidfdInfo {
        mask,
        ..PidfdInfo::default()
    };
    // SAFETY: the operation reads and writes a structure of this size and layout, and nothing else.
    let call = unsafe { rustix::ioctl::Updater::<GET_INFO, _>::new(&mut info) };
    // SAFETY: for a pidfd, as the caller promises, the number means this operation.
    unsafe { rustix::ioctl::ioctl(pidfd, call) }?;
    Ok(info)
}

impl TryFrom<PidfdInfo> for PidfdProcess {
    type Error = Errno;

    fn try_from(info: PidfdInfo) -> rustix::io::Result<Self> {
        // A pidfd of a single thread does not become readable at the end of the process.
        let pid = to_pid(info.pid).filter(|_| info.pid == info.thread_group);
        Ok(Self {
            pid: pid.ok_or(Errno::SRCH)?,
            parent: to_pid(info.parent),
        })
    }
}

/// The wait status of a process that has ended and was reaped by any process or by the system itself. `None` before
/// Linux 6.15, which keeps the status with the pidfd.
///
/// # Safety
/// `pidfd` must be a pidfd.
pub(super) unsafe fn status_of_reaped(pidfd: BorrowedFd<'_>) -> Option<i32> {
    const EXIT: u64 = 1 << 3;
    /// The system reaps a child of a program that ignores SIGCHLD within microseconds of its end.
    const MOMENT: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    let exit_code = || {
        // SAFETY: it is a pidfd, as the caller promises.
        let info = unsafe { ask_system(pidfd, EXIT) }.ok()?;
        Some((info.mask & EXIT != 0).then_some(info.exit_code))
    };
    if let Some(code) = exit_code()? {
        return Some(code);
    }
    // The process is about to be reaped, which is reported as a hangup.
    let mut reaped = [PollFd::from_borrowed_fd(pidfd, PollFlags::empty())];
    let _ = rustix::event::poll(&mut reaped, Some(&MOMENT));
    exit_code()?
}

/// As `PidfdProcess::of`, from `/proc`.
fn find(pidfd: BorrowedFd<'_>) -> io::Result<PidfdProcess> {
    let pid = listed_pid(pidfd)?;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let stat = stat.of_call("open")?;
    // If the process exists after its parent was read, no other process had its id until then.
    if listed_pid(pidfd)? != pid {
        return Err(Errno::SRCH.into());
    }
    // The name of the executable is in parentheses, and may contain any character. State and parent follow.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' '));
    let parent = fields.and_then(|mut fields| fields.nth(1)?.parse().ok());
    Ok(PidfdProcess {
        pid,
        parent: parent.and_then(to_pid),
    })
}

/// The process id, as the system lists it with the descriptor.
pub(super) fn listed_pid(pidfd: BorrowedFd<'_>) -> io::Result<Pid> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let info = info.of_call("open")?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    // A process that was reaped has -1, and one that has no number in this namespace 0.
    let pid = pid.and_then(|pid| to_pid(pid.trim().parse().ok()?));
    pid.ok_or(Errno::SRCH.into())
}

fn to_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;
    use std::process::{Command, Stdio};

    use rustix::process::{PidfdFlags, getppid, pidfd_open};

    use super::*;

    #[test]
    fn a_pidfd_names_its_process_and_the_parent_of_that() {
        let parent = getppid().expect("this process has a parent");
        let pidfd = pidfd_open(parent, PidfdFlags::empty()).expect("a pidfd");
        let process = PidfdProcess::of(pidfd.as_fd()).expect("it is there");
        assert_eq!(process.pid, parent);
        assert_eq!(find(pidfd.as_fd()).expect("it is listed"), process);
        assert!(is_called_pidfd(pidfd.as_fd()).expect("it has a name"));
    }

    #[test]
    fn a_descriptor_that_is_no_pidfd_and_a_child_of_this_process_are_refused() {
        let file = File::open("/dev/null").expect("a file");
        assert!(PidfdProcess::of(file.as_fd()).is_err());
        let folder = File::open("/proc/self").expect("a folder");
        assert!(PidfdProcess::of(folder.as_fd()).is_err());
        for file in [file, folder] {
            assert!(!is_called_pidfd(file.as_fd()).expect("it has a name"));
        }

        let mut child = Command::new("cat");
        let mut child = child.stdin(Stdio::piped()).spawn().expect("a process");
        let pid = to_pid(child.id()).expect("an id");
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a pidfd");
        assert!(PidfdProcess::of(pidfd.as_fd()).is_err());
        assert_eq!(listed_pid(pidfd.as_fd()).expect("it is listed"), pid);
        drop(child.stdin.take());
        child.wait().expect("it ends");
        assert!(listed_pid(pidfd.as_fd()).is_err(), "it was reaped");
        assert!(PidfdProcess::of(pidfd.as_fd()).is_err(), "it was reaped");
    }
}
