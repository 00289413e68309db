//! What no executor can beat: two blocking processes that exchange messages over a socket pair.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

pub(crate) const NAME: &str = "limit";

/// Set for a child to the size of the messages it sends back.
const CHILD: &str = "BENCH_LIMIT_MESSAGE_SIZE";

/// The size of a message that says only that there is a call, or a result.
pub(crate) const SMALL: usize = 16;

/// Serves, and never returns, in a child of [`Peer::start`]. To be called first in `main`.
pub(crate) fn init() {
    let Some(size) = std::env::var(CHILD).ok().and_then(|size| size.parse().ok()) else {
        return;
    };
    let mut message: Vec<u8> = vec![0; size];
    // Standard output is the same socket, but buffered by std: write through a handle of our own.
    let mut socket = socket_on_stdin();
    while socket.read_exact(&mut message).is_ok() && socket.write_all(&message).is_ok() {}
    std::process::exit(0);
}

fn socket_on_stdin() -> UnixStream {
    use std::os::fd::AsFd as _;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    stdin.expect("a descriptor is free").into()
}

/// A process that sends back what it gets. It ends with its handle.
pub(crate) struct Peer {
    child: Child,
    socket: Option<UnixStream>,
}

impl Peer {
    pub(crate) fn start(message_size: usize) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("descriptors are free");
        let program = std::env::current_exe().expect("the system tells");
        let child = Command::new(program)
            .env(CHILD, message_size.to_string())
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn();
        Self {
            child: child.expect("the executable starts"),
            socket: Some(ours),
        }
    }

    /// Sends the message and reads it back.
    pub(crate) fn exchange(&mut self, message: &mut [u8]) {
        let socket = self.socket.as_mut().expect("open until the drop");
        socket.write_all(message).expect("the peer reads");
        socket.read_exact(message).expect("the peer answers");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.socket = None; // Ends the peer's input.
        let _ = self.child.wait();
    }
}
