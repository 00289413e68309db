//! Where the output of workers goes.

#![cfg(feature = "process")]
#![cfg(target_os = "linux")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "common/methods.rs"]
mod methods;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use concurrent_futures::{
    Executor as _, ExecutorExt as _, Output, OutputLine, OutputStream, ProcessPoolExecutor,
    StartMethod, TaskOptions,
};
use futures::StreamExt as _;
use rustix::process::{Signal, kill_process};

use self::common::folder::Folder;
use self::common::{Gate, Key, eventually, within};
use self::methods::{builder, held_by_every_start_method, test_of};

concurrent_futures::init_before_main!();

held_by_every_start_method! {
    1;
    an_inherited_stream_is_our_own_and_the_pool_sees_nothing_of_it,
    stdout_follows_stderr_unless_configured,
    null_is_nowhere,
    a_relayed_stream_is_passed_on_to_the_same_one_of_ours,
    a_line_is_reported_with_its_stream_its_worker_and_its_task,
    all_output_of_a_task_is_reported_before_its_outcome,
    a_death_in_the_middle_of_a_line_tells_what_was_written,
    the_last_words_are_kept_without_marks,
    an_out_of_memory_death_is_recognised_where_stderr_is_reported_by_lines,
    bytes_that_are_no_text_are_reported_and_a_long_line_in_pieces,
    a_panic_of_the_callback_costs_only_its_line,
    output_written_outside_of_tasks_belongs_to_no_task,
    output_of_helper_threads_belongs_to_the_running_task,
    output_of_c_code_belongs_to_its_task,
    a_task_may_put_another_file_in_place_of_its_stdout_and_no_mark_gets_there,
    a_task_that_writes_without_end_runs_out_of_its_time,
    a_grandchild_that_keeps_a_reported_stream_open_hangs_nothing,
    a_failing_start_tells_its_last_lines_too,
    2;
    hundreds_of_short_tasks_each_have_exactly_their_own_lines,
    the_items_of_a_chunk_have_the_lines_of_their_chunk,
    megabytes_come_whole_and_in_order,
    a_slow_reader_makes_the_worker_wait_and_loses_nothing,
}

/// The reported lines, in order.
#[derive(Clone, Default)]
struct Reported(Arc<Mutex<Vec<OutputLine>>>);

impl Reported {
    fn output(&self) -> Output {
        let reported = self.clone();
        Output::lines(move |line| reported.0.lock().expect("no panic").push(line))
    }

    fn take(&self) -> Vec<OutputLine> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }

    fn len(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    fn texts(&self) -> Vec<String> {
        self.take().into_iter().map(OutputLine::into_text).collect()
    }
}

/// Reports both streams together.
fn reported(method: StartMethod, workers: usize) -> (ProcessPoolExecutor, Reported) {
    let reported = Reported::default();
    let builder = builder(method).max_workers(workers);
    let builder = builder.stdout(reported.output());
    let pool = builder.stderr(reported.output()).build().expect("a pool");
    (pool, reported)
}

fn die() {
    kill_process(rustix::process::getpid(), Signal::KILL).expect("it is there");
}

fn print(text: String) {
    print!("{text}");
}

/// The stdout and stderr of this process.
fn streams() -> [PathBuf; 2] {
    ["1", "2"].map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).expect("/proc"))
}

async fn an_inherited_stream_is_our_own_and_the_pool_sees_nothing_of_it(method: StartMethod) {
    let own = streams();
    let pool = builder(method).max_workers(1).stdout(Output::inherit());
    let pool = pool.stderr(Output::inherit()).build().expect("a pool");
    assert_eq!(within(pool.submit(streams, ())).await.expect("it ran"), own);
    let last_words = || {
        eprintln!("last words");
        die();
    };
    let error = within(pool.submit(last_words, ())).await;
    assert_eq!(error.expect_err("it died").stderr_tail(), Some(""));
    let mixed = builder(method)
        .max_workers(1)
        .stdout(Output::inherit())
        .build();
    let mixed = mixed.expect("a pool");
    let theirs = within(mixed.submit(streams, ())).await.expect("it ran");
    assert_eq!(theirs[0], own[0]);
    assert!(theirs[1] != own[1] && theirs[1] != own[0]);
}

