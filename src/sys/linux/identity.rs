//! The identity of a process: a number that no other process gets until the system boots again. A process
//! id alone may belong to another process by the time it is used.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use rustix::io::Errno;
use rustix::process::Pid;

use super::call::Call as _;
use super::edges::is_readable;
use super::own::{HOME, IDENTITY, PID_BITS, own_word};
use super::process::pidfd_of;

/// A process, as a number. An `Option` of it is also one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessIdentity(NonZeroU64);

fn pid_of(word: u64) -> u32 {
    word as u32 & ((1 << PID_BITS) - 1)
}

fn word_of(pid: u32, began: u64) -> u64 {
    u64::from(pid) | began << PID_BITS
}

impl ProcessIdentity {
    /// This process. Costs no system call after the first in a process.
    #[inline]
    pub(crate) fn own() -> Self {
        let fits = |word| pid_of(word) == std::process::id();
        let word = own_word(IDENTITY, fits, || {
            let pid = std::process::id();
            // A `/proc` of another pid namespace would be misleading.
            let listed = ListedProcess::find("self").filter(|listed| listed.pid == pid);
            let began = listed.map_or(0, |listed| listed.began);
            word_of(pid, began)
        });
        Self::from_word(word).expect("no process id is 0")
    }

    #[inline]
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        NonZeroU64::new(word).map(Self)
    }

    #[inline]
    pub(crate) fn to_word(self) -> u64 {
        self.0.get()
    }

    /// The process id, valid while the process exists.
    pub(crate) fn pid(self) -> u32 {
        pid_of(self.to_word())
    }

    fn began(self) -> u64 {
        self.to_word() >> PID_BITS
    }

    /// Whether the process has ended. A zombie has ended. If the system does not report it, the process has not.
    pub(crate) fn has_ended(self) -> bool {
        self != Self::own() && matches!(self.watch(), Ok(None))
    }

    /// A descriptor that becomes readable when the process ends. `None` if it has already ended.
    ///
    /// # Errors
    /// If this process may open no descriptor, and the process seems to exist.
    pub(crate) fn watch(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid() as i32) else {
            return Ok(None);
        };
        let pidfd = match pidfd_of(pid) {
            Ok(pidfd) => pidfd,
            // No process has the id, or the id now belongs to a thread.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            // This check needs no descriptor.
            Err(_) if rustix::process::test_kill_process(pid) == Err(Errno::SRCH) => {
                return Ok(None);
            }
            Err(_) if self.listed().is_some_and(|found| found.has_ended(self)) => return Ok(None),
            Err(error) => return Err(error).of_call("pidfd_open"),
        };
        // The order matters. If a process exists before and after its start time is read, the start time belongs to it.
        let another = self.listed().is_some_and(|found| !found.is(self));
        Ok((!another && !is_readable(&pidfd)).then_some(pidfd))
    }

    /// The process that has its id now, if `/proc` shows the ids of this pid namespace.
    fn listed(self) -> Option<ListedProcess> {
        let is_known = Self::own().began() != 0;
        is_known
            .then(|| ListedProcess::find(&self.pid().to_string()))
            .flatten()
    }
}

/// A process as listed in `/proc`.
#[derive(Debug)]
struct ListedProcess {
    pid: u32,
    is_zombie: bool,
    began: u64,
}

impl ListedProcess {
    fn find(process: &str) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name of the executable is in parentheses, and may contain any character.
        let (pid, _) = stat.split_once(' ')?;
        let (_, fields) = stat.rsplit_once(") ")?;
        Some(Self {
            pid: pid.parse().ok()?,
            is_zombie: fields.starts_with(['Z', 'X']),
            began: fields.split(' ').nth(19)?.parse().ok()?,
        })
    }

    fn is(&self, process: ProcessIdentity) -> bool {
        process.began() == 0 || process.began() == self.began
    }

    fn has_ended(&self, process: ProcessIdentity) -> bool {
        self.is_zombie || !self.is(process)
    }
}

/// The namespaces in which this process's identities are valid: processes with another value have different ids and
/// clocks.
pub(crate) fn home() -> u64 {
    let namespace = |name: &str| {
        let found = std::fs::metadata(format!("/proc/self/ns/{name}"));
        found.map_or(0, |found| found.ino())
    };
    let home = || namespace("pid") << 32 | namespace("time") & u64::from(u32::MAX);
    own_word(HOME, |_| true, || home().max(1))
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::sys::await_readable;

    fn of(pid: u32) -> ProcessIdentity {
        let listed = ListedProcess::find(&pid.to_string()).expect("the process exists");
        let word = word_of(pid, listed.began);
        ProcessIdentity::from_word(word).expect("no process id is 0")
    }

    #[test]
    fn a_process_has_one_identity() {
        assert_eq!(ProcessIdentity::own(), ProcessIdentity::own());
        assert_eq!(ProcessIdentity::own(), of(std::process::id()));
        assert_eq!(ProcessIdentity::own().pid(), std::process::id());
        assert!(!ProcessIdentity::own().has_ended());
        assert_eq!(home(), home());
    }

    #[test]
    fn a_process_ends_and_one_that_has_its_id_later_is_another() {
        let mut child = Command::new("cat");
        let mut child = child.stdin(Stdio::piped()).spawn().expect("a process");
        let identity = of(child.id());
        let pidfd = identity.watch().expect("descriptors").expect("it runs");
        assert!(!identity.has_ended() && !is_readable(&pidfd));
        let listed = |identity: ProcessIdentity| identity.listed().expect("the process exists");
        assert!(!listed(identity).has_ended(identity));
        // As if this were a later process with the id of one that has ended.
        let earlier = identity.to_word() - (1 << PID_BITS);
        let earlier = ProcessIdentity::from_word(earlier).expect("not 0");
        assert!(earlier.has_ended() && listed(earlier).has_ended(earlier));
        // If the start time is unknown, only the id counts.
        let of_unknown_age = ProcessIdentity::from_word(child.id().into()).expect("not 0");
        assert!(!of_unknown_age.has_ended());
        drop(child.stdin.take());
        assert!(await_readable(&pidfd, None));
        assert!(identity.has_ended(), "a zombie has ended");
        assert!(listed(identity).has_ended(identity), "as seen by /proc too");
        child.wait().expect("it has ended");
        assert!(identity.has_ended() && is_readable(&pidfd));
    }
}
