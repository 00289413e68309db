//! Where processes are forked: sees to it that there is a zygote, and that it is another one when the
//! last has died.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream as Blocking;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::Recipe;
use super::child::Child;
use super::connection::Connection;
use super::error::StartError;
use super::zygote::Zygote;
use crate::process::ServeForked;
#[cfg(feature = "multiprocessing")]
use crate::process::output::Output;
use crate::process::output::{Outlets, Outputs};
use crate::sys::{self, ChildProcess, Forked};
use crate::wire::descriptors::Descriptor;
use crate::wire::message::Role;

/// How long one that has hung up may take to end.
const EXIT_GRACE: Duration = Duration::from_secs(5);
/// How long a zygote that many share must have been silent, at least, before it is killed: those that it
/// has forked lose their exit status by that. One that runs answers far sooner.
const SILENCE: Duration = Duration::from_secs(1);

pub(in crate::process) struct ForkServer {
    /// What becomes of the output of another zygote, if there can be one.
    executes: Option<Outlets>,
    /// Held while a zygote is made, so that only one is.
    zygote: Mutex<State>,
}

enum State {
    /// One will be started when it is needed.
    Absent,
    /// Forked from this process, which has not spoken with it yet.
    Unmet(ChildProcess, Blocking),
    /// Somebody speaks with it, or waits for its end: the one that holds the lock, or one that has gone
    /// meanwhile.
    Meeting(ChildProcess),
    Ready(Arc<Zygote>),
    /// There can be no other.
    Lost,
    Closed,
}

impl ForkServer {
    /// The zygote will be this executable, started again. What is printed by what it preloads goes to
    /// our stderr.
    pub(in crate::process) fn executed() -> Self {
        Self::with_outlets(Outlets::new(None, None))
    }

    /// As `executed`, for a zygote that no runtime has to attend to.
    #[cfg(feature = "multiprocessing")]
    pub(in crate::process) fn unattended() -> Self {
        Self::with_outlets(Outlets::new(Some(Output::null()), Some(Output::inherit())))
    }

    fn with_outlets(outlets: Outlets) -> Self {
        Self {
            executes: Some(outlets),
            zygote: Mutex::new(State::Absent),
        }
    }

    /// The zygote is a fork of this process as it is now. It never comes back from here.
    pub(in crate::process) fn forked(recipe: &Recipe, serve: ServeForked) -> io::Result<Self> {
        let (ours, theirs) = sys::socket_pair()?;
        let parent = sys::open_child(std::process::id()).ok();
        match sys::fork()? {
            Forked::Parent(pid) => {
                let process = ChildProcess::own(pid)?;
                let socket = Blocking::from(ours);
                socket.set_nonblocking(true)?;
                Ok(Self {
                    executes: None,
                    zygote: Mutex::new(State::Unmet(process, socket)),
                })
            }
            Forked::Child => {
                drop(ours);
                let around = &recipe.surroundings;
                let folder = around.current_dir.as_deref();
                let settled = sys::settle_forked(around.env_clear, &around.env, folder);
                let socket = settled.map(|()| Blocking::from(theirs));
                serve(Role::Zygote, socket, parent)
            }
        }
    }

    /// Forks a worker with its socket, standard output and standard error. Nothing if the zygote was
    /// found dead, or did not answer; there may be another next time. It may have forked a worker all
    /// the same, so its socket must not be used again.
    pub(super) async fn fork(
        &self,
        recipe: &Arc<Recipe>,
        fds: Vec<Descriptor>,
    ) -> Result<Option<Child>, StartError> {
        let forked = self.fork_as(Role::Worker, recipe, fds).await?;
        let Some((process, zygote)) = forked else {
            return Ok(None);
        };
        let pid = process.id();
        let child = Child::new(process, Some(zygote.clone())).map_err(|error| {
            zygote.forget(pid);
            StartError::system("watch a process")(error)
        });
        child.map(Some)
    }

