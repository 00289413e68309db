//! The parent's end of a fork server: sends requests, and matches the answers to the requests.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::ChildConnection;
use super::error::StartError;
use super::surroundings::{ForkServerSurroundings, SurroundingsChange};
use crate::home::{Watched, timeout};
use crate::sys::{self, AsFd as _, ChildProcess, Direction, Exit, OwnedFd, Socket};
use crate::wire::descriptors::Descriptor;
use crate::wire::forkserver::{FromForkServer, LONGEST, ToForkServer};
use crate::wire::frame_buffer::FrameBuffer;
use crate::wire::message::{self, Role};
use crate::wire::{Chain, Reader};

/// The most bytes of answers to read before a request is sent: more than a socket holds.
const MOST_DRAINED: usize = 1 << 20;
/// The number of the request that goes with the first message.
const FIRST: u64 = 1;

/// A fork server that is ready. Dropping it kills the fork server. Every process that it has forked and that this
/// process knows of holds it, so there are none left at the drop.
pub(super) struct ForkServerProcess {
    process: Mutex<Option<ChildProcess>>,
    socket: Socket,
    surroundings: ForkServerSurroundings,
    /// The kind of process that it forks. It reaps a runner without a request.
    role: Role,
    /// Only one task at a time sends requests.
    inbox: tokio::sync::Mutex<ForkServerInbox>,
    /// Since when a request has had no answer, even if its task was dropped meanwhile.
    silent_since: Mutex<Option<Instant>>,
    pid: u32,
    pidfd: Arc<OwnedFd>,
    /// Killed workers that the fork server has not reported as reaped. If it ends first, this process may have to reap
    /// them.
    forgotten: Mutex<Vec<(u32, Arc<OwnedFd>)>>,
}

/// A request to a fork server.
pub(super) struct ForkRequest {
    pub(super) role: Role,
    /// The descriptors of [`ToForkServer::Fork`], without those of `change`.
    pub(super) fds: Vec<Descriptor>,
    pub(super) change: SurroundingsChange,
}

impl ForkRequest {
    fn put(self, out: &mut Chain, request: u64) {
        let message = ToForkServer::Fork {
            request,
            role: self.role,
            changes_variables: self.change.variables.is_some(),
            changes_folder: self.change.folder.is_some(),
        };
        message::put(out, &message);
        let change = [self.change.variables, self.change.folder];
        out.attach(self.fds);
        out.attach(change.into_iter().flatten().collect());
    }
}

/// Answers that no task has taken yet. The next task that sends a request also finds the answers for tasks that were
/// dropped.
struct ForkServerInbox {
    frames: FrameBuffer,
    fds: VecDeque<OwnedFd>,
    last_request: u64,
}

/// An answer, and the descriptor beside it.
type Answer = (FromForkServer, Option<OwnedFd>);

/// Why there is no answer.
enum NoAnswer {
    /// The fork server ended.
    Ended,
    /// The fork server or the system refused the request.
    Refused(io::Error),
}

impl ForkServerProcess {
    /// Appends the first request to the first message.
    pub(super) fn put_first_request(out: &mut Chain, request: ForkRequest) {
        request.put(out, FIRST);
    }

    /// Takes over a fork server that is ready. Its first request has been sent.
    pub(super) fn new(
        process: ChildProcess,
        mut connection: ChildConnection,
        surroundings: ForkServerSurroundings,
        role: Role,
    ) -> Self {
        connection.frames.set_limit(LONGEST);
        Self {
            pid: process.id(),
            pidfd: process.pidfd().clone(),
            forgotten: Mutex::default(),
            process: Mutex::new(Some(process)),
            // The socket is not registered with a runtime: the next request may come from another one.
            socket: connection.stream.into_inner(),
            surroundings,
            role,
            inbox: tokio::sync::Mutex::new(ForkServerInbox {
                frames: connection.frames,
                fds: connection.fds.unwrap_or_default(),
                last_request: FIRST,
            }),
            silent_since: Mutex::new(None),
        }
    }

    /// What it was started with.
    pub(super) fn surroundings(&self) -> &ForkServerSurroundings {
        &self.surroundings
    }

    /// Forks a process. `None` if the fork server has ended, or does not answer within `limit`. It is then killed,
    /// because it would delay all others.
    pub(super) async fn fork(
        &self,
        request: ForkRequest,
        limit: Duration,
    ) -> Result<Option<ChildProcess>, StartError> {
        let mut inbox = self.inbox.lock().await;
        inbox.last_request += 1;
        let mut message = Chain::new();
        request.put(&mut message, inbox.last_request);
        self.forked(&mut inbox, Some(message), limit).await
    }

    /// As `fork`, for the request in the first message.
    pub(super) async fn first_fork(
        &self,
        limit: Duration,
    ) -> Result<Option<ChildProcess>, StartError> {
        let mut inbox = self.inbox.lock().await;
        self.forked(&mut inbox, None, limit).await
    }

