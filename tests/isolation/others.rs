//! What an isolated worker can do to other processes.

use std::fs;

use concurrent_futures::{ExecutorExt as _, Isolation, StartMethod};
use libc::c_long;
use rustix::process::geteuid;

use super::methods::{builder, held_by_every_start_method, processes};
use super::{code, done, errno_of, isolated, ready};

held_by_every_start_method! { 1;
    an_isolated_worker_looks_into_no_other_process,
    an_isolated_worker_signals_no_other_process,
}

/// The results of reading a word of another process, in three ways.
#[expect(unsafe_code, reason = "looks into other processes")]
fn look_into(pid: u32, address: usize) -> [i32; 3] {
    let mut word = [0_u8; 8];
    let local = libc::iovec {
        iov_base: word.as_mut_ptr().cast(),
        iov_len: word.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: word.len(),
    };
    let pid = pid.cast_signed();
    // SAFETY: the local memory is large enough; the other address belongs to another process.
    let read = unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) };
    let read = errno_of(read as c_long);
    // SAFETY: it changes nothing here.
    let traced = errno_of(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) });
    if traced == 0 {
        // SAFETY: it stops the process that was seized above.
        unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0) };
        // SAFETY: a null says that the status is not wanted.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
        // SAFETY: it releases the process.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
    }
    [read, traced, code(fs::read(format!("/proc/{pid}/environ")))]
}

static WORD: u64 = 7;

async fn an_isolated_worker_looks_into_no_other_process(method: StartMethod) {
    let builder = builder(method)
        .max_workers(2)
        .min_workers(2)
        .isolation(Isolation::new().allow_read("/"));
    let Some(pool) = ready(builder).await else {
        return;
    };
    let address = &raw const WORD as usize;
    let workers: Vec<u32> = pool.workers().iter().map(|worker| worker.pid()).collect();
    let own = done(pool.submit(std::process::id, ())).await;
    let sibling = workers
        .into_iter()
        .find(|pid| *pid != own)
        .expect("there are two");
    let other = processes(method, 1);
    let parent = std::process::id();
    if geteuid().is_root() {
        let free = done(other.submit(look_into, (parent, address))).await;
        assert_eq!(free, [0, 0, 0], "without an isolation root may");
    }
    for pid in [parent, sibling] {
        let [read, traced, environment] = done(pool.submit(look_into, (pid, address))).await;
        assert_eq!([read, traced], [libc::EPERM, libc::EPERM], "{pid}");
        assert!(
            [libc::EACCES, libc::EPERM].contains(&environment),
            "{pid}: {environment}"
        );
    }
}

/// The results of signals to a process, sent in four ways. None of them does harm.
#[expect(unsafe_code, reason = "sends signals")]
fn signal(pid: u32) -> [i32; 4] {
    let pid = pid.cast_signed();
    let flags = 0;
    // SAFETY: it takes numbers.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) };
    let outcomes = [
        // SAFETY: it takes numbers.
        unsafe { libc::kill(pid, 0) }.into(),
        // SAFETY: it takes numbers.
        unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, 0) },
        // SAFETY: it takes numbers.
        unsafe { libc::syscall(libc::SYS_tkill, pid, 0) },
        // SAFETY: the null means that the system fills in the sender.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                pidfd,
                0,
                std::ptr::null::<libc::siginfo_t>(),
                flags,
            )
        },
    ];
    // The calls above can fail only with this error.
    outcomes.map(|outcome| if outcome == 0 { 0 } else { libc::EPERM })
}

async fn an_isolated_worker_signals_no_other_process(method: StartMethod) {
    let Some(pool) = isolated(method, Isolation::new()).await else {
        return;
    };
    let other = processes(method, 1);
    let stranger = done(other.submit(std::process::id, ())).await;
    for pid in [std::process::id(), stranger] {
        assert_eq!(done(other.submit(signal, pid)).await, [0; 4]);
        assert_eq!(
            done(pool.submit(signal, pid)).await,
            [libc::EPERM; 4],
            "{pid}"
        );
    }
    let own = || signal(std::process::id());
    assert_eq!(done(pool.submit(own, ())).await, [0; 4]);
}
