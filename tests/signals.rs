//! Signals and terminals: what a worker leaves to its parent, what a program that a task starts inherits, and how a
//! task sees a terminal.

#![cfg(feature = "multiprocessing")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Command;

use concurrent_futures::multiprocessing::{Process, Stdio};
use concurrent_futures::{Executor as _, ExecutorExt as _, StartMethod};
use rustix::process::Signal;

use self::again::is_alone;
use self::common::{Gate, Key, within};
use self::methods::{alone_in_one_thread, builder, held_by_every_start_method, processes, run};

concurrent_futures::init_before_main!();

held_by_every_start_method! { 2;
    a_program_that_a_task_starts_has_the_default_for_each_signal,
    a_blocking_read_of_a_task_survives_signals_that_are_the_parents,
    a_worker_leaves_a_strangers_sigterm_to_its_parent,
    a_process_on_its_own_ends_by_anyones_sigterm,
    a_task_that_handles_sigterm_may_finish_when_its_pool_terminates_it,
}

fn wait_at(gate: Key) {
    gate.wait();
}

/// Handles SIGTERM as services do. The library behind this calls the handler that was installed before.
fn finish_at_sigterm(gate: Key) -> u32 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let kind = tokio::signal::unix::SignalKind::terminate();
        let mut terminated = tokio::signal::unix::signal(kind).expect("a handler");
        gate.wait();
        terminated.recv().await;
        15
    })
}

async fn a_task_that_handles_sigterm_may_finish_when_its_pool_terminates_it(method: StartMethod) {
    if method == StartMethod::Fork {
        return; // The fork shares tokio's pipe for signals with this process, which may read what the task waits for.
    }
    let pool = processes(method, 1);
    let gate = Gate::new();
    let task = pool.submit(finish_at_sigterm, gate.key());
    gate.guest().await.let_in().await;
    pool.terminate_workers();
    assert_eq!(within(task).await.expect("it finished"), 15);
    within(pool.shutdown()).await;
}

/// Sends a signal from a process that is neither the pool's nor the worker's.
fn send_as_a_stranger(signal: &str, pid: u32) {
    let command = format!("kill -{signal} {pid}");
    let status = Command::new("sh").args(["-c", &command]).status();
    assert!(status.expect("there is a shell").success());
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state parent ...
    let after_name = stat.rsplit_once(") ")?.1;
    after_name.split(' ').nth(1)?.parse().ok()
}

/// Starts shells that signal themselves. Returns the signal by which each of them ended.
fn signal_shells() -> Vec<Option<i32>> {
    let ended_by = |signal: &str| {
        let script = format!("kill -{signal} $$; echo survived");
        let output = Command::new("sh").args(["-c", &script]).output();
        output.expect("there is a shell").status.signal()
    };
    ["INT", "TERM", "PIPE"].map(ended_by).to_vec()
}

async fn a_program_that_a_task_starts_has_the_default_for_each_signal(method: StartMethod) {
    let expected = [Signal::INT, Signal::TERM, Signal::PIPE].map(|signal| Some(signal.as_raw()));
    let pool = processes(method, 1);
    let ended_by = within(pool.submit(signal_shells, ()))
        .await
        .expect("it ran");
    assert_eq!(ended_by, expected);
    let process = Process::builder().start_method(method);
    let process = within(process.spawn(signal_shells, ()))
        .await
        .expect("it starts");
    assert_eq!(within(process.join()).await.expect("it ran"), expected);
}

/// Blocks in a read of a pipe while strangers send signals to this process. Returns what it read.
fn read_meanwhile() -> Result<u8, String> {
    let (mut ours, theirs) = std::io::pipe().map_err(|error| error.to_string())?;
    // The shell signals this process when it sleeps in the read, and only then writes.
    let pid = std::process::id();
    let script = format!(
        "while ! grep -q '^State:.S' /proc/{pid}/task/{pid}/status; do :; done
         kill -INT {pid}; kill -TERM {pid}; printf x"
    );
    let shell = Command::new("sh")
        .args(["-c", &script])
        .stdout(theirs)
        .spawn();
    let mut shell = shell.map_err(|error| error.to_string())?;
    let mut byte = [0];
    let read = ours.read(&mut byte).map_err(|error| error.to_string())?;
    shell.wait().map_err(|error| error.to_string())?;
    assert_eq!(read, 1);
    Ok(byte[0])
}

