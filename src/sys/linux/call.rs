//! Errors that name their system call. From "Too many open files" alone, a reader cannot know which step failed or what
//! to do.

use std::error::Error;
use std::fmt;
use std::io;

use rustix::io::Errno;

/// Adds the name of the call to the error of a system call.
pub(super) trait Call<T> {
    /// Adds to the error which call failed, and what to do if that helps. The error keeps its kind, except that the
    /// error of a denied call is `Unsupported`.
    fn of_call(self, call: &'static str) -> io::Result<T>;

    /// As `of_call`, for a call that is repeated when the descriptor is ready. No name is added to `WouldBlock`,
    /// because that costs memory and is never shown.
    fn of_io(self, call: &'static str) -> io::Result<T>;
}

impl<T, E: Into<io::Error>> Call<T> for Result<T, E> {
    fn of_call(self, call: &'static str) -> io::Result<T> {
        self.map_err(|error| named(call, error.into()))
    }

    fn of_io(self, call: &'static str) -> io::Result<T> {
        self.map_err(|error| match error.into() {
            error if error.kind() == io::ErrorKind::WouldBlock => error,
            error => named(call, error),
        })
    }
}

/// An error that says which call failed.
#[cold]
pub(super) fn named(call: &'static str, error: io::Error) -> io::Error {
    let kind = match Errno::from_io_error(&error) {
        Some(errno) if is_denied(call, errno) => io::ErrorKind::Unsupported,
        _ => error.kind(),
    };
    io::Error::new(kind, CallError { call, error })
}

/// Calls that every process may use in the way this crate uses them. If the system refuses one for lack of permission,
/// a filter denies it.
const PERMITTED: [&str; 10] = [
    "clone3",
    "epoll_create1",
    "eventfd2",
    "fork",
    "madvise",
    "memfd_create",
    "pidfd_open",
    "pipe2",
    "prlimit64",
    "socketpair",
];

/// Whether the kernel lacks the call, or a filter denies it.
pub(super) fn is_denied(call: &str, errno: Errno) -> bool {
    match errno {
        Errno::NOSYS => true,
        Errno::PERM | Errno::ACCESS => PERMITTED.contains(&call),
        _ => false,
    }
}

/// What the reader of an error can do about it.
fn advice(call: &str, errno: Errno) -> Option<&'static str> {
    Some(match errno {
        _ if is_denied(call, errno) => {
            "the kernel lacks this call, or a filter (seccomp), as of a container runtime, denies it; permit it, or \
             update the kernel or the runtime"
        }
        // glibc starts processes and threads by clone3, and has no other way if the call is denied with this error.
        Errno::PERM if ["posix_spawn", "pthread_create"].contains(&call) => {
            "a filter (seccomp) may deny clone3; permit it, or update the container runtime"
        }
        Errno::MFILE => "close files, or raise the limit of open files with `ulimit -n`",
        Errno::NFILE => "the system has too many open files; raise `fs.file-max`",
        Errno::AGAIN if ["fork", "posix_spawn", "pthread_create"].contains(&call) => {
            "end processes, or raise their limit: `ulimit -u`, or `pids.max` of the control group"
        }
        Errno::NOMEM => {
            "free memory, or raise its limit: `ulimit -v`, or `memory.max` of the control group"
        }
        _ => return None,
    })
}

/// The code of an error of the system, with or without the name of its call.
pub(super) fn errno_of(error: &io::Error) -> Option<Errno> {
    let named = error.get_ref().and_then(|inner| inner.downcast_ref());
    Errno::from_io_error(named.map_or(error, |named: &CallError| &named.error))
}

/// The system's error is not the `source`, because the text has both.
#[derive(Debug)]
struct CallError {
    call: &'static str,
    error: io::Error,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.error)?;
        let errno = Errno::from_io_error(&self.error);
        match errno.and_then(|errno| advice(self.call, errno)) {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl Error for CallError {}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_named_error_keeps_its_kind_and_one_that_is_no_failure_its_form() {
        let error = Err::<(), _>(Errno::NOENT).of_call("open").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(
            error.to_string(),
            "open: No such file or directory (os error 2)"
        );
        let error = Err::<(), _>(Errno::PIPE).of_io("sendmsg").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(error.to_string().starts_with("sendmsg: "));
        let error = Err::<(), _>(Errno::AGAIN).of_io("sendmsg").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::AGAIN.raw_os_error()));
    }

    #[test]
    fn an_error_of_a_call_says_what_to_do_where_that_helps() {
        let error = |call, errno| Err::<(), _>(errno).of_call(call).unwrap_err();
        for errno in [Errno::PERM, Errno::NOSYS] {
            let denied = error("pidfd_open", errno);
            assert_eq!(denied.kind(), io::ErrorKind::Unsupported);
            assert!(denied.to_string().contains("seccomp"), "{denied}");
            assert_eq!(errno_of(&denied), Some(errno));
        }
        // Setting the niceness, for example, may be refused without any filter.
        let refused = error("setpriority", Errno::PERM);
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(!refused.to_string().contains("seccomp"), "{refused}");
        for (call, errno, advice) in [
            ("pipe2", Errno::MFILE, "ulimit -n"),
            ("fork", Errno::AGAIN, "ulimit -u"),
            ("posix_spawn", Errno::PERM, "clone3"),
            ("mmap", Errno::NOMEM, "ulimit -v"),
        ] {
            let text = error(call, errno).to_string();
            assert!(text.contains(advice), "{text}");
        }
    }
}
