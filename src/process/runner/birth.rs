//! The three ways to start a process, and its state until it is about to run its function.

use std::io::PipeReader;
use std::sync::{Arc, Mutex, PoisonError};

use super::outcome::LeftOutcome;
use super::{GRACE, ProcessState, RunningProcess};
use crate::executor::error::InitFailure;
use crate::home::timeout;
use crate::process::ServeForked;
use crate::process::start::{
    ChildConnection, ForkServer, MOST_FORK_SERVERS, Recipe, StartError, Surroundings,
};
use crate::process::verdict::init_failure;
use crate::sys::{self, AsRawFd as _, ChildProcess, OwnedFd, RawFd};
use crate::wire::Chain;
use crate::wire::descriptors::Descriptor;
use crate::wire::message::Role;

/// The fork server of this program, and the process that created it: a fork of that cannot use it.
static FORK_SERVER: Mutex<Option<(u32, Arc<ForkServer>)>> = Mutex::new(None);

/// A process that was started and has its setup.
pub(super) struct Born {
    pub(super) process: ChildProcess,
    pub(super) connection: ChildConnection,
    /// The pipe that reports how it ended, if the system does not report that to this process.
    pub(super) word: Option<PipeReader>,
}

/// Its stdout and its stderr.
type OutputPipes = [OwnedFd; 2];

fn socket_pair() -> Result<(OwnedFd, OwnedFd), StartError> {
    sys::socket_pair().map_err(StartError::system("make a socket pair"))
}

/// Executes this executable again.
pub(super) async fn execute(
    recipe: &Arc<Recipe>,
    [stdout, stderr]: OutputPipes,
    words: impl Fn() -> Chain,
) -> Result<Born, StartError> {
    let (ours, theirs) = socket_pair()?;
    let fds = [theirs, stdout, stderr];
    Ok(Born {
        process: recipe.execute(Role::Runner, fds).await?,
        // Not before there is a pidfd: a process that ended by then could not be watched.
        connection: ChildConnection::begin(ours, words())?,
        word: None,
    })
}

/// Lets the fork server of this program fork it.
pub(super) async fn fork_at_server(
    recipe: &Arc<Recipe>,
    surroundings: &Surroundings,
    [stdout, stderr]: OutputPipes,
    words: impl Fn() -> Chain,
) -> Result<Born, StartError> {
    let server = fork_server();
    let output = [stdout, stderr].map(Descriptor::from);
    for _ in 0..MOST_FORK_SERVERS {
        let (ours, theirs) = socket_pair()?;
        let (word, exit_pipe) =
            sys::pipe_from_child().map_err(StartError::system("make a pipe"))?;
        let mut fds = vec![Descriptor::from(theirs)];
        fds.extend_from_slice(&output);
        fds.push(exit_pipe.into());
        if let Some(process) = server.run(recipe, surroundings, fds).await? {
            return Ok(Born {
                process,
                // Only once this process has the pidfd. If the start is dropped before that, the process finds a
                // closed socket and exits.
                connection: ChildConnection::begin(ours, words())?,
                word: Some(word),
            });
        }
    }
    Err(StartError::Gone)
}

/// One for all processes of the program that run one function: none needs more than a bare process.
fn fork_server() -> Arc<ForkServer> {
    let mut held = FORK_SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    match &*held {
        Some((generation, server)) if *generation == sys::generation() => server.clone(),
        _ => {
            let server = Arc::new(ForkServer::unattended());
            let parents = held.replace((sys::generation(), server.clone()));
            std::mem::forget(parents); // Its drop would end the fork server of another process.
            server
        }
    }
}

/// Forks this process as it is now. `not_theirs` are descriptors that the
/// fork closes: with its parent's ends of its own pipes open, it would never see their end.
pub(super) fn fork_here(
    serve: ServeForked,
    surroundings: &Surroundings,
    not_theirs: &[RawFd],
    [stdout, stderr]: OutputPipes,
    words: impl Fn() -> Chain,
) -> Result<Born, StartError> {
    let refused = StartError::system;
    surroundings.check_folder()?;
    let (ours, theirs) = socket_pair()?;
    let theirs = sys::above_standard_streams(theirs).map_err(refused("move a socket"))?;
    let parent = sys::open_child(std::process::id()).and_then(sys::above_standard_streams);
    let parent = parent.map_err(refused("open a pidfd of this process"))?;
    let folder = surroundings.current_dir.as_deref();
    let pid = sys::fork_for(|way| {
        sys::abandon(not_theirs);
        sys::abandon(&[ours.as_raw_fd()]);
        let settled = sys::settle_forked(surroundings.env_clear, &surroundings.env, folder)
            .and_then(|()| sys::set_output(stdout, stderr));
        let socket = settled.map(|()| theirs.into());
        serve(Role::Runner, socket, Some(parent), way)
    });
    let pid = pid.map_err(refused("fork this process"))?;
    Ok(Born {
        process: ChildProcess::own(pid).map_err(refused("watch a process"))?,
        connection: ChildConnection::begin(ours, words())?,
        word: None,
    })
}

/// A process that has not begun yet. Dropping it kills it.
pub(super) struct UnclaimedProcess {
    runner: Arc<RunningProcess>,
    is_kept: bool,
}

impl UnclaimedProcess {
    pub(super) fn new(
        mut process: ChildProcess,
        word: Option<PipeReader>,
        left: LeftOutcome,
        is_fork: bool,
    ) -> Self {
        process.set_free();
        let runner = RunningProcess {
            pid: process.id(),
            pidfd: process.pidfd().clone(),
            left,
            word,
            state: Mutex::new(ProcessState {
                process,
                oom_kills: sys::oom_kills(), // Read during the start of the process, which takes longer.
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

    /// Why it did not begin. The process has ended by then.
    pub(super) async fn fail(self, error: StartError) -> InitFailure {
        // A process that ended by itself has an exit status of its own; wait for it.
        if matches!(error, StartError::Mute | StartError::Gone) {
            timeout(GRACE, self.runner.ended()).await;
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