async fn a_blocking_read_of_a_task_survives_signals_that_are_the_parents(method: StartMethod) {
    let pool = processes(method, 1);
    let read = within(pool.submit(read_meanwhile, ()))
        .await
        .expect("it ran");
    assert_eq!(read, Ok(b'x'));
}

async fn a_worker_leaves_a_strangers_sigterm_to_its_parent(method: StartMethod) {
    let pool = processes(method, 2);
    let gate = Gate::new();
    let handle = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    // As a service manager does: it signals every process of the control group. But this one handles the signal.
    let fork_server = parent_of(guest.pid()).filter(|parent| *parent != std::process::id());
    assert_eq!(fork_server.is_some(), method != StartMethod::Spawn);
    for pid in fork_server.into_iter().chain([guest.pid()]) {
        send_as_a_stranger("TERM", pid);
    }
    let another = within(pool.submit(std::process::id, ()))
        .await
        .expect("a worker starts");
    assert_ne!(another, guest.pid());
    guest.let_in().await;
    within(handle).await.expect("it ran to its end");
    within(pool.shutdown()).await;
    assert_eq!(pool.stats().restarts, Default::default());
}

async fn a_process_on_its_own_ends_by_anyones_sigterm(method: StartMethod) {
    let gate = Gate::new();
    let process = Process::builder().start_method(method);
    let process = within(process.spawn(wait_at, gate.key()))
        .await
        .expect("it starts");
    let guest = gate.guest().await;
    send_as_a_stranger("TERM", guest.pid());
    guest.gone().await;
    let error = within(process.join()).await.expect_err("it was terminated");
    assert_eq!(error.signal(), Some(Signal::TERM.as_raw()));
}

/// Runs a test by each start method, in a process of its own, whose signals `prepare` changes.
fn with_other_signals<F: Future<Output = ()>>(
    test: &str,
    prepare: fn(),
    body: impl Fn(StartMethod) -> F,
) {
    if !is_alone(test) {
        return again::start(&std::env::current_exe().expect("this executable"), test);
    }
    // `Fork` comes first: the test waits for a process, which it cannot do while it ignores SIGCHLD.
    alone_in_one_thread(test, || {
        prepare();
        run(1, body(StartMethod::Fork));
    });
    prepare();
    run(2, body(StartMethod::Spawn));
    run(2, body(StartMethod::ForkServer));
}

/// As in a program that receives its signals by `sigwait` or a signalfd.
#[expect(unsafe_code, reason = "blocked signals have no safe form")]
fn block_signals() {
    let mut all = MaybeUninit::uninit();
    // SAFETY: it fills the set that it receives.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was filled above; the null means that the old mask is not needed.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) };
}

/// A set of signals of a thread, as a number. `thread` is a folder in `/proc`.
fn signals(thread: &str, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let set = line.expect("a field").trim_start_matches(':').trim();
    u64::from_str_radix(set, 16).expect("a number")
}

/// The signals that this thread blocks, and those that a program that it starts blocks.
fn blocked() -> (u64, u64) {
    let output = Command::new("grep")
        .args(["^SigBlk", "/proc/self/status"])
        .output();
    let output = String::from_utf8(output.expect("there is a `grep`").stdout).expect("text");
    let set = output.split_whitespace().nth(1).expect("a set");
    let theirs = u64::from_str_radix(set, 16).expect("a number");
    (signals("thread-self", "SigBlk"), theirs)
}

fn block_none() -> Result<(), String> {
    match blocked() {
        (0, 0) => Ok(()),
        other => Err(format!("{other:?} are blocked")),
    }
}

