//! Shared objects with a hostile holder, which changes what it shares, or sends something else in its place.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use concurrent_futures::multiprocessing::{
    Array, Connection, Event, Lock, Queue, Semaphore, SharedMemory, Value, pipe,
};
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor, SharedArg, StartMethod};
use rustix::fs::{MemfdFlags, OFlags, SealFlags};

use super::common::{in_thread, within};
use super::methods::{builder, held_by_every_start_method};

held_by_every_start_method! { 1;
    an_eventfd_that_blocks_and_is_full_holds_up_no_one,
    a_socket_that_blocks_holds_up_no_one,
    memory_that_can_be_shortened_or_has_holes_is_refused,
    a_descriptor_of_another_kind_is_refused,
    named_memory_that_is_shortened_is_an_error_and_no_signal,
    words_of_a_lock_that_make_no_sense_are_no_panic_and_no_loop,
    a_shared_argument_in_a_file_that_can_change_or_has_holes_is_refused,
    a_worker_believes_its_parent_alone_about_the_shared_arguments_that_it_keeps,
}

fn pool(method: StartMethod) -> ProcessPoolExecutor {
    builder(method).max_workers(1).build().expect("a pool")
}

/// The descriptors of this process, as `/proc` names them.
fn descriptors() -> Vec<(i32, String)> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc").flatten();
    let named = entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        Some((number, target.to_str()?.to_owned()))
    });
    named.collect()
}

#[expect(unsafe_code, reason = "a descriptor that it found")]
fn borrow(number: i32) -> BorrowedFd<'static> {
    // SAFETY: the descriptor is open, and its owner outlives the test's use of it.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Makes it block instead of failing.
fn make_blocking(fd: BorrowedFd<'_>) {
    let flags = rustix::fs::fcntl_getfl(fd).expect("it is open");
    let blocking = flags - OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(fd, blocking).expect("it is open");
}

/// Replaces the descriptor of this kind that belongs to `object` by `other`.
fn replaced<T>(kind: &str, make: impl FnOnce() -> T, other: impl AsFd) -> T {
    let before = descriptors();
    let object = make();
    let mut new = descriptors();
    new.retain(|found| found.1.starts_with(kind) && !before.contains(found));
    let [(number, _)] = new[..] else {
        panic!("not one {kind}: {new:?}");
    };
    #[expect(unsafe_code, reason = "a descriptor that it found")]
    // SAFETY: the descriptor is open, and is not closed here.
    let target = unsafe { OwnedFd::from_raw_fd(number) };
    let mut target = std::mem::ManuallyDrop::new(target);
    rustix::io::dup2(other, &mut target).expect("a descriptor");
    object
}

const EVENTFD: &str = "anon_inode:[eventfd]";

/// The system's identity of this eventfd.
fn event_id(number: i32) -> Option<String> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
    let id = info.lines().find(|line| line.starts_with("eventfd-id"))?;
    Some(id.to_owned())
}

/// The eventfds of this process: the system's identity of each, and its number here.
fn eventfds() -> Vec<(String, i32)> {
    let all = descriptors().into_iter();
    let eventfds = all.filter(|(_, target)| target.starts_with(EVENTFD));
    let named = eventfds.filter_map(|(number, _)| Some((event_id(number)?, number)));
    named.collect()
}

/// Copies of all eventfds of this process. While they are open, the system gives no new eventfd one of their
/// identities.
fn copies_of_eventfds() -> Vec<OwnedFd> {
    let open = eventfds().into_iter();
    // Another test may close one meanwhile.
    let copies =
        open.filter_map(|(_, number)| rustix::io::fcntl_dupfd_cloexec(borrow(number), 0).ok());
    copies.collect()
}

