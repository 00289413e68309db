//! Forks by the system call, in a runtime, while it holds shared objects and waits for them. The argument selects what
//! parent and child try.

#![expect(unsafe_code, reason = "forks by the system call")]

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use concurrent_futures::multiprocessing::{
    Barrier, Condition, Event, Listener, Lock, Queue, RLock, RwLock, Semaphore, Value,
    active_children, pipe,
};

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(30);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    match std::env::args().nth(1).as_deref() {
        Some("guards") => runtime.block_on(guards()),
        Some("timeouts") => runtime.block_on(timeouts()),
        Some("waits") => runtime.block_on(waits()),
        Some("turns") => runtime.block_on(turns()),
        Some("later") => runtime.block_on(later()),
        Some("threads") => threads(),
        other => panic!("no such try: {other:?}"),
    }
}

/// A process that was forked. Dropping it waits for its end.
struct Child(libc::pid_t);

/// Forks this process. `None` in the child, which ends with [`end`].
fn fork() -> Option<Child> {
    // SAFETY: a child of a process with several threads uses only what the C library and this crate permit in one.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "it can be forked");
    // SAFETY: it only sets a timer, which ends a process that hangs. (A fork has none of its parent's.)
    unsafe { libc::alarm(60) };
    (pid > 0).then(|| Child(pid))
}

impl Drop for Child {
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: the status is written to a variable of this function.
        let ended = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert!(
            std::thread::panicking() || (ended, status) == (self.0, 0),
            "the child has failed: {status}"
        );
    }
}

/// Ends a child.
fn end() -> ! {
    // SAFETY: it only ends the process.
    unsafe { libc::_exit(0) }
}

/// The child drops its copies of all guards, and changes through them what it can.
async fn guards() {
    let (lock, rlock, condition) = (
        Lock::new().expect("a lock"),
        RLock::new().expect("a lock"),
        Condition::new().expect("a lock"),
    );
    let (read, written) = (
        RwLock::new().expect("a lock"),
        RwLock::new().expect("a lock"),
    );
    let (semaphore, value) = (
        Semaphore::new(5).expect("permits"),
        Value::new(7_u64).expect("memory"),
    );

    let (locked, outer, inner) = (lock.lock().await, rlock.lock().await, rlock.lock().await);
    let (in_condition, reading, writing) = (
        condition.lock().await,
        read.read().await,
        written.write().await,
    );
    let (permits, permit) = (semaphore.acquire_many(3).await, semaphore.acquire().await);
    let mut changing = value.lock().await;
    *changing = 8;

    let are_held = || {
        assert!(lock.try_lock().is_none() && value.try_lock().is_none());
        assert!(read.try_write().is_none() && written.try_read().is_none());
        assert_eq!(semaphore.available_permits(), 1);
        assert!(semaphore.try_acquire_many(2).is_none());
    };
    let Some(child) = fork() else {
        *changing = 9;
        condition.notify_all(&in_condition);
        drop((
            locked,
            outer,
            inner,
            in_condition,
            reading,
            permits,
            changing,
        ));
        drop(writing.downgrade());
        permit.forget();
        are_held();
        assert!(rlock.try_lock().is_none() && read.try_read().is_some());
        end();
    };
    drop(child);
    are_held();
    drop(inner);
    assert!(rlock.try_lock().is_some(), "this thread owns it");
    drop((
        locked,
        outer,
        in_condition,
        reading,
        writing,
        permits,
        permit,
    ));
    assert!(lock.try_lock().is_some() && rlock.try_lock().is_some());
    assert!(read.try_write().is_some() && written.try_write().is_some());
    assert_eq!(semaphore.available_permits(), 5);
    drop(changing);
    assert_eq!(value.get().await, 8, "the child has not written");
}