async fn stdout_follows_stderr_unless_configured(method: StartMethod) {
    for (output, is_own) in [(Output::inherit(), true), (Output::relay(), false)] {
        let pool = builder(method)
            .max_workers(1)
            .stderr(output)
            .build()
            .expect("a pool");
        let theirs = within(pool.submit(streams, ())).await.expect("it ran");
        assert_eq!(theirs[0], theirs[1]);
        assert_eq!(theirs[1] == streams()[1], is_own);
        within(pool.shutdown()).await;
    }
    let reported = Reported::default();
    let pool = builder(method)
        .max_workers(1)
        .stderr(reported.output())
        .build()
        .expect("a pool");
    within(pool.submit(print, "to stdout".to_owned()))
        .await
        .expect("it ran");
    let lines = reported.take();
    assert_eq!(lines[0].text(), "to stdout");
    assert_eq!(lines[0].stream(), OutputStream::Stderr);
}

async fn null_is_nowhere(method: StartMethod) {
    let pool = builder(method)
        .max_workers(1)
        .stdout(Output::null())
        .stderr(Output::null());
    let pool = pool.build().expect("a pool");
    let null = PathBuf::from("/dev/null");
    let theirs = within(pool.submit(streams, ())).await.expect("it ran");
    assert_eq!(theirs, [null.clone(), null]);
    let last_words = || {
        eprintln!("last words");
        die();
    };
    let error = within(pool.submit(last_words, ())).await;
    assert_eq!(error.expect_err("it died").stderr_tail(), Some(""));
}

