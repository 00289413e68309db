//! Where workers are forked: sees to it that there is a zygote, and that it is another one when the
//! last has died.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream as Blocking;
use std::process::Stdio;
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
use crate::wire::message::{self, Identity};

/// So many zygotes may die of one start.
const MOST_ZYGOTES: usize = 2;
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
    /// Somebody speaks with it: the one that holds the lock, or one that has gone meanwhile.
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

    /// Forks a worker with its socket, standard output and standard error. A zygote that is found
    /// dead, or does not answer, is replaced.
    pub(super) async fn fork(
        &self,
        recipe: &Arc<Recipe>,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Child, StartError> {
        for _ in 0..MOST_ZYGOTES {
            let zygote = self.ready(recipe).await?;
            if let Some(process) = zygote.fork(fds, recipe.spawn_timeout).await? {
                let child = Child::new(process, Some(zygote));
                return child.map_err(StartError::system("watch a process"));
            }
            self.discard(&zygote).await;
        }
        Err(StartError::Gone)
    }

    /// The zygote, made now if there is none.
    async fn ready(&self, recipe: &Arc<Recipe>) -> Result<Arc<Zygote>, StartError> {
        let mut state = self.zygote.lock().await;
        let (socket, outputs) = match std::mem::replace(&mut *state, State::Lost) {
            State::Ready(zygote) => {
                *state = State::Ready(zygote.clone());
                return Ok(zygote);
            }
            State::Lost => return Err(StartError::ZygoteLost),
            State::Closed => {
                *state = State::Closed;
                return Err(StartError::Closed);
            }
            State::Unmet(process, socket) => {
                *state = State::Meeting(process);
                (socket, None)
            }
            // Whoever met this one has gone in the middle of it.
            State::Meeting(process) if !self.executes => {
                end(process).await;
                return Err(StartError::ZygoteLost);
            }
            absent => {
                *state = State::Absent;
                if let State::Meeting(process) = absent {
                    end(process).await;
                }
                let (process, socket, outputs) = execute(recipe).await?;
                *state = State::Meeting(process);
                (socket, Some(outputs))
            }
        };
        let met = meet(recipe, socket).await;
        // From here on nothing waits, but for the end of a process that is no use.
        let State::Meeting(process) = std::mem::replace(&mut *state, self.without()) else {
            return Err(StartError::Closed);
        };
        match met {
            Ok(connection) => {
                let zygote = Zygote::new(process, connection.stream);
                let zygote = Arc::new(zygote.map_err(StartError::system("use a socket"))?);
                *state = State::Ready(zygote.clone());
                Ok(zygote)
            }
            Err(error @ (StartError::Gone | StartError::Mute)) => {
                let pid = process.id();
                let exit = ended_soon(process).await;
                Err(StartError::ZygoteDied {
                    pid,
                    exit,
                    mute: matches!(error, StartError::Mute),
                    stderr_tail: outputs.map(Outputs::into_tail).unwrap_or_default(),
                })
            }
            Err(error) => {
                end(process).await;
                Err(match error {
                    StartError::UserCode(_, failure) => StartError::UserCode("preload", failure),
                    other => other,
                })
            }
        }
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
        let process = match std::mem::replace(&mut *self.zygote.lock().await, State::Closed) {
            State::Ready(zygote) => zygote.take_process(),
            State::Unmet(process, _) | State::Meeting(process) => Some(process),
            State::Absent | State::Lost | State::Closed => None,
        };
        if let Some(process) = process {
            end(process).await;
        }
    }
}

/// Starts the process that is to become a zygote.
async fn execute(recipe: &Arc<Recipe>) -> Result<(ChildProcess, Blocking, Outputs), StartError> {
    let system = StartError::system;
    // What is printed by what it preloads goes to our stderr.
    let outlets = Outlets::new(None, None);
    let (ends, pipes) = outlets.open().map_err(system("make a pipe"))?;
    let recipe = recipe.clone();
    let executed = tokio::task::spawn_blocking(move || {
        let output = [ends.stdout, ends.stderr].map(Stdio::from);
        recipe.surroundings.execute(message::ZYGOTE, output)
    });
    // The task fails only if the runtime is ending.
    let (process, socket) = executed.await.map_err(|_| StartError::Closed)??;
    let attended = outlets.attend(pipes, 0, process.id());
    let outputs = attended.map_err(system("read a pipe"))?;
    Ok((process, socket.into(), outputs))
}

/// Makes a zygote of the process at the other end.
async fn meet(recipe: &Recipe, socket: Blocking) -> Result<Connection, StartError> {
    let system = StartError::system;
    let mut connection = Connection::new(socket.into()).map_err(system("use a socket"))?;
    let own = Identity::own();
    tokio::select! {
        outcome = connection.establish(&own, &[], recipe.zygote_setup(), recipe.max_frame_length) => outcome?,
        () = tokio::time::sleep(recipe.spawn_timeout) => return Err(StartError::TimedOut(recipe.spawn_timeout)),
    }
    Ok(connection)
}

/// Ends a process.
async fn end(process: ChildProcess) {
    process.kill();
    ended(process).await;
}

/// As `end`, but a process that is about to end by itself gets the time to.
async fn ended_soon(process: ChildProcess) -> sys::Exit {
    match process.watch() {
        Ok(mut process) => {
            // It may have hung up without ending.
            let _ = tokio::time::timeout(EXIT_GRACE, process.readable()).await;
            process.get_ref().kill();
            let _ = process.readable().await;
            process.get_mut().reap()
        }
        Err(_) => sys::Exit::default(), // It was dropped, and by that killed.
    }
}

/// Waits until a process has ended that was killed.
async fn ended(process: ChildProcess) -> sys::Exit {
    match process.watch() {
        Ok(mut process) => {
            let _ = process.readable().await;
            process.get_mut().reap()
        }
        Err(_) => sys::Exit::default(), // It was dropped, and by that killed.
    }
}

impl fmt::Debug for ForkServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForkServer")
    }
}
