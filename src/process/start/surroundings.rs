//! [`Surroundings`]: the environment and the working directory of a new process. An executed process inherits them from
//! this one. A forked process has those of its fork server; the request to fork it says what this process has changed
//! since the fork server started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::error::StartError;
use crate::executor::error::BuildError;
use crate::sys;
use crate::wire::descriptors::Descriptor;
use crate::wire::surroundings::VariableChanges;

/// The environment and the working directory of a new process, as differences from those of this one.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) env_clear: bool,
    pub(crate) current_dir: Option<PathBuf>,
}

/// The surroundings that a fork server was started with.
#[derive(Debug)]
pub(super) struct ForkServerSurroundings {
    variables: BTreeMap<OsString, OsString>,
    current_dir: Option<PathBuf>,
    /// The working directory of this process at that time, if the system reported it.
    here: Option<sys::FolderIdentity>,
}

/// What a forked process changes before it does anything else. Sent as descriptors with the request to fork it.
#[derive(Debug, Default)]
pub(super) struct SurroundingsChange {
    /// A file with [`VariableChanges`].
    pub(super) variables: Option<Descriptor>,
    pub(super) folder: Option<Descriptor>,
}

impl Surroundings {
    /// Fails if no process can have them.
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

    fn variables(&self) -> BTreeMap<OsString, OsString> {
        let own = (!self.env_clear).then(std::env::vars_os);
        let mut variables: BTreeMap<_, _> = own.into_iter().flatten().collect();
        variables.extend(self.env.iter().cloned());
        variables
    }

    /// Those of a fork server that starts now.
    pub(super) fn of_fork_server(&self) -> ForkServerSurroundings {
        ForkServerSurroundings {
            variables: self.variables(),
            current_dir: self.current_dir.clone(),
            here: sys::current_folder(),
        }
    }

    /// What a process that starts now must change if that fork server forks it.
    pub(super) fn change_from(
        &self,
        server: &ForkServerSurroundings,
    ) -> Result<SurroundingsChange, StartError> {
        let variables = VariableChanges::between(&server.variables, &self.variables());
        let variables = variables.map(|changes| changes.to_file()).transpose();
        let variables = variables.map_err(StartError::system("make a file in memory"))?;
        let folder = self.open_folder_unless_it_is_that_of(server);
        Ok(SurroundingsChange {
            variables: variables.map(Descriptor::from),
            folder: folder
                .transpose()
                .map_err(|error| self.refused(error))?
                .map(Descriptor::from),
        })
    }

    fn open_folder_unless_it_is_that_of(
        &self,
        server: &ForkServerSurroundings,
    ) -> Option<io::Result<sys::OwnedFd>> {
        let has_moved = || match (sys::current_folder(), server.here) {
            (Some(now), Some(then)) => now != then,
            _ => false,
        };
        let current_dir = self.current_dir.as_deref();
        let is_another = match &server.current_dir {
            then if then.as_deref() != current_dir => true,
            Some(then) if then.is_absolute() => false,
            _ => has_moved(),
        };
        // Opened rather than named: a folder that was removed has no name, but is still this process's.
        is_another.then(|| sys::open_folder(current_dir.unwrap_or(Path::new("."))))
    }

    /// Fails if a fork of this process could not enter the working directory.
    #[cfg(feature = "multiprocessing")]
    pub(in crate::process) fn check_folder(&self) -> Result<(), StartError> {
        let folder = self.current_dir.as_deref().map(sys::open_folder);
        folder.transpose().map_err(|error| self.refused(error))?;
        Ok(())
    }

    /// Why no process started.
    pub(super) fn refused(&self, error: io::Error) -> StartError {
        let doing = match &self.current_dir {
            Some(folder) => format!("start a process in {}", folder.display()).into(),
            None => "start a process".into(),
        };
        StartError::System { doing, error }
    }
}
