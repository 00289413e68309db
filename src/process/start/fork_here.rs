//! [`ForkHere`]: this process forks itself, as it is now.

use super::child::Child;
use super::connection::ChildConnection;
use super::error::StartError;
use super::forkserver::ServeForked;
use super::new_process::{CreatedProcess, NewProcess, socket_pair};
use crate::sys::{self, AsRawFd as _, ChildProcess, RawFd};

/// How this process forks itself.
#[derive(Debug)]
pub(in crate::process) struct ForkHere {
    pub(in crate::process) serve: ServeForked,
    /// Descriptors that the fork closes: if it kept its parent's ends of its own pipes open, it would never see their
    /// end.
    pub(in crate::process) not_theirs: Vec<RawFd>,
}

impl ForkHere {
    pub(super) fn fork(&self, new: NewProcess<'_>) -> Result<CreatedProcess, StartError> {
        let refused = StartError::system;
        let surroundings = new.surroundings;
        surroundings.check_folder()?;
        let (ours, theirs) = socket_pair()?;
        let theirs = sys::above_standard_streams(theirs).map_err(refused("move a socket"))?;
        let parent = sys::open_child(std::process::id()).and_then(sys::above_standard_streams);
        let parent = parent.map_err(refused("open a pidfd of this process"))?;
        let folder = surroundings.current_dir.as_deref();
        let [stdout, stderr] = new.output;
        let pid = sys::fork_for(|way| {
            #[expect(unsafe_code, reason = "a fork leaves what its parent owns")]
            // SAFETY: this is the fork. `fork_for` ends the process after this function, which uses none of these
            // values.
            unsafe {
                sys::abandon(&[&self.not_theirs[..], &[ours.as_raw_fd()]].concat());
            }
            let settled = sys::settle_forked(surroundings.env_clear, &surroundings.env, folder)
                .and_then(|()| sys::set_output(stdout, stderr));
            let socket = settled.map(|()| theirs.into());
            (self.serve)(new.role, socket, Some(parent), way)
        });
        let pid = pid.map_err(refused("fork this process"))?;
        let process = ChildProcess::own(pid).map_err(refused("watch a process"))?;
        let child = Child::from(process);
        Ok((child, ChildConnection::begin(ours, (new.setup)())?))
    }
}
