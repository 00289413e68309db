//! What a process may use, as the system enforces it.

use std::io;

use rustix::process::{Resource, Rlimit};

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
                return Ok(rustix::process::setpriority_process(None, nice)?);
            }
        };
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(hard),
        };
        Ok(rustix::process::setrlimit(resource, limit)?)
    }
}
