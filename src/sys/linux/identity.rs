//! The identity of a process: a number that no other process gets until the system boots again. A process
//! id alone may belong to another process by the time it is used.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use rustix::io::Errno;
use rustix::process::Pid;

use super::call::Call as _;
use super::edges::is_readable;
use super::own::{HOME, IDENTITY, PID_BITS, own_word};
use super::process::pidfd_of;

/// A process. As a number it is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessIdentity(u64);

impl ProcessIdentity {
    /// This process. After the first time in a process it costs no system call.
    pub(crate) fn own() -> Self {
        let fits = |word| Self(word).pid() == std::process::id();
        Self(own_word(IDENTITY, fits, || {
            let pid = std::process::id();
            // A `/proc` of other processes than those that this one can name would mislead.
            let listed = ListedProcess::find("self").filter(|listed| listed.pid == pid);
            let began = listed.map_or(0, |listed| listed.began);
            u64::from(pid) | began << PID_BITS
        }))
    }

    pub(crate) fn from_word(word: u64) -> Option<Self> {
        (word != 0).then_some(Self(word))
    }

    pub(crate) fn to_word(self) -> u64 {
        self.0
    }

    /// The process id, as long as the process is there.
    pub(crate) fn pid(self) -> u32 {
        self.0 as u32 & ((1 << PID_BITS) - 1)
    }

    fn began(self) -> u64 {
        self.0 >> PID_BITS
    }

    /// Whether the process has ended. A zombie has. If it cannot be found out, it has not.
    pub(crate) fn has_ended(self) -> bool {
        self != Self::own() && matches!(self.watch(), Ok(None))
    }

    /// A descriptor that becomes readable when the process ends. `None` if it has ended already.
    ///
    /// # Errors
    /// There is no descriptor left, and the process seems to be there.
    pub(crate) fn watch(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid() as i32) else {
            return Ok(None);
        };
        let pidfd = match pidfd_of(pid) {
            Ok(pidfd) => pidfd,
            // No process has the id, or it is the id of a thread by now.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            // This check takes no descriptor.
            Err(_) if rustix::process::test_kill_process(pid) == Err(Errno::SRCH) => {
                return Ok(None);
            }
            Err(_) if self.listed().is_some_and(|found| found.has_ended(self)) => return Ok(None),
            Err(error) => return Err(error).of_call("pidfd_open"),
        };
        // The order counts. A process that is there before and after its beginning was read is the one that the
        // beginning belongs to.
        let another = self.listed().is_some_and(|found| !found.is(self));
        Ok((!another && !is_readable(&pidfd)).then_some(pidfd))
    }

    /// The process that has its id now, if `/proc` is that of this process's ids.
    fn listed(self) -> Option<ListedProcess> {
        let is_known = Self::own().began() != 0;
        is_known
            .then(|| ListedProcess::find(&self.pid().to_string()))
            .flatten()
    }
}

/// A process as `/proc` has it.
#[derive(Debug)]
struct ListedProcess {
    pid: u32,
    is_zombie: bool,
    began: u64,
}

impl ListedProcess {
    fn find(process: &str) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name of the executable stands in parentheses, and may hold any character.
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

/// Where identities mean what they mean here: processes with another home have other ids and clocks.
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
        let listed = ListedProcess::find(&pid.to_string()).expect("it is there");
        ProcessIdentity(u64::from(pid) | listed.began << PID_BITS)
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
        let listed = |identity: ProcessIdentity| identity.listed().expect("it is there");
        assert!(!listed(identity).has_ended(identity));
        // As if this were a later process with the id of one that has ended.
        let earlier = ProcessIdentity(identity.0 - (1 << PID_BITS));
        assert!(earlier.has_ended() && listed(earlier).has_ended(earlier));
        // Without a known beginning, only the id counts.
        assert!(!ProcessIdentity(u64::from(child.id())).has_ended());
        drop(child.stdin.take());
        assert!(await_readable(&pidfd, None));
        assert!(identity.has_ended(), "a zombie has ended");
        assert!(listed(identity).has_ended(identity), "as seen by /proc too");
        child.wait().expect("it has ended");
        assert!(identity.has_ended() && is_readable(&pidfd));
    }
}