    /// The answer to the latest request. Sends the request if that was not done.
    async fn forked(
        &self,
        inbox: &mut ForkServerInbox,
        request: Option<Chain>,
        limit: Duration,
    ) -> Result<Option<ChildProcess>, StartError> {
        let failed = StartError::system("fork a process");
        let wanted = inbox.last_request;
        let pick = |(answer, fd): Answer| match answer {
            FromForkServer::Forked { request, pid } if request == wanted => {
                Ok(self.forked_process(pid, fd))
            }
            FromForkServer::Refused { request, reason } if request == wanted => {
                Ok(Err(io::Error::other(reason)))
            }
            other => Err((other, fd)),
        };
        let answered = self.ask(inbox, request, pick);
        // This task has the lock: the time that other tasks took does not count.
        match timeout(limit, answered).await {
            Some(Ok(Err(error))) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
            Some(Ok(outcome)) => outcome.map(Some).map_err(failed),
            Some(Err(NoAnswer::Refused(error))) => Err(failed(error)),
            Some(Err(NoAnswer::Ended)) => Ok(None),
            None => {
                drop(self.take_process());
                Ok(None)
            }
        }
    }

    /// The process of an answer.
    fn forked_process(&self, pid: u32, pidfd: Option<OwnedFd>) -> io::Result<ChildProcess> {
        match pidfd {
            Some(pidfd) => self.check(ChildProcess::of_another(self.pid, pid, pidfd)),
            // The system drops the descriptor if this process may open no more files. Without it nothing here can kill
            // the process, but its socket is closed as soon as this fails.
            None => {
                self.ask_to_reap(pid);
                Err(sys::too_many_descriptors())
            }
        }
    }

    /// Handles an answer whose task was dropped: ends the forked process.
    fn discard(&self, (answer, fd): Answer) {
        let FromForkServer::Forked { pid, .. } = answer else {
            return;
        };
        match self.forked_process(pid, fd) {
            Ok(process) if self.role == Role::Runner => drop(process), // This kills it.
            Ok(mut process) => {
                process.kill_without_reaping();
                self.forget(process.id(), process.pidfd().clone());
            }
            Err(_) => {}
        }
    }

    /// Kills the fork server if it reports a process that it did not fork. `BrokenPipe` if it has ended: the system
    /// then no longer knows which process forked that one.
    fn check(&self, forked: io::Result<ChildProcess>) -> io::Result<ChildProcess> {
        forked.map_err(|error| {
            if error.kind() != io::ErrorKind::InvalidData {
                return error;
            }
            let has_ended = sys::is_readable(&self.pidfd);
            drop(self.take_process());
            if has_ended {
                return io::ErrorKind::BrokenPipe.into();
            }
            io::Error::other(
                "the fork server answered with a process that is none of its own, and was killed",
            )
        })
    }

    /// How a worker ended, if the fork server knows. After this call, another process may have the worker's process id.
    pub(super) async fn exit_of(&self, worker: u32) -> Option<Exit> {
        let mut inbox = self.inbox.lock().await;
        let request = encode(ToForkServer::Reap { pid: worker });
        let answered = self.ask(&mut inbox, Some(request), |answer| match answer {
            (FromForkServer::Exited { pid, code, signal }, _) if pid == worker => Ok(Exit {
                code,
                signal,
                ..Exit::default()
            }),
            other => Err(other),
        });
        let answered = answered.await;
        if matches!(answered, Err(NoAnswer::Ended)) {
            drop(self.take_process()); // The drop waits for its end now, rather than when the next one is needed.
            // Its orphans have another parent only once it has ended.
            let mut end = Watched::new(self.pidfd.clone(), Direction::In);
            poll_fn(|cx| end.poll_ready(cx)).await;
        }
        answered.ok()
    }

    /// As `exit_of`, without waiting for the exit of a killed worker. Another process may get its process id.
    pub(super) fn forget(&self, worker: u32, pidfd: Arc<OwnedFd>) {
        self.forgotten().push((worker, pidfd));
        self.ask_to_reap(worker);
    }

    fn ask_to_reap(&self, worker: u32) {
        if self.role == Role::Runner {
            return;
        }
        // If the socket is full, the zombie stays until the fork server ends.
        let _ = encode(ToForkServer::Reap { pid: worker })
            .send_with(|bytes, fds| sys::send_with_fds(self.socket.as_fd(), bytes, fds));
    }

