//! [`ForkServer`]: keeps one fork server running, and asks it for processes. A dead one is replaced.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::child::Child;
use super::connection::ChildConnection;
use super::error::StartError;
use super::forkserver_process::{ForkRequest, ForkServerProcess};
use super::recipe::Recipe;
use super::surroundings::{ForkServerSurroundings, Surroundings};
use crate::home::{Home, Watched, timeout};
#[cfg(feature = "multiprocessing")]
use crate::process::output::Output;
use crate::process::output::{Outlets, OutputWriter, Outputs};
use crate::sys::{self, AsRawFd as _, ChildProcess, Direction, OneWay, OwnedFd, Socket};
use crate::wire::descriptors::Descriptor;
use crate::wire::message::Role;

/// How long a fork server may take to end after it closed its socket.
const EXIT_GRACE: Duration = Duration::from_secs(5);
/// A shared fork server is killed only after it was silent for this long, because the processes that it forked lose
/// their exit status with it. One that runs answers far sooner.
const SILENCE: Duration = Duration::from_secs(1);

/// Runs a forked process: in this role, with its socket, and with the pidfd of its parent. Returns its exit code. A
/// function pointer, because this module does not import `worker`.
pub(crate) type ServeForked = fn(Role, io::Result<Socket>, Option<OwnedFd>, &OneWay) -> i32;

pub(in crate::process) struct ForkServer {
    /// Where the output of a replacement goes. `None` if there can be no replacement.
    executes: Option<Outlets>,
    /// Locked while a fork server starts, so that only one starts.
    fork_server: Mutex<ForkServerState>,
}

enum ForkServerState {
    /// The next request starts a fork server.
    Absent,
    /// Forked from this process; no message has been sent yet.
    Unmet(ChildProcess, Socket, ForkServerSurroundings),
    /// The task that holds the lock exchanges the first messages with it, or waits for its end. That task
    /// may have been dropped meanwhile.
    Meeting(ChildProcess),
    Ready(Arc<ForkServerProcess>),
    /// It has ended, and cannot be replaced.
    Lost,
    Closed,
}

impl ForkServer {
    /// A fork server that is this executable, started again. The output of its preload is relayed to this process's
    /// stderr.
    pub(in crate::process) fn executed() -> Self {
        Self::with_outlets(Outlets::new(None, None))
    }

    /// As `executed`, for a fork server that needs no task of a runtime: its preload writes to this process's stderr
    /// itself.
    #[cfg(feature = "multiprocessing")]
    pub(in crate::process) fn unattended() -> Self {
        Self::with_outlets(Outlets::new(None, Some(Output::share())))
    }

    fn with_outlets(outlets: Outlets) -> Self {
        Self {
            executes: Some(outlets),
            fork_server: Mutex::new(ForkServerState::Absent),
        }
    }

    /// A fork server that is a fork of this process as it is now.
    pub(in crate::process) fn forked(recipe: &Recipe, serve: ServeForked) -> io::Result<Self> {
        let (ours, theirs) = sys::socket_pair()?;
        let parent = sys::open_child(std::process::id()).ok();
        let surroundings = recipe.surroundings.of_fork_server();
        let fd = ours.as_raw_fd();
        let socket = Socket::from(ours);
        socket.set_nonblocking(true)?;
        let pid = sys::fork_for(|way| {
            #[expect(unsafe_code, reason = "a fork leaves what its parent owns")]
            // SAFETY: this is the fork. `fork_for` ends the process after this function, which does not use it.
            unsafe {
                sys::abandon(&[fd]);
            }
            let around = &recipe.surroundings;
            let folder = around.current_dir.as_deref();
            let settled = sys::settle_forked(around.env_clear, &around.env, folder);
            let socket = settled.map(|()| Socket::from(theirs));
            serve(Role::ForkServer, socket, parent, way)
        })?;
        let process = ChildProcess::own(pid)?;
        Ok(Self {
            executes: None,
            fork_server: Mutex::new(ForkServerState::Unmet(process, socket, surroundings)),
        })
    }

    /// Forks a worker with its socket, stdout and stderr. `None` if the fork server was dead or did not answer; the
    /// next call may start another one. The fork server may have forked a worker nevertheless, so that socket must not
    /// be used again.
    pub(super) async fn fork(
        &self,
        recipe: &Arc<Recipe>,
        surroundings: &Surroundings,
        fds: Vec<Descriptor>,
    ) -> Result<Option<Child>, StartError> {
        let forked = self
            .fork_as(Role::Worker, recipe, surroundings, fds)
            .await?;
        let Some((process, fork_server)) = forked else {
            return Ok(None);
        };
        Ok(Some(Child::forked(process, fork_server)))
    }