async fn sigterm_ends_what_is_started(method: StartMethod) {
    assert_ne!(signals("thread-self", "SigBlk"), 0);
    let gate = Gate::new();
    let process = || Process::builder().start_method(method);
    let asks = within(process().spawn(blocked, ()))
        .await
        .expect("it starts");
    assert_eq!(within(asks.join()).await.expect("it ran"), (0, 0));
    let waits = within(process().spawn(wait_at, gate.key()))
        .await
        .expect("it starts");
    let guest = gate.guest().await;
    waits.terminate();
    guest.gone().await;
    let error = within(waits.join()).await.expect_err("it was terminated");
    assert_eq!(error.signal(), Some(Signal::TERM.as_raw()), "{error}");

    let builder = builder(method).max_workers(1).initializer(block_none, ());
    let builder = match method {
        StartMethod::Spawn => builder,
        _ => builder.preload(block_none, ()),
    };
    let pool = builder.build().expect("a pool");
    let asks = within(pool.submit(blocked, ())).await.expect("it ran");
    assert_eq!(asks, (0, 0), "{method:?}");
    let task = pool.submit(wait_at, gate.key());
    let guest = gate.guest().await;
    let fork_server = parent_of(guest.pid()).filter(|parent| *parent != std::process::id());
    assert_eq!(fork_server.is_some(), method != StartMethod::Spawn);
    if let Some(fork_server) = fork_server {
        assert_eq!(signals(&fork_server.to_string(), "SigBlk"), 0);
    }
    pool.terminate_workers();
    guest.gone().await;
    within(task).await.expect_err("its worker was terminated");
    within(pool.shutdown()).await;
}

#[test]
fn a_program_that_blocks_its_signals_ends_its_processes_by_sigterm() {
    let test = "a_program_that_blocks_its_signals_ends_its_processes_by_sigterm";
    with_other_signals(test, block_signals, sigterm_ends_what_is_started);
}

/// As `nohup` and a shell's background leave them, and some more.
#[expect(unsafe_code, reason = "signal actions have no safe form")]
fn ignore_signals() {
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGUSR1,
        libc::SIGTERM,
        libc::SIGCHLD,
    ] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// The signals that this thread ignores, and whether it gets the exit status of a program that it starts.
fn ignored() -> (u64, Option<i32>) {
    let status = Command::new("sh").args(["-c", "exit 5"]).status();
    let reserved = 3 << 31; // C's library uses signals 32 and 33 itself.
    (
        signals("thread-self", "SigIgn") & !reserved,
        status.ok().and_then(|status| status.code()),
    )
}

async fn ignored_signals_stay_ignored(method: StartMethod) {
    let set = |signals: &[i32]| signals.iter().fold(0_u64, |set, one| set | 1 << (one - 1));
    let always = [libc::SIGPIPE, libc::SIGTTIN, libc::SIGTTOU];
    let chosen = [libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGTERM];
    let expected = set(&chosen) | set(&always);
    let process = Process::builder().start_method(method);
    let process = within(process.spawn(ignored, ())).await.expect("it starts");
    let found = within(process.join()).await.expect("it ran");
    assert_eq!(found, (expected, Some(5)), "{method:?}");
    let pool = processes(method, 1);
    let found = within(pool.submit(ignored, ())).await.expect("it ran");
    assert_eq!(found, (expected, Some(5)), "{method:?}");
    within(pool.shutdown()).await;
}

#[test]
fn a_signal_that_the_program_ignores_stays_ignored_except_for_sigchld_and_sigint() {
    let test = "a_signal_that_the_program_ignores_stays_ignored_except_for_sigchld_and_sigint";
    with_other_signals(test, ignore_signals, ignored_signals_stay_ignored);
}

/// A launcher may start a program in this way: an ignored signal stays ignored through an exec.
#[test]
#[expect(unsafe_code, reason = "runs code before an exec")]
fn a_program_that_is_started_with_sigchld_ignored_has_workers_that_know_how_programs_end() {
    let test =
        "a_program_that_is_started_with_sigchld_ignored_has_workers_that_know_how_programs_end";
    if is_alone(test) {
        let chld = 1 << (libc::SIGCHLD - 1);
        assert_ne!(signals("thread-self", "SigIgn") & chld, 0);
        let code = |method| async move {
            let process = Process::builder().start_method(method);
            let process = within(process.spawn(ignored, ())).await.expect("it starts");
            assert_eq!(within(process.join()).await.expect("it ran").1, Some(5));
            let pool = processes(method, 1);
            let found = within(pool.submit(ignored, ())).await.expect("it ran");
            assert_eq!((found.0 & chld, found.1), (0, Some(5)));
            within(pool.shutdown()).await;
        };
        run(2, code(StartMethod::Spawn));
        return run(2, code(StartMethod::ForkServer));
    }
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    let ignore = || {
        // SAFETY: no handler is installed, and the call is allowed after a fork.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        Ok(())
    };
    // SAFETY: it is one system call, and nothing else.
    again::run(unsafe { command.pre_exec(ignore) }, test);
}

