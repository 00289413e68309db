//! The listener's side of all handshakes. They run at the same time. Each takes one step whenever `accept` polls, so a
//! silent client delays no other.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::ConnectError;
use super::handshake::{self, Challenge, ClientRefusal, Key, LONGEST};
use crate::multiprocessing::pipe::step::{OtherReason, Reasons, Step, Transfer};
use crate::multiprocessing::pipe::watch::{Lasts, SocketWatch};
use crate::multiprocessing::waiting::local::Local;
use crate::sys::{self, AsFd, Direction, OwnedFd};
use crate::wire::descriptors::Descriptor;

/// The most handshakes at a time.
const MOST_PENDING: usize = 64;

/// The most clients that are let in before other tasks run.
const MOST_IN_A_ROW: usize = 64;

#[derive(Debug)]
pub(super) struct Reception {
    listener: Descriptor,
    /// The sockets to wait for: those of the listener and of pending clients.
    set: Descriptor,
    news: Arc<SocketWatch>,
    key: Key,
    handshake_timeout: Duration,
    /// A fork does not have those of its parent.
    pending: Local<Mutex<VecDeque<PendingClient>>>,
    refused: AtomicU64,
}

/// A client whose handshake has started.
#[derive(Debug)]
struct PendingClient {
    socket: OwnedFd,
    challenge: Challenge,
    /// Its deadline. `None` if it has none.
    end: Option<Instant>,
}

/// The result of a step of a handshake.
enum Stage {
    Silent,
    /// Its decision was sent.
    Accepted,
    Refused,
}

impl PendingClient {
    fn step(&self, key: &Key) -> Stage {
        let mut buffer = [0; LONGEST];
        let len = match sys::receive(self.socket.as_fd(), &mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Stage::Silent,
            Err(_) => return Stage::Refused,
        };
        match handshake::check_answer(key, self.challenge, &buffer[..len]) {
            Ok(decision) if say(&self.socket, &decision) => Stage::Accepted,
            Ok(_) => Stage::Refused,
            Err(refusal) => {
                say(&self.socket, &refusal.decision());
                Stage::Refused
            }
        }
    }
}

/// Sends a message. False if that fails: the client has ended, or does not read.
pub(super) fn say(socket: impl AsFd, message: &[u8]) -> bool {
    let sent = sys::send_with_fds(socket.as_fd(), &[io::IoSlice::new(message)], &[]);
    sent.is_ok_and(|sent| sent == message.len())
}

impl Reception {
    pub(super) fn new(
        listener: Descriptor,
        key: Key,
        handshake_timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let set = Descriptor::from(sys::ready_set()?);
        sys::add_to_set(set.as_fd(), listener.as_fd())?;
        let news = SocketWatch::new(set.clone(), Direction::In, Lasts::Always);
        Ok(Self {
            listener,
            set,
            news: Arc::new(news),
            key,
            handshake_timeout,
            pending: Local::default(),
            refused: AtomicU64::new(0),
        })
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn pending(&self) -> MutexGuard<'_, VecDeque<PendingClient>> {
        self.pending
            .get()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, client: PendingClient) {
        sys::remove_from_set(self.set.as_fd(), client.socket.as_fd());
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a step of each handshake. Returns a client that is accepted.
    fn attend(&self, pending: &mut VecDeque<PendingClient>) -> Option<OwnedFd> {
        let now = Instant::now();
        let mut accepted = None;
        for client in mem::take(pending) {
            let is_late = client.end.is_some_and(|end| end <= now);
            let stage = match accepted {
                None => client.step(&self.key),
                Some(_) => Stage::Silent, // The next call reads its answer.
            };
            match stage {
                Stage::Silent if !is_late => pending.push_back(client),
                Stage::Silent | Stage::Refused => self.refuse(client),
                Stage::Accepted => {
                    sys::remove_from_set(self.set.as_fd(), client.socket.as_fd());
                    accepted = Some(client.socket);
                }
            }
        }
        accepted
    }

    /// Greets the next client. False if there is none.
    fn greet(&self, pending: &mut VecDeque<PendingClient>) -> Result<bool, ConnectError> {
        let Some(socket) = sys::accept_local(self.listener.as_fd())? else {
            return Ok(false);
        };
        if !sys::is_own_user(&socket)? {
            say(&socket, &ClientRefusal::OtherUser.decision());
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Ok(true);
        }
        let mut challenge = Challenge::default();
        sys::fill_random(&mut challenge)?;
        if !say(&socket, &handshake::greeting(&challenge)) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Ok(true);
        }
        sys::add_to_set(self.set.as_fd(), socket.as_fd())?;
        if pending.len() == MOST_PENDING
            && let Some(oldest) = pending.pop_front()
        {
            self.refuse(oldest);
        }
        pending.push_back(PendingClient {
            socket,
            challenge,
            end: Instant::now().checked_add(self.handshake_timeout),
        });
        Ok(true)
    }
}

/// Waits for a client that proves that it knows the key. Returns its socket.
#[derive(Debug)]
pub(super) struct Accept<'a>(pub(super) &'a Reception);

impl Transfer for Accept<'_> {
    type Done = Result<Descriptor, ConnectError>;

    fn step(&mut self) -> Option<Step<Self::Done>> {
        let mut pending = self.0.pending();
        if let Some(socket) = self.0.attend(&mut pending) {
            return Some(Step::Done(Ok(socket.into())));
        }
        for greeted in 0..MOST_IN_A_ROW {
            match self.0.greet(&mut pending) {
                Ok(true) => {}
                Ok(false) if greeted == 0 => return None,
                Ok(false) => break, // It must now wait for other sockets and another deadline.
                Err(error) => return Some(Step::Done(Err(error))),
            }
        }
        Some(Step::Part)
    }

    fn waits_for(&self) -> Reasons {
        let ends = self
            .0
            .pending()
            .iter()
            .filter_map(|client| client.end)
            .min();
        Reasons {
            socket: Some(self.0.news.clone()),
            other: ends.map_or(OtherReason::Nothing, OtherReason::At),
        }
    }
}
