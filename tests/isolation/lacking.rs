//! Systems that lack a part of an isolation. Each test runs alone, in a process that simulates the lack.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use concurrent_futures::multiprocessing::Process;
use concurrent_futures::{
    ExecutorExt as _, Isolation, Output, ProcessPoolExecutor, StartMethod, TaskOptions,
};
use libc::c_long;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter_all_threads};

use super::alone::{alone, children, descriptors};
use super::common::{eventually, within};
use super::nobody::alone_as_nobody;
use super::{can_leave_the_network, done, isolated, never_end, read};

/// Makes the system answer this call with an error from now on.
fn lack(call: c_long, errno: i32) {
    let answer = SeccompAction::Errno(errno.cast_unsigned());
    let processor = std::env::consts::ARCH.try_into().expect("it is known");
    let calls = [(call, Vec::new())].into_iter().collect();
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, answer, processor);
    let filter: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
    apply_filter_all_threads(&filter).expect("seccomp");
}

/// The error of `build` for an isolation.
fn refusal(isolation: Isolation) -> String {
    let builder = ProcessPoolExecutor::builder()
        .max_workers(1)
        .isolation(isolation);
    let error = builder.build().expect_err("a part is missing");
    assert!(error.is_unsupported(), "{error}");
    error.to_string()
}

/// A pool of one worker with a best effort, and what its workers write.
async fn with_best_effort(isolation: Isolation) -> (ProcessPoolExecutor, Arc<Mutex<String>>) {
    let written = Arc::new(Mutex::new(String::new()));
    let lines = written.clone();
    let output = Output::lines(move |line| {
        let mut lines = lines.lock().expect("no panic");
        lines.push_str(&line.to_string());
        lines.push('\n');
    });
    let builder = ProcessPoolExecutor::builder().max_workers(1).stderr(output);
    let pool = builder
        .isolation(isolation.best_effort())
        .build()
        .expect("a pool");
    within(pool.warm_up()).await.expect("a warning is enough");
    (pool, written)
}

/// Ends the pool, so that everything that its workers wrote has arrived.
async fn written(pool: ProcessPoolExecutor, written: Arc<Mutex<String>>) -> String {
    within(pool.shutdown()).await;
    written.lock().expect("no panic").clone()
}

#[test]
fn a_kernel_without_landlock_is_an_error_that_names_it_or_a_warning() {
    const NAME: &str = "lacking::a_kernel_without_landlock_is_an_error_that_names_it_or_a_warning";
    alone(NAME, || async {
        lack(libc::SYS_landlock_create_ruleset, libc::ENOSYS);
        let text = refusal(Isolation::new());
        assert!(
            text.contains("Landlock") && text.contains("best_effort"),
            "{text}"
        );
        let (pool, lines) = with_best_effort(Isolation::new().share_network()).await;
        assert_eq!(done(pool.submit(read, "/etc/passwd".into())).await, 0);
        // The other calls are denied, and so are signals to the parent, which Landlock would otherwise limit.
        #[expect(unsafe_code, reason = "sends a signal")]
        // SAFETY: the signal 0 does nothing.
        let signal = |pid: u32| super::errno_of(unsafe { libc::kill(pid.cast_signed(), 0) }.into());
        let denied = done(pool.submit(signal, std::process::id())).await;
        assert_eq!(denied, libc::EPERM);
        let warnings = written(pool, lines).await;
        assert!(warnings.contains("Landlock"), "{warnings}");
    });
}

#[test]
fn a_kernel_without_seccomp_is_an_error_that_names_it_or_a_warning() {
    const NAME: &str = "lacking::a_kernel_without_seccomp_is_an_error_that_names_it_or_a_warning";
    alone(NAME, || async {
        lack(libc::SYS_seccomp, libc::ENOSYS);
        let text = refusal(Isolation::new());
        assert!(
            text.contains("seccomp") && text.contains("best_effort"),
            "{text}"
        );
        let (pool, lines) = with_best_effort(Isolation::new().share_network()).await;
        assert_eq!(
            done(pool.submit(read, "/etc/passwd".into())).await,
            libc::EACCES
        );
        let warnings = written(pool, lines).await;
        assert!(warnings.contains("seccomp"), "{warnings}");
    });
}