/// Fills these eventfds as far as possible, and makes them block. Others may be those of a runtime.
fn fill_events(meant: Vec<String>, _: Event, _: Lock, _: Queue<u8>) {
    let mut filled = 0;
    for (id, number) in eventfds() {
        if meant.contains(&id) {
            let eventfd = borrow(number);
            let _ = rustix::io::read(eventfd, &mut [0; 8]);
            let most = (u64::MAX - 1).to_ne_bytes();
            rustix::io::write(eventfd, &most).expect("it is 0");
            make_blocking(eventfd);
            filled += 1;
        }
    }
    assert!(filled >= 3, "{filled} are here");
}

async fn an_eventfd_that_blocks_and_is_full_holds_up_no_one(method: StartMethod) {
    let pool = pool(method);
    let copies = copies_of_eventfds();
    let lock = Lock::new().expect("a lock");
    let (event, queue) = (
        Event::new().expect("an event"),
        Queue::bounded(1).expect("a queue"),
    );
    let others = copies.iter().filter_map(|copy| event_id(copy.as_raw_fd()));
    let others: HashSet<String> = others.collect();
    let meant = eventfds().into_iter().map(|(id, _)| id);
    let meant: Vec<String> = meant.filter(|id| !others.contains(id)).collect();
    drop(copies);
    event.set();
    // A task waits for each object, so each change rings.
    let held = lock.lock().await;
    let waiter = lock.clone();
    let waits_for_lock = in_thread(move || drop(waiter.blocking_lock()));
    let getter = queue.clone();
    let waits_for_item = in_thread(move || getter.blocking_get().expect("an item"));
    std::thread::yield_now();
    let given = (meant, event.clone(), lock.clone(), queue.clone());
    within(pool.submit(fill_events, given))
        .await
        .expect("it ran");
    let acts = in_thread(move || {
        assert!(event.is_set());
        event.set();
        event.clear();
        event.clear();
        event.set();
        assert!(event.is_set());
        drop(held);
        for number in 0..3 {
            queue.blocking_put(number).expect("there is room");
            if number > 0 {
                queue.blocking_get().expect("an item");
            }
        }
    });
    within(acts).await;
    within(waits_for_lock).await;
    within(waits_for_item).await;
    within(pool.shutdown()).await;
}

/// A worker's own descriptors have higher numbers.
const OWN: i32 = 512;

fn make_sockets_blocking(_: Connection<Vec<u8>, Vec<u8>>, _: Queue<Event>) {
    for (number, target) in descriptors() {
        if target.starts_with("socket:") && number < OWN {
            make_blocking(borrow(number));
        }
    }
}

async fn a_socket_that_blocks_holds_up_no_one(method: StartMethod) {
    let pool = pool(method);
    let (ours, theirs) = pipe::<Vec<u8>, Vec<u8>>().expect("a pipe");
    let queue = Queue::unbounded().expect("a queue");
    // The task gets a copy of the same end.
    let given = (ours.clone(), queue.clone());
    within(pool.submit(make_sockets_blocking, given))
        .await
        .expect("it ran");
    let acts = in_thread(move || {
        assert!(ours.try_recv().expect_err("nothing was sent").is_empty());
        let soon = Duration::from_millis(5);
        let waited = ours.blocking_recv_timeout(soon);
        assert!(waited.expect_err("nothing was sent").is_timed_out());
        let full = std::iter::repeat_with(|| ours.try_send(vec![1; 1000])).find_map(Result::err);
        assert!(full.expect("it fills").error().is_full());
        assert_eq!(theirs.try_recv().expect("it was sent"), [1; 1000]);
        let event = Event::new().expect("an event");
        let full = std::iter::repeat_with(|| queue.try_put(event.clone())).find_map(Result::err);
        assert!(full.expect("it fills").error().is_full());
        while queue.try_get().is_ok() {}
        assert!(queue.is_empty());
    });
    within(acts).await;
    within(pool.shutdown()).await;
}

const LEN: usize = 1 << 20;

