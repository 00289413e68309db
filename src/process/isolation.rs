//! The rights that a worker gives up before it runs a task.

use std::path::{Path, PathBuf};

use crate::executor::error::BuildError;
use crate::sys;
use crate::wire::confinement::Confinement;
use crate::wire::surroundings::SystemText;

/// A sandbox around each worker of a pool, set by
/// [`ProcessPoolBuilder::isolation`](crate::ProcessPoolBuilder::isolation), or around a process, set by
/// `multiprocessing::ProcessBuilder::isolation`. For tasks that parse untrusted input: code that takes over such a task
/// can reach little besides the task's own arguments.
///
/// A new isolation is the strictest. Its methods allow more. A task in it can compute, allocate, start threads, report
/// progress and log as without one, and use the descriptors that it receives. It can
///
/// - open no file, except for its executable, `/dev/null`, `/dev/zero` and the generators of random numbers, until
///   [`allow_read`](Self::allow_read), [`allow_write`](Self::allow_write) and [`allow_execute`](Self::allow_execute)
///   allow more;
/// - reach no network, because it has one of its own, without any connection, until
///   [`share_network`](Self::share_network); and no service of the machine by a socket with a path or a name;
/// - not trace, read, change or signal any process that it has not started itself;
/// - start no program, and so no pool of its own, until `allow_execute` allows it;
/// - gain no privilege, also by a program that it executes, and use none: a worker of root has no capability;
/// - not make the system calls that no task needs: to mount, to load code into the kernel, to make namespaces,
///   io_uring, bpf, userfaultfd, keys, System V IPC, and others. They fail with EPERM, or as unknown.
///
/// The worker first gives up privileges, user and network, then runs the
/// [`initializer`](crate::ProcessPoolBuilder::initializer), then gives up files and system calls, and is then ready. So
/// an initializer may open any file that the user of the worker may read. Files that it has opened stay open. Before
/// Linux 7.0, a thread that it leaves running is an error, because the thread would keep its rights.
///
/// What a hostile task can still do is in SECURITY.md of the repository: above all use processor time and memory (see
/// [`Limits`](crate::Limits)), return a wrong result, look at the names, sizes and owners of files, and change what it
/// shares with others through the objects of `multiprocessing`.
///
/// ```no_run
/// use concurrent_futures::{Isolation, Limits, ProcessPoolExecutor};
///
/// # fn main() -> Result<(), concurrent_futures::BuildError> {
/// let pool = ProcessPoolExecutor::builder()
///     .isolation(Isolation::new().allow_read("/usr/share/fonts"))
///     .limits(Limits::new().address_space(4 << 30))
///     .build()?;
/// # Ok(()) }
/// ```
///
/// # What fails in a task
/// A library may need more than its task. This is what fails then, and what to allow:
///
/// | in the task | allow |
/// |---|---|
/// | "Permission denied" for a temporary file | [`allow_write`](Self::allow_write) for a folder of its own, [`allow_read`](Self::allow_read) to read it again |
/// | local time is UTC, without an error | `allow_read("/etc/localtime")` and `allow_read("/usr/share/zoneinfo")` |
/// | "Temporary failure in name resolution" | `allow_read` for `/etc/hosts`, `/etc/nsswitch.conf` and `/etc/resolv.conf`; for other hosts `share_network` too |
/// | "Network is unreachable" | `share_network` |
/// | "Permission denied" for a connection | [`allow_connect`](Self::allow_connect) for its port |
/// | "Permission denied" for a program | `allow_execute` for the program and its libraries, as `/usr`; `allow_read("/etc/ld.so.cache")` |
///
/// # Errors
/// [`build`](crate::ProcessPoolBuilder::build) fails with `is_unsupported()` if this system lacks a part, and with
/// `is_invalid_setting()` if the settings contradict one another. What only shows when a worker starts (a path that
/// does not exist, a network namespace that the system refuses) fails each start, like the error of an initializer:
/// `is_init_failed()`. The text names the part that is missing. With [`best_effort`](Self::best_effort) a part that the
/// system lacks is a warning.
///
/// # Platform
/// Linux on x86-64, ARM64 and RISC-V 64. Files need Linux 6.2 with Landlock, [`share_network`](Self::share_network)
/// needs 6.7. An own network needs CAP_SYS_ADMIN, or user namespaces for ordinary users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    best_effort: bool,
    user: Option<(u32, u32)>,
    shares_network: bool,
    connect: Vec<u16>,
    bind: Vec<u16>,
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    execute: Vec<PathBuf>,
}

impl Isolation {
    /// Creates the strictest isolation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows reading this file, or everything beneath this folder. The path must be absolute, and exist when a worker
    /// starts.
    ///
    /// ```
    /// use concurrent_futures::Isolation;
    ///
    /// let isolation = Isolation::new()
    ///     .allow_read("/etc/localtime")
    ///     .allow_read("/usr/share/zoneinfo");
    /// ```
    #[must_use]
    pub fn allow_read(mut self, path: impl Into<PathBuf>) -> Self {
        self.read.push(path.into());
        self
    }