/// Runs once more in a process of its own, whose streams this process reads.
async fn a_relayed_stream_is_passed_on_to_the_same_one_of_ours(method: StartMethod) {
    const ALONE: &str = "CONCURRENT_FUTURES_TEST_RELAY";
    let test = test_of(
        method,
        "a_relayed_stream_is_passed_on_to_the_same_one_of_ours",
    );
    if std::env::var_os(ALONE).is_some() {
        let pool = builder(method)
            .max_workers(1)
            .stdout(Output::relay())
            .build()
            .expect("a pool");
        let speak = || {
            println!("this is for stdout");
            eprintln!("this is for stderr");
        };
        within(pool.submit(speak, ())).await.expect("it ran");
        // Waits until the test has seen it.
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    let mut child = Command::new(std::env::current_exe().expect("it is there"))
        .args(["--exact", &test, "--nocapture"])
        .env(ALONE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let out = BufReader::new(out.expect("a pipe")).lines();
    let err = BufReader::new(err.expect("a pipe")).lines();
    let out = tokio::task::spawn_blocking(move || {
        let mut lines = out.map(|line| line.expect("text"));
        lines.find(|line| line.contains("this is for"))
    });
    let err = tokio::task::spawn_blocking(move || {
        let mut lines = err.map(|line| line.expect("text"));
        lines.find(|line| line.contains("this is for"))
    });
    let out = within(out).await.expect("no panic").expect("a line");
    let err = within(err).await.expect("no panic").expect("a line");
    assert!(out.contains("this is for stdout"), "{out}");
    assert!(err.contains("this is for stderr"), "{err}");
    drop(child.stdin.take());
    child.wait().expect("it is there");
}

async fn a_line_is_reported_with_its_stream_its_worker_and_its_task(method: StartMethod) {
    fn speak() -> u32 {
        println!("to stdout");
        eprintln!("to stderr");
        std::process::id()
    }
    let (pool, reported) = reported(method, 1);
    let named = TaskOptions::new().name("speech");
    let handle = pool.submit_with(&named, speak, ());
    let id = handle.id();
    let pid = within(handle).await.expect("it ran");
    let mut lines = reported.take();
    lines.sort_by_key(|line| line.stream() == OutputStream::Stderr);
    let texts: Vec<_> = lines.iter().map(OutputLine::text).collect();
    assert_eq!(texts, ["to stdout", "to stderr"]);
    assert_eq!(lines[0].stream(), OutputStream::Stdout);
    assert_eq!(lines[1].stream(), OutputStream::Stderr);
    for line in &lines {
        assert_eq!((line.worker_id(), line.worker_pid()), (1, pid));
        assert_eq!(line.task_id(), Some(id));
        assert_eq!(line.task_name(), Some("speech"));
        assert_eq!(line.to_string(), line.text());
    }
    within(pool.submit(speak, ())).await.expect("it ran");
    let name = reported.take()[0].task_name().expect("a name").to_owned();
    assert!(name.ends_with("speak"), "{name}");
}

async fn hundreds_of_short_tasks_each_have_exactly_their_own_lines(method: StartMethod) {
    fn speak(n: u32) {
        println!("{n} begins");
        eprintln!("{n} complains");
        print!("{n} ends"); // It stays in a buffer, without a line end.
    }
    let (pool, reported) = reported(method, 2);
    let mut expected = BTreeMap::new();
    let mut handles = Vec::new();
    for n in 0..500_u32 {
        let handle = pool.submit_with(&TaskOptions::new().name(n.to_string()), speak, n);
        expected.insert(handle.id(), n);
        handles.push(handle);
    }
    for handle in handles {
        within(handle).await.expect("it ran");
    }
    let mut of_tasks: BTreeMap<u64, Vec<OutputLine>> = BTreeMap::new();
    for line in reported.take() {
        let id = line.task_id().expect("a task wrote it");
        of_tasks.entry(id).or_default().push(line);
    }
    assert_eq!(of_tasks.len(), expected.len());
    for (id, lines) in of_tasks {
        let n = expected[&id].to_string();
        assert!(lines.iter().all(|line| line.task_name() == Some(&n)));
        let of = |stream| {
            let lines = lines.iter().filter(move |line| line.stream() == stream);
            lines.map(OutputLine::text).collect::<Vec<_>>()
        };
        let stdout = [format!("{n} begins"), format!("{n} ends")];
        assert_eq!(of(OutputStream::Stdout), stdout);
        assert_eq!(of(OutputStream::Stderr), [format!("{n} complains")]);
    }
}

async fn the_items_of_a_chunk_have_the_lines_of_their_chunk(method: StartMethod) {
    fn speak(n: u32) {
        print!("{n}");
    }
    let (pool, reported) = reported(method, 2);
    let map = pool.map(speak, 0..300_u32).chunk_size(10);
    let map = map.options(TaskOptions::new().name("counting"));
    let results: Vec<_> = within(map.collect()).await;
    assert!(results.iter().all(Result::is_ok));
    let mut of_chunks: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for line in reported.take() {
        assert_eq!(line.task_name(), Some("counting"));
        let numbers = of_chunks
            .entry(line.task_id().expect("a task"))
            .or_default();
        numbers.push(line.text().parse().expect("a number of one item"));
    }
    let mut chunks: Vec<_> = of_chunks.into_values().collect();
    for numbers in &mut chunks {
        numbers.sort_unstable(); // Two workers share a slow chunk.
    }
    chunks.sort();
    let expected: Vec<Vec<u32>> = (0..30).map(|n| (n * 10..n * 10 + 10).collect()).collect();
    assert_eq!(chunks, expected);
}

async fn all_output_of_a_task_is_reported_before_its_outcome(method: StartMethod) {
    let (pool, reported) = reported(method, 1);
    for n in 0..300 {
        let handle = pool.submit(print, format!("{n}\n"));
        let (send, seen) = tokio::sync::oneshot::channel();
        let reported = reported.clone();
        // The callback runs where the outcome is found.
        handle.on_done(move |_| send.send(reported.texts()).expect("the test listens"));
        let seen = within(seen).await.expect("it ran");
        assert_eq!(seen, [n.to_string()]);
    }
}

async fn a_death_in_the_middle_of_a_line_tells_what_was_written(method: StartMethod) {
    fn break_off() {
        print!("all is w");
        std::io::stdout().flush().expect("a pipe");
        eprint!("oh n");
        die();
    }
    let (pool, reported) = reported(method, 1);
    for _ in 0..5 {
        let handle = pool.submit(break_off, ());
        let id = handle.id();
        let error = within(handle).await.expect_err("it died");
        assert_eq!(error.stderr_tail(), Some("oh n\n"));
        let mut lines = reported.take();
        lines.sort_by_key(|line| line.stream() == OutputStream::Stderr);
        assert!(lines.iter().all(|line| line.task_id() == Some(id)));
        assert!(lines.iter().all(|line| line.task_name().is_some()));
        let texts: Vec<_> = lines.iter().map(OutputLine::text).collect();
        assert_eq!(texts, ["all is w", "oh n"]);
    }
}

async fn the_last_words_are_kept_without_marks(method: StartMethod) {
    fn last_words() {
        eprintln!("trouble ahead");
        eprintln!("last words");
        die();
    }
    for by_lines in [true, false] {
        let reported = Reported::default();
        let output = if by_lines {
            reported.output()
        } else {
            Output::relay()
        };
        let pool = builder(method)
            .max_workers(1)
            .stderr(output)
            .build()
            .expect("a pool");
        for n in 0..3 {
            within(pool.submit(print, format!("{n}\n")))
                .await
                .expect("it ran");
        }
        let error = within(pool.submit(last_words, ())).await;
        let error = error.expect_err("it died");
        assert_eq!(error.stderr_tail(), Some("trouble ahead\nlast words\n"));
        within(pool.shutdown()).await;
    }
}

async fn an_out_of_memory_death_is_recognised_where_stderr_is_reported_by_lines(
    method: StartMethod,
) {
    let (pool, reported) = reported(method, 1);
    fn allocate() {
        let layout = std::alloc::Layout::new::<[u8; 4096]>();
        std::alloc::handle_alloc_error(layout);
    }
    let error = within(pool.submit(allocate, ())).await;
    assert!(error.expect_err("it died").is_out_of_memory());
    assert!(reported.texts()[0].contains("memory allocation of"));
}

async fn megabytes_come_whole_and_in_order(method: StartMethod) {
    fn count(upto: u32) {
        for n in 0..upto {
            println!("{n:>99}"); // A hundred bytes.
        }
    }
    let (pool, reported) = reported(method, 1);
    within(pool.submit(count, 50_000)).await.expect("it ran");
    let lines = reported.take();
    assert_eq!(lines.len(), 50_000);
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(line.text().trim_start(), n.to_string());
    }
}

async fn a_slow_reader_makes_the_worker_wait_and_loses_nothing(method: StartMethod) {
    fn count(upto: u32) {
        for n in 0..upto {
            eprintln!("{n:>99}");
        }
    }
    let (reached, first) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let gate = Mutex::new((reached, may_go));
    let reported = Reported::default();
    let keep = reported.clone();
    let output = Output::lines(move |line| {
        if line.text().trim_start() == "0" {
            let gate = gate.lock().expect("no panic");
            gate.0.send(()).expect("the test listens");
            let _ = gate.1.recv();
        }
        keep.0.lock().expect("no panic").push(line);
    });
    let pool = builder(method).max_workers(1).stderr(output).build();
    let pool = Arc::new(pool.expect("a pool"));
    // A separate thread, because the one that drives the pool may have no other.
    let looker = std::thread::spawn({
        let (pool, reported) = (pool.clone(), reported.clone());
        move || {
            first.recv().expect("a line");
            let seen = (pool.stats().running, reported.len());
            drop(go);
            seen
        }
    });
    // Much more than fits in a pipe.
    within(pool.submit(count, 5000)).await.expect("it ran on");
    let (running, before) = looker.join().expect("no panic");
    assert_eq!((running, before), (1, 0), "its pipe is full");
    let lines = reported.texts();
    let numbers = lines.iter().map(|line| line.trim_start().parse::<usize>());
    assert!(numbers.eq((0..5000).map(Ok)));
}

async fn bytes_that_are_no_text_are_reported_and_a_long_line_in_pieces(method: StartMethod) {
    fn write(bytes: Vec<u8>) {
        std::io::stdout().write_all(&bytes).expect("a pipe");
    }
    let (pool, reported) = reported(method, 1);
    let odd = b"caf\xe9 \x00 \x1e\r\nnext\n".to_vec();
    within(pool.submit(write, odd)).await.expect("it ran");
    assert_eq!(reported.texts(), ["caf\u{fffd} \0 \u{1e}", "next"]);
    let long = "ä€".repeat(100_000);
    let task = pool.submit(write, long.clone().into_bytes());
    within(task).await.expect("it ran");
    let pieces = reported.texts();
    assert_eq!(pieces.concat(), long);
    assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= 64 * 1024));
}