    /// As `fork`, for a process that runs one function. The last descriptor is the pipe for its exit status, which the
    /// fork server writes without a request. Fails if the fork takes longer than the start may; `None` if the fork
    /// server caused that.
    #[cfg(feature = "multiprocessing")]
    pub(super) async fn run(
        &self,
        recipe: &Arc<Recipe>,
        surroundings: &Surroundings,
        fds: Vec<Descriptor>,
    ) -> Result<Option<(ChildProcess, Arc<ForkServerProcess>)>, StartError> {
        let limit = recipe.spawn_timeout;
        let forked = self.fork_as(Role::Runner, recipe, surroundings, fds);
        match timeout(limit, forked).await {
            Some(forked) => forked,
            None if self.kill_if_silent() => Ok(None),
            None => Err(StartError::TimedOut(limit)),
        }
    }

    async fn fork_as(
        &self,
        role: Role,
        recipe: &Arc<Recipe>,
        surroundings: &Surroundings,
        fds: Vec<Descriptor>,
    ) -> Result<Option<(ChildProcess, Arc<ForkServerProcess>)>, StartError> {
        let limit = match role {
            Role::Runner => recipe.spawn_timeout.max(SILENCE),
            _ => recipe.spawn_timeout,
        };
        let request = |server: &ForkServerSurroundings| {
            let change = surroundings.change_from(server)?;
            Ok(ForkRequest { role, fds, change })
        };
        let mut state = self.fork_server.lock().await;
        let (fork_server, forked) = if let ForkServerState::Ready(fork_server) = &*state {
            let fork_server = fork_server.clone();
            drop(state);
            let request = request(fork_server.surroundings())?;
            let forked = fork_server.fork(request, limit).await;
            (fork_server, forked)
        } else {
            let fork_server = self.make_ready(&mut state, recipe, role, request).await?;
            // While the lock is held, no other task sends a request.
            let forked = fork_server.first_fork(limit).await;
            drop(state);
            (fork_server, forked)
        };
        let Some(process) = forked? else {
            self.discard(&fork_server).await;
            return Ok(None);
        };
        Ok(Some((process, fork_server)))
    }

    /// Starts a fork server. The first request is sent with the first message, so the answer can arrive as soon as the
    /// fork server is ready.
    async fn make_ready(
        &self,
        state: &mut ForkServerState,
        recipe: &Arc<Recipe>,
        role: Role,
        request: impl FnOnce(&ForkServerSurroundings) -> Result<ForkRequest, StartError>,
    ) -> Result<Arc<ForkServerProcess>, StartError> {
        if matches!(state, ForkServerState::Meeting(_)) {
            // The task that started this one was dropped before it finished.
            state.kill().await;
            *state = self.without();
        }
        let (socket, surroundings, mut outputs, request) =
            match std::mem::replace(state, ForkServerState::Lost) {
                ForkServerState::Lost => return Err(StartError::ForkServerLost),
                kept @ (ForkServerState::Ready(_) | ForkServerState::Closed) => {
                    *state = kept;
                    return Err(StartError::Closed);
                }
                ForkServerState::Unmet(process, socket, surroundings) => {
                    let request = match request(&surroundings) {
                        Ok(request) => request,
                        Err(error) => {
                            // This fork server cannot be replaced, and is not the cause of the failure.
                            *state = ForkServerState::Unmet(process, socket, surroundings);
                            return Err(error);
                        }
                    };
                    *state = ForkServerState::Meeting(process);
                    (socket, surroundings, Outputs::default(), request)
                }
                ForkServerState::Absent | ForkServerState::Meeting(_) => {
                    *state = self.without();
                    let outlets = self.executes.as_ref().ok_or(StartError::ForkServerLost)?;
                    let surroundings = recipe.surroundings.of_fork_server();
                    let request = request(&surroundings)?;
                    let (process, socket, outputs) = execute(recipe, outlets).await?;
                    *state = ForkServerState::Meeting(process);
                    (socket, surroundings, outputs, request)
                }
            };
        let met = tokio::select! {
            biased;
            met = meet(recipe, socket, request) => met,
            never = outputs.attend_on(OutputWriter::default()) => match never {},
        };
        let failure = match met {
            Ok(connection) => {
                // There is no `.await` from here on.
                let ForkServerState::Meeting(process) = std::mem::replace(state, self.without())
                else {
                    return Err(StartError::Closed);
                };
                let fork_server = ForkServerProcess::new(process, connection, surroundings, role);
                let fork_server = Arc::new(fork_server);
                *state = ForkServerState::Ready(fork_server.clone());
                if outputs.is_open() {
                    // The fork server may still write, and so may a process that the preload started.
                    Home::new().spawn(async move { outputs.attend(OutputWriter::default()).await });
                }
                return Ok(fork_server);
            }
            Err(error @ (StartError::Ended | StartError::SentNothing)) => {
                let (pid, exit) = state.ended().await;
                outputs.finish(OutputWriter::default()).await;
                let stderr_tail = outputs.tail(OutputWriter::default());
                StartError::ForkServerDied {
                    pid,
                    exit,
                    sent_nothing: matches!(error, StartError::SentNothing),
                    stderr_tail,
                }
            }
            Err(error) => {
                state.kill().await;
                match error {
                    StartError::UserCode(_, failure) => StartError::UserCode("preload", failure),
                    other => other,
                }
            }
        };
        *state = self.without();
        Err(failure)
    }

