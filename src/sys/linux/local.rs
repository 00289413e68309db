//! Sockets with a path, between programs of one user.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::epoll;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::rand::GetRandomFlags;

use super::call::Call as _;
use super::packet::make_roomy;
use super::print::above_standard_streams;
use super::socket::raised;

/// The most clients that may wait to be accepted. The system's own limit may be lower.
const BACKLOG: i32 = 1024;

/// How often to try a directory that is locked.
const TRIES: u32 = 1000;

/// The path of a socket. Only the socket that was bound here is removed from it.
#[derive(Debug)]
pub(crate) struct BoundPath {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// A socket for whole messages that has no address yet.
pub(crate) fn local_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let socket = above_standard_streams(socket.of_call("socket")?)?;
    make_roomy(&socket);
    Ok(socket)
}

fn address_of(path: &Path) -> io::Result<SocketAddrUnix> {
    if path.as_os_str().is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path of a listener is empty",
        ));
    }
    SocketAddrUnix::new(path).map_err(|error| {
        let what = match error {
            Errno::NAMETOOLONG => "is longer than the 108 bytes that a socket's path may have",
            _ => "contains a zero byte",
        };
        let text = format!("the path {} {what}", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

/// Listens at a path to which only this user may connect. Replaces a socket of this user at which no program listens.
/// Fails with `AddrInUse` if anything else is there.
pub(crate) fn listen_at(path: &Path) -> io::Result<(OwnedFd, BoundPath)> {
    let (socket, address) = (local_socket()?, address_of(path)?);
    // The socket's mode becomes that of its file, so other users can connect at no time.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).of_call("fchmod")?;
    let _lock = lock_folder_of(path)?;
    match rustix::net::bind(&socket, &address) {
        Err(Errno::ADDRINUSE) if is_abandoned(path, &address) => {
            rustix::fs::unlink(path).of_call("unlink")?;
            rustix::net::bind(&socket, &address).of_call("bind")?;
        }
        bound => bound.of_call("bind")?,
    }
    // Before the lock is released, so that no other program takes this socket for an abandoned one.
    rustix::net::listen(&socket, BACKLOG).of_call("listen")?;
    let found = rustix::fs::lstat(path).of_call("lstat")?;
    let bound = BoundPath {
        path: std::path::absolute(path)?,
        device: found.st_dev,
        inode: found.st_ino,
    };
    Ok((socket, bound))
}

/// Locks the directory of a path against other programs that listen there. `None` if it cannot be locked.
fn lock_folder_of(path: &Path) -> io::Result<Option<OwnedFd>> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = rustix::fs::open(folder, flags, Mode::empty()) else {
        return Ok(None); // The directory may be unreadable.
    };
    for _ in 0..TRIES {
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(folder)),
            Err(Errno::WOULDBLOCK) => std::thread::yield_now(),
            Err(_) => return Ok(None), // The file system has no locks.
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "another program keeps the directory of the path locked",
    ))
}

/// Whether it is a socket of this user at which no program listens.
fn is_abandoned(path: &Path, address: &SocketAddrUnix) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let is_ours = rustix::fs::lstat(path).is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::Socket && found.st_uid == user
    });
    let connect = || rustix::net::connect(local_socket().ok()?, address).err();
    is_ours && connect() == Some(Errno::CONNREFUSED)
}

impl BoundPath {
    /// Removes the socket from its path, unless something else is there now. While the socket is open, no other file
    /// has its number.
    pub(crate) fn remove(&self) {
        let _lock = lock_folder_of(&self.path);
        let found = rustix::fs::lstat(&self.path);
        if found.is_ok_and(|found| (found.st_dev, found.st_ino) == (self.device, self.inode)) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

/// Accepts the next client. `None` if there is none.
pub(crate) fn accept_local(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        match rustix::net::accept_with(&listener, flags) {
            Ok(client) => {
                let client = raised(client);
                make_roomy(&client);
                return Ok(Some(client));
            }
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(error) => return Err(error).of_call("accept4"),
        }
    }
}

/// Connects to a listener. Returns false if too many clients wait to be accepted.
pub(crate) fn connect_local(socket: impl AsFd, path: &Path) -> io::Result<bool> {
    let address = address_of(path)?;
    match rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address)) {
        Ok(()) | Err(Errno::ISCONN) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        // The path belongs to a socket of another kind, and so to another program.
        Err(Errno::PROTOTYPE) => Err(io::ErrorKind::ConnectionRefused.into()),
        Err(error) => Err(error).of_call("connect"),
    }
}

