//! A local socket with a path: a Unix socket if the platform has them, and otherwise a loopback socket with a file that
//! contains the address.

use std::io;
use std::path::Path;

#[cfg(not(unix))]
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
#[cfg(not(unix))]
pub(super) use tokio::net::{TcpListener as Listener, TcpStream as Stream};
#[cfg(unix)]
pub(super) use tokio::net::{UnixListener as Listener, UnixStream as Stream};

#[cfg(unix)]
pub(super) fn bind(path: &Path) -> io::Result<Listener> {
    Listener::bind(path)
}

#[cfg(unix)]
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path)
}

#[cfg(not(unix))]
pub(super) fn bind(path: &Path) -> io::Result<Listener> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    std::fs::write(path, listener.local_addr()?.to_string())?;
    listener.set_nonblocking(true)?;
    Listener::from_std(listener)
}

#[cfg(not(unix))]
pub(super) fn connect(path: &Path) -> io::Result<TcpStream> {
    TcpStream::connect(std::fs::read_to_string(path)?)
}
