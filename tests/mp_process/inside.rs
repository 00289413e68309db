//! What a process knows about itself and its parent.

use concurrent_futures::StartMethod;
use concurrent_futures::multiprocessing::{Process, current_process, parent_process};
use concurrent_futures::{ExecutorExt as _, ProcessPoolExecutor};
use rustix::process::Signal;

use super::common::{Gate, Key, within};
use super::methods::{self, held_by_every_start_method};
use super::{builder, in_a_thread, kill, test_in};

held_by_every_start_method! { 1;
    a_process_knows_its_name_and_its_parent,
    a_worker_knows_its_name_and_its_parent,
    a_process_notices_the_end_of_its_parent,
}

/// The name and id of this process, whether it ends with its parent, and the parent's id if it is alive.
type Known = (String, u32, bool, Option<u32>);

fn known() -> Known {
    let own = current_process();
    let parent = parent_process().filter(|parent| parent.is_alive());
    assert_eq!(parent_process(), own.parent());
    (
        own.name().to_owned(),
        own.pid(),
        own.is_daemon(),
        parent.map(|parent| parent.pid()),
    )
}

/// What this process knows about itself, and what a process knows that it forks itself.
#[expect(unsafe_code, reason = "forks")]
fn known_in_a_fork() -> (Known, bool) {
    // SAFETY: there is no other thread.
    match unsafe { libc::fork() } {
        0 => {
            let is_own = current_process().name() == "main" && parent_process().is_none();
            std::process::exit(i32::from(!is_own));
        }
        pid => {
            let pid = rustix::process::Pid::from_raw(pid).expect("it was forked");
            let waited = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            let (_, status) = waited.expect("it is there").expect("it has ended");
            (known(), status.exit_status() == Some(0))
        }
    }
}

async fn a_process_knows_its_name_and_its_parent(method: StartMethod) {
    let this = current_process();
    assert_eq!((this.name(), this.pid()), ("main", std::process::id()));
    assert!(!this.is_daemon() && this.parent().is_none());
    for daemon in [false, true] {
        let builder = builder(method).name("shopkeeper").daemon(daemon);
        let process = within(builder.spawn(known, ())).await.expect("it starts");
        let found = within(process.join()).await.expect("it ran");
        let name = process.name().to_owned();
        assert_eq!(found, (name, process.pid(), daemon, Some(this.pid())));
    }
    let process = within(builder(method).spawn(known_in_a_fork, ())).await;
    let process = process.expect("it starts");
    let (found, fork_is_a_program) = within(process.join()).await.expect("it ran");
    assert!(found.0.contains("known_in_a_fork"), "{found:?}");
    assert!(fork_is_a_program);
}

/// What a process of a process knows.
fn known_below(method: u8) -> (u32, Known) {
    let method = [StartMethod::Spawn, StartMethod::ForkServer][usize::from(method)];
    let process = Process::builder().start_method(method).name("below");
    let process = process.blocking_spawn(known, ()).expect("it starts");
    (std::process::id(), process.blocking_join().expect("it ran"))
}

#[test]
fn the_parent_of_a_process_of_a_process_is_that_process() {
    methods::run(2, async {
        for method in [0, 1] {
            let process = within(builder(StartMethod::ForkServer).spawn(known_below, method));
            let process = process.await.expect("it starts");
            let (middle, below) = within(process.join()).await.expect("it ran");
            assert_eq!((&*below.0, below.3), ("below", Some(middle)));
        }
    });
}

async fn a_worker_knows_its_name_and_its_parent(method: StartMethod) {
    let own = std::process::id();
    for (pool_name, name) in [(None, "worker-1"), (Some("shop"), "shop-1")] {
        let mut builder = ProcessPoolExecutor::builder()
            .start_method(method)
            .max_workers(1);
        if let Some(name) = pool_name {
            builder = builder.name(name);
        }
        if method != StartMethod::Spawn {
            builder = builder.preload(check_fork_server, own);
        }
        let pool = builder.build().expect("a pool");
        let found = within(pool.submit(known, ())).await.expect("it ran");
        let pid = pool.workers()[0].pid();
        assert_eq!(found, (name.to_owned(), pid, true, Some(own)));
        within(pool.shutdown()).await;
    }
}

fn check_fork_server(parent: u32) -> Result<(), String> {
    match known() {
        (name, _, true, Some(found)) if name == "fork-server" && found == parent => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Waits for the end of its parent, with the async or the blocking method, and then notifies the test.
fn wait_for_parent(is_async: bool, started: Key, ended: Key) {
    let parent = parent_process().expect("it has one");
    started.wait();
    if is_async {
        // A fork still seems to be in the runtime of its parent.
        in_a_thread(|| methods::run(1, parent.join()));
    } else {
        in_a_thread(|| {
            assert!(
                !parent.blocking_join_timeout(std::time::Duration::from_millis(1))
                    || !parent.is_alive()
            );
            parent.blocking_join();
        });
    }
    assert!(!parent.is_alive());
    ended.wait();
}

async fn a_process_notices_the_end_of_its_parent(method: StartMethod) {
    const GATES: &str = "CONCURRENT_FUTURES_TEST_PARENT";
    if let Some(gates) = std::env::var_os(GATES) {
        let [parent, started, ended] = Key::split(&gates);
        for is_async in [false, true] {
            let args = (is_async, started.clone(), ended.clone());
            let process = builder(method).spawn(wait_for_parent, args).await;
            process.expect("it starts");
        }
        return parent.wait();
    }
    let gates = [(); 3].map(|()| Gate::new());
    let test = test_in("inside", method, "a_process_notices_the_end_of_its_parent");
    let mut program = std::process::Command::new(std::env::current_exe().expect("it is there"));
    program.args(["--exact", &test]);
    program.env(GATES, Key::join(&gates.each_ref().map(Gate::key)));
    program
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut program = program.spawn().expect("it starts");
    let [parent, started, ended] = &gates;
    let parent = parent.guest().await;
    for _ in 0..2 {
        started.guest().await.let_in().await;
    }
    kill(parent.pid(), Signal::KILL);
    for _ in 0..2 {
        ended.guest().await.let_in().await;
    }
    program.wait().expect("it is there");
}
