//! What a process may use, as the system enforces it.

use std::fs;
use std::io;
use std::mem::MaybeUninit;

use rustix::process::{Resource, Rlimit};

use super::call::Call as _;
use crate::sys::limit::Limit;

impl Limit {
    /// Sets this limit for the process. The niceness is that of the calling thread, and of the threads and processes
    /// that it starts from now on.
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
        rustix::process::setrlimit(resource, limit).of_call("prlimit64")
    }
}

/// A soft limit that this process has.
#[derive(Clone, Copy, Debug)]
pub(super) enum OwnLimit {
    FileSize,
    OpenFiles,
    Stack,
}

impl OwnLimit {
    /// Its value. `None` if there is no limit, or if the system does not report it.
    pub(super) fn get(self) -> Option<u64> {
        let (resource, name) = match self {
            Self::FileSize => (libc::RLIMIT_FSIZE, "Max file size"),
            Self::OpenFiles => (libc::RLIMIT_NOFILE, "Max open files"),
            Self::Stack => (libc::RLIMIT_STACK, "Max stack size"),
        };
        let mut limit = MaybeUninit::<libc::rlimit>::uninit();
        // SAFETY: it fills the limit, or fails.
        if unsafe { libc::getrlimit(resource, limit.as_mut_ptr()) } == 0 {
            // SAFETY: it has just been filled.
            let soft = unsafe { limit.assume_init() }.rlim_cur;
            return (soft != libc::RLIM_INFINITY).then_some(soft);
        }
        Self::parse(&fs::read_to_string("/proc/self/limits").ok()?, name) // The call above is denied.
    }

    /// The number in the table of `/proc`: name, soft limit, hard limit, unit.
    fn parse(table: &str, name: &str) -> Option<u64> {
        let mut rows = table.lines().filter_map(|row| row.strip_prefix(name));
        rows.next()?.split_whitespace().next()?.parse().ok()
    }
}

/// The longest file that this process may create or enlarge.
pub(crate) fn longest_file() -> u64 {
    OwnLimit::FileSize.get().unwrap_or(u64::MAX)
}

/// Fails if this process may have no file of this length. Otherwise the system would not only refuse it, but also send
/// a signal that kills the process. Files in memory count too.
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

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_the_one_that_the_table_of_the_system_has() {
        let table = fs::read_to_string("/proc/self/limits").expect("/proc");
        for (limit, name) in [
            (OwnLimit::FileSize, "Max file size"),
            (OwnLimit::OpenFiles, "Max open files"),
            (OwnLimit::Stack, "Max stack size"),
        ] {
            assert_eq!(limit.get(), OwnLimit::parse(&table, name), "{name}");
        }
        let table = "Limit  Soft Limit  Hard Limit  Units\nMax open files  64  unlimited  files\n";
        assert_eq!(OwnLimit::parse(table, "Max open files"), Some(64));
        assert_eq!(OwnLimit::parse(table, "Max file size"), None);
        let table = "Max file size             unlimited            unlimited            bytes";
        assert_eq!(OwnLimit::parse(table, "Max file size"), None);
    }
}
