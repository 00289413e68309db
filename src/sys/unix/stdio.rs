//! What a worker does to itself before any user code runs: it takes the socket away from stdin
//! and stdout, drops what it inherited by mistake, and leaves signals as Rust programs have them.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Moves the socket that is stdin and stdout to a descriptor of its own. Then stdin is empty, and
/// what is printed goes to stderr.
pub(crate) fn claim_stdio() -> io::Result<UnixStream> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(UnixStream::from(socket))
}

/// Closes every descriptor that came through exec, besides stdin, stdout and stderr: this process
/// was started with none other, so they were inherited by mistake.
///
/// # Safety
/// No code of this process may own one of them: it has to run before anything took descriptors
/// from its environment.
pub(crate) unsafe fn close_inherited() -> io::Result<()> {
    let mut inherited = Vec::new();
    let folder = rustix::fs::open(
        c"/proc/self/fd",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for entry in rustix::fs::Dir::read_from(&folder)? {
        let entry = entry?;
        // What this process opened itself is marked to be closed on exec; std always does that.
        if let Some(fd) = parse_fd(entry.file_name()).filter(|fd| *fd > 2)
            && !rustix::io::fcntl_getfd(borrow(fd))?.contains(rustix::io::FdFlags::CLOEXEC)
        {
            inherited.push(fd);
        }
    }
    for fd in inherited {
        // SAFETY: by the caller's word nobody owns it.
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
pub(crate) fn settle_signals() {
    for signal in [libc::SIGINT, libc::SIGPIPE] {
        // SAFETY: to ignore a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Takes a variable out of the environment, for this process and its children.
///
/// # Safety
/// No other thread may be running.
pub(crate) unsafe fn remove_env(name: &str) {
    // SAFETY: by the caller's word nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
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
/// forked without exec could still hold that end.
pub(crate) fn wait_for_parents_end(socket: &impl AsFd) -> io::Result<()> {
    let parent = rustix::process::getppid().and_then(|parent| {
        rustix::process::pidfd_open(parent, rustix::process::PidfdFlags::empty()).ok()
    });
    let mut watched = vec![PollFd::new(socket, PollFlags::RDHUP)];
    if let Some(parent) = &parent {
        watched.push(PollFd::new(parent, PollFlags::IN));
    }
    loop {
        match rustix::event::poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => return outcome.map(drop).map_err(io::Error::from),
        }
    }
}
