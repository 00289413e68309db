//! The fork server: the process that forks workers. It has one thread, and waits for its parent's requests, for the
//! parent's end, and for the end of processes that it must reap.
//!
//! A worker stays a zombie until the parent requests its exit status. Until then no other process gets its id, so the
//! parent can kill it by that id. A process that runs one function is reaped without a request, because its parent may
//! never send one.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::time::Duration;

use super::desk::run_initializer;
use super::inlet::{Inlet, Met, invalid};
use crate::executor::context::process::become_child;
use crate::function::FunctionOffset;
use crate::panic::PanicReport;
use crate::sys::{self, AsFd as _, Forked, OneWay, OwnedFd, Socket};
use crate::wire::descriptors::Descriptor;
use crate::wire::forkserver::{FromForkServer, LONGEST, ToForkServer};
use crate::wire::message::{self, FromWorker, Role, Setup};
use crate::wire::surroundings::VariableChanges;
use crate::wire::{Chain, Reader};

/// The pause before it tries again to reap a worker that has ended.
const AGAIN: Duration = Duration::from_millis(10);

/// A forked process.
pub(super) struct ForkedProcess {
    pub(super) role: Role,
    pub(super) socket: Socket,
    /// The parent's pidfd.
    pub(super) parent: Option<OwnedFd>,
    /// The name that the process gets once its parent knows it.
    pub(super) name: Option<CString>,
    /// Its one thread is a copy of a thread that has run code of the program or a preload. So it has the same state of
    /// random number generators, and of a runtime.
    pub(super) has_run_user_code: bool,
}

/// Serves until the parent ends, and returns `None`. In a forked process, returns that.
pub(super) fn serve(
    socket: Socket,
    parent: Option<OwnedFd>,
    way: &OneWay,
) -> io::Result<Option<ForkedProcess>> {
    let Some(inlet) = Inlet::open(socket)? else {
        return Ok(None);
    };
    let mut fork_server = ForkServerLoop {
        inlet,
        parent,
        watched: Vec::new(),
        has_run_user_code: sys::generation() > 0, // A fork server that was forked is a fork of the program.
        name: sys::name_fork_server(),
    };
    if !fork_server.get_ready()? {
        return Ok(None);
    }
    fork_server.run(way)
}

/// The result of the preload, or why it failed.
type Opened = Result<(), Result<String, PanicReport>>;

struct ForkServerLoop {
    inlet: Inlet,
    parent: Option<OwnedFd>,
    /// Running processes whose exit status is to be sent.
    watched: Vec<WatchedChild>,
    has_run_user_code: bool,
    /// The name of the forked processes.
    name: Option<CString>,
}

struct WatchedChild {
    pid: u32,
    pidfd: OwnedFd,
    /// The pipe for its exit status. `None` if the answer goes over the socket.
    exit_pipe: Option<File>,
}

impl ForkServerLoop {
    /// Runs the preload. Returns false if the parent closed the socket, or if the preload failed.
    fn get_ready(&mut self) -> io::Result<bool> {
        let Some(met) = self.inlet.meet::<Setup>()? else {
            return Ok(false);
        };
        let Met {
            mut setup,
            args,
            greeting: mut words,
        } = met;
        become_child(std::mem::take(&mut setup.identity));
        sys::set_dumpable(setup.is_dumpable);
        let beside = self.inlet.take_descriptors(setup.descriptors)?;
        if setup.initializer.is_some() {
            self.has_run_user_code = true;
            self.inlet.socket = sys::out_of_reach(sys::own_descriptor(&self.inlet.socket)?).into();
            self.parent = self.parent.take().map(sys::out_of_reach);
        }
        let opened = self.preload(setup.initializer, args, beside)?;
        sys::reset_signals(); // Once, for all workers: no user code runs here from now on.
        let is_ready = opened.is_ok();
        let answer = opened.map_or_else(FromWorker::failed, |()| FromWorker::Ready);
        message::put(&mut words, &answer);
        self.inlet.frames.set_limit(LONGEST);
        // The parent ends this process by a kill, so the profile of the code up to here is written now.
        sys::write_profile();
        self.inlet.say(&mut words)?;
        Ok(is_ready)
    }

