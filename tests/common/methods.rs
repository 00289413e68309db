//! Runs tests with each start method.

use std::future::Future;

#[cfg(target_os = "linux")]
use concurrent_futures::{ProcessPoolBuilder, ProcessPoolExecutor, StartMethod};
use tokio::runtime;

#[cfg(target_os = "linux")]
use super::again::{is_alone, start};

#[cfg(target_os = "linux")]
/// Turns each promise, an `async fn(StartMethod)`, into a test for each start method. The number before the
/// promises is the number of threads of the runtime. (With one, the runtime runs in the test's own thread.
/// `Fork` needs that.)
macro_rules! held_by_every_start_method {
    ($($threads:literal; $($promise:ident,)*)+) => {
        mod spawn {
            $($(
                #[test]
                fn $promise() {
                    let method = concurrent_futures::StartMethod::Spawn;
                    crate::methods::run($threads, super::$promise(method));
                }
            )*)+
        }

        mod fork_server {
            $($(
                #[test]
                fn $promise() {
                    let method = concurrent_futures::StartMethod::ForkServer;
                    crate::methods::run($threads, super::$promise(method));
                }
            )*)+
        }

        mod fork {
            $($(
                #[test]
                fn $promise() {
                    let test = concat!(module_path!(), "::", stringify!($promise));
                    crate::methods::by_fork(test, super::$promise);
                }
            )*)+
        }
    };
}
#[cfg(target_os = "linux")]
pub(crate) use held_by_every_start_method;

pub(crate) fn run(threads: usize, test: impl Future<Output = ()>) {
    let mut runtime = match threads {
        1 => runtime::Builder::new_current_thread(),
        _ => runtime::Builder::new_multi_thread(),
    };
    runtime.worker_threads(threads).enable_all();
    runtime.build().expect("a runtime").block_on(test);
}

#[cfg(target_os = "linux")]
/// Runs a test with `StartMethod::Fork`, which needs a process with one thread.
pub(crate) fn by_fork<F: Future<Output = ()>>(test: &str, body: impl FnOnce(StartMethod) -> F) {
    let (_crate, test) = test.split_once("::").expect("it lies in a module");
    alone_in_one_thread(test, || run(1, body(StartMethod::Fork)));
}

#[cfg(target_os = "linux")]
/// As `held_by_every_start_method!`, but one method after the other in one test, which creates its own
/// runtimes.
pub(crate) fn for_every_start_method(test: &str, body: fn(StartMethod)) {
    if !is_alone(test) {
        body(StartMethod::Spawn);
        body(StartMethod::ForkServer);
    }
    alone_in_one_thread(test, || body(StartMethod::Fork));
}

#[cfg(target_os = "linux")]
/// The name of a promise's test for a start method.
pub(crate) fn test_of(method: StartMethod, promise: &str) -> String {
    let module = match method {
        StartMethod::Spawn => "spawn",
        StartMethod::ForkServer => "fork_server",
        _ => "fork",
    };
    format!("{module}::{promise}")
}

#[cfg(target_os = "linux")]
pub(crate) fn builder(method: StartMethod) -> ProcessPoolBuilder {
    ProcessPoolExecutor::builder().start_method(method)
}

#[cfg(target_os = "linux")]
pub(crate) fn processes(method: StartMethod, workers: usize) -> ProcessPoolExecutor {
    builder(method)
        .max_workers(workers)
        .build()
        .expect("a pool")
}

#[cfg(target_os = "linux")]
/// Runs `body`, the rest of the test called `test`, in a process with one thread. (A test's process has two threads,
/// one of which waits for the test to end. A fork of it has one.)
pub(crate) fn alone_in_one_thread(test: &str, body: impl FnOnce()) {
    if !is_alone(test) {
        return start(&std::env::current_exe().expect("this executable"), test);
    }
    #[expect(unsafe_code, reason = "forks")]
    // SAFETY: the other thread waits, and holds no lock that this one needs.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
        std::process::exit(i32::from(!passed));
    }
    let pid = rustix::process::Pid::from_raw(pid).expect("it was forked");
    let waited = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    let (_, status) = waited.expect("it is there").expect("it has ended");
    assert_eq!(status.exit_status(), Some(0), "{status:?}");
}

#[cfg(target_os = "linux")]
/// Also uses the helpers that some test files do not use.
#[test]
fn a_test_by_fork_has_one_thread() {
    for_every_start_method("methods::a_test_by_fork_has_one_thread", |method| {
        assert!(test_of(method, "a_promise").ends_with("::a_promise"));
        drop(processes(method, 1)); // `Fork` fails if there are more threads.
    });
}