    /// Sends the request, unless that was done, and passes each answer to `pick` until it takes one. Returns the
    /// others, which belong to dropped tasks.
    async fn ask<T>(
        &self,
        inbox: &mut ForkServerInbox,
        request: Option<Chain>,
        mut pick: impl FnMut(Answer) -> Result<T, Answer>,
    ) -> Result<T, NoAnswer> {
        let socket = sys::own_descriptor(&self.socket).map(Socket::from);
        let mut socket = Watched::new(socket.map_err(NoAnswer::Refused)?, Direction::In);
        if let Some(mut request) = request {
            // Reads answers before it writes: a fork server whose answers fill the socket reads no requests. Each
            // answer is handled before the next is received, so that each gets its own descriptor.
            let mut drained = 0;
            while drained < MOST_DRAINED
                && let Ok(len @ 1..) = self.receive(inbox, &self.socket)
            {
                drained += len;
                while let Some(late) = self.next(inbox)? {
                    self.discard(late);
                }
            }
            // The socket takes a short message as a whole or not at all.
            let mut send = |socket: &Socket| {
                request.send_with(|bytes, fds| sys::send_with_fds(socket.as_fd(), bytes, fds))
            };
            let sent = match send(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.note_silence();
                    socket.turn(Direction::Out);
                    let sent = socket.io(send).await;
                    socket.turn(Direction::In);
                    sent
                }
                at_once => at_once,
            };
            match sent {
                Ok(()) => {}
                Err(error) if !sys::is_hangup(&error) => return Err(NoAnswer::Refused(error)),
                Err(_) => return Err(NoAnswer::Ended),
            }
        }
        loop {
            while let Some(answer) = self.next(inbox)? {
                match pick(answer) {
                    Ok(picked) => return Ok(picked),
                    Err(late) => self.discard(late),
                }
            }
            self.note_silence();
            let received = socket.io(|socket| self.receive(inbox, socket)).await;
            if matches!(received, Ok(0) | Err(_)) {
                return Err(NoAnswer::Ended);
            }
        }
    }

    fn next(&self, inbox: &mut ForkServerInbox) -> Result<Option<Answer>, NoAnswer> {
        let next = inbox.next().map_err(|()| NoAnswer::Ended)?;
        if let Some((FromForkServer::Exited { pid, .. }, _)) = next {
            self.forgotten().retain(|(forgotten, _)| *forgotten != pid);
        }
        Ok(next)
    }

    fn receive(&self, inbox: &mut ForkServerInbox, socket: &Socket) -> io::Result<usize> {
        let len = inbox.receive(socket)?;
        if len > 0 {
            *self.silent_since() = None;
        }
        Ok(len)
    }

    /// Starts the time of silence, unless it has started.
    fn note_silence(&self) {
        self.silent_since().get_or_insert_with(Instant::now);
    }

    /// Whether a request has had no answer for `limit`.
    #[cfg(feature = "multiprocessing")]
    pub(super) fn is_silent_for(&self, limit: Duration) -> bool {
        let since = *self.silent_since();
        let is_over = since.is_some_and(|since| since.elapsed() >= limit);
        is_over && !sys::is_readable(&self.socket) // An answer may be there that no task has read.
    }

    fn forgotten(&self) -> MutexGuard<'_, Vec<(u32, Arc<OwnedFd>)>> {
        self.forgotten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn silent_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.silent_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the process out, to end it or because it has ended.
    pub(super) fn take_process(&self) -> Option<ChildProcess> {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for ForkServerProcess {
    fn drop(&mut self) {
        drop(self.take_process());
        let forgotten = std::mem::take(&mut *self.forgotten());
        if !forgotten.is_empty() || sys::inherits_orphans() {
            let orphans = forgotten.into_iter().map(|(_, pidfd)| pidfd).collect();
            sys::reap_orphans_of(self.pid, self.pidfd.clone(), orphans);
        }
    }
}

impl ForkServerInbox {
    fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        let mut bytes = [0; 1024];
        // If a descriptor is missing, reading its answer fails.
        let (len, fd) = sys::receive_with_fd(socket.as_fd(), &mut bytes)?;
        self.fds.extend(fd);
        self.frames.push(&bytes[..len]);
        Ok(len)
    }

    /// The next complete answer, with its descriptor. At most one descriptor belongs to an incomplete answer.
    fn next(&mut self) -> Result<Option<Answer>, ()> {
        let Some(frame) = self.frames.next().map_err(|_| ())? else {
            return if self.fds.len() > 1 {
                Err(())
            } else {
                Ok(None)
            };
        };
        let answer = message::get(Reader::from(frame)).ok_or(())?;
        let fd = match answer {
            FromForkServer::Forked { .. } => self.fds.pop_front(),
            _ => None,
        };
        Ok(Some((answer, fd)))
    }
}

fn encode(request: ToForkServer) -> Chain {
    let mut out = Chain::new();
    message::put(&mut out, &request);
    out
}

#[cfg(all(test, target_os = "linux", properties))]
#[path = "../../../tests/properties/process/start/forkserver_process.rs"]
mod properties;