/// The child waits for the objects that its parent holds, by each method with a timeout. Then it waits until the parent
/// releases them.
async fn timeouts() {
    let (lock, rlock, rw) = (
        Lock::new().expect("a lock"),
        RLock::new().expect("a lock"),
        RwLock::new().expect("a lock"),
    );
    let (semaphore, event, barrier) = (
        Semaphore::new(2).expect("permits"),
        Event::new().expect("an event"),
        Barrier::new(2).expect("a barrier"),
    );
    let (condition, queue) = (
        Condition::new().expect("a lock"),
        Queue::<u8>::unbounded().expect("a queue"),
    );
    let (ours, theirs) = pipe::<u8, u8>().expect("a pipe");
    let value = Value::new(1_u8).expect("memory");
    let held = (lock.lock().await, rlock.lock().await, rw.write().await);
    let (permit, changing) = (semaphore.acquire().await, value.lock().await);
    let Some(child) = fork() else {
        assert!(lock.blocking_lock_timeout(SHORT).is_none());
        assert!(rlock.blocking_lock_timeout(SHORT).is_none());
        assert!(rw.blocking_read_timeout(SHORT).is_none());
        assert!(rw.blocking_write_timeout(SHORT).is_none());
        assert!(semaphore.blocking_acquire_many_timeout(2, SHORT).is_none());
        assert!(value.blocking_lock_timeout(SHORT).is_none());
        assert!(!event.blocking_wait_timeout(SHORT));
        assert!(barrier.blocking_wait_timeout(SHORT).is_none());
        let guard = condition.blocking_lock();
        assert!(condition.blocking_wait_timeout(guard, SHORT).1.timed_out());
        assert!(queue.blocking_get_timeout(SHORT).is_err());
        assert!(!theirs.blocking_poll(SHORT));
        event.set();
        drop((lock.blocking_lock(), rlock.blocking_lock()));
        drop(rw.blocking_read());
        drop(rw.blocking_write());
        drop(semaphore.blocking_acquire_many(2));
        value.blocking_set(2);
        end();
    };
    event.wait().await;
    drop((held, permit, changing));
    drop(child);
    assert_eq!(value.get().await, 2);
    assert!(lock.try_lock().is_some() && rw.try_write().is_some());
    drop(ours);
}