/// Whether the other end belongs to the effective user of this process, according to the system.
pub(crate) fn is_own_user(socket: impl AsFd) -> io::Result<bool> {
    let peer = sockopt::socket_peercred(socket).of_call("getsockopt")?;
    Ok(peer.uid == rustix::process::geteuid())
}

/// Fills `bytes` with unpredictable random numbers.
pub(crate) fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let got = rustix::io::retry_on_intr(|| {
            rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty())
        });
        filled += got.of_call("getrandom")?;
    }
    Ok(())
}

/// Creates a set of descriptors. It is readable while one of them is.
pub(crate) fn ready_set() -> io::Result<OwnedFd> {
    let created = epoll::create(epoll::CreateFlags::CLOEXEC);
    above_standard_streams(created.of_call("epoll_create1")?)
}

/// Adds a descriptor to a set.
pub(crate) fn add_to_set(set: impl AsFd, fd: impl AsFd) -> io::Result<()> {
    let data = epoll::EventData::new_u64(0);
    epoll::add(set, fd, data, epoll::EventFlags::IN).of_call("epoll_ctl")
}

/// Removes a descriptor from a set. Closing it is not enough if a fork has a copy.
pub(crate) fn remove_from_set(set: impl AsFd, fd: impl AsFd) {
    let _ = epoll::delete(set, fd);
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;
    use crate::sys::{self, Direction};

    /// A directory of its own for a test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let name = format!("cf-local-{test}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).expect("a directory");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_socket_that_no_program_listens_at_is_replaced_and_nothing_else() {
        let folder = Folder::new("replaced");
        let path = folder.0.join("socket");
        let (first, bound) = listen_at(&path).expect("it is free");
        let in_use = |path| listen_at(path).expect_err("it is taken").kind();
        assert_eq!(in_use(&path), io::ErrorKind::AddrInUse);
        std::fs::remove_file(&path).expect("it is there");
        let (second, _) = listen_at(&path).expect("it is free again");
        bound.remove();
        assert!(path.exists(), "it is another socket");
        drop((first, second));
        let (_third, bound) = listen_at(&path).expect("it is abandoned");
        bound.remove();
        assert!(!path.exists());
        std::fs::write(&path, "text").expect("a file");
        assert_eq!(in_use(&path), io::ErrorKind::AddrInUse);
        let datagrams = folder.0.join("datagrams");
        let _other = std::os::unix::net::UnixDatagram::bind(&datagrams).expect("a socket");
        assert_eq!(in_use(&datagrams), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn only_its_user_may_connect_from_the_first_moment() {
        let folder = Folder::new("mode");
        let path = folder.0.join("socket");
        let (_listener, _bound) = listen_at(&path).expect("it is free");
        let found = rustix::fs::lstat(&path).expect("it is there");
        assert_eq!(found.st_mode & 0o777 & !0o600, 0);
        let client = local_socket().expect("a socket");
        assert!(connect_local(&client, &path).expect("it listens"));
        assert!(is_own_user(&client).expect("it is connected"));
    }

    #[test]
    fn a_path_that_cannot_be_one_is_an_error() {
        for path in ["", "a\0b", &"x".repeat(200)] {
            let error = listen_at(Path::new(path)).expect_err("it is no path");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
    }

    #[test]
    fn a_set_is_readable_while_one_of_it_is() {
        let set = ready_set().expect("a set");
        let is_ready = || {
            sys::wait_ready(
                set.as_fd(),
                Direction::In,
                None,
                Some(std::time::Instant::now()),
            )
        };
        let (to, from) = sys::packet_pair().expect("sockets");
        add_to_set(&set, &from).expect("it is added");
        for _ in 0..2 {
            assert!(!is_ready());
            assert!(sys::send_packet(&to, 1, &[]).expect("there is room"));
            assert!(is_ready() && is_ready());
            sys::drop_packet(&from);
        }
        assert!(sys::send_packet(&to, 1, &[]).expect("there is room"));
        remove_from_set(&set, &from);
        assert!(!is_ready());
    }
}