/// Does what a password prompt does. Returns whether it wrote and set the terminal, and the error of its read.
fn prompt(from_stdin: bool) -> (bool, bool, Option<i32>) {
    let terminal = || File::options().read(true).write(true).open("/dev/tty");
    let mut terminal = terminal().expect("a controlling terminal");
    let wrote = terminal.write_all(b"Password: ").is_ok();
    print!("Printed by a task. ");
    let wrote = wrote && std::io::stdout().flush().is_ok();
    let has_set = set_terminal(&terminal, |settings| settings.c_lflag &= !libc::ECHO);
    let read = match from_stdin {
        true => std::io::stdin().read(&mut [0]),
        false => terminal.read(&mut [0]),
    };
    (
        wrote,
        has_set,
        read.expect_err("it is in the background").raw_os_error(),
    )
}

#[expect(
    unsafe_code,
    reason = "the settings of a terminal have no safe form here"
)]
fn set_terminal(terminal: &File, change: impl FnOnce(&mut libc::termios)) -> bool {
    let mut settings = MaybeUninit::uninit();
    // SAFETY: it fills the settings that it receives.
    let outcome = unsafe { libc::tcgetattr(terminal.as_raw_fd(), settings.as_mut_ptr()) };
    assert_eq!(outcome, 0, "it is a terminal");
    // SAFETY: filled above.
    let mut settings = unsafe { settings.assume_init() };
    change(&mut settings);
    // SAFETY: it only reads the settings.
    unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, &raw const settings) == 0 }
}

async fn touches_the_terminal(method: StartMethod) {
    let terminal = File::open("/dev/tty").expect("a controlling terminal");
    let is_set = set_terminal(&terminal, |settings| settings.c_lflag |= libc::TOSTOP);
    assert!(is_set, "this process is in the foreground");
    let expected = (true, true, Some(libc::EIO));
    for from_stdin in [false, true] {
        let process = Process::builder()
            .start_method(method)
            .stdin(Stdio::inherit());
        let process = within(process.spawn(prompt, from_stdin))
            .await
            .expect("it starts");
        let found = within(process.join()).await.expect("it ran");
        assert_eq!(found, expected, "{method:?} {from_stdin}");
    }
    let pool = processes(method, 1);
    let found = within(pool.submit(prompt, false)).await.expect("it ran");
    assert_eq!(found, expected, "{method:?}");
    within(pool.shutdown()).await;
}

#[test]
fn a_task_that_touches_the_terminal_is_never_stopped() {
    let test = "a_task_that_touches_the_terminal_is_never_stopped";
    if !is_alone(test) {
        return start_on_a_terminal(test);
    }
    run(2, touches_the_terminal(StartMethod::Spawn));
    run(2, touches_the_terminal(StartMethod::ForkServer));
    alone_in_one_thread(test, || run(1, touches_the_terminal(StartMethod::Fork)));
}

/// Starts one test in the foreground of a new terminal.
#[expect(unsafe_code, reason = "terminals and sessions have no safe form here")]
fn start_on_a_terminal(test: &str) {
    let (mut ours, mut theirs) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: it fills the two descriptors. The null pointers stand for no name, settings and size.
    let opened = unsafe { libc::openpty(&mut ours, &mut theirs, none, none.cast(), none.cast()) };
    assert_eq!(opened, 0, "a terminal");
    // SAFETY: it was just opened, and nothing else owns it.
    let ours = unsafe { OwnedFd::from_raw_fd(ours) };
    // SAFETY: as above.
    let theirs = unsafe { OwnedFd::from_raw_fd(theirs) };
    rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::CLOEXEC).expect("a descriptor");
    let copy = || theirs.try_clone().expect("a descriptor");
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    command
        .args(["--exact", test, "--nocapture"])
        .env(again::ALONE, test);
    command.stdin(copy()).stdout(copy()).stderr(copy());
    let lead = || {
        rustix::process::setsid()?;
        Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?)
    };
    // SAFETY: both are system calls, and nothing else.
    let mut child = unsafe { command.pre_exec(lead) }
        .spawn()
        .expect("it starts");
    drop((command, theirs));
    let mut text = Vec::new();
    // The read ends with an error when no process has the other end any more.
    let _ = File::from(ours).read_to_end(&mut text);
    let status = child.wait().expect("it is there");
    let text = String::from_utf8_lossy(&text);
    assert!(
        status.success() && text.contains("1 passed"),
        "{status}\n{text}"
    );
}
