//! An initializer installs a filter of system calls: which calls a worker needs after that.

#![cfg(feature = "isolation")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use concurrent_futures::{ExecutorExt as _, StartMethod, TaskError, TaskOptions, worker};
use futures::StreamExt as _;
use libc::c_long;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use self::common::within;
use self::methods::{builder, held_by_every_start_method};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 1;
    a_worker_needs_only_the_documented_calls_after_its_initializer,
}

/// All calls of a ready worker, as listed in the documentation of `ProcessPoolBuilder::initializer`. The list includes
/// the calls that the tasks below make themselves.
const NEEDED: &[c_long] = &[
    libc::SYS_recvmsg,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_ppoll,
    libc::SYS_poll,
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_close,
    libc::SYS_futex,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_newfstatat,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit_group,
];

fn allow_only_what_is_needed() {
    let calls = NEEDED.iter().map(|call| (*call, Vec::new())).collect();
    let processor = std::env::consts::ARCH.try_into().expect("it is known");
    let (other, needed) = (SeccompAction::KillProcess, SeccompAction::Allow);
    let filter = SeccompFilter::new(calls, other, needed, processor);
    let filter: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
    apply_filter(&filter).expect("seccomp");
}

/// The wait status of a process that has ended and was reaped, if the system keeps it (Linux 6.15).
#[expect(unsafe_code, reason = "asks a pidfd")]
fn wait_status(pidfd: &OwnedFd) -> Option<i32> {
    #[repr(C)]
    struct PidfdInfo {
        mask: u64,
        control_group: u64,
        ids: [u32; 11],
        wait_status: i32,
    }
    const WANTS_EXIT: u64 = 1 << 3;
    const SIZE: u64 = size_of::<PidfdInfo>() as u64;
    const PIDFD_GET_INFO: u64 = 3 << 30 | SIZE << 16 | 0xff << 8 | 11;
    let mut info = PidfdInfo {
        mask: WANTS_EXIT,
        control_group: 0,
        ids: [0; 11],
        wait_status: 0,
    };
    // SAFETY: the system fills at most as many bytes as the number of the request says, which is the size of `info`.
    let outcome = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (outcome == 0 && info.mask & WANTS_EXIT != 0).then_some(info.wait_status)
}

async fn a_worker_needs_only_the_documented_calls_after_its_initializer(method: StartMethod) {
    let pool = builder(method)
        .max_workers(1)
        .max_memory_per_child(1 << 40)
        .env("RUST_BACKTRACE", "0")
        .initializer(allow_only_what_is_needed, ())
        .build()
        .expect("a pool");
    let small = async || within(pool.submit(u64::pow, (2, 8))).await;
    assert_eq!(small().await.expect("the first task"), 256);
    let reverse = |mut bytes: Vec<u8>| {
        bytes.reverse();
        bytes
    };
    let payload: Vec<u8> = (0..4 << 20)
        .map(|number: u32| (number % 251) as u8)
        .collect();
    for _ in 0..3 {
        let reversed = within(pool.submit(reverse, payload.clone())).await;
        assert!(reversed.expect("a large one").iter().rev().eq(&payload));
    }
    let report = || worker::current().expect("a task").report_progress(3, 4);
    within(pool.submit(report, ())).await.expect("progress");
    let results = pool.map(|number: u64| number + 1, 0..1000);
    let results: Vec<Result<u64, TaskError>> = within(results.collect()).await;
    assert!(results.iter().all(Result::is_ok));
    let panic = || -> u32 { panic!("under a filter") };
    let error = within(pool.submit(panic, ())).await.expect_err("it panics");
    assert!(error.is_panic(), "{error}");
    let options = TaskOptions::new().timeout(Duration::from_secs(3600));
    let timed = within(pool.submit_with(&options, u64::pow, (2, 8))).await;
    assert_eq!(timed.expect("a timed one"), 256);
    let print = || {
        println!("a line");
        std::io::stdout().flush().is_ok()
    };
    assert!(within(pool.submit(print, ())).await.expect("output"));
    let slow = |until: u64| (0..until).map(std::hint::black_box).max();
    within(pool.submit(slow, 10_000_000))
        .await
        .expect("a slow one");
    assert_eq!(small().await.expect("the last task"), 256);
    let worker = &pool.workers()[0];
    assert_eq!(worker.id(), 1, "no worker died");
    let pid = Pid::from_raw(worker.pid().cast_signed()).expect("an id");
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("it is there");
    within(pool.shutdown()).await;
    if let Some(status) = wait_status(&pidfd) {
        assert_eq!(status, 0, "it exits as it should, too");
    }
}