async fn a_panic_of_the_callback_costs_only_its_line(method: StartMethod) {
    let reported = Reported::default();
    let keep = reported.clone();
    let output = Output::lines(move |line| {
        assert!(line.text() != "deadly", "as it should");
        keep.0.lock().expect("no panic").push(line);
    });
    let pool = builder(method)
        .max_workers(1)
        .stderr(output)
        .build()
        .expect("a pool");
    let text = "before\ndeadly\nafter\n".to_owned();
    within(pool.submit(print, text)).await.expect("it ran");
    assert_eq!(reported.texts(), ["before", "after"]);
    within(pool.submit(print, "on".to_owned()))
        .await
        .expect("it ran");
    assert_eq!(reported.texts(), ["on"]);
}

async fn output_written_outside_of_tasks_belongs_to_no_task(method: StartMethod) {
    fn prepare() {
        println!("preparing");
        eprint!("not quite");
    }
    fn leave_a_helper(gate: Key) {
        println!("of the task");
        std::thread::spawn(move || {
            gate.wait();
            println!("of a helper");
        });
    }
    let reported = Reported::default();
    let output = reported.output();
    let pool = builder(method)
        .max_workers(1)
        .stderr(output)
        .initializer(prepare, ());
    let pool = pool.build().expect("a pool");
    let gate = Gate::new();
    let handle = pool.submit(leave_a_helper, gate.key());
    let id = handle.id();
    within(handle).await.expect("it ran");
    gate.guest().await.let_in().await;
    eventually(|| reported.len() == 4).await;
    within(pool.submit(print, "next".to_owned()))
        .await
        .expect("it ran");
    let lines = reported.take();
    let (first, rest) = lines.split_at(2);
    let mut first: Vec<_> = first.iter().map(OutputLine::text).collect();
    first.sort_unstable();
    assert_eq!(first, ["not quite", "preparing"]);
    assert!(lines[..2].iter().all(|line| line.task_id().is_none()));
    assert!(lines[..2].iter().all(|line| line.task_name().is_none()));
    let rest: Vec<_> = rest
        .iter()
        .map(|line| (line.text(), line.task_id()))
        .collect();
    assert_eq!(
        rest[..2],
        [("of the task", Some(id)), ("of a helper", None)]
    );
    assert_eq!(rest[2].0, "next");
    assert!(rest[2].1.is_some_and(|next| next != id));
}