    /// The state after a fork server has ended.
    fn without(&self) -> ForkServerState {
        match self.executes {
            Some(_) => ForkServerState::Absent,
            None => ForkServerState::Lost,
        }
    }

    /// Forgets a dead fork server.
    async fn discard(&self, dead: &Arc<ForkServerProcess>) {
        let mut state = self.fork_server.lock().await;
        if matches!(&*state, ForkServerState::Ready(fork_server) if Arc::ptr_eq(fork_server, dead))
        {
            *state = self.without();
        }
        drop(dead.take_process());
    }

    /// Called when a start takes too long. Kills the fork server if it has been silent for a while, whichever task sent
    /// the request. Returns whether it killed it.
    #[cfg(feature = "multiprocessing")]
    fn kill_if_silent(&self) -> bool {
        let Ok(mut state) = self.fork_server.try_lock() else {
            return false; // The task that waits for it has a time limit of its own.
        };
        let is_silent = match &*state {
            ForkServerState::Ready(fork_server) if fork_server.is_silent_for(SILENCE) => {
                drop(fork_server.take_process());
                true
            }
            // The task that waited for this one was dropped in between, so no start depends on it. Dropping the state
            // kills it.
            ForkServerState::Meeting(_) => false,
            _ => return false,
        };
        *state = self.without();
        is_silent
    }

    /// Ends the fork server and waits for its exit.
    pub(super) async fn close(&self) {
        let mut state = self.fork_server.lock().await;
        let process = match std::mem::replace(&mut *state, ForkServerState::Closed) {
            ForkServerState::Ready(fork_server) => fork_server.take_process(),
            ForkServerState::Unmet(process, ..) | ForkServerState::Meeting(process) => {
                Some(process)
            }
            ForkServerState::Absent | ForkServerState::Lost | ForkServerState::Closed => None,
        };
        if let Some(process) = process {
            *state = ForkServerState::Meeting(process);
            state.kill().await;
            *state = ForkServerState::Closed;
        }
    }
}

impl ForkServerState {
    /// Kills a process in the state `Meeting` and waits for its exit. The process stays in the state: if this future is
    /// dropped, the next call continues.
    async fn kill(&mut self) {
        if let Self::Meeting(process) = self {
            process.kill();
            self.ended().await;
        }
    }

    /// As `kill`, for a process that is about to end by itself. Returns its id and how it ended.
    async fn ended(&mut self) -> (u32, sys::Exit) {
        let Self::Meeting(process) = self else {
            return Default::default();
        };
        // The process may have closed its socket and still run.
        let mut end = Watched::new(process.pidfd().clone(), Direction::In);
        timeout(EXIT_GRACE, poll_fn(|cx| end.poll_ready(cx))).await;
        process.kill();
        poll_fn(|cx| end.poll_ready(cx)).await;
        let exit = process.reap();
        // The process may have forked another one already.
        sys::reap_orphans_of(process.id(), process.pidfd().clone(), Vec::new());
        (process.id(), exit)
    }
}

/// Starts the process that becomes a fork server.
async fn execute(
    recipe: &Arc<Recipe>,
    outlets: &Outlets,
) -> Result<(ChildProcess, Socket, Outputs), StartError> {
    let system = StartError::system;
    let (ends, pipes) = outlets.open().map_err(system("make a pipe"))?;
    let (ours, theirs) = sys::socket_pair().map_err(system("make a socket pair"))?;
    let fds = [theirs, ends.stdout, ends.stderr];
    let process = recipe.execute(Role::ForkServer, fds).await?;
    let attended = outlets.attend(pipes, 0, process.id());
    let outputs = attended.map_err(system("read a pipe"))?;
    Ok((process, ours.into(), outputs))
}

/// Sends the setup of a fork server, and the first request.
async fn meet(
    recipe: &Recipe,
    socket: Socket,
    request: ForkRequest,
) -> Result<ChildConnection, StartError> {
    let mut words = recipe.fork_server_setup();
    ForkServerProcess::put_first_request(&mut words, request);
    let mut connection = ChildConnection::begin(socket.into(), words)?;
    connection.keep_descriptors();
    connection.establish(recipe).await?;
    Ok(connection)
}

impl fmt::Debug for ForkServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForkServer")
    }
}
