//! Errors that name their system call. A reader of "Too many open files" cannot know which step failed.

use std::error::Error;
use std::fmt;
use std::io;

use rustix::io::Errno;

/// Adds the name of the call to the error of a system call.
pub(super) trait Call<T> {
    /// The error has the same kind, and says which call failed.
    fn of_call(self, call: &'static str) -> io::Result<T>;

    /// As `of_call`, for a call that is repeated when the descriptor is ready: no name is added to that error,
    /// which costs memory and is never shown.
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
    io::Error::new(error.kind(), CallError { call, error })
}

/// The code of an error that is the system's, with or without the name of its call.
pub(super) fn errno_of(error: &io::Error) -> Option<Errno> {
    let named = error.get_ref().and_then(|inner| inner.downcast_ref());
    Errno::from_io_error(named.map_or(error, |named: &CallError| &named.error))
}

/// Not a source of one another: the text has both.
#[derive(Debug)]
struct CallError {
    call: &'static str,
    error: io::Error,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.error)
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
}
