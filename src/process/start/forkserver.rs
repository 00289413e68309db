//! Where workers are forked: sees to it that there is a zygote, and that it is another one when the
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
use crate::process::ServeAsZygote;
use crate::process::output::{Outlets, Outputs};
use crate::sys::{self, ChildProcess, Forked};
use crate::wire::descriptors::Descriptor;
use crate::wire::message;

/// How long one that has hung up may take to end.
const EXIT_GRACE: Duration = Duration::from_secs(5);

pub(in crate::process) struct ForkServer {
    /// Whether there can be another zygote.
    executes: bool,
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
    /// The zygote will be this executable, started again.
    pub(in crate::process) fn executed() -> Self {
        Self {
            executes: true,
            zygote: Mutex::new(State::Absent),
        }
    }

    /// The zygote is a fork of this process as it is now. It never comes back from here.
    pub(in crate::process) fn forked(recipe: &Recipe, serve: ServeAsZygote) -> io::Result<Self> {
        let (ours, theirs) = sys::socket_pair()?;
        let parent = sys::open_child(std::process::id()).ok();
        match sys::fork()? {
            Forked::Parent(pid) => {
                let process = ChildProcess::own(pid)?;
                let socket = Blocking::from(ours);
                socket.set_nonblocking(true)?;
                Ok(Self {
                    executes: false,
                    zygote: Mutex::new(State::Unmet(process, socket)),
                })
            }
            Forked::Child => {
                drop(ours);
                let around = &recipe.surroundings;
                let folder = around.current_dir.as_deref();
                let settled = sys::settle_forked(around.env_clear, &around.env, folder);
                serve(settled.map(|()| Blocking::from(theirs)), parent)
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
        let limit = recipe.spawn_timeout;
        let mut fds = Some(fds);
        let mut state = self.zygote.lock().await;
        let zygote = if let State::Ready(zygote) = &*state {
            zygote.clone()
        } else {
            // A preload, the user's code, is not to find what is a worker's.
            let ahead = fds.take_if(|_| recipe.preload.is_none());
            self.make_ready(&mut state, recipe, ahead).await?
        };
        let forked = if let Some(fds) = fds {
            drop(state);
            zygote.fork(fds, limit).await
        } else {
            let forked = zygote.first_fork(limit).await;
            drop(state); // As long as the lock is held, nobody else asks.
            forked
        };
        let Some(process) = forked? else {
            self.discard(&zygote).await;
            return Ok(None);
        };
        let pid = process.id();
        let child = Child::new(process, Some(zygote.clone())).map_err(|error| {
            zygote.forget(pid);
            StartError::system("watch a process")(error)
        });
        child.map(Some)
    }

    /// Makes a zygote. It can be asked for a worker with its first words, so that nobody waits for it to
    /// be ready.
    async fn make_ready(
        &self,
        state: &mut State,
        recipe: &Arc<Recipe>,
        ahead: Option<Vec<Descriptor>>,
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
                *state = State::Absent;
                let (process, socket, outputs) = execute(recipe).await?;
                *state = State::Meeting(process);
                (socket, Some(outputs))
            }
        };
        let failure = match meet(recipe, socket, ahead).await {
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
        if self.executes {
            State::Absent
        } else {
            State::Lost
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
async fn execute(recipe: &Arc<Recipe>) -> Result<(ChildProcess, Blocking, Outputs), StartError> {
    let system = StartError::system;
    // What is printed by what it preloads goes to our stderr.
    let outlets = Outlets::new(None, None);
    let (ends, pipes) = outlets.open().map_err(system("make a pipe"))?;
    let (ours, theirs) = sys::socket_pair().map_err(system("make a socket pair"))?;
    let fds = [theirs, ends.stdout, ends.stderr];
    let process = recipe.execute(message::ZYGOTE, fds).await?;
    let attended = outlets.attend(pipes, 0, process.id());
    let outputs = attended.map_err(system("read a pipe"))?;
    Ok((process, ours.into(), outputs))
}

/// Makes a zygote of the process at the other end. Where there are descriptors, asks it for a worker.
async fn meet(
    recipe: &Recipe,
    socket: Blocking,
    ahead: Option<Vec<Descriptor>>,
) -> Result<Connection, StartError> {
    let mut words = recipe.zygote_setup();
    if let Some(fds) = ahead {
        Zygote::put_first_request(&mut words, fds);
    }
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
