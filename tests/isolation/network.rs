//! What an isolated worker can do with sockets.

use std::net::{TcpListener, TcpStream};

use concurrent_futures::{ExecutorExt as _, Isolation, StartMethod};
use libc::c_int;

use super::methods::{held_by_every_start_method, processes};
use super::{code, done, errno_of, isolated};

held_by_every_start_method! { 1;
    an_isolated_worker_reaches_no_listener_of_the_machine,
    in_a_shared_network_only_the_allowed_ports_of_tcp_are_open,
}

fn connect(port: u16) -> i32 {
    code(TcpStream::connect(("127.0.0.1", port)))
}

fn listen(port: u16) -> i32 {
    code(TcpListener::bind(("127.0.0.1", port)))
}

async fn an_isolated_worker_reaches_no_listener_of_the_machine(method: StartMethod) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let other = processes(method, 1);
    assert_eq!(done(other.submit(connect, port)).await, 0);
    let Some(pool) = isolated(method, Isolation::new()).await else {
        return;
    };
    assert_eq!(done(pool.submit(connect, port)).await, libc::ENETUNREACH);
    // A socket with a path or a name belongs to no network.
    for family in [libc::AF_UNIX, libc::AF_VSOCK, libc::AF_ALG, libc::AF_PACKET] {
        let socket = |family: c_int| {
            // SAFETY: it takes numbers, and the descriptor is not used.
            #[expect(unsafe_code, reason = "calls the system")]
            errno_of(unsafe { libc::socket(family, libc::SOCK_STREAM, 0) }.into())
        };
        assert_eq!(
            done(pool.submit(socket, family)).await,
            libc::EPERM,
            "{family}"
        );
    }
    // Std's use of socket pairs works.
    let pair = || code(std::os::unix::net::UnixStream::pair());
    assert_eq!(done(pool.submit(pair, ())).await, 0);
}

async fn in_a_shared_network_only_the_allowed_ports_of_tcp_are_open(method: StartMethod) {
    let [allowed, denied] =
        [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a listener"));
    let port_of = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let (allowed, denied) = ((port_of(&allowed), allowed), (port_of(&denied), denied));
    let isolation = Isolation::new().share_network().allow_connect(allowed.0);
    let pool = isolated(method, isolation)
        .await
        .expect("no network is needed");
    assert_eq!(done(pool.submit(connect, allowed.0)).await, 0);
    assert_eq!(done(pool.submit(connect, denied.0)).await, libc::EACCES);
    assert_eq!(done(pool.submit(listen, 0)).await, libc::EACCES);
    let isolation = Isolation::new().share_network().allow_bind(0);
    let pool = isolated(method, isolation)
        .await
        .expect("no network is needed");
    assert_eq!(done(pool.submit(listen, 0)).await, 0);
    assert_eq!(done(pool.submit(connect, allowed.0)).await, libc::EACCES);
}
