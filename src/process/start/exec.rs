//! Starts the executable of this process again, in another role.

use super::error::StartError;
use super::surroundings::Surroundings;
use crate::sys::{self, ChildProcess, OwnedFd};
use crate::wire::message::{MARKER, Role};

impl Surroundings {
    /// Starts a process in the role `role`, with these streams as its stdin, stdout and stderr. Blocks for about a
    /// millisecond.
    pub(super) fn execute(
        &self,
        role: Role,
        [socket, stdout, stderr]: [OwnedFd; 3],
    ) -> Result<ChildProcess, StartError> {
        let mut command = sys::own_executable().map_err(|error| self.refused(error))?;
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
        ChildProcess::spawn(&mut command).map_err(|error| self.refused(error))
    }
}
