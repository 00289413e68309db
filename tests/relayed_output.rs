//! Output that is relayed to the stdout and stderr of the program: when it arrives there, and what it may delay.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use concurrent_futures::{ExecutorExt as _, Output, ProcessPoolExecutor, StartMethod};
use futures::StreamExt as _;
use rustix::fs::{FileType, OFlags};
use rustix::process::{Signal, kill_process};

use self::common::{Gate, Key, in_thread, within};
use self::methods::{builder, held_by_every_start_method, processes, run, test_of};

concurrent_futures::init_before_main!();

held_by_every_start_method! {
    1;
    output_of_a_task_is_written_before_its_outcome_arrives,
    a_line_without_an_end_is_out_before_the_outcome_too,
    output_of_the_items_of_a_chunk_is_written_before_their_outcomes,
    a_line_without_an_end_is_out_while_its_task_runs,
    the_last_words_are_those_of_the_lost_task,
    the_last_words_of_a_task_behind_others_are_its_own,
    output_of_an_ended_worker_is_written_before_the_error_arrives,
    output_of_a_worker_is_written_although_its_runtime_ended,
    an_unread_stderr_blocks_no_other_task,
    a_slow_reader_gets_everything_in_order,
    a_thread_that_keeps_the_lock_of_stdout_holds_up_no_outcome,
    no_line_is_torn_by_the_line_of_another_worker,
    an_unread_stderr_costs_one_thread_and_says_how_much_was_dropped,
    a_worker_that_makes_its_stderr_non_blocking_leaves_that_of_the_program_as_it_is,
}

/// The variable that marks a process which runs one of these tests again, as the program whose output the test reads.
const PROGRAM: &str = "CONCURRENT_FUTURES_TEST_PROGRAM";

/// Whether this process is that program.
fn is_program() -> bool {
    std::env::var_os(PROGRAM).is_some()
}

/// A command that runs the test again, in another process.
fn command(method: StartMethod, promise: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("it is there"));
    command
        .args(["--exact", &test_of(method, promise), "--nocapture"])
        .arg("--test-threads=2") // With one, the name of the test would be before its first line.
        .env(PROGRAM, "1");
    command
}