async fn output_of_helper_threads_belongs_to_the_running_task(method: StartMethod) {
    fn let_others_speak() {
        let echo = Command::new("echo").arg("a process").status();
        assert!(echo.expect("it starts").success());
        let thread = std::thread::spawn(|| println!("a thread"));
        thread.join().expect("no panic");
    }
    let (pool, reported) = reported(method, 1);
    let handle = pool.submit(let_others_speak, ());
    let id = handle.id();
    within(handle).await.expect("it ran");
    let lines = reported.take();
    assert!(lines.iter().all(|line| line.task_id() == Some(id)));
    let texts: Vec<_> = lines.iter().map(OutputLine::text).collect();
    assert_eq!(texts, ["a process", "a thread"]);
}

#[expect(unsafe_code, reason = "prints as C code does")]
async fn output_of_c_code_belongs_to_its_task(method: StartMethod) {
    fn print_as_c() {
        // SAFETY: the string ends with a NUL.
        unsafe { libc::puts(c"from C".as_ptr()) };
    }
    let (pool, reported) = reported(method, 1);
    for _ in 0..3 {
        let handle = pool.submit(print_as_c, ());
        let id = handle.id();
        within(handle).await.expect("it ran");
        let lines = reported.take();
        assert_eq!((lines.len(), lines[0].text()), (1, "from C"));
        assert_eq!(lines[0].task_id(), Some(id));
    }
}

