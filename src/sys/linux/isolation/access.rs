//! Access to files and ports, by Landlock. Its rules apply to a thread, and to the threads that it starts later.
//!
//! Older systems have fewer rights: truncating a file is one from Linux 6.2 on, TCP ports from 6.7 on, signals to other
//! processes from 6.12 on.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    PathBeneath, PathFd, RestrictSelfAttr as _, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError, Scope,
};

use super::super::call::Call as _;
use super::super::fork::on_copied_thread;
use super::threads::other_threads;

/// The first version in which every change of a file needs a right.
const COMPLETE: ABI = ABI::V3;
/// The latest version whose rights are used, if the system has them.
const LATEST: ABI = ABI::V9;

/// Files that are harmless to read, and that many libraries need.
const HARMLESS: [&str; 5] = [
    "/proc/self/exe",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
];

/// What a process may access once it applies these rules.
pub(crate) struct AccessRules {
    ruleset: RulesetCreated,
    limits_signals: bool,
}

impl AccessRules {
    /// Rules that allow reading the own executable, as a backtrace does, and harmless files. With `limits_ports`, they
    /// forbid TCP ports. If not `strict`, leaves out rights that the system lacks.
    pub(crate) fn new(strict: bool, limits_ports: bool) -> io::Result<Self> {
        let level = match strict {
            true => CompatLevel::HardRequirement,
            false => CompatLevel::BestEffort,
        };
        let rules = || {
            let needed = AccessFs::from_all(COMPLETE);
            let mut ruleset = Ruleset::default()
                .set_compatibility(level)
                .handle_access(needed)?;
            if limits_ports {
                ruleset = ruleset.handle_access(AccessNet::from_all(ABI::V4))?;
            }
            ruleset
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(LATEST))?
                .scope(Scope::from_all(LATEST))?
                .create()
        };
        let mut rules = Self {
            ruleset: rules().map_err(refused)?,
            limits_signals: supports(|ruleset| ruleset.scope(Scope::Signal)),
        };
        // A container may lack some of these files.
        for path in HARMLESS {
            let _ = rules.allow(Path::new(path), AccessFs::ReadFile.into());
        }
        let write = AccessFs::WriteFile | AccessFs::Truncate;
        let _ = rules.allow(Path::new("/dev/null"), write);
        Ok(rules)
    }

    /// Whether they forbid signals to processes that this one did not start.
    pub(crate) fn limits_signals(&self) -> bool {
        self.limits_signals
    }

    pub(crate) fn allow_read(&mut self, path: &Path) -> io::Result<()> {
        self.allow(path, AccessFs::ReadFile | AccessFs::ReadDir)
    }

    /// Allows creating, changing and removing files there. No device can be created.
    pub(crate) fn allow_write(&mut self, path: &Path) -> io::Result<()> {
        let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
        self.allow(path, AccessFs::from_write(LATEST) & !devices)
    }

    pub(crate) fn allow_execute(&mut self, path: &Path) -> io::Result<()> {
        self.allow(path, AccessFs::from_read(LATEST))
    }

    fn allow(&mut self, path: &Path, access: BitFlags<AccessFs>) -> io::Result<()> {
        let fd = PathFd::new(path).map_err(io::Error::other)?;
        let is_folder =
            rustix::fs::fstat(&fd).of_call("fstat")?.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let access = match is_folder {
            true => access,
            false => access & AccessFs::from_file(LATEST),
        };
        let added = (&mut self.ruleset).add_rule(PathBeneath::new(fd, access));
        added.map(drop).map_err(refused)
    }

    pub(crate) fn allow_connect(&mut self, port: u16) -> io::Result<()> {
        self.allow_port(port, AccessNet::ConnectTcp)
    }

    pub(crate) fn allow_bind(&mut self, port: u16) -> io::Result<()> {
        self.allow_port(port, AccessNet::BindTcp)
    }

    fn allow_port(&mut self, port: u16, access: AccessNet) -> io::Result<()> {
        let added = (&mut self.ruleset).add_rule(NetPort::new(port, access));
        added.map(drop).map_err(refused)
    }

    /// Applies the rules to each thread of this process. If there is a thread to which they cannot be applied, applies
    /// them to none.
    ///
    /// # Errors
    /// If there is a thread besides the calling one and the copied one that the system cannot restrict (before Linux
    /// 7.0).
    pub(crate) fn apply(self) -> io::Result<()> {
        let others = other_threads()?;
        if !others.is_empty() {
            let every = self.ruleset.set_compatibility(CompatLevel::HardRequirement);
            let every = every.all_threads(true).map_err(|_| {
                io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    format!(
                        "threads run already ({}), and this system cannot restrict them; \
                         start them in the first task rather than in the initializer",
                        others.join(", ")
                    ),
                )
            })?;
            return every.restrict_self().map(drop).map_err(refused);
        }
        let copy = self.ruleset.try_clone()?;
        if let Some(restricted) = on_copied_thread(move || copy.restrict_self()) {
            restricted.map_err(refused)?;
        }
        self.ruleset.restrict_self().map(drop).map_err(refused)
    }
}

fn refused(error: RulesetError) -> io::Error {
    io::Error::other(error)
}

/// Whether this system supports what `ask` requests.
fn supports(ask: impl FnOnce(Ruleset) -> Result<Ruleset, RulesetError>) -> bool {
    ask(Ruleset::default().set_compatibility(CompatLevel::HardRequirement)).is_ok()
}

/// What this system lacks.
pub(super) fn missing(limits_ports: bool) -> Option<&'static str> {
    if !supports(|ruleset| ruleset.handle_access(AccessFs::from_all(ABI::V1))) {
        return Some(
            "Landlock, which limits files (Linux 5.13, with `landlock` in its boot parameter `lsm`)",
        );
    }
    if !supports(|ruleset| ruleset.handle_access(AccessFs::from_all(COMPLETE))) {
        return Some("a Landlock that forbids to truncate files (Linux 6.2)");
    }
    if limits_ports && !supports(|ruleset| ruleset.handle_access(AccessNet::from_all(ABI::V4))) {
        return Some("a Landlock that limits the ports of TCP (Linux 6.7)");
    }
    None
}