/// Runs the test again, in a process whose streams this one holds.
fn program(method: StartMethod, promise: &str) -> Child {
    command(method, promise)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// What a program writes to its stderr until it ends.
async fn all_of(mut program: Child) -> Vec<String> {
    let stderr = program.stderr.take().expect("a pipe");
    let lines = within(in_thread(move || lines_of(stderr))).await;
    let status = program.wait().expect("it is there");
    assert!(status.success(), "{status}: {lines:?}");
    lines
}

fn lines_of(stderr: ChildStderr) -> Vec<String> {
    let lines = BufReader::new(stderr).lines();
    lines.map(|line| line.expect("text")).collect()
}

/// Ends the program as if `main` returned at this point.
fn exit() -> ! {
    std::process::exit(0)
}

fn die() {
    kill_process(rustix::process::getpid(), Signal::KILL).expect("it is there");
}

fn count(upto: u32) {
    for n in 0..upto {
        eprintln!("{n}");
    }
}

fn complain(text: String) {
    eprint!("{text}");
}

fn numbers(upto: u32) -> Vec<String> {
    (0..upto).map(|n| n.to_string()).collect()
}

async fn output_of_a_task_is_written_before_its_outcome_arrives(method: StartMethod) {
    const LINES: u32 = 2000;
    if is_program() {
        let pool = processes(method, 1);
        for _ in 0..2 {
            within(pool.submit(count, LINES)).await.expect("it ran");
            eprintln!("the caller");
        }
        exit();
    }
    let promise = "output_of_a_task_is_written_before_its_outcome_arrives";
    for _ in 0..5 {
        let lines = all_of(program(method, promise)).await;
        let mut round = numbers(LINES);
        round.push("the caller".to_owned());
        assert_eq!(lines, [&round[..], &round].concat());
    }
}

fn print_both() {
    println!("much more on stdout than on stderr");
    eprintln!("on stderr");
}

#[expect(unsafe_code, reason = "prints as C code does")]
async fn a_line_without_an_end_is_out_before_the_outcome_too(method: StartMethod) {
    fn print_in_parts() {
        print!("from Rust, ");
        // SAFETY: the string ends with a NUL.
        unsafe { libc::puts(c"from C".as_ptr()) };
        eprint!("from stderr, ");
    }
    if is_program() {
        let pool = processes(method, 1);
        within(pool.submit(print_in_parts, ()))
            .await
            .expect("it ran");
        eprintln!("from the caller");
        exit();
    }
    let promise = "a_line_without_an_end_is_out_before_the_outcome_too";
    let lines = all_of(program(method, promise)).await;
    let words = lines.join(" ");
    for part in ["from Rust, ", "from C", "from stderr, "] {
        assert!(words.contains(part), "{words}");
    }
    assert!(words.ends_with("from the caller"), "{words}");
}

async fn output_of_the_items_of_a_chunk_is_written_before_their_outcomes(method: StartMethod) {
    fn tell(n: u32) -> u32 {
        complain(format!("item {n}\n")); // In one piece, so that the caller's line does not split it.
        n
    }
    if is_program() {
        let pool = processes(method, 1);
        let mut results = pool.map(tell, 0..500_u32).chunk_size(20);
        while let Some(result) = within(results.next()).await {
            eprintln!("result {}", result.expect("it ran"));
        }
        exit();
    }
    let promise = "output_of_the_items_of_a_chunk_is_written_before_their_outcomes";
    let lines = all_of(program(method, promise)).await;
    for n in 0..500 {
        let position = |line: String| lines.iter().position(|other| *other == line);
        let item = position(format!("item {n}"));
        let result = position(format!("result {n}"));
        assert!(
            item.is_some() && item < result,
            "{n}: {item:?} {result:?} {lines:?}"
        );
    }
}

async fn a_line_without_an_end_is_out_while_its_task_runs(method: StartMethod) {
    fn ask(gate: Key) {
        eprint!("are you sure? ");
        gate.wait();
    }
    if is_program() {
        let pool = processes(method, 1);
        let [gate] = Key::split(&std::env::var_os("GATE").expect("the test sets it"));
        within(pool.submit(ask, gate)).await.expect("it ran");
        exit();
    }
    let gate = Gate::new();
    let promise = "a_line_without_an_end_is_out_while_its_task_runs";
    let mut child = command(method, promise)
        .env("GATE", Key::join(&[gate.key()]))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let guest = gate.guest().await;
    let mut stderr = child.stderr.take().expect("a pipe");
    let mut question = [0; "are you sure? ".len()];
    let seen = in_thread(move || stderr.read_exact(&mut question).map(|()| question));
    let question = within(seen).await.expect("it asks");
    assert_eq!(&question, b"are you sure? ");
    guest.let_in().await;
    assert!(child.wait().expect("it is there").success());
}

/// Pools with one worker whose last output is kept, together with its stdout or not.
fn pools(method: StartMethod) -> [ProcessPoolExecutor; 4] {
    let outputs = [Output::relay as fn() -> _, || Output::lines(|_| ())];
    let mut pools = Vec::new();
    for output in outputs {
        let pool = || builder(method).max_workers(1).stderr(output());
        pools.push(pool().build().expect("a pool"));
        pools.push(pool().stdout(output()).build().expect("a pool"));
    }
    pools.try_into().expect("there are four")
}

async fn the_last_words_are_those_of_the_lost_task(method: StartMethod) {
    fn last_words() {
        println!("not on stderr");
        eprintln!("last words");
        die();
    }
    for pool in pools(method).into_iter().skip(1).step_by(2) {
        for _ in 0..3 {
            within(pool.submit(print_both, ())).await.expect("it ran");
            let error = within(pool.submit(last_words, ())).await;
            let error = error.expect_err("it died");
            assert_eq!(error.stderr_tail(), Some("last words\n"));
        }
        within(pool.shutdown()).await;
    }
    fn last_words_alone() {
        eprintln!("last words");
        die();
    }
    for pool in pools(method) {
        for _ in 0..3 {
            for n in 0..3 {
                let task = pool.submit(complain, format!("{n}\n"));
                within(task).await.expect("it ran");
            }
            let error = within(pool.submit(last_words_alone, ())).await;
            let error = error.expect_err("it died");
            assert_eq!(error.stderr_tail(), Some("last words\n"));
        }
        let error = within(pool.submit(die, ())).await.expect_err("it died");
        assert_eq!(error.stderr_tail(), Some(""));
        within(pool.shutdown()).await;
    }
}

async fn the_last_words_of_a_task_behind_others_are_its_own(method: StartMethod) {
    fn last_words(n: u32) {
        eprint!("the last of {n}");
        die();
    }
    for pool in pools(method) {
        for n in 0..50 {
            let mut before = Vec::new();
            for m in 0..n % 5 {
                before.push(pool.submit(complain, format!("{n}: {m}\n")));
            }
            let lost = pool.submit(last_words, n);
            for task in before {
                within(task).await.expect("it ran");
            }
            let error = within(lost).await.expect_err("it died");
            let words = error.stderr_tail().expect("a worker was lost").trim_end();
            assert_eq!(words, format!("the last of {n}"));
        }
        within(pool.shutdown()).await;
    }
}

async fn output_of_an_ended_worker_is_written_before_the_error_arrives(method: StartMethod) {
    fn count_and_die(upto: u32) {
        count(upto);
        die();
    }
    const LINES: u32 = 3000;
    if is_program() {
        let pool = processes(method, 1);
        let error = within(pool.submit(count_and_die, LINES)).await;
        assert!(error.expect_err("it died").is_worker_lost());
        eprintln!("the caller");
        exit();
    }
    let promise = "output_of_an_ended_worker_is_written_before_the_error_arrives";
    let lines = all_of(program(method, promise)).await;
    let mut expected = numbers(LINES);
    expected.push("the caller".to_owned());
    assert_eq!(lines, expected);
}

async fn output_of_a_worker_is_written_although_its_runtime_ended(method: StartMethod) {
    fn count_and_wait(gate: Key) {
        count(1000);
        gate.wait();
    }
    let promise = "output_of_a_worker_is_written_although_its_runtime_ended";
    if is_program() {
        let gate = Gate::new();
        let key = gate.key();
        let (give, take) = std::sync::mpsc::channel();
        let used = in_thread(move || {
            run(1, async move {
                let pool = processes(StartMethod::Spawn, 1);
                let task = pool.submit(count_and_wait, key);
                tokio::task::yield_now().await;
                // Waits until everything is written, but not until it is read.
                give.send((gate.guest().await, task, pool))
                    .expect("it is kept");
            });
        });
        within(used).await;
        let (guest, task, _pool) = take.recv().expect("the task waits");
        drop(guest); // Lets the task continue. Its runtime has ended.
        within(task).await.expect("it returns");
        eprintln!("the caller");
        exit();
    }
    if method != StartMethod::Spawn {
        return; // Only the parent's end matters.
    }
    let lines = all_of(program(method, promise)).await;
    let mut expected = numbers(1000);
    expected.push("the caller".to_owned());
    assert_eq!(lines, expected);
}

async fn a_thread_that_keeps_the_lock_of_stdout_holds_up_no_outcome(method: StartMethod) {
    fn start_printer() {
        let (locked, is_locked) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _lock = std::io::stdout().lock();
            locked.send(()).expect("the task waits");
            loop {
                std::thread::park();
            }
        });
        is_locked.recv().expect("it prints");
    }
    let pool = processes(method, 1);
    within(pool.submit(start_printer, ()))
        .await
        .expect("its outcome comes");
    let pid = within(pool.submit(std::process::id, ()))
        .await
        .expect("and others");
    assert_eq!(pool.workers()[0].pid(), pid);
    let pool = builder(method)
        .max_workers(1)
        .initializer(start_printer, ());
    let pool = pool.build().expect("a pool");
    within(pool.submit(std::process::id, ()))
        .await
        .expect("its outcome comes");
}

