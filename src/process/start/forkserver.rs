//! Where workers are forked: sees to it that there is a zygote, and that it is another one when the
//! last has died.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream as Blocking;
use std::process::Stdio;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::Recipe;
use super::child::Child;
use super::connection::Connection;
use super::error::StartError;
use super::zygote::Zygote;
use crate::process::ServeAsZygote;
use crate::sys::{self, ChildProcess, Forked};
use crate::wire::message::{self, Identity};

/// So many zygotes may die of one start.
const MOST_ZYGOTES: usize = 2;

pub(in crate::process) struct ForkServer {
    /// Held while a zygote is made, so that only one is.
    zygote: Mutex<State>,
}

enum State {
    /// One will be started when it is needed.
    Absent,
    /// Forked from this process, which has not spoken with it yet.
    Unmet(ChildProcess, Blocking),
    Ready(Arc<Zygote>, Origin),
    /// There can be no other.
    Lost,
    Closed,
}

/// How a zygote came to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Executed,
    Forked,
}

impl ForkServer {
    /// The zygote will be this executable, started again.
    pub(in crate::process) fn executed() -> Self {
        Self {
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
    /// dead is replaced.
    pub(super) async fn fork(
        &self,
        recipe: &Arc<Recipe>,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Child, StartError> {
        for _ in 0..MOST_ZYGOTES {
            let zygote = self.ready(recipe).await?;
            if let Some(process) = zygote.fork(fds).await? {
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
        let (process, socket, origin) = match &*state {
            State::Ready(zygote, _) => return Ok(zygote.clone()),
            State::Lost => return Err(StartError::ZygoteLost),
            State::Closed => return Err(StartError::Closed),
            State::Unmet(..) => {
                let State::Unmet(process, socket) = std::mem::replace(&mut *state, State::Lost)
                else {
                    return Err(StartError::ZygoteLost);
                };
                (process, socket, Origin::Forked)
            }
            State::Absent => {
                let recipe = recipe.clone();
                let executed = tokio::task::spawn_blocking(move || {
                    // What is printed by what it preloads goes to our stderr.
                    let stdout = io::stderr().as_fd().try_clone_to_owned();
                    let stdout = stdout.map_err(StartError::system("duplicate stderr"))?;
                    let output = [Stdio::from(stdout), Stdio::inherit()];
                    let zygote = recipe.surroundings.execute(message::ZYGOTE, output);
                    zygote.map(|(process, socket)| (process, Blocking::from(socket)))
                });
                let (process, socket) = executed.await.map_err(|_| StartError::Closed)??;
                (process, socket, Origin::Executed)
            }
        };
        let zygote = Arc::new(meet(recipe, process, socket).await?);
        *state = State::Ready(zygote.clone(), origin);
        Ok(zygote)
    }

    /// A zygote was found dead.
    async fn discard(&self, dead: &Arc<Zygote>) {
        let mut state = self.zygote.lock().await;
        if let State::Ready(zygote, origin) = &*state
            && Arc::ptr_eq(zygote, dead)
        {
            *state = match origin {
                Origin::Executed => State::Absent,
                Origin::Forked => State::Lost,
            };
        }
        drop(dead.take_process());
    }

    /// Ends the zygote, and waits until it is gone.
    pub(super) async fn close(&self) {
        let process = match std::mem::replace(&mut *self.zygote.lock().await, State::Closed) {
            State::Ready(zygote, _) => zygote.take_process(),
            State::Unmet(process, _) => Some(process),
            State::Absent | State::Lost | State::Closed => None,
        };
        if let Some(process) = process {
            process.kill();
            end(process).await;
        }
    }
}

/// Makes a zygote of a new process.
async fn meet(
    recipe: &Recipe,
    process: ChildProcess,
    socket: Blocking,
) -> Result<Zygote, StartError> {
    let system = StartError::system;
    let mut connection = Connection::new(socket.into()).map_err(system("use a socket"))?;
    let own = Identity::own();
    let established = tokio::select! {
        outcome = connection.establish(&own, &[], recipe.zygote_setup(), recipe.max_frame_length) => outcome,
        () = tokio::time::sleep(recipe.spawn_timeout) => Err(StartError::TimedOut(recipe.spawn_timeout)),
    };
    match established {
        Ok(()) => Zygote::new(process, connection.stream).map_err(system("use a socket")),
        Err(StartError::Gone) => {
            let pid = process.id();
            Err(StartError::ZygoteDied(pid, end(process).await))
        }
        Err(error) => {
            process.kill();
            end(process).await;
            Err(match error {
                StartError::UserCode(_, failure) => StartError::UserCode("preload", failure),
                other => other,
            })
        }
    }
}

/// Waits until a process has ended that is about to.
async fn end(process: ChildProcess) -> sys::Exit {
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
