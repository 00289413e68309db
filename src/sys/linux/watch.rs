//! Waits for another process: for its end, or for input from it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::call::Call as _;
use super::edges::{await_readable, eventfd};
use super::handles::pipe_from_child;
use super::process::{kill_own_group, pidfd_of};
use super::reach::out_of_reach;

/// The longest poll of the thread that watches the parent. It does not wake if the bell is closed.
const POLL_LIMIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};
/// The interval at which a process without any descriptor checks for its parent.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The process that started this one.
pub(crate) fn parent() -> Option<OwnedFd> {
    let parent = rustix::process::getppid()?;
    pidfd_of(parent).ok()
}

/// Waits until one of the descriptors is readable, has hung up, or belongs to a process that has ended. Returns which
/// one.
pub(crate) fn wait_readable<'a>(
    watched: impl Iterator<Item = BorrowedFd<'a>>,
) -> io::Result<Vec<bool>> {
    let watched: Vec<_> = watched.collect();
    let interest = PollFlags::IN | PollFlags::RDHUP;
    let mut polled: Vec<_> = watched
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), interest))
        .collect();
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None)).of_call("poll")?;
    Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// Two ends: the second one [hangs up](await_input) when the first one is closed in every process that has it.
pub(crate) fn lifeline() -> io::Result<(OwnedFd, OwnedFd)> {
    let (watched, kept) = pipe_from_child()?;
    Ok((kept, watched.into()))
}

/// Waits until `input` is readable or was closed, or one of the `watched` has hung up or was closed. Returns which of
/// the latter, or none if the system does not allow this process to wait.
pub(crate) fn await_input<'a>(
    input: impl AsFd,
    watched: impl Iterator<Item = BorrowedFd<'a>>,
) -> Vec<bool> {
    let hang_up = PollFlags::empty(); // A hang-up is always reported.
    let watched = watched.map(|fd| PollFd::from_borrowed_fd(fd, hang_up));
    let input = PollFd::new(&input, PollFlags::IN | PollFlags::RDHUP);
    let mut polled: Vec<_> = std::iter::once(input).chain(watched).collect();
    let waited = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None));
    let watched = polled.iter().skip(1);
    watched
        .map(|fd| waited.is_ok() && !fd.revents().is_empty())
        .collect()
}

/// Runs `work`. If the parent ends meanwhile, ends this process and the processes that it started. `work` must not
/// panic. The watching thread ends with `work`.
pub(crate) fn watched<R>(
    socket: &UnixStream,
    parent: Option<&OwnedFd>,
    work: impl FnOnce() -> R,
) -> io::Result<R> {
    let bell = WakeFd::new()?;
    let is_done = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        let watch = || {
            while !is_done.load(Ordering::Acquire) {
                let mut watched = ends_of_parent(&bell, socket, parent);
                match rustix::event::poll(&mut watched, Some(&POLL_LIMIT)) {
                    Ok(0) | Err(rustix::io::Errno::INTR) => {}
                    Ok(_) if has_ended(&watched) => kill_own_group(),
                    _ => return, // The work is done, or has closed a watched descriptor.
                }
            }
        };
        let thread = std::thread::Builder::new().stack_size(64 * 1024);
        thread
            .spawn_scoped(scope, watch)
            .of_call("pthread_create")?;
        let outcome = work();
        is_done.store(true, Ordering::Release);
        let rang = bell.ring();
        Ok::<_, io::Error>((outcome, rang))
    });
    let (outcome, rang) = outcome?;
    if !rang {
        std::mem::forget(bell); // The work has closed it. Its number may be another descriptor's now.
    }
    Ok(outcome)
}

/// Makes this process and its process group end as soon as the parent has ended.
pub(crate) fn end_with(parent: OwnedFd) -> io::Result<()> {
    let watch = move || {
        await_readable(&parent, None);
        kill_own_group();
    };
    let thread = std::thread::Builder::new().name("parent-watch".into());
    let started = thread.stack_size(64 * 1024).spawn(watch);
    started.map(drop).of_call("pthread_create")
}

/// Waits until the parent has closed its end of `socket`, or has died: a child that the parent forked without exec
/// could still hold that end. Meanwhile, once `bell` has rung, calls `tick` at the given pace until it returns false.
pub(crate) fn wait_for_parents_end(
    socket: &impl AsFd,
    parent: Option<&OwnedFd>,
    bell: &WakeFd,
    pace: Duration,
    mut tick: impl FnMut() -> bool,
) -> io::Result<()> {
    let pace = Timespec {
        tv_sec: 0,
        tv_nsec: pace.subsec_nanos().into(),
    };
    let mut ticking = false;
    loop {
        let mut watched = ends_of_parent(bell, socket, parent);
        match rustix::event::poll(&mut watched, ticking.then_some(&pace)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).of_call("poll"),
            Ok(0) => ticking = tick(),
            Ok(_) if has_ended(&watched) => return Ok(()),
            Ok(_) if watched.iter().any(is_closed) => return wait_for_another_parent(),
            Ok(_) => ticking = bell.clear(),
        }
    }
}

/// The descriptors to poll: the bell, and those that show the parent's end.
fn ends_of_parent<'a>(
    bell: &'a WakeFd,
    socket: &'a impl AsFd,
    parent: Option<&'a OwnedFd>,
) -> [PollFd<'a>; 3] {
    // No vector: the allocator would create a heap for this thread's first one.
    [
        PollFd::new(&bell.0, PollFlags::IN),
        PollFd::new(socket, PollFlags::RDHUP),
        match parent {
            Some(parent) => PollFd::new(parent, PollFlags::IN),
            None => PollFd::new(socket, PollFlags::RDHUP),
        },
    ]
}

/// Whether the parent has ended, according to these.
fn has_ended(watched: &[PollFd<'_>; 3]) -> bool {
    let mut ends = watched[1..].iter();
    ends.any(|fd| !fd.revents().is_empty() && !is_closed(fd))
}

/// Whether a task has closed the descriptor.
fn is_closed(fd: &PollFd<'_>) -> bool {
    fd.revents().contains(PollFlags::NVAL)
}

/// Waits for the end of the parent, or of the process that forked this one, without any descriptor: this process then
/// gets another parent.
fn wait_for_another_parent() -> io::Result<()> {
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        std::thread::sleep(CHECK_INTERVAL);
    }
    Ok(())
}

/// Wakes a thread that waits for the parent's end.
#[derive(Debug)]
pub(crate) struct WakeFd(OwnedFd);

impl AsFd for WakeFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl WakeFd {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(out_of_reach(eventfd()?)))
    }

    /// Returns false if it was closed.
    pub(crate) fn ring(&self) -> bool {
        // If the counter is full, the bell already rings.
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()) != Err(rustix::io::Errno::BADF)
    }

    /// Stops the ringing. Returns whether it rang.
    fn clear(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_lifeline_hangs_up_when_its_last_kept_end_is_closed_and_input_ends_the_wait_too() {
        let (mut writer, input) = UnixStream::pair().expect("sockets");
        let lines = [(); 2].map(|()| lifeline().expect("a pipe"));
        let watched = lines.each_ref().map(|line| line.1.as_fd());
        writer.write_all(b"input").expect("there is room");
        assert_eq!(await_input(&input, watched.into_iter()), [false, false]);
        let [(one, first), (other, second)] = lines;
        let copy = other.try_clone().expect("a descriptor");
        drop((one, other));
        let watched = || [first.as_fd(), second.as_fd()].into_iter();
        assert_eq!(await_input(&input, watched()), [true, false]);
        drop(copy);
        assert_eq!(await_input(&input, watched()), [true, true]);
    }
}