async fn an_unread_stderr_blocks_no_other_task(method: StartMethod) {
    fn babble() {
        for _ in 0..10_000 {
            eprintln!("{:>99}", "bla");
        }
    }
    fn nothing(n: u32) -> u32 {
        n
    }
    fn wait(gate: Key) {
        gate.wait();
    }
    let promise = "an_unread_stderr_blocks_no_other_task";
    if is_program() {
        let pool = processes(method, 2);
        let gate = Gate::new();
        let babbler = pool.submit(babble, ());
        let quiet = pool.submit(wait, gate.key());
        gate.guest().await.let_in().await;
        within(quiet).await.expect("it ran");
        // The runtime lives, and the outcomes of the other worker arrive.
        let mut longest = Duration::ZERO;
        for n in 0..500 {
            let begun = Instant::now();
            assert_eq!(within(pool.submit(nothing, n)).await.expect("it ran"), n);
            longest = longest.max(begun.elapsed());
        }
        assert!(!babbler.is_finished(), "its pipe is full");
        // A task that writes a little gets its outcome although its output cannot be written.
        for n in 0..20 {
            let task = pool.submit(complain, format!("{n}\n"));
            within(task).await.expect("it ran");
        }
        println!("the others are done after {longest:?}");
        within(babbler).await.expect("it ran");
        exit();
    }
    let mut child = program(method, promise);
    let stdout = child.stdout.take().expect("a pipe");
    let done = in_thread(move || {
        let mut lines = BufReader::new(stdout).lines();
        let found = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("are done")));
        (found.is_some(), lines)
    });
    let (is_done, _stdout) = within(done).await;
    assert!(is_done, "the program failed");
    let lines = all_of(child).await;
    let babbled = lines.iter().filter(|line| line.trim_start() == "bla");
    assert_eq!(babbled.count(), 10_000);
    let others = lines.iter().filter(|line| line.trim_start() != "bla");
    let others: Vec<_> = others.cloned().collect();
    assert_eq!(others, numbers(20), "in their order");
}

