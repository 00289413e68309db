//! What a process may use, as the system enforces it.

use std::io;

use rustix::process::{Resource, Rlimit};

/// One limit that a process can set for itself, soft and hard, so that it cannot lift it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Bytes of address space.
    AddressSpace,
    /// Seconds of processor time, at whose end comes SIGXCPU; a second later comes SIGKILL.
    CpuTime,
    /// Open descriptors.
    OpenFiles,
    /// Bytes of a core dump.
    CoreSize,
    /// What is added to the niceness of 0: from -20 to 19.
    Nice,
}

impl Limit {
    /// What a user knows it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AddressSpace => "address_space",
            Self::CpuTime => "cpu_time",
            Self::OpenFiles => "open_files",
            Self::CoreSize => "core_size",
            Self::Nice => "nice",
        }
    }

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
