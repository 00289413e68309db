//! What a process may use, as the system enforces it.

use std::io;

use rustix::process::{Resource, Rlimit};

use super::call::Call as _;
use crate::sys::limit::Limit;

impl Limit {
    /// Holds this process to it. The niceness is that of the calling thread, and of the threads and
    /// processes that it starts from now on.
    pub(crate) fn set(self, value: i64) -> io::Result<()> {
        let most = value.unsigned_abs();
        let (resource, hard) = match self {
            Self::AddressSpace => (Resource::As, most),
            Self::CpuTime => (Resource::Cpu, most.saturating_add(1)),
            Self::OpenFiles => (Resource::Nofile, most),
            Self::CoreSize => (Resource::Core, most),
            Self::Nice => {
                let nice = i32::try_from(value).map_err(io::Error::other)?;
                return rustix::process::setpriority_process(None, nice).of_call("setpriority");
            }
        };
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(hard),
        };
        rustix::process::setrlimit(resource, limit).of_call("setrlimit")
    }
}

/// The longest file that this process may create or enlarge.
pub(crate) fn longest_file() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Fsize).current;
    limit.unwrap_or(u64::MAX)
}

/// An error if this process may have no file of this length. Otherwise the system would not only refuse it,
/// but also send a signal that kills the process. Files in memory count.
pub(crate) fn check_length(len: u64) -> io::Result<()> {
    let limit = longest_file();
    if len <= limit {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!(
            "{len} bytes of shared memory exceed the file size limit of this process, which is {limit} \
             (RLIMIT_FSIZE); raise the limit with `ulimit -f`"
        ),
    ))
}