    /// As `fork`, for a process that runs one function; its descriptors go up to where it is told how it
    /// ended. The zygote takes its exit status unasked. It fails if this takes longer than the start may, and
    /// gives nothing if it is the zygote that is to blame for that.
    #[cfg(feature = "multiprocessing")]
    pub(in crate::process) async fn run(
        &self,
        recipe: &Arc<Recipe>,
        fds: Vec<Descriptor>,
    ) -> Result<Option<ChildProcess>, StartError> {
        let limit = recipe.spawn_timeout;
        let forked = self.fork_as(Role::Runner, recipe, fds);
        match tokio::time::timeout(limit, forked).await {
            Ok(forked) => Ok(forked?.map(|(process, _)| process)),
            Err(_) if self.discard_silent() => Ok(None),
            Err(_) => Err(StartError::TimedOut(limit)),
        }
    }

    async fn fork_as(
        &self,
        role: Role,
        recipe: &Arc<Recipe>,
        fds: Vec<Descriptor>,
    ) -> Result<Option<(ChildProcess, Arc<Zygote>)>, StartError> {
        let limit = match role {
            Role::Runner => recipe.spawn_timeout.max(SILENCE),
            _ => recipe.spawn_timeout,
        };
        let mut state = self.zygote.lock().await;
        let (zygote, forked) = if let State::Ready(zygote) = &*state {
            let zygote = zygote.clone();
            drop(state);
            let forked = zygote.fork(role, fds, limit).await;
            (zygote, forked)
        } else {
            let zygote = self.make_ready(&mut state, recipe, role, fds).await?;
            // As long as the lock is held, nobody else asks.
            let forked = zygote.first_fork(limit).await;
            drop(state);
            (zygote, forked)
        };
        let Some(process) = forked? else {
            self.discard(&zygote).await;
            return Ok(None);
        };
        Ok(Some((process, zygote)))
    }

