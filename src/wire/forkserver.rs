//! Requests to a fork server, and its answers, each in a frame as in [`message`](super::message). The first messages
//! are the same as with a worker: hello, greeting, `Setup` (its initializer is the preload), and `Ready` or `Failed`.
//! Descriptors travel beside a frame.

use super::declare::message;
use super::message::Role;
use super::text::short;

/// The most bytes of a request or an answer.
pub(crate) const LONGEST: usize = 128 * 1024;
/// The most bytes of a frame with an exit status. Its reader receives it as a whole.
#[cfg(feature = "multiprocessing")]
pub(crate) const MOST_EXITED: usize = 64;

message! {
    /// A request of the parent.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum ToForkServer {
        /// Forks a process. Descriptors travel beside the request:
        /// - the socket, stdout and stderr of the process;
        /// - for a process that runs one function, a pipe: the fork server reaps that process without a request, and
        ///   writes its exit status to the pipe;
        /// - if the process changes variables, the file with their [changes](super::surroundings);
        /// - if it changes its folder, that folder.
        Fork {
            request: u64,
            role: Role,
            changes_variables: bool,
            changes_folder: bool,
        },
        /// Reaps a worker when it ends, and sends its exit status.
        Reap { pid: u32 },
    }
}

message! {
    /// An answer of the fork server.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) enum FromForkServer {
        /// The process runs. A pidfd travels beside the answer. The parent checks the pidfd with the system.
        Forked { request: u64, pid: u32 },
        /// There is no process.
        Refused { request: u64, reason: String },
        /// The exit code of a process, or the signal that ended it.
        Exited { pid: u32, code: Option<i32>, signal: Option<i32> },
    }
}

impl FromForkServer {
    /// A refusal with a shortened reason.
    pub(crate) fn refused(request: u64, reason: String) -> Self {
        let reason = short(reason);
        Self::Refused { request, reason }
    }
}

#[cfg(all(test, properties))]
#[path = "../../tests/properties/wire/forkserver.rs"]
mod tests;
