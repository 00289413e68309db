//! The process that forks others, the fork server. It has one thread, does nothing by itself, and waits: for its
//! parent's requests, for the parent's end, and for processes whose exit status it is to take.
//!
//! A worker keeps its id, as a zombie, until the parent has asked for its exit status; so whatever the
//! parent kills by that id before is the worker. What runs one function it reaps unasked, for nobody need
//! be there who asks.

use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::desk::run_initializer;
use super::inlet::{Inlet, Met, invalid};
use crate::function::FunctionOffset;
use crate::panic::PanicReport;
use crate::sys::{self, Forked};
use crate::wire::descriptors::Descriptor;
use crate::wire::forkserver::{FromForkServer, LONGEST, ToForkServer};
use crate::wire::message::{self, Role};
use crate::wire::{Chain, Reader};

/// After so long a worker is looked at again that has ended and cannot be reaped.
const AGAIN: Duration = Duration::from_millis(10);

/// What a process was forked as, and its socket.
pub(super) type ForkedProcess = (Role, UnixStream);

/// Serves until the parent is gone, and gives nothing; or comes back in a process that was forked.
pub(super) fn serve(
    socket: UnixStream,
    parent: Option<OwnedFd>,
) -> io::Result<Option<ForkedProcess>> {
    let Some(inlet) = Inlet::open(socket)? else {
        return Ok(None);
    };
    let mut fork_server = ForkServerLoop {
        inlet,
        parent,
        watched: Vec::new(),
    };
    if !fork_server.get_ready()? {
        return Ok(None);
    }
    fork_server.run()
}

/// What became of the preload: nothing to tell, or why it failed.
type Opened = Result<(), Result<String, PanicReport>>;

struct ForkServerLoop {
    inlet: Inlet,
    parent: Option<OwnedFd>,
    /// Processes whose exit status is wanted and not there yet.
    watched: Vec<WatchedChild>,
}

struct WatchedChild {
    pid: u32,
    pidfd: OwnedFd,
    /// Where it is told how that ended, if not where the parent has asked for it.
    told_at: Option<File>,
}

impl ForkServerLoop {
    /// Loads what every worker is to find. False if the parent has hung up, or was told that there is
    /// no point in going on.
    fn get_ready(&mut self) -> io::Result<bool> {
        let Some(met) = self.inlet.meet()? else {
            return Ok(false);
        };
        let Met {
            told: setup,
            args,
            greeting: mut words,
        } = met;
        let beside = self.inlet.take_descriptors(setup.descriptors)?;
        let opened = self.preload(setup.initializer, args, beside)?;
        sys::reset_signals(); // Once, for all workers: no code of the user's runs here from now on.
        match &opened {
            Ok(()) => message::put_ready(&mut words),
            Err(failure) => message::put_failed(&mut words, failure),
        }
        self.inlet.frames.set_limit(LONGEST);
        self.inlet.say(&mut words)?;
        Ok(opened.is_ok())
    }

    fn preload(
        &self,
        function: Option<FunctionOffset>,
        args: Reader,
        beside: Vec<Descriptor>,
    ) -> io::Result<Opened> {
        if function.is_none() {
            return Ok(check_threads());
        }
        let parent = self.parent.as_ref();
        let preloaded = sys::watched(&self.inlet.socket, parent, || {
            run_initializer("preload", function, args, beside)
        })?;
        Ok(preloaded.and_then(|()| check_threads()))
    }

    fn run(mut self) -> io::Result<Option<ForkedProcess>> {
        loop {
            if !self.inlet.frames.has_next() {
                self.wait()?;
            }
            let Some(frame) = self.inlet.next_frame()? else {
                return Ok(None);
            };
            match ToForkServer::parse(frame) {
                Some(ToForkServer::Fork { request, role }) => {
                    if let Some(socket) = self.fork(request, role)? {
                        return Ok(Some((role, socket)));
                    }
                }
                Some(ToForkServer::Reap { pid }) if self.is_watched(pid) => {}
                Some(ToForkServer::Reap { pid }) => self.reap(pid, None)?,
                None => {
                    return Err(invalid(
                        "the parent asked for something that makes no sense",
                    ));
                }
            }
        }
    }