async fn a_slow_reader_gets_everything_in_order(method: StartMethod) {
    const LINES: u32 = 30_000;
    if is_program() {
        let pool = processes(method, 1);
        within(pool.submit(count, LINES)).await.expect("it ran");
        eprintln!("the caller");
        exit();
    }
    let mut child = program(method, "a_slow_reader_gets_everything_in_order");
    let mut stderr = child.stderr.take().expect("a pipe");
    let read = in_thread(move || {
        let (mut text, mut buffer) = (Vec::new(), [0; 777]);
        loop {
            match stderr.read(&mut buffer).expect("a pipe") {
                0 => return String::from_utf8(text).expect("text"),
                len => text.extend_from_slice(&buffer[..len]),
            }
            std::thread::yield_now();
        }
    });
    let text = within(read).await;
    let mut expected = numbers(LINES);
    expected.push("the caller".to_owned());
    assert!(text.lines().eq(&expected));
    assert!(child.wait().expect("it is there").success());
}

async fn no_line_is_torn_by_the_line_of_another_worker(method: StartMethod) {
    /// Each word is a separate write, so the lines of two workers often arrive half-finished.
    fn by_words(worker: u32) {
        for _ in 0..200 {
            for word in ["all", "these", "words", "are", "of"] {
                eprint!("{word} ");
            }
            eprintln!("{worker}");
        }
        std::io::stderr().flush().expect("a pipe");
    }
    if is_program() {
        let pool = processes(method, 3);
        let tasks: Vec<_> = (0..3).map(|n| pool.submit(by_words, n)).collect();
        for task in tasks {
            within(task).await.expect("it ran");
        }
        exit();
    }
    let promise = "no_line_is_torn_by_the_line_of_another_worker";
    let mut lines = all_of(program(method, promise)).await;
    lines.sort();
    let line = |n: usize| format!("all these words are of {}", n / 200);
    assert!(lines.into_iter().eq((0..600).map(line)));
}

async fn an_unread_stderr_costs_one_thread_and_says_how_much_was_dropped(method: StartMethod) {
    /// Writes a text that fits in its pipe, and dies.
    fn babble_and_die() {
        for _ in 0..320 {
            eprintln!("{:>99}", "bla");
        }
        die();
    }
    fn babble_on() {
        loop {
            eprintln!("{:>99}", "bla");
        }
    }
    fn writers() -> usize {
        let threads = std::fs::read_dir("/proc/self/task").expect("/proc");
        let names = threads.flatten().filter_map(|thread| {
            let name = std::fs::read_to_string(thread.path().join("comm"));
            name.ok()
        });
        names.filter(|name| name.trim() == "relayed-output").count()
    }
    let promise = "an_unread_stderr_costs_one_thread_and_says_how_much_was_dropped";
    if is_program() {
        let pool = processes(method, 4);
        let used = in_thread(move || {
            run(1, async move {
                for _ in 0..16 {
                    let tasks: Vec<_> = (0..4).map(|_| pool.submit(babble_and_die, ())).collect();
                    for task in tasks {
                        let error = within(task).await.expect_err("it died");
                        assert!(error.is_worker_lost(), "{error}");
                    }
                }
                let _endless: Vec<_> = (0..4).map(|_| pool.submit(babble_on, ())).collect();
                tokio::task::yield_now().await;
            });
        });
        within(used).await; // The runtime has ended, and so has the pool.
        println!("{} of its threads write", writers());
        std::io::stdin()
            .read_to_end(&mut Vec::new())
            .expect("a pipe");
        exit();
    }
    let mut child = program(method, promise);
    let stdout = child.stdout.take().expect("a pipe");
    let told = first_line_with(stdout, "of its threads write");
    let (told, _stdout) = within(told).await;
    assert!(told.starts_with("1 of"), "{told}");
    let stderr = child.stderr.take().expect("a pipe");
    let told = first_line_with(stderr, "bytes of ended workers are dropped");
    let (_, _stderr) = within(told).await;
    drop(child.stdin.take());
    assert!(child.wait().expect("it is there").success());
}