    fn preload(
        &self,
        function: Option<FunctionOffset>,
        args: Reader,
        beside: Vec<Descriptor>,
    ) -> io::Result<Opened> {
        let early = check_threads(|others| {
            format!(
                "threads run already in the process that forks others ({others}), and it cannot be forked safely \
                 beside them; call concurrent_futures::init() first in main; if a library starts them before main, \
                 use StartMethod::Spawn"
            )
        });
        if function.is_none() || early.is_err() {
            return Ok(early);
        }
        let parent = self.parent.as_ref();
        let preloaded = sys::watched(&self.inlet.socket, parent, || {
            run_initializer("preload", function, args, beside)
        })?;
        Ok(preloaded.and_then(|()| {
            check_threads(|others| {
                format!(
                    "the preload left threads running ({others}), and a process with other threads cannot be forked \
                     safely; start them in the initializer, which runs in each worker"
                )
            })
        }))
    }

    fn run(mut self, way: &OneWay) -> io::Result<Option<ForkedProcess>> {
        loop {
            if !self.inlet.frames.has_next() {
                self.wait()?;
            }
            let Some(frame) = self.inlet.next_frame()? else {
                return Ok(None);
            };
            match message::get(frame) {
                Some(ToForkServer::Fork {
                    request,
                    role,
                    changes_variables,
                    changes_folder,
                }) => {
                    let change = (changes_variables, changes_folder);
                    if let Some(socket) = self.fork(way, request, role, change)? {
                        return Ok(Some(ForkedProcess {
                            role,
                            socket,
                            parent: self.parent,
                            name: self.name,
                            has_run_user_code: self.has_run_user_code,
                        }));
                    }
                }
                Some(ToForkServer::Reap { pid }) if self.is_watched(pid) => {}
                Some(ToForkServer::Reap { pid }) => self.reap(pid, None)?,
                None => {
                    return Err(invalid("the parent sent an invalid request"));
                }
            }
        }
    }

    /// Waits for a request. Ends this process if the parent ended.
    fn wait(&mut self) -> io::Result<()> {
        loop {
            let children = self.watched.iter().map(|child| child.pidfd.as_fd());
            let always = [
                Some(self.inlet.socket.as_fd()),
                self.parent.as_ref().map(|parent| parent.as_fd()),
            ];
            let ready = sys::wait_readable(children.chain(always.into_iter().flatten()))?;
            let (children, always) = ready.split_at(self.watched.len());
            if always.get(1) == Some(&true) {
                sys::exit_forked(0);
            }
            let (ended, watched) = std::mem::take(&mut self.watched)
                .into_iter()
                .zip(children)
                .partition::<Vec<_>, _>(|(_, ended)| **ended);
            self.watched = watched.into_iter().map(|(child, _)| child).collect();
            for (WatchedChild { pid, exit_pipe, .. }, _) in ended {
                self.reap(pid, exit_pipe)?;
                if self.is_watched(pid) {
                    std::thread::sleep(AGAIN); // The worker has ended, but a tracer has not released it.
                }
            }
            if always[0] {
                return Ok(());
            }
        }
    }

    fn is_watched(&self, pid: u32) -> bool {
        self.watched.iter().any(|child| child.pid == pid)
    }