/// A file in memory: sealed or not, with memory or without.
fn memory_file(sealed: bool, has_memory: bool) -> OwnedFd {
    let file = rustix::fs::memfd_create("concurrent-futures", MemfdFlags::ALLOW_SEALING);
    let file = file.expect("a file");
    rustix::fs::ftruncate(&file, 2 * LEN as u64).expect("it grows");
    if has_memory {
        let bytes = vec![0; 2 * LEN];
        assert_eq!(rustix::io::pwrite(&file, &bytes, 0), Ok(bytes.len()));
    }
    if sealed {
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).expect("it can be sealed");
    }
    file
}

const MEMORY: &str = "/memfd:concurrent-futures";

fn send_bad_memory(
    blocks: Queue<SharedMemory>,
    values: Queue<Value<u64>>,
    arrays: Queue<Array<u64>>,
    locks: Queue<Lock>,
    semaphores: Queue<Semaphore>,
    queues: Queue<Queue<u8>>,
) {
    let block = |file| replaced(MEMORY, || SharedMemory::create(LEN).expect("memory"), file);
    let value = |file| replaced(MEMORY, || Value::new(1).expect("a value"), file);
    let array = |file| replaced(MEMORY, || Array::zeroed(LEN / 8).expect("an array"), file);
    let lock = |file| replaced(MEMORY, || Lock::new().expect("a lock"), file);
    let permits = |file| replaced(MEMORY, || Semaphore::new(1).expect("permits"), file);
    let queue = |file| replaced(MEMORY, || Queue::unbounded().expect("a queue"), file);
    for sealed in [false, true] {
        // Where memory is never complete, only unsealed files are refused.
        let file = || memory_file(sealed, !sealed);
        blocks.blocking_put(block(file())).expect("room");
        values.blocking_put(value(file())).expect("room");
        arrays.blocking_put(array(file())).expect("room");
    }
    locks
        .blocking_put(lock(memory_file(false, true)))
        .expect("room");
    semaphores
        .blocking_put(permits(memory_file(false, true)))
        .expect("room");
    queues
        .blocking_put(queue(memory_file(false, true)))
        .expect("room");
}

/// The queue has this many items that cannot be decoded.
fn has_refused<T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static>(
    queue: &Queue<T>,
    count: usize,
) {
    assert_eq!(queue.len(), count);
    for _ in 0..count {
        let Err(error) = queue.try_get() else {
            panic!("it was accepted");
        };
        assert!(error.is_codec(), "{error}");
    }
}

async fn memory_that_can_be_shortened_or_has_holes_is_refused(method: StartMethod) {
    let pool = pool(method);
    let blocks = Queue::unbounded().expect("a queue");
    let values = Queue::unbounded().expect("a queue");
    let arrays = Queue::unbounded().expect("a queue");
    let locks = Queue::unbounded().expect("a queue");
    let semaphores = Queue::unbounded().expect("a queue");
    let queues = Queue::unbounded().expect("a queue");
    let given = (
        blocks.clone(),
        values.clone(),
        arrays.clone(),
        locks.clone(),
        semaphores.clone(),
        queues.clone(),
    );
    within(pool.submit(send_bad_memory, given))
        .await
        .expect("it ran");
    has_refused(&blocks, 2);
    has_refused(&values, 2);
    has_refused(&arrays, 2);
    has_refused(&locks, 1);
    has_refused(&semaphores, 1);
    has_refused(&queues, 1);
    within(pool.shutdown()).await;
}

fn send_other_kinds(events: Queue<Event>, connections: Queue<Connection<u8, u8>>) {
    let nonblocking = |fd: OwnedFd| {
        rustix::fs::fcntl_setfl(&fd, OFlags::NONBLOCK).expect("it is open");
        fd
    };
    let event = |fd| replaced(EVENTFD, || Event::new().expect("an event"), fd);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let pipe_end = nonblocking(writer.into());
    let file: OwnedFd = File::open(std::env::current_exe().expect("a path"))
        .expect("a file")
        .into();
    let flags = rustix::event::EventfdFlags::CLOEXEC;
    let blocking = rustix::event::eventfd(0, flags).expect("an eventfd");
    for fd in [&pipe_end, &file, &blocking] {
        events.blocking_put(event(fd)).expect("room");
    }
    let stream = std::os::unix::net::UnixStream::pair()
        .expect("sockets")
        .0
        .into();
    let network = std::net::UdpSocket::bind("127.0.0.1:0")
        .expect("a port")
        .into();
    for fd in [&stream, &network, &reader.into(), &file] {
        // Both ends are sockets. One is created here, so that there is at least one.
        let (one, _other) = rustix_pair();
        let connection = connection_of(one, fd);
        connections.blocking_put(connection).expect("room");
    }
}