async fn a_task_may_put_another_file_in_place_of_its_stdout_and_no_mark_gets_there(
    method: StartMethod,
) {
    fn redirect(file: PathBuf) {
        println!("before");
        let file = fs::File::create(file).expect("a file");
        rustix::stdio::dup2_stdout(&file).expect("a descriptor");
        println!("into the file");
    }
    let directory = Folder::new();
    let file = directory.path().join("out");
    let (pool, reported) = reported(method, 1);
    within(pool.submit(redirect, file.clone()))
        .await
        .expect("it ran");
    assert_eq!(reported.texts(), ["before"]);
    within(pool.submit(print, "more".to_owned()))
        .await
        .expect("it ran");
    let complain = || eprintln!("on stderr");
    within(pool.submit(complain, ())).await.expect("it ran");
    let lines = reported.take();
    assert_eq!((lines.len(), lines[0].text()), (1, "on stderr"));
    let text = fs::read_to_string(file).expect("a file");
    assert_eq!(text, "into the file\nmore");
}

async fn a_task_that_writes_without_end_runs_out_of_its_time(method: StartMethod) {
    fn babble() {
        loop {
            println!("bla");
        }
    }
    let (pool, reported) = reported(method, 1);
    let short = TaskOptions::new().timeout(Duration::from_millis(100));
    let handle = pool.submit_with(&short, babble, ());
    let id = handle.id();
    assert!(within(handle).await.expect_err("killed").is_timeout());
    assert!(
        reported
            .take()
            .iter()
            .all(|line| line.task_id() == Some(id))
    );
    within(pool.submit(print, "next".to_owned()))
        .await
        .expect("it ran");
    assert_eq!(reported.texts(), ["next"]);
}

async fn a_grandchild_that_keeps_a_reported_stream_open_hangs_nothing(method: StartMethod) {
    fn leave_behind(gate: Key) {
        let mut sleep = Command::new("sleep");
        let sleep = sleep.arg("1000").process_group(0).spawn();
        println!("half a line");
        print!("and");
        std::io::stdout().flush().expect("a pipe");
        gate.wait_as(sleep.expect("it starts").id());
        die();
    }
    let (pool, reported) = reported(method, 1);
    let gate = Gate::new();
    let handle = pool.submit(leave_behind, gate.key());
    let guest = gate.guest().await;
    let sleep = rustix::process::Pid::from_raw(guest.pid().cast_signed());
    guest.let_in().await;
    let error = within(handle).await.expect_err("it died");
    assert!(error.is_worker_lost(), "{error}");
    assert_eq!(reported.texts(), ["half a line", "and"]);
    within(pool.submit(print, "next".to_owned()))
        .await
        .expect("it ran");
    assert_eq!(reported.texts(), ["next"]);
    within(pool.shutdown()).await;
    kill_process(sleep.expect("a pid"), Signal::KILL).expect("no other process ended it");
}

async fn a_failing_start_tells_its_last_lines_too(method: StartMethod) {
    fn die_at_start() {
        eprint!("no licence found");
        die();
    }
    let (pool, reported) = {
        let reported = Reported::default();
        let builder = builder(method)
            .max_workers(1)
            .stderr(reported.output())
            .initializer(die_at_start, ());
        (builder.build().expect("a pool"), reported)
    };
    let error = within(pool.submit(die, ())).await.expect_err("no worker");
    assert!(error.is_init_failed(), "{error}");
    assert!(error.to_string().contains("no licence found"), "{error}");
    let texts = reported.texts();
    assert!(texts.iter().all(|text| text == "no licence found"));
    assert!(!texts.is_empty());
}