    /// Forks. Returns `None` in this process, and the socket in the new one.
    fn fork(
        &mut self,
        way: &OneWay,
        request: u64,
        role: Role,
        (changes_variables, changes_folder): (bool, bool),
    ) -> io::Result<Option<Socket>> {
        let mut fds = self.inlet.fds.drain(..);
        let streams = (fds.next(), fds.next(), fds.next());
        let is_runner = role == Role::Runner;
        let [exit_pipe, variables, folder] = [is_runner, changes_variables, changes_folder]
            .map(|is_there| is_there.then(|| fds.next().ok_or(())).transpose());
        drop(fds);
        let (socket, stdout, stderr, exit_pipe, variables, folder) =
            match (streams, exit_pipe, variables, folder) {
                (
                    (Some(socket), Some(stdout), Some(stderr)),
                    Ok(exit_pipe),
                    Ok(variables),
                    Ok(folder),
                ) => (
                    socket,
                    stdout,
                    stderr,
                    exit_pipe.map(File::from),
                    variables,
                    folder,
                ),
                _ => {
                    // Without a free descriptor here, the system drops those that arrive.
                    let reason = "the process that forks others has too many open files";
                    self.refuse(request, reason.to_owned())?;
                    return Ok(None);
                }
            };
        match sys::fork(way) {
            Ok(Forked::Child) => {
                sys::set_output(stdout, stderr)?;
                change_surroundings(variables, folder)?;
                Ok(Some(Socket::from(socket)))
            }
            Ok(Forked::Parent(pid)) => {
                let pidfd = match sys::open_child(pid) {
                    Ok(pidfd) => pidfd,
                    Err(error) => {
                        sys::end_child(pid); // No other process knows of this child.
                        self.refuse(request, error.to_string())?;
                        return Ok(None);
                    }
                };
                let mut out = Chain::new();
                message::put(&mut out, &FromForkServer::Forked { request, pid });
                let bytes = out.into_bytes();
                let sent = sys::send_patiently(
                    self.inlet.socket.as_fd(),
                    &[IoSlice::new(&bytes)],
                    &[pidfd.as_fd()],
                )?;
                if sent < bytes.len() {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                if role == Role::Runner {
                    self.watched.push(WatchedChild {
                        pid,
                        pidfd,
                        exit_pipe,
                    });
                }
                Ok(None)
            }
            Err(error) => {
                self.refuse(request, error.to_string())?;
                Ok(None)
            }
        }
    }

    fn refuse(&self, request: u64, reason: String) -> io::Result<()> {
        self.send(&FromForkServer::refused(request, reason))
    }

    /// Sends how a process ended, now or when it ends.
    fn reap(&mut self, pid: u32, exit_pipe: Option<File>) -> io::Result<()> {
        let exit = match sys::reap_if_ended(pid) {
            Ok(None) => match sys::open_child(pid) {
                Ok(pidfd) => {
                    self.watched.push(WatchedChild {
                        pid,
                        pidfd,
                        exit_pipe,
                    });
                    return Ok(());
                }
                Err(_) => {
                    sys::end_child(pid); // After the kill its exit status is known, and the parent need not wait.
                    sys::Exit::default()
                }
            },
            Ok(Some(exit)) => exit,
            Err(_) => sys::Exit::default(), // It is no child of this process, or was reaped before.
        };
        let exited = FromForkServer::Exited {
            pid,
            code: exit.code,
            signal: exit.signal,
        };
        let Some(mut pipe) = exit_pipe else {
            return self.send(&exited);
        };
        let mut out = Chain::new();
        message::put(&mut out, &exited);
        // An empty pipe has room for this. If the pipe has no reader any more, the status is not needed.
        let _ = pipe.write_all(&out.into_bytes());
        Ok(())
    }

    fn send(&self, answer: &FromForkServer) -> io::Result<()> {
        let mut out = Chain::new();
        message::put(&mut out, answer);
        self.inlet.say(&mut out)
    }
}

/// Changes what the parent has changed since the fork server started.
fn change_surroundings(variables: Option<OwnedFd>, folder: Option<OwnedFd>) -> io::Result<()> {
    if let Some(file) = variables {
        let changes = VariableChanges::from_file(&file)?;
        sys::change_variables(changes.removed.into_iter(), changes.set.into_iter())?;
    }
    folder.map_or(Ok(()), sys::enter_folder)
}

/// Refuses to fork while there is another thread: it would be missing in the worker, and its locks would
/// stay locked.
fn check_threads(refusal: impl FnOnce(String) -> String) -> Opened {
    let others = sys::lasting_threads().map_err(|error| Ok(error.to_string()))?;
    if others.is_empty() {
        return Ok(());
    }
    Err(Ok(refusal(others.join(", "))))
}