fn rustix_pair() -> (Connection<u8, u8>, Connection<u8, u8>) {
    pipe().expect("a pipe")
}

/// This end, with another descriptor in place of its own.
fn connection_of(end: Connection<u8, u8>, fd: &OwnedFd) -> Connection<u8, u8> {
    let own = descriptors().into_iter();
    let mut sockets: Vec<_> = own
        .filter(|(number, target)| {
            let kind = rustix::net::sockopt::socket_type(borrow(*number));
            target.starts_with("socket:") && kind == Ok(rustix::net::SocketType::SEQPACKET)
        })
        .map(|(number, _)| number)
        .collect();
    sockets.sort_unstable();
    // The last two are the ends of the new pipe, its first end first.
    let number = sockets[sockets.len() - 2];
    #[expect(unsafe_code, reason = "a descriptor that it found")]
    // SAFETY: the descriptor is open, and is not closed here.
    let target = unsafe { OwnedFd::from_raw_fd(number) };
    let mut target = std::mem::ManuallyDrop::new(target);
    rustix::io::dup2(fd, &mut target).expect("a descriptor");
    end
}

async fn a_descriptor_of_another_kind_is_refused(method: StartMethod) {
    let pool = pool(method);
    let events = Queue::unbounded().expect("a queue");
    let connections = Queue::unbounded().expect("a queue");
    let given = (events.clone(), connections.clone());
    within(pool.submit(send_other_kinds, given))
        .await
        .expect("it ran");
    has_refused(&events, 3);
    assert_eq!(connections.len(), 4);
    for _ in 0..4 {
        let error = connections.try_get().map(drop).expect_err("it is no pipe");
        assert!(error.is_codec(), "{error}");
    }
    within(pool.shutdown()).await;
}

fn shorten(memory: SharedMemory) {
    let name = memory.name().expect("it has one").to_owned();
    let files = fs::read_dir("/dev/shm").expect("it is there").flatten();
    let mut paths = files.map(|file| file.path());
    let path = paths.find(|path| path.to_str().is_some_and(|path| path.ends_with(&name)));
    let path: &Path = &path.expect("it has its name");
    let file = File::options().write(true).open(path).expect("it is ours");
    file.set_len(10).expect("no process can prevent it");
}

async fn named_memory_that_is_shortened_is_an_error_and_no_signal(method: StartMethod) {
    let pool = pool(method);
    let name = format!("hostile.{method:?}.{}", std::process::id()); // The other methods have theirs at the same time.
    let memory = SharedMemory::create_named(&name, LEN).expect("memory");
    memory.write(5, b"hello");
    within(pool.submit(shorten, memory.clone()))
        .await
        .expect("it ran");
    let mut bytes = [0; 5];
    memory.read(5, &mut bytes);
    assert_eq!(&bytes, b"hello");
    let reader = memory.clone();
    let read = in_thread(move || {
        let read = std::panic::AssertUnwindSafe(|| reader.read(LEN - 5, &mut [0; 5]));
        std::panic::catch_unwind(read).is_err()
    });
    assert!(within(read).await, "the bytes are gone");
    memory.write(LEN - 5, b"again");
    memory.read(LEN - 5, &mut bytes);
    assert_eq!(&bytes, b"again");
    within(pool.shutdown()).await;
}

