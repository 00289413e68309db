//! A proxy between a program and a server, which cuts, drops and holds what passes, at the message that a test names.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

/// The longest text that a rule looks for.
const LONGEST: usize = 64;

/// A proxy. Dropping it cuts all its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Program,
    Server,
}

/// What is done with the bytes that have the text of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// They are lost with the connection.
    CutBefore,
    /// They arrive, and then the connection is cut.
    CutAfter,
    /// This replaces the text, each time. It is as long.
    Replace(Vec<u8>),
}

#[derive(Debug)]
struct Shared {
    server: u16,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    streams: Vec<TcpStream>,
    /// No new connection is made.
    is_shut: bool,
    /// What is sent waits.
    is_held: bool,
    is_over: bool,
    /// How many rules have cut a connection.
    cuts: usize,
}

#[derive(Debug)]
struct Rule {
    from: Side,
    text: Vec<u8>,
    act: Act,
    /// How many more times the text passes before.
    skip: usize,
}

impl Proxy {
    /// Starts one before the server at this port of this machine.
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("it listens").port();
        let shared = Arc::new(Shared {
            server,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let theirs = shared.clone();
        thread::spawn(move || theirs.accept(&listener));
        Self { port, shared }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Acts on the bytes that have this text, after it has passed `skip` times. A rule that cuts acts once.
    pub fn on(&self, from: Side, text: &str, skip: usize, act: Act) {
        assert!((1..=LONGEST).contains(&text.len()), "{text}");
        let text = text.as_bytes().to_vec();
        let rule = Rule {
            from,
            text,
            act,
            skip,
        };
        self.shared.state().rules.push(rule);
    }

    /// Cuts all connections. New ones are made.
    pub fn cut(&self) {
        self.shared.state().cut();
    }

    /// Cuts all connections, and refuses new ones until `open`.
    pub fn shut(&self) {
        let mut state = self.shared.state();
        state.is_shut = true;
        state.cut();
    }

    pub fn open(&self) {
        self.shared.state().is_shut = false;
    }

    /// Holds what is sent in both directions until `release`, as a network that is cut without a word.
    pub fn hold(&self) {
        self.shared.state().is_held = true;
    }

    pub fn release(&self) {
        self.shared.state().is_held = false;
        self.shared.changed.notify_all();
    }

    /// Whether all rules have acted that cut.
    pub fn has_cut(&self) -> bool {
        let state = self.shared.state();
        let cuts = |rule: &Rule| !matches!(rule.act, Act::Replace(_));
        state.cuts > 0 && !state.rules.iter().any(cuts)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_over = true;
        state.is_held = false;
        state.cut();
        drop(state);
        self.shared.changed.notify_all();
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)); // Wakes the thread that accepts.
    }
}

impl State {
    fn cut(&mut self) {
        for stream in self.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // It may be closed.
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for program in listener.incoming() {
            let mut state = self.state();
            if state.is_over {
                return;
            }
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server));
            let (Ok(program), Ok(server), false) = (program, server, state.is_shut) else {
                continue; // Dropping it closes it.
            };
            for stream in [&program, &server] {
                stream.set_nodelay(true).expect("a socket");
                state
                    .streams
                    .push(stream.try_clone().expect("a descriptor"));
            }
            let copy = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
            let directions = [
                (Side::Program, copy(&program), copy(&server)),
                (Side::Server, server, program),
            ];
            for (from, input, output) in directions {
                let shared = self.clone();
                thread::spawn(move || shared.pass(from, input, output));
            }
        }
    }

    /// Passes bytes on until the connection ends.
    fn pass(&self, from: Side, mut input: TcpStream, mut output: TcpStream) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = input.read(&mut buffer) {
            let bytes = &mut buffer[..read];
            let mut state = self.state();
            while state.is_held {
                state = self.changed.wait(state).expect("no panic");
            }
            let cut = state.act(from, bytes);
            drop(state);
            let passed = cut != Some(Act::CutBefore) && output.write_all(bytes).is_ok();
            if !passed || cut.is_some() {
                break;
            }
        }
        for stream in [input, output] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl State {
    /// Applies the rules. Returns the one that cuts. A message of these tests comes in one piece.
    fn act(&mut self, from: Side, bytes: &mut [u8]) -> Option<Act> {
        let mut cut = None;
        self.rules.retain_mut(|rule| {
            if rule.from != from || cut.is_some() {
                return true;
            }
            while let Some(at) = find(bytes, &rule.text) {
                match &rule.act {
                    Act::Replace(other) => {
                        let found = &mut bytes[at..at + rule.text.len()];
                        assert!(found.len() == other.len() && *found != **other);
                        found.copy_from_slice(other);
                    }
                    act => {
                        let times = bytes
                            .windows(rule.text.len())
                            .filter(|part| *part == rule.text);
                        let times = times.count();
                        if times <= rule.skip {
                            rule.skip -= times;
                            return true;
                        }
                        cut = Some(act.clone());
                        return false;
                    }
                }
            }
            true
        });
        self.cuts += usize::from(cut.is_some());
        cut
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|part| part == text)
}
