//! Starting the executable of this process again, as something else than the program it is.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::error::StartError;
use crate::sys::ChildProcess;
use crate::wire::message::MARKER;

/// What a new process finds around it.
#[derive(Debug, Default)]
pub(in crate::process) struct Surroundings {
    pub(in crate::process) env: Vec<(OsString, OsString)>,
    pub(in crate::process) env_clear: bool,
    pub(in crate::process) current_dir: Option<PathBuf>,
}

impl Surroundings {
    /// Starts a process in the given role, with these as its stdin, stdout and stderr. Blocks for
    /// about a millisecond.
    pub(super) fn execute(
        &self,
        role: &str,
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
            .env(MARKER, role);
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
