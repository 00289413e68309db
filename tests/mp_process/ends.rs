//! How a process ends, also without its parent or its handle.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::Command;

use concurrent_futures::StartMethod;
use concurrent_futures::multiprocessing::{Process, Stdio};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use super::common::{self, Gate, Key, eventually, within};
use super::methods::{self, held_by_every_start_method};
use super::{builder, is_there, kill, pass_two, test_in, wait_at};

held_by_every_start_method! { 1;
    an_interrupt_ends_a_process_only_if_it_is_meant,
    a_kill_takes_along_what_the_process_has_started_and_its_own_end_does_not,
    when_its_parent_is_killed_a_daemon_goes_and_another_runs_to_its_end,
    when_its_parent_ends_a_daemon_goes_and_another_runs_to_its_end,
    a_dropped_handle_leaves_its_process_alone_and_no_zombie,
    a_handle_that_kills_on_drop_takes_its_process_along,
    a_start_that_is_dropped_after_it_succeeded_ends_its_process,
}

/// The start succeeds in a task of its own, but its result is not received.
async fn a_start_that_is_dropped_after_it_succeeded_ends_its_process(method: StartMethod) {
    let gate = Gate::new();
    let mut start = Box::pin(builder(method).spawn(wait_at, gate.key()));
    tokio::select! {
        biased;
        _ = &mut start => panic!("one poll is too few for a start"),
        () = std::future::ready(()) => {}
    }
    let guest = gate.guest().await;
    let runtime = tokio::runtime::Handle::current();
    eventually(|| runtime.metrics().num_alive_tasks() == 0).await;
    let pid = guest.pid();
    assert!(is_there(pid));
    drop(start);
    guest.gone().await;
    eventually(|| !is_there(pid)).await;
}

async fn an_interrupt_ends_a_process_only_if_it_is_meant(method: StartMethod) {
    let gate = Gate::new();
    let process = within(builder(method).spawn(wait_at, gate.key())).await;
    let process = process.expect("it starts");
    let _guest = gate.guest().await;
    let pid = Pid::from_raw(process.pid().cast_signed()).expect("a pid");
    // The process is not in the group that a terminal interrupts.
    assert_eq!(rustix::process::getpgid(Some(pid)).expect("a group"), pid);
    kill_process(pid, Signal::INT).expect("it is there");
    let error = within(process.join())
        .await
        .expect_err("it was interrupted");
    assert_eq!(error.signal(), Some(Signal::INT.as_raw()));
}

async fn a_kill_takes_along_what_the_process_has_started_and_its_own_end_does_not(
    method: StartMethod,
) {
    let gate = Gate::new();
    // Its stdin belongs to this process, so that it does not end with that process.
    let start = |gate: Key| {
        let stdin = std::io::stdin();
        let stdin = std::os::fd::AsFd::as_fd(&stdin).try_clone_to_owned();
        let mut command = Command::new("cat");
        let child = command.stdin(stdin.expect("a descriptor")).spawn();
        drop(child.expect("there is a `cat`"));
        gate.wait();
    };
    for ending in [Process::terminate as fn(&Process<()>), Process::kill] {
        let builder = builder(method).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = within(builder.spawn(start, gate.key()))
            .await
            .expect("it starts");
        let _guest = gate.guest().await;
        let mut stdout = receiver(process.take_stdout());
        ending(&process);
        within(process.join()).await.expect_err("it was ended");
        // Every process that has it open has ended.
        assert_eq!(within(stdout.read(&mut [0])).await.expect("its end"), 0);
    }
    let builder = builder(method).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = within(builder.spawn(start, gate.key()))
        .await
        .expect("it starts");
    gate.guest().await.let_in().await;
    within(process.join()).await.expect("it ran");
    let (stdin, mut stdout) = (process.take_stdin(), receiver(process.take_stdout()));
    stdin
        .as_ref()
        .expect("it is piped")
        .write_all(b"x")
        .expect("`cat` reads it");
    let mut byte = [0];
    assert_eq!(within(stdout.read(&mut byte)).await.expect("an answer"), 1);
    drop(stdin);
    assert_eq!(within(stdout.read(&mut byte)).await.expect("its end"), 0);
}

fn receiver(end: Option<std::io::PipeReader>) -> pipe::Receiver {
    let end = OwnedFd::from(end.expect("it is piped"));
    pipe::Receiver::from_owned_fd(end).expect("a pipe")
}