/// Reads lines until one contains these words. Returns it, and the open stream.
async fn first_line_with<R: Read + Send + 'static>(
    stream: R,
    words: &'static str,
) -> (String, BufReader<R>) {
    let found = in_thread(move || {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(stream.read_line(&mut line).expect("text") > 0, "no {words}");
        }
        (line, stream)
    });
    found.await
}

async fn a_worker_that_makes_its_stderr_non_blocking_leaves_that_of_the_program_as_it_is(
    method: StartMethod,
) {
    /// Whether a stream that can block no longer does.
    fn is_non_blocking() -> bool {
        fn is(stream: impl AsFd) -> bool {
            let flags = rustix::fs::fcntl_getfl(&stream).expect("it is open");
            let mode = rustix::fs::fstat(&stream).expect("it is open").st_mode;
            let is_file = FileType::from_raw_mode(mode) == FileType::RegularFile;
            !is_file && flags.contains(OFlags::NONBLOCK)
        }
        is(std::io::stdout()) || is(std::io::stderr())
    }
    fn stop_blocking() {
        rustix::io::ioctl_fionbio(std::io::stdout(), true).expect("a stream");
        rustix::io::ioctl_fionbio(std::io::stderr(), true).expect("a stream");
        eprintln!("the worker");
    }
    let promise = "a_worker_that_makes_its_stderr_non_blocking_leaves_that_of_the_program_as_it_is";
    if is_program() {
        let pool = builder(method)
            .max_workers(1)
            .stdout(Output::inherit())
            .stderr(Output::inherit());
        let pool = pool.build().expect("a pool");
        for _ in 0..2 {
            within(pool.submit(stop_blocking, ()))
                .await
                .expect("it ran");
            assert!(!is_non_blocking());
            eprintln!("the caller");
        }
        exit();
    }
    let folder = common::folder::Folder::new();
    let log = |append: bool| {
        let mut options = std::fs::File::options();
        let path = folder.path().join(format!("append-{append}"));
        options.create(true).read(true).write(true).append(append);
        options.open(path).expect("a file")
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let files = [log(true), log(false)];
    let streams: [(OwnedFd, Box<dyn Read + Send>); 4] = [
        (theirs.into(), Box::new(ours)),
        (writer.into(), Box::new(reader)),
        (
            files[0].try_clone().expect("a file").into(),
            reopened(&files[0]),
        ),
        (
            files[1].try_clone().expect("a file").into(),
            reopened(&files[1]),
        ),
    ];
    for (theirs, mut ours) in streams {
        let mut child = command(method, promise);
        child
            .stdout(theirs.try_clone().expect("a descriptor"))
            .stderr(theirs);
        let mut running = child.spawn().expect("it starts");
        drop(child); // It holds the other ends.
        let ended = in_thread(move || {
            let status = running.wait().expect("it is there");
            let mut text = String::new();
            ours.read_to_string(&mut text).expect("text");
            (status, text)
        });
        let (status, text) = within(ended).await;
        assert!(status.success(), "{status}: {text}");
        let lines = text.lines().filter(|line| line.starts_with("the "));
        let expected = ["the worker", "the caller"].repeat(2);
        assert!(lines.eq(expected), "{text}");
    }
}

/// The same file, from its start on.
fn reopened(file: &std::fs::File) -> Box<dyn Read + Send> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Box::new(std::fs::File::open(path).expect("a file"))
}
