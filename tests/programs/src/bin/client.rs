//! Connects to the listener of another program, and uses the objects that it receives.

use std::fs::File;
use std::io::Write as _;

use concurrent_futures::multiprocessing::{Client, Connection, Fd, Lock, Queue};

/// Arguments: the path, and the key.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let connected = Client::new(&args[0], &args[1]).blocking_connect();
    let server: Connection<u32, Option<(Lock, Queue<u64>, Fd)>> = match connected {
        Ok(server) => server,
        Err(error) => {
            println!("{error}");
            std::process::exit(3);
        }
    };
    let sent = server.blocking_recv().expect("it is sent");
    let (lock, queue, file) = sent.expect("objects");
    let _held = lock.blocking_lock();
    let mut file = File::from(file.into_inner());
    file.write_all(b"written by another program")
        .expect("it is open");
    queue.blocking_put(42).expect("there is room");
    server
        .blocking_send(std::process::id())
        .expect("it is received");
    // This process is then killed while it holds the lock.
    let _ = server.blocking_recv();
}
