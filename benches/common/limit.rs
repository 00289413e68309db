//! A lower bound for every executor: two blocking processes that exchange messages over a socket pair.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const NAME: &str = "limit";

/// Set for a child.
const CHILD: &str = "BENCH_LIMIT_CHILD";

/// The bytes of a call or a result.
const MESSAGE: usize = 16;

/// In a child, serves and never returns. Call it first in `main`.
pub(crate) fn init() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let mut socket = UnixStream::from(stdin.expect("a descriptor is free"));
    let mut message = [0; MESSAGE];
    while socket.read_exact(&mut message).is_ok() && socket.write_all(&message).is_ok() {}
    std::process::exit(0);
}

/// The time of this number of round trips of a small message.
pub(crate) fn round_trips(times: u64) -> Duration {
    let mut peer = Peer::start();
    peer.exchange(); // From here on it is there.
    let start = Instant::now();
    for _ in 0..times {
        peer.exchange();
    }
    start.elapsed()
}

/// The time of that many processes from their start to their first answer.
pub(crate) fn cold_starts(times: u64) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..times {
        let start = Instant::now();
        let mut peer = Peer::start();
        peer.exchange();
        total += start.elapsed();
    }
    total
}

/// Keeps the calling thread, and what it starts, on one CPU until it is dropped. A process that waits on another
/// CPU may first have to wake it from an idle state; then that is what a round trip measures.
#[cfg(target_os = "linux")]
pub(crate) struct OneCpu(rustix::thread::CpuSet);

#[cfg(target_os = "linux")]
impl OneCpu {
    pub(crate) fn stay() -> Self {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
        let before = sched_getaffinity(None).expect("the system tells");
        let mut cpus = CpuSet::new();
        cpus.set(sched_getcpu());
        sched_setaffinity(None, &cpus).expect("the CPU is one of ours");
        Self(before)
    }
}

#[cfg(target_os = "linux")]
impl Drop for OneCpu {
    fn drop(&mut self) {
        rustix::thread::sched_setaffinity(None, &self.0).expect("they were ours before");
    }
}

/// Elsewhere the scheduler decides.
#[cfg(not(target_os = "linux"))]
pub(crate) struct OneCpu;

#[cfg(not(target_os = "linux"))]
impl OneCpu {
    pub(crate) fn stay() -> Self {
        Self
    }
}

/// A process that sends back what it gets. It ends with its handle.
struct Peer {
    child: Child,
    socket: Option<UnixStream>,
}

impl Peer {
    fn start() -> Self {
        let (ours, theirs) = UnixStream::pair().expect("descriptors are free");
        let program = std::env::current_exe().expect("the system tells");
        let child = Command::new(program)
            .env(CHILD, "1")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn();
        Self {
            child: child.expect("the executable starts"),
            socket: Some(ours),
        }
    }

    /// Sends a message and reads it back.
    fn exchange(&mut self) {
        let socket = self.socket.as_mut().expect("open until the drop");
        let mut message = [1; MESSAGE];
        socket.write_all(&message).expect("the peer reads");
        socket.read_exact(&mut message).expect("the peer answers");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.socket = None; // Ends the peer's input, and so the peer.
        let _ = self.child.wait();
    }
}
