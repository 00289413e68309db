//! Privileges, users, system calls, and the threads to which they apply.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use concurrent_futures::{ExecutorExt as _, Isolation, StartMethod, TaskOptions};
use libc::c_long;
use rustix::process::geteuid;

use super::common::folder::Folder;
use super::common::within;
use super::methods::held_by_every_start_method;
use super::{done, errno_of, isolated, isolated_builder, never_end, ready};

held_by_every_start_method! { 1;
    an_isolated_worker_has_no_privilege_and_gets_none,
    calls_that_no_task_needs_are_denied,
    each_thread_of_an_isolated_worker_is_isolated,
    an_initializer_that_leaves_a_thread_is_refused_by_its_name,
    as_another_user_a_worker_has_no_right_of_its_parents,
}

fn status() -> BTreeMap<String, String> {
    let status = fs::read_to_string("/proc/self/status").expect("it may read it");
    let pairs = status.lines().filter_map(|line| line.split_once(":\t"));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

async fn an_isolated_worker_has_no_privilege_and_gets_none(method: StartMethod) {
    let isolation = || Isolation::new().allow_read("/proc").allow_execute("/");
    let Some(pool) = isolated(method, isolation()).await else {
        return;
    };
    let status = done(pool.submit(status, ())).await;
    for capabilities in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status[capabilities], "0000000000000000", "{capabilities}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
    #[expect(unsafe_code, reason = "calls the system")]
    // SAFETY: it takes a number.
    let is_dumpable = || unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
    assert_eq!(done(pool.submit(is_dumpable, ())).await, 0);
    if !geteuid().is_root() {
        return;
    }
    // A program of root that gives root's rights to its caller.
    let folder = Folder::new();
    let program = folder.path().join("id");
    fs::copy("/usr/bin/id", &program).expect("a copy");
    for (path, mode) in [(&program, 0o4755), (&folder.path().to_owned(), 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is root's");
    }
    let effective = |program: PathBuf| {
        let output = Command::new(program).arg("-u").output().expect("it starts");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let free = Command::new(&program)
        .arg("-u")
        .uid(65_534)
        .output()
        .expect("it starts");
    let free = String::from_utf8_lossy(&free.stdout).trim().to_owned();
    let pool = isolated(method, isolation().user(65_534, 65_534)).await;
    let pool = pool.expect("there was one before");
    assert_eq!(done(pool.submit(effective, program)).await, "65534");
    assert_eq!(
        free, "0",
        "without an isolation it would have root's, unless /tmp forbids that"
    );
}

/// Makes a call with arguments that are valid or harmless.
#[expect(unsafe_code, reason = "calls the system")]
fn call(number: c_long) -> i32 {
    // SAFETY: these calls fail with null pointers and zeros, or change nothing that matters to this process.
    errno_of(unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) })
}

// Calls that libc does not name yet. The numbers are the same on all processors.
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const FILE_SETATTR: c_long = 469;

async fn calls_that_no_task_needs_are_denied(method: StartMethod) {
    let Some(pool) = isolated(method, Isolation::new()).await else {
        return;
    };
    for number in [
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_shmget,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_msgsnd,
        libc::SYS_msgrcv,
        libc::SYS_open_by_handle_at,
        libc::SYS_fchmod,
        SETXATTRAT,
        REMOVEXATTRAT,
        FILE_SETATTR,
    ] {
        assert_eq!(
            done(pool.submit(call, number)).await,
            libc::EPERM,
            "{number}"
        );
    }
    assert_eq!(
        done(pool.submit(call, libc::SYS_clone3)).await,
        libc::ENOSYS
    );
    #[expect(unsafe_code, reason = "calls the system")]
    let limit_parent = |parent: u32| {
        let limit = libc::rlimit64 {
            rlim_cur: 64,
            rlim_max: 64,
        };
        // SAFETY: the limit is a valid one, and nothing is returned.
        errno_of(
            unsafe {
                libc::prlimit64(
                    parent.cast_signed(),
                    libc::RLIMIT_NOFILE,
                    &limit,
                    std::ptr::null_mut(),
                )
            }
            .into(),
        )
    };
    let limited = done(pool.submit(limit_parent, std::process::id())).await;
    assert_eq!(limited, libc::EPERM);
    #[expect(unsafe_code, reason = "calls the system")]
    let new_namespace = || {
        let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
        // SAFETY: like a fork; a child would only end.
        let outcome = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        if outcome == 0 {
            // SAFETY: it only ends the process.
            unsafe { libc::_exit(0) };
        }
        errno_of(outcome)
    };
    assert_eq!(done(pool.submit(new_namespace, ())).await, libc::EPERM);
}

fn nothing() {}

async fn each_thread_of_an_isolated_worker_is_isolated(method: StartMethod) {
    let mut builder = isolated_builder(method, Isolation::new().allow_read("/proc"));
    if method != StartMethod::Spawn {
        builder = builder.preload(nothing, ()); // With a preload, a copied thread waits in the worker.
    }
    let Some(pool) = ready(builder).await else {
        return;
    };
    let threads = || {
        let threads = fs::read_dir("/proc/self/task").expect("it may read it");
        let lines = |path: PathBuf| fs::read_to_string(path.join("status")).expect("it is there");
        let is_isolated = |status: String| {
            status.contains("\nSeccomp:\t2\n")
                && status.contains("\nNoNewPrivs:\t1\n")
                && status.contains("\nCapEff:\t0000000000000000\n")
        };
        let threads = threads.map(|thread| is_isolated(lines(thread.expect("a thread").path())));
        threads.collect::<Vec<bool>>()
    };
    let expected = if method == StartMethod::Spawn { 2 } else { 3 };
    assert_eq!(done(pool.submit(threads, ())).await, vec![true; expected]);
}

async fn an_initializer_that_leaves_a_thread_is_refused_by_its_name(method: StartMethod) {
    fn leave_a_thread() {
        let thread = std::thread::Builder::new().name("left-behind".to_owned());
        thread
            .spawn(|| {
                loop {
                    std::thread::park()
                }
            })
            .expect("a thread");
    }
    // If so, the thread is isolated too.
    let can_restrict_threads = kernel() >= (7, 0);
    let isolation = Isolation::new().share_network();
    let builder = isolated_builder(method, isolation).initializer(leave_a_thread, ());
    let pool = builder.build().expect("a pool");
    match within(pool.warm_up()).await {
        Ok(()) => assert!(can_restrict_threads),
        Err(error) => {
            assert!(error.is_init_failed() && !can_restrict_threads, "{error}");
            assert!(error.to_string().contains("left-behind"), "{error}");
        }
    }
}

fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("it is there");
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn user() -> (u32, u32, usize) {
    let groups = rustix::process::getgroups().expect("a list");
    (
        geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
        groups.len(),
    )
}

async fn as_another_user_a_worker_has_no_right_of_its_parents(method: StartMethod) {
    let isolation = Isolation::new().allow_read("/").user(65_534, 65_533);
    if !geteuid().is_root() {
        let refused = isolated_builder(method, isolation.clone()).build();
        let error = refused.expect_err("only root may");
        assert!(error.is_unsupported(), "{error}");
        assert!(error.to_string().contains("CAP_SETUID"), "{error}");
        let pool = isolated(method, isolation.best_effort()).await;
        let own = done(pool.expect("a warning is enough").submit(user, ())).await;
        assert_eq!(own.0, geteuid().as_raw());
        return;
    }
    let Some(pool) = isolated(method, isolation).await else {
        return;
    };
    assert_eq!(done(pool.submit(user, ())).await, (65_534, 65_533, 0));
    let folder = Folder::new();
    let file = folder.path().join("secret");
    fs::write(&file, "of root").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is root's");
    assert_eq!(done(pool.submit(super::read, file)).await, libc::EACCES);
    // The change of the user must not make the process dumpable, and must not block a debugger permanently.
    let is_dumpable = || {
        // SAFETY: it takes a number.
        #[expect(unsafe_code, reason = "calls the system")]
        unsafe {
            libc::prctl(libc::PR_GET_DUMPABLE)
        }
    };
    assert_eq!(done(pool.submit(is_dumpable, ())).await, 0);
    let builder = isolated_builder(method, Isolation::new().user(65_534, 65_533)).dumpable(true);
    let debugged = ready(builder).await.expect("there was one before");
    assert_eq!(done(debugged.submit(is_dumpable, ())).await, 1);
    // Its parent can still end it.
    let options = TaskOptions::new().timeout(Duration::from_millis(50));
    let late = within(pool.submit_with(&options, never_end, ())).await;
    assert!(late.expect_err("it never ends").is_timeout());
    assert_eq!(done(pool.submit(user, ())).await.0, 65_534);
}
