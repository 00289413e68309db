//! Starts the executable of this process again, in another role.

use std::borrow::Cow;
#[cfg(feature = "multiprocessing")]
use std::collections::BTreeMap;
use std::ffi::OsString;
#[cfg(feature = "multiprocessing")]
use std::io;
use std::path::PathBuf;

use super::error::StartError;
use crate::executor::error::BuildError;
use crate::sys::{self, ChildProcess, OwnedFd};
use crate::wire::message::{MARKER, Role};

/// The environment and the working directory of a new process.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) env_clear: bool,
    pub(crate) current_dir: Option<PathBuf>,
}

/// The whole environment, and the directory.
#[cfg(feature = "multiprocessing")]
type Resolved = (Vec<(OsString, OsString)>, Option<PathBuf>);

impl Surroundings {
    /// An error if no process can have them.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        for (name, value) in &self.env {
            if !sys::is_variable(name) || value.as_encoded_bytes().contains(&0) {
                return Err(BuildError::invalid(format!(
                    "the environment variable {name:?} is invalid: its name must not be empty or contain `=`, \
                     and neither its name nor its value may contain NUL"
                )));
            }
        }
        match &self.current_dir {
            Some(folder) if folder.as_os_str().as_encoded_bytes().contains(&0) => {
                let text =
                    format!("the working directory {folder:?} is invalid: it must not contain NUL");
                Err(BuildError::invalid(text))
            }
            _ => Ok(()),
        }
    }

    /// Resolves them for a process that is not executed.
    #[cfg(feature = "multiprocessing")]
    pub(in crate::process) fn resolve(&self) -> io::Result<Resolved> {
        let own = std::env::vars_os().filter(|_| !self.env_clear);
        let mut variables: BTreeMap<_, _> = own.collect();
        variables.extend(self.env.iter().cloned());
        let folder = match &self.current_dir {
            Some(folder) => Some(std::path::absolute(folder)?),
            None => std::env::current_dir().ok(), // A directory that was removed has no name.
        };
        Ok((variables.into_iter().collect(), folder))
    }

    /// Starts a process in the role `role`, with these as its stdin, stdout and stderr. Blocks for about a
    /// millisecond.
    pub(super) fn execute(
        &self,
        role: Role,
        [socket, stdout, stderr]: [OwnedFd; 3],
    ) -> Result<ChildProcess, StartError> {
        let mut command = sys::own_executable();
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
