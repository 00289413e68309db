//! The listener's side of all handshakes. They run at the same time, one step each time `accept` looks, so a silent
//! client delays no other.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::ConnectError;
use super::handshake::{self, Challenge, ClientRefusal, Key, LONGEST};
use crate::multiprocessing::pipe::step::{Also, Reasons, Step, Transfer};
use crate::multiprocessing::pipe::watch::{Lasts, SocketWatch};
use crate::sys::{self, AsFd, Direction, OwnedFd};
use crate::wire::descriptors::Descriptor;

/// The number of handshakes at a time.
const MOST_GUESTS: usize = 64;

/// The number of clients that are let in before other tasks run.
const MOST_IN_A_ROW: usize = 64;

#[derive(Debug)]
pub(super) struct Reception {
    listener: Descriptor,
    /// The sockets to wait for: the listener's, and those of the guests.
    set: Descriptor,
    news: Arc<SocketWatch>,
    key: Key,
    patience: Duration,
    guests: Mutex<VecDeque<Guest>>,
    refused: AtomicU64,
}

/// A client that has been greeted. The oldest is the first.
#[derive(Debug)]
struct Guest {
    socket: OwnedFd,
    challenge: Challenge,
    /// Its deadline. `None` if it has none.
    end: Option<Instant>,
}

/// How far a guest is.
enum Stage {
    Silent,
    /// Its decision was sent.
    Accepted,
    Refused,
}

impl Guest {
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
        patience: Duration,
    ) -> Result<Self, ConnectError> {
        let set = Descriptor::from(sys::ready_set()?);
        sys::add_to_set(set.as_fd(), listener.as_fd())?;
        let news = SocketWatch::new(set.clone(), Direction::In, Lasts::Always);
        Ok(Self {
            listener,
            set,
            news: Arc::new(news),
            key,
            patience,
            guests: Mutex::default(),
            refused: AtomicU64::new(0),
        })
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn guests(&self) -> MutexGuard<'_, VecDeque<Guest>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, guest: Guest) {
        sys::remove_from_set(self.set.as_fd(), guest.socket.as_fd());
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a step of each handshake. Returns a client that is accepted.
    fn attend(&self, guests: &mut VecDeque<Guest>) -> Option<OwnedFd> {
        let now = Instant::now();
        let mut accepted = None;
        for guest in mem::take(guests) {
            let is_late = guest.end.is_some_and(|end| end <= now);
            let stage = match accepted {
                None => guest.step(&self.key),
                Some(_) => Stage::Silent, // The next call reads its answer.
            };
            match stage {
                Stage::Silent if !is_late => guests.push_back(guest),
                Stage::Silent | Stage::Refused => self.refuse(guest),
                Stage::Accepted => {
                    sys::remove_from_set(self.set.as_fd(), guest.socket.as_fd());
                    accepted = Some(guest.socket);
                }
            }
        }
        accepted
    }

    /// Greets the next client. False if there is none.
    fn greet(&self, guests: &mut VecDeque<Guest>) -> Result<bool, ConnectError> {
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
        if guests.len() == MOST_GUESTS
            && let Some(oldest) = guests.pop_front()
        {
            self.refuse(oldest);
        }
        guests.push_back(Guest {
            socket,
            challenge,
            end: Instant::now().checked_add(self.patience),
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
        let mut guests = self.0.guests();
        if let Some(socket) = self.0.attend(&mut guests) {
            return Some(Step::Done(Ok(socket.into())));
        }
        for greeted in 0..MOST_IN_A_ROW {
            match self.0.greet(&mut guests) {
                Ok(true) => {}
                Ok(false) if greeted == 0 => return None,
                Ok(false) => break, // Now it waits for other sockets, and another time.
                Err(error) => return Some(Step::Done(Err(error))),
            }
        }
        Some(Step::Part)
    }

    fn waits_for(&self) -> Reasons {
        let ends = self.0.guests().iter().filter_map(|guest| guest.end).min();
        Reasons {
            socket: Some(self.0.news.clone()),
            also: ends.map_or(Also::Nothing, Also::At),
        }
    }
}
