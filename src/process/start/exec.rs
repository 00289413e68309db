//! Starting the executable of this process again, as something else than the program it is.

use std::borrow::Cow;
#[cfg(feature = "multiprocessing")]
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
#[cfg(feature = "multiprocessing")]
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::error::StartError;
use crate::sys::ChildProcess;
use crate::wire::message::{MARKER, Role};

/// What a new process finds around it.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) env_clear: bool,
    pub(crate) current_dir: Option<PathBuf>,
}

/// The whole environment, and the folder.
#[cfg(feature = "multiprocessing")]
type Resolved = (Vec<(OsString, OsString)>, Option<PathBuf>);

impl Surroundings {
    /// What an executed process would find, for one that is not executed.
    #[cfg(feature = "multiprocessing")]
    pub(in crate::process) fn resolve(&self) -> io::Result<Resolved> {
        let own = std::env::vars_os().filter(|_| !self.env_clear);
        let mut variables: BTreeMap<_, _> = own.collect();
        variables.extend(self.env.iter().cloned());
        let folder = match &self.current_dir {
            Some(folder) => Some(std::path::absolute(folder)?),
            None => std::env::current_dir().ok(), // One that was removed cannot be named.
        };
        Ok((variables.into_iter().collect(), folder))
    }

    /// Starts a process in the given role, with these as its stdin, stdout and stderr. Blocks for
    /// about a millisecond.
    pub(super) fn execute(
        &self,
        role: Role,
        [socket, stdout, stderr]: [OwnedFd; 3],
    ) -> Result<ChildProcess, StartError> {
        // The running executable itself, also when another file has taken its name since.
        let mut command = Command::new("/proc/self/exe");
        command.arg0(
            std::env::args_os()
                .next()
                .as_deref()
                .unwrap_or(OsStr::new("worker")),
        );
        if self.env_clear {
            command.env_clear();
        }
        command
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env(MARKER, role.name());
        if let Some(folder) = &self.current_dir {
            command.current_dir(folder);
        }
        command.stdin(socket).stdout(stdout).stderr(stderr);
        ChildProcess::spawn(&mut command).map_err(|error| {
            let doing = match &self.current_dir {
                Some(folder) => format!("start a process in {}", folder.display()).into(),
                None => Cow::Borrowed("start a process"),
            };
            StartError::System { doing, error }
        })
    }
}
