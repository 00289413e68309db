//! What a worker does to itself before any user code runs: it takes the socket away from stdin
//! and stdout, drops what it inherited by mistake, and leaves signals as Rust programs have them.

use std::collections::VecDeque;
use std::ffi::{CStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::fork::{other_threads, reset_signals};

/// Makes a worker, or what forks workers, of this process if `marker` is in its environment: takes that
/// out, moves the socket that is stdin and stdout to a descriptor of its own, and closes every other
/// descriptor that came through exec, for none was meant for it. Then stdin is empty, and what is
/// printed goes to stderr. Gives what the marker says.
pub(crate) fn become_child(marker: &str) -> Option<io::Result<(OsString, UnixStream)>> {
    let role = std::env::var_os(marker)?;
    Some(prepare(marker).map(|socket| (role, socket)))
}

fn prepare(marker: &str) -> io::Result<UnixStream> {
    if !other_threads()?.is_empty() {
        return Err(io::Error::other(
            "other threads run already; call concurrent_futures::init() first in main",
        ));
    }
    // SAFETY: there is no other thread that could use the environment.
    unsafe { std::env::remove_var(marker) };
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    leave_standard_streams()?;
    close_inherited()?;
    settle_signals();
    Ok(UnixStream::from(socket))
}

/// What a process settles that was forked, rather than executed, to fork workers: its streams, its
/// signals, its environment and its folder.
pub(crate) fn settle_forked(
    clear: bool,
    variables: &[(OsString, OsString)],
    folder: Option<&Path>,
) -> io::Result<()> {
    leave_standard_streams()?;
    reset_signals();
    settle_signals();
    let unwanted = std::env::vars_os().filter(|_| clear);
    for (name, _) in unwanted {
        // SAFETY: a process that was forked has one thread, so nobody else uses the environment.
        unsafe { std::env::remove_var(name) };
    }
    for (name, value) in variables {
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
    folder.map_or(Ok(()), std::env::set_current_dir)
}

/// From here on stdin is empty, and what is printed goes to stderr.
fn leave_standard_streams() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(())
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

/// The most descriptors that travel together.
const MOST_FDS: usize = 3;

/// Sends bytes with descriptors beside them.
pub(crate) fn send_with_fds(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let slices = [io::IoSlice::new(bytes)];
    Ok(rustix::net::sendmsg(
        socket,
        &slices,
        &mut control,
        SendFlags::NOSIGNAL,
    )?)
}

/// Receives bytes, and the descriptors beside them.
pub(crate) fn receive_with_fds(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    fds: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [io::IoSliceMut::new(bytes)];
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok(received.bytes)
}

/// Waits until the parent has closed its end of `socket`, or has died: a child that the parent
/// forked without exec could still hold that end. Meanwhile, once `bell` has been rung, calls `tick`
/// at the given pace for as long as it says so.
pub(crate) fn wait_for_parents_end(
    socket: &impl AsFd,
    parent: Option<&OwnedFd>,
    bell: &Bell,
    pace: Duration,
    mut tick: impl FnMut() -> bool,
) -> io::Result<()> {
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
        watched.extend(parent.map(|parent| PollFd::new(parent, PollFlags::IN)));
        match rustix::event::poll(&mut watched, ticking.then_some(&pace)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(0) => ticking = tick(),
            Ok(_) if watched[1..].iter().any(|fd| !fd.revents().is_empty()) => return Ok(()),
            Ok(_) => ticking = bell.hush(),
        }
    }
}

/// Wakes a thread that waits for the parent's end.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

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