/// A parent has a daemon and another process. It ends when its gate opens, or is killed before.
async fn a_parent_ends(method: StartMethod, test: &str, end: impl AsyncFn(common::Guest)) {
    const GATES: &str = "CONCURRENT_FUTURES_TEST_GATES";
    if let Some(gates) = std::env::var_os(GATES) {
        let [parent, daemon, free, after] = Key::split(&gates);
        let daemon = builder(method).daemon(true).spawn(wait_at, daemon).await;
        let free = builder(method).spawn(pass_two, (free, after)).await;
        let (_daemon, _free) = (daemon.expect("it starts"), free.expect("it starts"));
        return parent.wait();
    }
    let gates = [(); 4].map(|()| Gate::new());
    let [parent, daemon, free, after] = &gates;
    let keys = gates.each_ref().map(Gate::key);
    let mut started = Command::new(std::env::current_exe().expect("it is there"))
        .args(["--exact", &test_in("ends", method, test)])
        .env(GATES, Key::join(&keys))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let (daemon, free) = (daemon.guest().await, free.guest().await);
    let pid = free.pid();
    end(parent.guest().await).await;
    daemon.gone().await;
    free.let_in().await;
    after.guest().await.let_in().await; // It continues
    eventually(|| !is_there(pid)).await; // to its end, and its new parent has reaped it.
    within(tokio::task::spawn_blocking(move || started.wait()))
        .await
        .expect("no panic")
        .expect("it is there");
}

async fn when_its_parent_is_killed_a_daemon_goes_and_another_runs_to_its_end(method: StartMethod) {
    let test = "when_its_parent_is_killed_a_daemon_goes_and_another_runs_to_its_end";
    a_parent_ends(method, test, async |parent| {
        kill(parent.pid(), Signal::KILL);
        parent.gone().await;
    })
    .await;
}

async fn when_its_parent_ends_a_daemon_goes_and_another_runs_to_its_end(method: StartMethod) {
    let test = "when_its_parent_ends_a_daemon_goes_and_another_runs_to_its_end";
    a_parent_ends(method, test, async |parent| parent.let_in().await).await;
}

async fn a_dropped_handle_leaves_its_process_alone_and_no_zombie(method: StartMethod) {
    for daemon in [false, true] {
        let gates = [(); 2].map(|()| Gate::new());
        let keys = gates.each_ref().map(Gate::key);
        let builder = builder(method).daemon(daemon);
        let process = within(builder.spawn(pass_two, keys.into())).await;
        let process = process.expect("it starts");
        let pid = process.pid();
        drop(process);
        for gate in &gates {
            gate.guest().await.let_in().await;
        }
        eventually(|| !is_there(pid)).await;
    }
}

#[test]
fn without_its_runtime_or_any_a_dropped_handle_leaves_no_zombie() {
    let test = "ends::without_its_runtime_or_any_a_dropped_handle_leaves_no_zombie";
    methods::for_every_start_method(test, |method| {
        let runtime = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().expect("a runtime")
        };
        let first = runtime();
        let (pid, [process, other], guests) = first.block_on(async {
            let gate = Gate::new();
            let start = async || {
                within(builder(method).spawn(wait_at, gate.key()))
                    .await
                    .expect("it starts")
            };
            let pid = start().await.pid();
            let kept = [start().await, start().await];
            let guests = [gate.guest().await, gate.guest().await, gate.guest().await];
            (pid, kept, guests)
        });
        drop(first); // This also drops the task that waited for the process without a handle.
        let pids = [pid, process.pid(), other.pid()];
        // In a runtime that can wait for nothing.
        let bare = tokio::runtime::Builder::new_current_thread().build();
        bare.expect("a runtime").block_on(async {
            drop(other);
            tokio::task::yield_now().await;
        });
        drop(process); // Outside any runtime.
        assert!(pids.iter().all(|pid| is_there(*pid)));
        drop(guests); // Lets them continue.
        runtime().block_on(eventually(|| !pids.iter().any(|pid| is_there(*pid))));
    });
}

async fn a_handle_that_kills_on_drop_takes_its_process_along(method: StartMethod) {
    let gate = Gate::new();
    let builder = builder(method).kill_on_drop(true);
    let process = within(builder.spawn(wait_at, gate.key()))
        .await
        .expect("it starts");
    let (guest, pid) = (gate.guest().await, process.pid());
    drop(process);
    guest.gone().await;
    eventually(|| !is_there(pid)).await;
}