/// Sets all words of the lock in turn to invalid values.
fn spoil(lock: Lock, word: u64) {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc");
    let page = rustix::param::page_size();
    for line in maps.lines().filter(|line| line.contains(MEMORY)) {
        let range = line
            .split_once(' ')
            .and_then(|(range, _)| range.split_once('-'));
        let (start, end) = range.expect("a range");
        let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16).expect("a number"));
        if end - start == page {
            for offset in [0, 8, 16, 24] {
                #[expect(unsafe_code, reason = "memory that it found")]
                // SAFETY: a page of the lock, which is mapped while the lock exists.
                let found =
                    unsafe { std::sync::atomic::AtomicU64::from_ptr((start + offset) as *mut u64) };
                found.store(word, std::sync::atomic::Ordering::SeqCst);
            }
        }
    }
    drop(lock);
}

async fn words_of_a_lock_that_make_no_sense_are_no_panic_and_no_loop(method: StartMethod) {
    let pool = pool(method);
    let words = [u64::MAX, u64::MAX - 1, 1 << 22, 1 << 63, 4_194_303, 1];
    for word in words {
        let lock = Lock::new().expect("a lock");
        within(pool.submit(spoil, (lock.clone(), word)))
            .await
            .expect("it ran");
        let acts = in_thread(move || {
            let soon = Duration::from_millis(20);
            drop(lock.try_lock());
            // The lock is free, or a process that has not ended holds it.
            drop(lock.blocking_lock_timeout(soon));
            let _ = format!("{lock:?}");
            lock
        });
        let lock = within(acts).await;
        let soon = tokio::time::timeout(Duration::from_millis(20), lock.lock());
        drop(within(soon).await);
    }
    within(pool.shutdown()).await;
}

fn send_bad_arguments(arguments: Queue<SharedArg<Vec<u8>>>) {
    let argument = |file| {
        let make = || {
            let argument = SharedArg::new(vec![7; LEN]);
            argument.prepare().expect("there is room");
            argument
        };
        replaced(MEMORY, make, file)
    };
    let disk = File::open(std::env::current_exe().expect("a path"));
    for file in [
        memory_file(false, true),
        memory_file(true, true),
        sealed(memory_file(true, false)),
        disk.expect("a file").into(),
        std::io::pipe().expect("a pipe").0.into(),
    ] {
        arguments.blocking_put(argument(file)).expect("room");
    }
}

/// From now on, no process can write to it.
fn sealed(file: OwnedFd) -> OwnedFd {
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE).expect("it can be sealed");
    file
}

async fn a_shared_argument_in_a_file_that_can_change_or_has_holes_is_refused(method: StartMethod) {
    let pool = pool(method);
    let arguments = Queue::unbounded().expect("a queue");
    let sent = within(pool.submit(send_bad_arguments, arguments.clone())).await;
    sent.expect("it ran");
    has_refused(&arguments, 5);
    within(pool.shutdown()).await;
}

async fn a_worker_believes_its_parent_alone_about_the_shared_arguments_that_it_keeps(
    method: StartMethod,
) {
    fn send(argument: SharedArg<Vec<u8>>, queue: Queue<SharedArg<Vec<u8>>>) {
        queue.blocking_put(argument).expect("room");
    }
    fn receive(queue: Queue<SharedArg<Vec<u8>>>) -> usize {
        let received = queue.blocking_get().expect("it was sent");
        std::ptr::from_ref(&*received).addr()
    }
    fn address(argument: SharedArg<Vec<u8>>, queue: Queue<SharedArg<Vec<u8>>>) -> (usize, usize) {
        let own = std::ptr::from_ref(&*argument).addr();
        (own, receive(queue))
    }
    let pool = pool(method);
    let queue = Queue::unbounded().expect("a queue");
    let argument = SharedArg::new(vec![7; LEN]);
    within(pool.submit(send, (argument.clone(), queue.clone())))
        .await
        .expect("it ran");
    let found = within(pool.submit(address, (argument, queue))).await;
    let (own, received) = found.expect("it ran");
    assert_ne!(
        own, received,
        "what another process sends is decoded by itself"
    );
    within(pool.shutdown()).await;
}
