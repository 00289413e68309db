//! What a worker does to itself before any user code runs: it takes the socket away from stdin,
//! drops what it inherited by mistake, and leaves signals as Rust programs have them.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::PidfdFlags;

/// Makes a worker of this process if `marker` is in its environment: takes that out, moves the
/// socket that is stdin to a descriptor of its own, and closes every other descriptor but stdout and
/// stderr that came through exec, for none was meant for it. Then stdin is empty.
pub(crate) fn become_worker(marker: &str) -> Option<io::Result<UnixStream>> {
    std::env::var_os(marker)?;
    Some(prepare(marker))
}

fn prepare(marker: &str) -> io::Result<UnixStream> {
    if std::fs::read_dir("/proc/self/task")?.count() > 1 {
        return Err(io::Error::other(
            "other threads run already; call concurrent_futures::init() first in main",
        ));
    }
    // SAFETY: there is no other thread that could use the environment.
    unsafe { std::env::remove_var(marker) };
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    close_inherited()?;
    settle_signals();
    Ok(UnixStream::from(socket))
}

/// Closes the descriptors from 3 on that are not marked to be closed on exec. What this process
/// opened itself is so marked: std, and all that is careful, always does that.
fn close_inherited() -> io::Result<()> {
    let mut inherited = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&folder)? {
        let entry = entry?;
        if let Some(fd) = parse_fd(entry.file_name()).filter(|fd| *fd > 2)
            && !rustix::io::fcntl_getfd(borrow(fd))?.contains(FdFlags::CLOEXEC)
        {
            inherited.push(fd);
        }
    }
    for fd in inherited {
        // SAFETY: it came through exec, and nobody has told this process to use it: its one thread
        // is still in the first line of `main`, or before it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    Ok(())
}

fn parse_fd(name: &CStr) -> Option<RawFd> {
    name.to_str().ok()?.parse().ok()
}

fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the descriptor was just listed as open, and nothing else runs in this process yet.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Interrupts are the parent's business, and a broken pipe is an error, not an end, as in every
/// Rust program (where `main` has not begun yet, the latter is not yet so).
fn settle_signals() {
    for signal in [libc::SIGINT, libc::SIGPIPE] {
        // SAFETY: to ignore a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Writes to a socket. If the other end is gone, that is an error and no signal.
pub(crate) fn send_vectored(
    socket: BorrowedFd<'_>,
    slices: &[io::IoSlice<'_>],
) -> io::Result<usize> {
    let mut none = SendAncillaryBuffer::default();
    Ok(rustix::net::sendmsg(
        socket,
        slices,
        &mut none,
        SendFlags::NOSIGNAL,
    )?)
}

/// Reads what is there, from a descriptor that does not block.
pub(crate) fn read_now(from: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| {
        rustix::io::read(from, &mut *bytes)
    })?)
}

/// How many bytes there are to be read.
pub(crate) fn bytes_waiting(from: BorrowedFd<'_>) -> usize {
    let waiting = rustix::io::ioctl_fionread(from).unwrap_or(0);
    usize::try_from(waiting).unwrap_or(usize::MAX)
}

/// Another descriptor for the same, which is not passed on by exec.
pub(crate) fn own_descriptor(of: &impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(of, 3)?)
}

/// Writes a few bytes to a pipe, which takes so few in one piece. Waits while it is full, also if
/// somebody has made it one that does not block.
pub(crate) fn write_in_one(to: &impl AsFd, bytes: &[u8]) -> io::Result<()> {
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::write(to, bytes)) {
            Err(rustix::io::Errno::AGAIN) => {
                rustix::io::retry_on_intr(|| {
                    rustix::event::poll(&mut [PollFd::new(to, PollFlags::OUT)], None)
                })?;
            }
            outcome => return outcome.map(drop).map_err(io::Error::from),
        }
    }
}

/// Writes out what C code has printed and C's library still holds.
pub(crate) fn flush_c_stdout() {
    unsafe extern "C" {
        static stdout: *mut libc::FILE;
    }
    // SAFETY: the library has such a variable, and sets it before anything runs.
    let stream = unsafe { stdout };
    // SAFETY: it is an open stream, which has a lock of its own. (Not all streams at once: one that
    // another thread is blocked in reading of would block this thread too.)
    unsafe { libc::fflush(stream) };
}

/// Sends bytes with a descriptor beside them.
pub(crate) fn send_with_fd(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fd: BorrowedFd<'_>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let slices = [io::IoSlice::new(bytes)];
    Ok(rustix::net::sendmsg(
        socket,
        &slices,
        &mut control,
        SendFlags::NOSIGNAL,
    )?)
}

/// Receives bytes, and the descriptor beside them.
pub(crate) fn receive_with_fd(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [io::IoSliceMut::new(bytes)];
    let received =
        rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((received.bytes, fd))
}

/// Waits until the parent has closed its end of `socket`, or has died: a child that the parent
/// forked without exec could still hold that end. Meanwhile, once `bell` has been rung, calls `tick`
/// at the given pace for as long as it says so.
pub(crate) fn wait_for_parents_end(
    socket: &impl AsFd,
    bell: &Bell,
    pace: Duration,
    mut tick: impl FnMut() -> bool,
) -> io::Result<()> {
    let parent = rustix::process::getppid()
        .and_then(|parent| rustix::process::pidfd_open(parent, PidfdFlags::empty()).ok());
    let pace = Timespec {
        tv_sec: 0,
        tv_nsec: pace.subsec_nanos().into(),
    };
    let mut ticking = false;
    loop {
        let mut watched = vec![
            PollFd::new(&bell.0, PollFlags::IN),
            PollFd::new(socket, PollFlags::RDHUP),
        ];
        watched.extend(
            parent
                .as_ref()
                .map(|parent| PollFd::new(parent, PollFlags::IN)),
        );
        match rustix::event::poll(&mut watched, ticking.then_some(&pace)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(0) => ticking = tick(),
            Ok(_) if watched[1..].iter().any(|fd| !fd.revents().is_empty()) => return Ok(()),
            Ok(_) => ticking = bell.hush(),
        }
    }
}

/// Wakes the thread that waits for the parent's end.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(rustix::event::eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    pub(crate) fn ring(&self) {
        // A counter that is full rings already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Stops the ringing. Says whether it rang.
    fn hush(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }
}
