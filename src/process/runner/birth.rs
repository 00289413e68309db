//! The three ways in which a process begins, and what it is until it is about to run its function.

use std::io::{self, PipeReader};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use super::{GRACE, ProcessState, RunningProcess};
use crate::executor::error::InitFailure;
use crate::process::ServeForked;
use crate::process::start::{ChildConnection, ForkServer, MOST_FORK_SERVERS, Recipe, StartError};
use crate::process::verdict::init_failure;
use crate::sys::{self, ChildProcess, Forked};
use crate::wire::Chain;
use crate::wire::descriptors::Descriptor;
use crate::wire::message::Role;
use crate::wire::process_setup::OutcomeFile;

/// The fork server of this program, and in which process it was made: in a fork of that, it is of no use.
static FORK_SERVER: Mutex<Option<(u32, Arc<ForkServer>)>> = Mutex::new(None);

/// A process that was started, and that has been told what to do.
pub(super) struct Born {
    pub(super) process: ChildProcess,
    pub(super) connection: ChildConnection,
    /// Where it is told how it ended, if this process does not learn that from the system.
    pub(super) word: Option<PipeReader>,
}

/// Its stdout and its stderr.
type OutputPipes = [OwnedFd; 2];

fn socket_pair() -> Result<(OwnedFd, OwnedFd), StartError> {
    sys::socket_pair().map_err(StartError::system("make a socket pair"))
}

/// The executable is started again.
pub(super) async fn execute(
    recipe: &Arc<Recipe>,
    [stdout, stderr]: OutputPipes,
    words: impl Fn() -> Chain,
) -> Result<Born, StartError> {
    let (ours, theirs) = socket_pair()?;
    let connection = ChildConnection::begin(ours, words())?;
    let fds = [theirs, stdout, stderr];
    Ok(Born {
        process: recipe.execute(Role::Runner, fds).await?,
        connection,
        word: None,
    })
}

/// The fork server of the program forks it.
pub(super) async fn fork_at_server(
    recipe: &Arc<Recipe>,
    [stdout, stderr]: OutputPipes,
    words: impl Fn() -> Chain,
) -> Result<Born, StartError> {
    let server = fork_server();
    let output = [stdout, stderr].map(Descriptor::from);
    for _ in 0..MOST_FORK_SERVERS {
        let (ours, theirs) = socket_pair()?;
        let (word, told_at) = io::pipe().map_err(StartError::system("make a pipe"))?;
        let mut fds = vec![Descriptor::from(theirs)];
        fds.extend_from_slice(&output);
        fds.push(OwnedFd::from(told_at).into());
        if let Some(process) = server.run(recipe, fds).await? {
            return Ok(Born {
                process,
                // Not before we have it: one that was told what to do would do it though nobody wants it
                // any more, and nobody could end it. As it is, it finds that we have hung up.
                connection: ChildConnection::begin(ours, words())?,
                word: Some(word),
            });
        }
    }
    Err(StartError::Gone)
}

/// One for all such processes of the program: none asks for more than a bare process.
fn fork_server() -> Arc<ForkServer> {
    let mut held = FORK_SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    match &*held {
        Some((generation, server)) if *generation == sys::generation() => server.clone(),
        _ => {
            let server = Arc::new(ForkServer::unattended());
            let parents = held.replace((sys::generation(), server.clone()));
            std::mem::forget(parents); // Its drop would end the server of another process.
            server
        }
    }
}

/// This process is forked as it is now; the other never comes back from here. `not_theirs` are descriptors
/// that the other closes: of our ends of its own pipes it would never see the end.
pub(super) fn fork_here(
    serve: ServeForked,
    not_theirs: &[RawFd],
    [stdout, stderr]: OutputPipes,
    words: impl Fn() -> Chain,
) -> Result<Born, StartError> {
    let refused = StartError::system;
    let (ours, theirs) = socket_pair()?;
    let theirs = sys::above_standard_streams(theirs).map_err(refused("move a socket"))?;
    let parent = sys::open_child(std::process::id()).and_then(sys::above_standard_streams);
    let parent = parent.map_err(refused("open what stands for this process"))?;
    let process = match sys::fork().map_err(refused("fork this process"))? {
        Forked::Parent(pid) => ChildProcess::own(pid),
        Forked::Child => {
            drop(ours);
            sys::abandon(not_theirs);
            let settled =
                sys::settle_forked(false, &[], None).and_then(|()| sys::set_output(stdout, stderr));
            let socket = settled.map(|()| theirs.into());
            serve(Role::Runner, socket, Some(parent))
        }
    };
    Ok(Born {
        process: process.map_err(refused("watch a process"))?,
        connection: ChildConnection::begin(ours, words())?,
        word: None,
    })
}

/// A process that is yet to begin. Dropping it kills it.
pub(super) struct UnclaimedProcess {
    runner: Arc<RunningProcess>,
    is_kept: bool,
}

impl UnclaimedProcess {
    pub(super) fn new(
        mut process: ChildProcess,
        word: Option<PipeReader>,
        outcome_file: OutcomeFile,
        is_fork: bool,
    ) -> Self {
        process.set_free();
        let runner = RunningProcess {
            pid: process.id(),
            pidfd: process.pidfd().clone(),
            outcome_file: Arc::new(outcome_file),
            word,
            state: Mutex::new(ProcessState {
                process,
                oom_kills: sys::oom_kills(), // Read while the process gets on its feet: that takes longer.
                gone: None,
                end: None,
            }),
            is_fork,
        };
        Self {
            runner: Arc::new(runner),
            is_kept: false,
        }
    }

    /// It is about to run its function.
    pub(super) fn keep(mut self) -> Arc<RunningProcess> {
        self.is_kept = true;
        self.runner.clone()
    }

    /// Why it did not begin. It has ended by then.
    pub(super) async fn fail(self, error: StartError) -> InitFailure {
        // What ended by itself has an exit status of its own; give it the time to.
        if matches!(error, StartError::Mute | StartError::Gone) {
            let _ = tokio::time::timeout(GRACE, self.runner.ended()).await;
        }
        self.runner.kill();
        init_failure(error, Some(self.runner.ended().await))
    }
}

impl Drop for UnclaimedProcess {
    fn drop(&mut self) {
        if !self.is_kept {
            self.runner.kill();
            self.runner.clone().reap_in_background(|_| {});
        }
    }
}