    /// Waits for a request. Ends this process if the parent has ended.
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
            for (WatchedChild { pid, told_at, .. }, _) in ended {
                self.reap(pid, told_at)?;
                if self.is_watched(pid) {
                    std::thread::sleep(AGAIN); // It has ended, but who traces it has it still.
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

    /// In this process, forks another and gives nothing. In the other, gives its socket.
    fn fork(&mut self, request: u64, role: Role) -> io::Result<Option<UnixStream>> {
        let mut fds = self.inlet.fds.drain(..);
        let streams = (fds.next(), fds.next(), fds.next());
        let told_at = fds.next().map(File::from);
        drop(fds);
        let (socket, stdout, stderr) = match streams {
            (Some(socket), Some(stdout), Some(stderr))
                if told_at.is_some() == (role == Role::Runner) =>
            {
                (socket, stdout, stderr)
            }
            _ => {
                // This process may have no descriptor more: then the system drops those that come.
                let reason = "the process that forks others has too many open files";
                self.refuse(request, reason.to_owned())?;
                return Ok(None);
            }
        };
        match sys::fork() {
            Ok(Forked::Child) => {
                sys::set_output(stdout, stderr)?;
                Ok(Some(UnixStream::from(socket)))
            }
            Ok(Forked::Parent(pid)) => {
                let pidfd = match sys::open_child(pid) {
                    Ok(pidfd) => pidfd,
                    Err(error) => {
                        sys::end_child(pid); // Nobody would know it.
                        self.refuse(request, error.to_string())?;
                        return Ok(None);
                    }
                };
                let mut out = Chain::new();
                FromForkServer::Forked { request, pid }.put(&mut out);
                let bytes = out.into_bytes();
                let sent = sys::send_with_fds(
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
                        told_at,
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
        self.send(|out| FromForkServer::Refused { request, reason }.put(out))
    }

    /// Tells how a process ended, now or as soon as it has.
    fn reap(&mut self, pid: u32, told_at: Option<File>) -> io::Result<()> {
        let exit = match sys::reap_if_ended(pid) {
            Ok(None) => match sys::open_child(pid) {
                Ok(pidfd) => {
                    self.watched.push(WatchedChild {
                        pid,
                        pidfd,
                        told_at,
                    });
                    return Ok(());
                }
                Err(_) => {
                    sys::end_child(pid); // Whoever asked for its end need not wait for it.
                    sys::Exit::default()
                }
            },
            Ok(Some(exit)) => exit,
            Err(_) => sys::Exit::default(), // No child, or no more: nothing is known.
        };
        let told = FromForkServer::Exited {
            pid,
            code: exit.code,
            signal: exit.signal,
        };
        let Some(mut pipe) = told_at else {
            return self.send(|out| told.put(out));
        };
        let mut out = Chain::new();
        told.put(&mut out);
        // An empty pipe has room for so little. If nobody is there any more, nobody is to be told.
        let _ = pipe.write_all(&out.into_bytes());
        Ok(())
    }

    fn send(&self, put: impl FnOnce(&mut Chain)) -> io::Result<()> {
        let mut out = Chain::new();
        put(&mut out);
        self.inlet.say(&mut out)
    }
}

/// What runs in another thread would be missing in a worker, and what such a thread holds locked would
/// stay so for ever.
fn check_threads() -> Opened {
    let others = sys::other_threads().map_err(|error| Ok(error.to_string()))?;
    if others.is_empty() {
        return Ok(());
    }
    Err(Ok(format!(
        "the preload left threads running ({}), and a process with other threads cannot be forked \
         safely; start them in the initializer, which runs in each worker",
        others.join(", ")
    )))
}