    /// Makes a zygote. It is asked for a process with its first words, so that its answer may be there as
    /// soon as it is ready.
    async fn make_ready(
        &self,
        state: &mut State,
        recipe: &Arc<Recipe>,
        role: Role,
        fds: Vec<Descriptor>,
    ) -> Result<Arc<Zygote>, StartError> {
        if matches!(state, State::Meeting(_)) {
            // Whoever met this one has gone in the middle of it.
            state.kill().await;
            *state = self.without();
        }
        let (socket, outputs) = match std::mem::replace(state, State::Lost) {
            State::Lost => return Err(StartError::ZygoteLost),
            kept @ (State::Ready(_) | State::Closed) => {
                *state = kept;
                return Err(StartError::Closed);
            }
            State::Unmet(process, socket) => {
                *state = State::Meeting(process);
                (socket, None)
            }
            State::Absent | State::Meeting(_) => {
                *state = self.without();
                let outlets = self.executes.as_ref().ok_or(StartError::ZygoteLost)?;
                let (process, socket, outputs) = execute(recipe, outlets).await?;
                *state = State::Meeting(process);
                (socket, Some(outputs))
            }
        };
        let failure = match meet(recipe, socket, role, fds).await {
            Ok(connection) => {
                // From here on nothing waits.
                let State::Meeting(process) = std::mem::replace(state, self.without()) else {
                    return Err(StartError::Closed);
                };
                let zygote = Zygote::new(process, connection);
                let zygote = Arc::new(zygote.map_err(StartError::system("use a socket"))?);
                *state = State::Ready(zygote.clone());
                return Ok(zygote);
            }
            Err(error @ (StartError::Gone | StartError::Mute)) => {
                let (pid, exit) = state.ended().await;
                StartError::ZygoteDied {
                    pid,
                    exit,
                    mute: matches!(error, StartError::Mute),
                    stderr_tail: outputs.map(Outputs::into_tail).unwrap_or_default(),
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

    /// How it stands when a zygote is gone.
    fn without(&self) -> State {
        match self.executes {
            Some(_) => State::Absent,
            None => State::Lost,
        }
    }

    /// A zygote was found dead.
    async fn discard(&self, dead: &Arc<Zygote>) {
        let mut state = self.zygote.lock().await;
        if matches!(&*state, State::Ready(zygote) if Arc::ptr_eq(zygote, dead)) {
            *state = self.without();
        }
        drop(dead.take_process());
    }

    /// A start has taken too long. Kills the zygote if it has said nothing for a while, whoever has asked
    /// it, and says whether that was so.
    #[cfg(feature = "multiprocessing")]
    fn discard_silent(&self) -> bool {
        let Ok(mut state) = self.zygote.try_lock() else {
            return false; // Whoever meets one has a limit for that.
        };
        let is_silent = match &*state {
            State::Ready(zygote) if zygote.is_silent_for(SILENCE) => {
                drop(zygote.take_process());
                true
            }
            // Whoever met this one has gone in the middle of it: nobody depends on it. Its drop kills it.
            State::Meeting(_) => false,
            _ => return false,
        };
        *state = self.without();
        is_silent
    }

    /// Ends the zygote, and waits until it is gone.
    pub(super) async fn close(&self) {
        let mut state = self.zygote.lock().await;
        let process = match std::mem::replace(&mut *state, State::Closed) {
            State::Ready(zygote) => zygote.take_process(),
            State::Unmet(process, _) | State::Meeting(process) => Some(process),
            State::Absent | State::Lost | State::Closed => None,
        };
        if let Some(process) = process {
            *state = State::Meeting(process);
            state.kill().await;
            *state = State::Closed;
        }
    }
}

impl State {
    /// Kills the process that somebody meets, and waits until it is gone. It stays here, so that whoever
    /// gives this up, as its pool closes, leaves the rest to the next one.
    async fn kill(&mut self) {
        if let Self::Meeting(process) = self {
            process.kill();
            self.ended().await;
        }
    }

    /// As `kill`, where it is about to end by itself. Says which it was and how it ended.
    async fn ended(&mut self) -> (u32, sys::Exit) {
        let Self::Meeting(process) = self else {
            return Default::default();
        };
        // It may have hung up without ending.
        let _ = tokio::time::timeout(EXIT_GRACE, process.ended()).await;
        process.kill();
        let _ = process.ended().await;
        (process.id(), process.reap())
    }
}

/// Starts the process that is to become a zygote.
async fn execute(
    recipe: &Arc<Recipe>,
    outlets: &Outlets,
) -> Result<(ChildProcess, Blocking, Outputs), StartError> {
    let system = StartError::system;
    let (ends, pipes) = outlets.open().map_err(system("make a pipe"))?;
    let (ours, theirs) = sys::socket_pair().map_err(system("make a socket pair"))?;
    let fds = [theirs, ends.stdout, ends.stderr];
    let process = recipe.execute(Role::Zygote, fds).await?;
    let attended = outlets.attend(pipes, 0, process.id());
    let outputs = attended.map_err(system("read a pipe"))?;
    Ok((process, ours.into(), outputs))
}

/// Makes a zygote of the process at the other end, and asks it for a process.
async fn meet(
    recipe: &Recipe,
    socket: Blocking,
    role: Role,
    fds: Vec<Descriptor>,
) -> Result<Connection, StartError> {
    let mut words = recipe.zygote_setup();
    Zygote::put_first_request(&mut words, role, fds);
    let mut connection = Connection::begin(socket.into(), words)?;
    tokio::select! {
        outcome = connection.establish(recipe.max_frame_length) => outcome?,
        () = tokio::time::sleep(recipe.spawn_timeout) => return Err(StartError::TimedOut(recipe.spawn_timeout)),
    }
    Ok(connection)
}

impl fmt::Debug for ForkServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForkServer")
    }
}