    /// Allows writing this file, or creating, writing and removing everything beneath this folder. Reading is separate.
    /// The path must be absolute, and exist when a worker starts.
    ///
    /// A worker that may write somewhere may also change modes, owners and times of files elsewhere, as far as its
    /// [`user`](Self::user) may: Landlock does not limit that.
    ///
    /// ```
    /// use concurrent_futures::Isolation;
    ///
    /// let isolation = Isolation::new()
    ///     .allow_read("/var/spool/thumbnails")
    ///     .allow_write("/var/spool/thumbnails");
    /// ```
    #[must_use]
    pub fn allow_write(mut self, path: impl Into<PathBuf>) -> Self {
        self.write.push(path.into());
        self
    }

    /// Allows reading and executing this program, or everything beneath this folder. A program also needs its libraries
    /// and the dynamic loader. It runs within the same isolation. The path must be absolute, and exist when a worker
    /// starts.
    ///
    /// ```
    /// use concurrent_futures::Isolation;
    ///
    /// let isolation = Isolation::new().allow_execute("/usr").allow_read("/etc/ld.so.cache");
    /// ```
    #[must_use]
    pub fn allow_execute(mut self, path: impl Into<PathBuf>) -> Self {
        self.execute.push(path.into());
        self
    }

    /// Leaves the worker in the network of its parent. TCP is open only to the ports of
    /// [`allow_connect`](Self::allow_connect) and [`allow_bind`](Self::allow_bind). UDP is open.
    ///
    /// ```
    /// use concurrent_futures::Isolation;
    ///
    /// let isolation = Isolation::new().share_network().allow_connect(5432);
    /// ```
    #[must_use]
    pub fn share_network(mut self) -> Self {
        self.shares_network = true;
        self
    }

    /// Allows TCP connections to this port of any host. Needs [`share_network`](Self::share_network).
    #[must_use]
    pub fn allow_connect(mut self, port: u16) -> Self {
        self.connect.push(port);
        self
    }

    /// Allows listening on this TCP port. Needs [`share_network`](Self::share_network).
    #[must_use]
    pub fn allow_bind(mut self, port: u16) -> Self {
        self.bind.push(port);
        self
    }

    /// Lets the worker run as this user and this group, by their numbers, without any other group. So it cannot touch
    /// what belongs to the user of its parent. It needs the privileges CAP_SETUID, CAP_SETGID and CAP_KILL, as root has
    /// them. The paths above are opened as the user of the parent; their modes count when a task uses them.
    ///
    /// Default: the user of the parent.
    ///
    /// ```
    /// use concurrent_futures::Isolation;
    ///
    /// let nobody = Isolation::new().user(65534, 65534);
    /// ```
    #[must_use]
    pub fn user(mut self, user: u32, group: u32) -> Self {
        self.user = Some((user, group));
        self
    }

    /// Continues without the parts that this system lacks. Each worker then writes a warning for each such part to its
    /// stderr.
    ///
    /// ```
    /// use concurrent_futures::Isolation;
    ///
    /// let isolation = Isolation::new().best_effort();
    /// ```
    #[must_use]
    pub fn best_effort(mut self) -> Self {
        self.best_effort = true;
        self
    }

    /// The rights that a worker of this process must give up, or an error for an invalid setting or for a part that
    /// this system lacks.
    pub(crate) fn check(&self) -> Result<Confinement, BuildError> {
        let mut paths = self.read.iter().chain(&self.write).chain(&self.execute);
        if let Some(path) = paths.find(|path| !is_usable(path)) {
            return Err(BuildError::invalid(format!(
                "the path {path:?} of an isolation is invalid: it must be absolute, and must not contain NUL"
            )));
        }
        if let Some(port) = self.connect.iter().chain(&self.bind).next()
            && !self.shares_network
        {
            return Err(BuildError::invalid(format!(
                "an isolation allows port {port}, but has no network; call `share_network` too"
            )));
        }
        if !self.best_effort {
            self.check_system()?;
        }
        let texts = |paths: &[PathBuf]| {
            let texts = paths.iter().map(|path| SystemText(path.clone().into()));
            texts.collect()
        };
        Ok(Confinement {
            parent: std::process::id(),
            is_best_effort: self.best_effort,
            user: self.user,
            shares_network: self.shares_network,
            connect: self.connect.clone(),
            bind: self.bind.clone(),
            read: texts(&self.read),
            write: texts(&self.write),
            execute: texts(&self.execute),
        })
    }

    fn check_system(&self) -> Result<(), BuildError> {
        let missing = sys::missing_for_isolation(self.shares_network);
        if !missing.is_empty() {
            return Err(BuildError::unsupported(format!(
                "this system lacks a part of the isolation: {}; `Isolation::best_effort` does without",
                missing.join(", and ")
            )));
        }
        let Some((user, _)) = self.user else {
            return Ok(());
        };
        sys::check_change_of_user().map_err(|error| {
            BuildError::unsupported(format!(
                "a worker cannot run as user {user}, because {error}; run this program as root, or leave out \
                 `Isolation::user`"
            ))
        })
    }
}

fn is_usable(path: &Path) -> bool {
    path.is_absolute() && !path.as_os_str().as_encoded_bytes().contains(&0)
}