#[test]
fn a_system_without_namespaces_is_an_error_that_names_them_or_a_warning() {
    const NAME: &str =
        "lacking::a_system_without_namespaces_is_an_error_that_names_them_or_a_warning";
    alone(NAME, || async {
        lack(libc::SYS_unshare, libc::EPERM);
        let builder = ProcessPoolExecutor::builder().max_workers(1);
        let pool = builder
            .isolation(Isolation::new())
            .build()
            .expect("it shows later");
        let error = within(pool.warm_up()).await.expect_err("a part is missing");
        assert!(error.is_init_failed(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("a network namespace") && text.contains("share_network"),
            "{text}"
        );
        let (pool, lines) = with_best_effort(Isolation::new()).await;
        assert_eq!(
            done(pool.submit(read, "/etc/passwd".into())).await,
            libc::EACCES
        );
        let warnings = written(pool, lines).await;
        assert!(warnings.contains("a network namespace"), "{warnings}");
    });
}

#[test]
fn settings_of_an_isolation_that_contradict_are_refused() {
    for (isolation, text) in [
        (Isolation::new().allow_read("relative"), "relative"),
        (Isolation::new().allow_write("/with\0zero"), "NUL"),
        (Isolation::new().allow_connect(443), "share_network"),
        (Isolation::new().allow_bind(8080), "share_network"),
    ] {
        let builder = ProcessPoolExecutor::builder().isolation(isolation.clone());
        let error = builder.build().expect_err("it cannot be");
        assert!(
            error.is_invalid_setting() && error.to_string().contains(text),
            "{error}"
        );
        let process = Process::builder().isolation(isolation);
        let error = process
            .blocking_spawn(u64::pow, (2, 8))
            .expect_err("it cannot be");
        assert!(
            error.is_invalid_setting() && error.to_string().contains(text),
            "{error}"
        );
    }
}

#[test]
fn an_isolated_pool_leaves_no_process_and_no_descriptor() {
    const NAME: &str = "lacking::an_isolated_pool_leaves_no_process_and_no_descriptor";
    alone(NAME, || async {
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let before = descriptors();
            let Some(pool) = isolated(method, Isolation::new()).await else {
                return;
            };
            assert_eq!(done(pool.submit(u64::pow, (2, 8))).await, 256);
            within(pool.shutdown()).await;
            drop(pool);
            eventually(|| children().is_empty() && descriptors() == before).await;
        }
    });
}

#[test]
fn an_ordinary_user_has_isolated_workers_too() {
    const NAME: &str = "lacking::an_ordinary_user_has_isolated_workers_too";
    alone_as_nobody(NAME, || async {
        let text = refusal(Isolation::new().user(1, 1));
        assert!(text.contains("CAP_SETUID"), "{text}");
        let (pool, lines) = with_best_effort(Isolation::new().user(1, 1)).await;
        let warnings = written(pool, lines).await;
        assert!(
            warnings.contains("the right to become user 1"),
            "{warnings}"
        );
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            if !can_leave_the_network() {
                assert!(isolated(method, Isolation::new()).await.is_none());
                continue;
            }
            let pool = isolated(method, Isolation::new().allow_read("/proc")).await;
            let pool = pool.expect("user namespaces");
            assert_eq!(
                done(pool.submit(read, "/etc/passwd".into())).await,
                libc::EACCES
            );
            let connect =
                |port: u16| super::code(std::net::TcpStream::connect(("127.0.0.1", port)));
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
            let port = listener.local_addr().expect("an address").port();
            assert_eq!(done(pool.submit(connect, port)).await, libc::ENETUNREACH);
            let options = TaskOptions::new().timeout(Duration::from_millis(50));
            let late = within(pool.submit_with(&options, never_end, ())).await;
            assert!(late.expect_err("its parent ends it").is_timeout());
            let user = || rustix::process::geteuid().as_raw();
            assert_eq!(
                done(pool.submit(user, ())).await,
                user(),
                "it keeps its ids"
            );
            let [environment, memory] =
                ["environ", "mem"].map(|file| format!("/proc/{}/{file}", std::process::id()));
            for file in [environment, memory] {
                let denied = done(pool.submit(read, file.clone().into())).await;
                assert!(
                    [libc::EACCES, libc::EPERM].contains(&denied),
                    "{file}: {denied}"
                );
            }
        }
    });
}