/// Polls a future that must wait.
macro_rules! waits {
    ($future:expr) => {
        poll_fn(|context| {
            assert!($future.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await
    };
}

macro_rules! in_time {
    ($future:expr) => {
        tokio::time::timeout(LONG, $future)
            .await
            .expect("it was woken")
    };
}

/// The child drops its copies of futures that wait. Those of the parent are still woken.
async fn waits() {
    let (lock, rw) = (Lock::new().expect("a lock"), RwLock::new().expect("a lock"));
    let (event, barrier) = (
        Event::new().expect("an event"),
        Barrier::new(2).expect("a barrier"),
    );
    let semaphore = Semaphore::new(2).expect("permits");
    let queue = Queue::<u8>::unbounded().expect("a queue");
    let (ours, theirs) = pipe::<u8, u8>().expect("a pipe");
    let (held, reading, permit) = (
        lock.lock().await,
        rw.read().await,
        semaphore.acquire().await,
    );
    let mut locks = Box::pin(lock.lock());
    let mut writes = Box::pin(rw.write());
    let mut acquires = Box::pin(semaphore.acquire_many(2));
    let mut sees = Box::pin(event.wait());
    let mut passes = Box::pin(barrier.wait());
    let mut gets = Box::pin(queue.get());
    let mut receives = Box::pin(ours.recv());
    waits!(locks);
    waits!(writes);
    waits!(acquires);
    waits!(sees);
    waits!(passes);
    waits!(gets);
    waits!(receives);
    let Some(child) = fork() else {
        drop((locks, writes, acquires, sees, passes, gets, receives));
        drop((held, reading, permit));
        assert_eq!(barrier.waiting(), 1);
        end();
    };
    drop(child);
    assert_eq!(barrier.waiting(), 1);
    drop((held, reading, permit));
    drop(in_time!(locks));
    drop(in_time!(writes));
    assert_eq!(in_time!(acquires).num_permits(), 2);
    event.set();
    in_time!(sees);
    assert!(in_time!(barrier.wait()).is_ok() && in_time!(passes).is_ok());
    queue.put(1).await.expect("there is room");
    assert_eq!(in_time!(gets).expect("an item"), 1);
    theirs.send(2).await.expect("it is open");
    assert_eq!(in_time!(receives).expect("a value"), 2);
}

/// The parent's tasks wait in a line when it forks. The child does not wait behind them.
async fn turns() {
    let (lock, rw, semaphore) = (
        Lock::new().expect("a lock"),
        RwLock::new().expect("a lock"),
        Semaphore::new(1).expect("a permit"),
    );
    let held = (
        lock.lock().await,
        rw.write().await,
        semaphore.acquire().await,
    );
    let (mut locks, mut again) = (pin!(lock.lock()), pin!(lock.lock()));
    let (mut writes, mut reads) = (pin!(rw.write()), pin!(rw.read()));
    let (mut acquires, mut another) = (pin!(semaphore.acquire()), pin!(semaphore.acquire()));
    waits!(locks);
    waits!(again);
    waits!(writes);
    waits!(reads);
    waits!(acquires);
    waits!(another);
    let Some(child) = fork() else {
        assert!(lock.blocking_lock_timeout(LONG).is_some());
        assert!(rw.blocking_write_timeout(LONG).is_some());
        assert!(semaphore.blocking_acquire_timeout(LONG).is_some());
        end();
    };
    drop(held);
    drop((in_time!(locks), in_time!(writes), in_time!(acquires)));
    drop((in_time!(again), in_time!(reads), in_time!(another)));
    drop(child);
}

/// Threads of the parent use queues, a connection, a listener and the list of processes all the time. The children find
/// their locks in any state.
fn threads() {
    let (items, others) = (
        Queue::<Vec<u8>>::unbounded().expect("a queue"),
        Queue::<Vec<u8>>::unbounded().expect("a queue"),
    );
    let (ours, theirs) = pipe::<Vec<u8>, Vec<u8>>().expect("a pipe");
    let folder = std::env::temp_dir().join(format!("raw-fork-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let listener = Listener::bind(folder.join("socket"), "the key of this test").expect("a path");
    let accept = || listener.blocking_accept_timeout::<u8, u8>(SHORT);
    let over = AtomicBool::new(false);
    let until_over = &|act: &dyn Fn()| {
        while !over.load(Ordering::Relaxed) {
            act();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until_over(&|| {
                for queue in [&items, &others] {
                    queue.blocking_put(vec![1; 1 << 20]).expect("there is room");
                    queue.blocking_get().expect("an item");
                }
            });
        });
        // Receivers put large values back that have not arrived as a whole.
        let send = || theirs.blocking_send_timeout(vec![1; 8 << 20], SHORT);
        scope.spawn(move || until_over(&|| drop(send())));
        scope.spawn(|| until_over(&|| drop(ours.blocking_recv_timeout(Duration::ZERO))));
        scope.spawn(|| until_over(&|| drop(active_children())));
        scope.spawn(|| until_over(&|| drop(accept())));
        for _ in 0..20 {
            let Some(child) = fork() else {
                items.blocking_put(vec![2; 10]).expect("there is room");
                items.blocking_get().expect("an item");
                assert!(active_children().is_empty());
                assert!(accept().expect_err("no client").is_timed_out());
                drop(ours.blocking_recv_timeout(SHORT));
                end();
            };
            drop(child);
        }
        over.store(true, Ordering::Relaxed);
    });
    std::fs::remove_dir_all(&folder).expect("its own");
}

/// The child takes the objects that its parent has released, and then drops its copies of the parent's guards.
async fn later() {
    let (lock, rlock, rw) = (
        Lock::new().expect("a lock"),
        RLock::new().expect("a lock"),
        RwLock::new().expect("a lock"),
    );
    let (semaphore, value) = (
        Semaphore::new(1).expect("a permit"),
        Value::new(7_u64).expect("memory"),
    );
    let locked = (lock.lock().await, rlock.lock().await);
    let (writing, permit) = (rw.write().await, semaphore.acquire().await);
    let mut changing = value.lock().await;
    let Some(child) = fork() else {
        *changing = 9;
        let _own = (lock.blocking_lock(), rlock.blocking_lock());
        let _writing = rw.blocking_write();
        let _permit = semaphore.blocking_acquire();
        let held = value.blocking_lock();
        drop((locked, writing, permit, changing));
        assert!(lock.try_lock().is_none() && rw.try_read().is_none());
        assert!(semaphore.try_acquire().is_none() && value.try_lock().is_none());
        let in_thread = std::thread::scope(|scope| {
            let tries = scope.spawn(|| rlock.try_lock().is_some());
            tries.join().expect("no panic")
        });
        assert!(!in_thread, "this thread holds it");
        drop(held);
        assert_eq!(value.blocking_get(), 7);
        end();
    };
    drop((locked, writing, permit, changing));
    drop(child);
    assert!(lock.try_lock().is_some() && rlock.try_lock().is_some());
    assert!(rw.try_write().is_some() && semaphore.try_acquire().is_some());
}
