//! [`Recipe`]: what each worker of a pool is started with.

use std::sync::Arc;
use std::time::Duration;

use super::error::StartError;
use super::surroundings::Surroundings;
use crate::function::FunctionOffset;
use crate::home::unblock;
use crate::observe;
use crate::process::output::Outlets;
use crate::sys::{ChildProcess, Limit, OwnedFd, ProcessIdentity};
use crate::wire::Chain;
use crate::wire::confinement::Confinement;
use crate::wire::descriptors::Descriptor;
use crate::wire::message::{self, Captured, ChildIdentity, Role, Setup};

/// A function and its encoded arguments, to call once in a new process.
pub(crate) type Opening = (FunctionOffset, Chain);

/// The parameters of every worker of a pool.
#[derive(Debug)]
pub(in crate::process) struct Recipe {
    pub(in crate::process) surroundings: Surroundings,
    pub(in crate::process) preload: Option<Opening>,
    pub(in crate::process) initializer: Option<Opening>,
    /// Whether other processes of the same user may trace the workers.
    pub(in crate::process) is_dumpable: bool,
    pub(in crate::process) limits: Vec<(Limit, i64)>,
    pub(in crate::process) confinement: Option<Confinement>,
    pub(in crate::process) outlets: Outlets,
    pub(in crate::process) max_frame_length: usize,
    pub(in crate::process) spawn_timeout: Duration,
    /// Whether the thread that starts a process may block, since it drives no other task.
    pub(in crate::process) may_block: bool,
}

impl Recipe {
    /// Executes a process in the role `role`, with these streams as its stdin, stdout and stderr.
    pub(in crate::process) async fn execute(
        self: &Arc<Self>,
        role: Role,
        fds: [OwnedFd; 3],
    ) -> Result<ChildProcess, StartError> {
        let recipe = self.clone();
        let execute = move || recipe.surroundings.execute(role, fds);
        match self.may_block {
            true => execute(),
            false => unblock(execute).await,
        }
    }

    /// The setup of a worker. Its own descriptors precede those of its initializer.
    pub(in crate::process) fn setup(
        &self,
        worker_id: u64,
        name: String,
        captured: Option<Captured>,
        own: Vec<Descriptor>,
    ) -> Chain {
        let setup = Setup {
            identity: child_identity(name),
            worker_id,
            limits: self.limits.clone(),
            confinement: self.confinement.clone(),
            captured,
            events: observe::level_of_events(),
            ..Setup::default()
        };
        self.put_setup(own, setup, self.initializer.as_ref())
    }

    /// The setup of a fork server.
    pub(super) fn fork_server_setup(&self) -> Chain {
        let setup = Setup {
            identity: child_identity("fork-server".to_owned()),
            ..Setup::default()
        };
        self.put_setup(Vec::new(), setup, self.preload.as_ref())
    }

    /// A recipe without options, with a timeout that no test reaches.
    #[cfg(all(test, target_os = "linux"))]
    pub(in crate::process) fn plain(outlets: Outlets) -> Self {
        Self {
            surroundings: Surroundings::default(),
            preload: None,
            initializer: None,
            is_dumpable: false,
            limits: Vec::new(),
            confinement: None,
            outlets,
            max_frame_length: 1 << 20,
            spawn_timeout: Duration::from_secs(60),
            may_block: false,
        }
    }

    fn put_setup(&self, own: Vec<Descriptor>, setup: Setup, opening: Option<&Opening>) -> Chain {
        let setup = Setup {
            max_frame: self.max_frame_length as u64,
            is_dumpable: self.is_dumpable,
            initializer: opening.map(|(function, _)| *function),
            descriptors: opening.map_or(0, |(_, args)| args.descriptors().len() as u32),
            ..setup
        };
        let (mut out, none) = (Chain::new(), Chain::new());
        out.attach(own);
        message::put_with(&mut out, &setup, opening.map_or(&none, |(_, args)| args));
        out
    }
}

/// The identity of a child that ends with this process.
fn child_identity(name: String) -> ChildIdentity {
    ChildIdentity {
        name,
        parent: ProcessIdentity::own().to_word(),
        is_daemon: true,
    }
}
