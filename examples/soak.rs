//! A stress test: work of every kind on every start method, with cancels, timeouts and retirements, while workers, fork
//! servers and whole programs are killed at random. At the end, each task has exactly one outcome, the right one, and
//! ran at most as often as permitted. No process is left, no descriptor is open, and memory use is back to its start.
//!
//! `cargo run --release --example soak -- --seconds 60 [--seed 7] [--method Spawn|ForkServer|Fork]`
//!
//! It runs in sessions. Each is a separate process with its own seed, and an error names the seed.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use concurrent_futures::{
    Executor as _, ExecutorExt as _, JoinHandle, Output, ProcessPoolExecutor, Shutdown,
    StartMethod, TaskError, TaskOptions, worker,
};
use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::runtime;

/// The environment variable of all processes of a session, by which processes that are left are found.
const MARK: &str = "CONCURRENT_FUTURES_SOAK";
/// The longest wait for an event that should happen soon.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// How often an idempotent task is run again.
const RETRIES: u32 = 2;
/// How much more memory a session may use at its end, in KiB.
const GROWTH: u64 = 24 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    concurrent_futures::init();
    let mut options = Options::parse()?;
    match options.session.take() {
        Some(directory) => {
            let report = Session::new(&options, &directory).play();
            println!("{report}");
            Ok(())
        }
        None => soak(&options),
    }
}

/// Small numbers in an order that a seed decides (xorshift64, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    fn micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(1 + self.below(most))
    }
}

struct Options {
    seconds: u64,
    seed: u64,
    methods: Vec<StartMethod>,
    /// The directory of a session, in the process that plays it.
    session: Option<PathBuf>,
}

impl Options {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let mut options = Self {
            seconds: 10,
            seed: u64::from(since_1970.subsec_nanos()),
            methods: vec![
                StartMethod::ForkServer,
                StartMethod::Spawn,
                StartMethod::Fork,
            ],
            session: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .ok_or("usage: soak [--seconds N] [--seed N] [--method M]")?;
            match name.as_str() {
                "--seconds" => options.seconds = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                "--method" => options
                    .methods
                    .retain(|method| format!("{method:?}") == value),
                "--session" => options.session = Some(value.into()),
                _ => return Err(format!("{name} is no option").into()),
            }
        }
        if options.methods.is_empty() {
            return Err("the methods are Spawn, ForkServer and Fork".into());
        }
        Ok(options)
    }
}

/// Counts of what happened.
#[derive(Default)]
struct Report {
    rounds: u64,
    tasks: u64,
    outcomes: BTreeMap<String, u64>,
    workers_killed: u64,
    fork_servers_killed: u64,
    /// Runs of idempotent tasks beyond the first.
    ran_again: u64,
}

impl Report {
    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.tasks += other.tasks;
        self.workers_killed += other.workers_killed;
        self.fork_servers_killed += other.fork_servers_killed;
        self.ran_again += other.ran_again;
        for (name, count) in other.outcomes {
            *self.outcomes.entry(name).or_default() += count;
        }
    }
}

/// One number per line, each after its name.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rounds {}", self.rounds)?;
        writeln!(f, "tasks {}", self.tasks)?;
        writeln!(f, "workers_killed {}", self.workers_killed)?;
        writeln!(f, "fork_servers_killed {}", self.fork_servers_killed)?;
        write!(f, "ran_again {}", self.ran_again)?;
        let mut outcomes = self.outcomes.iter();
        outcomes.try_for_each(|(name, count)| write!(f, "\noutcome: {name} {count}"))
    }
}

impl FromStr for Report {
    type Err = Box<dyn Error>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut report = Self::default();
        let lines = text.lines().skip_while(|line| !line.starts_with("rounds "));
        for line in lines {
            let (name, count) = line.rsplit_once(' ').ok_or("a line of one word")?;
            let count = count.parse()?;
            match name {
                "rounds" => report.rounds = count,
                "tasks" => report.tasks = count,
                "workers_killed" => report.workers_killed = count,
                "fork_servers_killed" => report.fork_servers_killed = count,
                "ran_again" => report.ran_again = count,
                _ => {
                    let outcome = name.strip_prefix("outcome: ").ok_or("an unknown name")?;
                    report.outcomes.insert(outcome.to_owned(), count);
                }
            }
        }
        Ok(report)
    }
}

/// Runs sessions until the time is up.
fn soak(options: &Options) -> Result<(), Box<dyn Error>> {
    println!("seed {}", options.seed);
    let begun = Instant::now();
    let mut dice = Dice::new(options.seed);
    let mut totals: Vec<(StartMethod, Report, u64, u64)> = Vec::new();
    totals.extend(
        options
            .methods
            .iter()
            .map(|method| (*method, Report::default(), 0, 0)),
    );
    while begun.elapsed() < Duration::from_secs(options.seconds) {
        for (method, report, sessions, killed) in &mut totals {
            let seed = dice.below(1 << 32);
            let kill_after = dice.one_in(4).then(|| dice.micros(1_500_000));
            match session(*method, seed, kill_after)? {
                Some(played) => report.add(played),
                None => *killed += 1,
            }
            *sessions += 1;
        }
    }
    for (method, report, sessions, killed) in totals {
        println!(
            "{method:?}: {sessions} sessions, {killed} of them killed; in the others {} rounds",
            report.rounds
        );
        println!(
            "  {} tasks, {} runs again of idempotent ones",
            report.tasks, report.ran_again
        );
        println!(
            "  killed: {} workers, {} fork servers",
            report.workers_killed, report.fork_servers_killed
        );
        let outcomes: Vec<_> = report
            .outcomes
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        println!("  outcomes: {}", outcomes.join(", "));
    }
    println!("all as promised, in {:.0?}", begun.elapsed());
    Ok(())
}

/// Runs a session in its own process, or kills that process at a random moment. Then checks that nothing of it is left.
fn session(
    method: StartMethod,
    seed: u64,
    kill_after: Option<Duration>,
) -> Result<Option<Report>, Box<dyn Error>> {
    let mark = format!("{}.{seed}", std::process::id());
    let directory = std::env::temp_dir().join(format!("soak.{mark}")); // Kept if the session fails.
    fs::create_dir(&directory)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--session".as_ref(), directory.as_os_str()])
        .args([
            "--seed",
            &seed.to_string(),
            "--method",
            &format!("{method:?}"),
        ])
        .env(MARK, &mark)
        .stdout(Stdio::piped())
        .spawn()?;
    let failed = |what: String| format!("a session of {method:?} with seed {seed} {what}");
    if let Some(moment) = kill_after {
        std::thread::sleep(moment); // Kills it at a random moment.
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    eventually(|| {
        let left = processes_marked(&mark);
        if left.is_empty() {
            Ok(())
        } else {
            Err(failed(format!("left {left:?}")))
        }
    })?;
    let mut files = fs::read_dir(&directory)?;
    files.try_for_each(|file| check_runs(&file?.path()).map(drop))?;
    if kill_after.is_some() {
        fs::remove_dir_all(&directory)?;
        return Ok(None);
    }
    if !output.status.success() {
        return Err(failed(format!("failed: {}", output.status)).into());
    }
    fs::remove_dir_all(&directory)?;
    Ok(Some(String::from_utf8(output.stdout)?.parse()?))
}

/// The processes that have the mark in their environment.
fn processes_marked(mark: &str) -> Vec<String> {
    let entry = format!("{MARK}={mark}");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let marked = processes.filter(|process| {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == entry.as_bytes())
    });
    marked
        .map(|process| process.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Repeats the check until it succeeds. For conditions without an event to wait for.
fn eventually(mut check: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match check() {
            Err(what) if begun.elapsed() > TIME_LIMIT => return Err(what),
            Err(_) => std::thread::yield_now(),
            Ok(()) => return Ok(()),
        }
    }
}

/// Counts how often each task ran, by the lines that the tasks wrote. A line that a kill cut off counts.
fn check_runs(file: &Path) -> Result<HashMap<u64, u32>, Box<dyn Error>> {
    let mut runs = HashMap::new();
    // If there is no file, no task has run.
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        let (kind, number) = line.split_at(1);
        let count: &mut u32 = runs.entry(number.parse()?).or_default();
        *count += 1;
        let most = if kind == "i" { 1 + RETRIES } else { 1 };
        if *count > most {
            return Err(format!("task {number} ran {count} times, in {}", file.display()).into());
        }
    }
    Ok(runs)
}

/// What a task does, besides writing its number to the file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Deed {
    Compute,
    /// Computes, and reports how far it is.
    Report,
    Panic,
    Abort,
    Exit,
    /// Aborts in half of the runs, by a random bit of the worker.
    MayAbort,
}

/// The task: writes its number to the file, and computes for some microseconds.
fn work(file: PathBuf, number: u64, deed: Deed, micros: u64) -> u64 {
    let kind = if deed == Deed::MayAbort { 'i' } else { 't' };
    let file = File::options().append(true).create(true).open(file);
    // In one write, because other tasks write there too.
    let written = file.and_then(|mut file| file.write_all(format!("{kind}{number}\n").as_bytes()));
    written.expect("the session's directory is there");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(micros) {
        if deed == Deed::Report
            && let Some(context) = worker::current()
        {
            context.report_progress(begun.elapsed().as_micros() as u64, micros);
        }
    }
    match deed {
        Deed::Panic => panic!("as asked for"),
        Deed::Abort => std::process::abort(),
        Deed::Exit => std::process::exit(3),
        Deed::MayAbort if std::process::id().is_multiple_of(2) => std::process::abort(),
        _ => number,
    }
}

fn same(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// A few pools, one after another, in one process.
struct Session {
    dice: Dice,
    method: StartMethod,
    directory: PathBuf,
    report: Report,
}

impl Session {
    fn new(options: &Options, directory: &Path) -> Self {
        Self {
            dice: Dice::new(options.seed),
            method: options.methods[0],
            directory: directory.to_owned(),
            report: Report::default(),
        }
    }

    fn play(mut self) -> Report {
        let rounds = 3 + self.dice.below(6);
        let mut settled = None;
        for number in 0..rounds {
            self.round(number);
            // By the second round, everything exists that is created once and kept.
            if number == 1 {
                settled = Some((open_descriptors(), resident_memory()));
            }
            let Some((descriptors, memory)) = settled.filter(|_| number > 1) else {
                continue;
            };
            eventually(|| match open_descriptors() {
                now if now <= descriptors => Ok(()),
                now => Err(format!("{now} descriptors, and {descriptors} before")),
            })
            .expect("no descriptor is left");
            let now = resident_memory();
            assert!(now <= memory + GROWTH, "{now} KiB, and {memory} before");
        }
        self.report.rounds = rounds;
        self.report
    }

    /// One pool, from the creation of its runtime to the end.
    fn round(&mut self, number: u64) {
        let alone = || match other_threads() {
            0 => Ok(()),
            threads => Err(format!("{threads} other threads")),
        };
        eventually(alone).expect("all of the round before has ended");
        let round = Round::new(self, self.directory.join(number.to_string()));
        let mut runtime = match self.method {
            StartMethod::Fork => runtime::Builder::new_current_thread(),
            _ => runtime::Builder::new_multi_thread(),
        };
        let runtime = runtime
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let file = round.file.clone();
        let (played, outcomes) = runtime.block_on(round.play());
        drop(runtime);
        eventually(|| match children() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?} are left")),
        })
        .expect("its processes have ended");
        let runs = check_runs(&file).expect("each ran at most as often as it may");
        for (task, outcome) in outcomes {
            let ran = runs.contains_key(&task);
            let name = outcome.check(ran);
            *self.report.outcomes.entry(name.to_owned()).or_default() += 1;
        }
        self.report.ran_again += runs.values().map(|count| u64::from(count - 1)).sum::<u64>();
        self.report.add(Report {
            rounds: 0,
            ..played
        });
    }
}

/// How a task ended.
struct Outcome {
    task: u64,
    deed: Deed,
    result: Result<u64, TaskError>,
    may_have_no_worker: bool,
}

impl Outcome {
    /// Checks that the outcome is allowed, and returns its name.
    fn check(&self, ran: bool) -> &'static str {
        let error = match &self.result {
            Ok(result) => {
                assert!(
                    *result == self.task && ran,
                    "task {} gave {result}",
                    self.task
                );
                return "results";
            }
            Err(error) => error,
        };
        assert!(error.was_started() || !ran, "it ran: {error}");
        let kinds = [
            ("cancelled", error.is_cancelled()),
            ("timed out", error.is_timeout()),
            ("refused", error.is_rejected()),
            ("lost", error.is_worker_lost()),
            ("shut down", error.is_shutdown()),
            ("panicked", error.is_panic() && self.deed == Deed::Panic),
            (
                "without a worker",
                error.is_init_failed() && self.may_have_no_worker,
            ),
        ];
        let found = kinds.iter().find(|(_, is)| *is);
        found
            .unwrap_or_else(|| panic!("task {}: {error}", self.task))
            .0
    }
}

/// A `map` over some tasks, of which some results are taken before it is dropped.
struct Stream {
    first: u64,
    count: u64,
    results: tokio::task::JoinHandle<Vec<Result<u64, TaskError>>>,
}

struct Round {
    dice: Dice,
    pool: ProcessPoolExecutor,
    method: StartMethod,
    min_workers: usize,
    file: PathBuf,
    handles: Vec<(u64, Deed, JoinHandle<u64>)>,
    streams: Vec<Stream>,
    echoes: Vec<JoinHandle<Vec<u8>>>,
    report: Report,
}

impl Round {
    fn new(session: &mut Session, file: PathBuf) -> Self {
        let dice = &mut session.dice;
        let workers = 1 + dice.below(3) as usize;
        let mut builder = ProcessPoolExecutor::builder();
        builder = builder.start_method(session.method).max_workers(workers);
        let min_workers = dice.below(workers as u64 + 1) as usize;
        builder = builder.min_workers(min_workers);
        if dice.one_in(2) {
            builder = builder.max_tasks_per_child(1 + dice.below(20));
        }
        if dice.one_in(3) {
            builder = builder.max_age_per_child(dice.micros(20_000));
        }
        if dice.one_in(3) {
            builder = builder.max_memory_per_child(1 << dice.below(24));
        }
        if dice.one_in(3) {
            builder = builder.idle_timeout(dice.micros(5_000));
        }
        // The output of a session is not read.
        builder = builder.stderr(match dice.below(3) {
            0 => Output::lines(|line| assert!(!line.text().contains('\n'))),
            _ => Output::null(),
        });
        if dice.one_in(2) {
            builder = builder.task_options(TaskOptions::new().grace_period(dice.micros(4_000)));
        }
        Self {
            dice: Dice::new(dice.below(1 << 32)),
            pool: builder.build().expect("a pool"),
            method: session.method,
            min_workers,
            file,
            handles: Vec::new(),
            streams: Vec::new(),
            echoes: Vec::new(),
            report: Report::default(),
        }
    }

    async fn play(mut self) -> (Report, HashMap<u64, Outcome>) {
        for _ in 0..200 {
            self.step().await;
        }
        let continues = self.begin_to_end();
        if continues && self.fork_server_may_be_lost() {
            // Waiting tasks fail, as they should.
        } else if continues {
            self.is_restored().await;
        }
        if self.dice.one_in(3) {
            let how = Shutdown::new().cancel_pending(self.dice.one_in(2));
            let how = how.deadline(self.dice.micros(50_000));
            within(self.pool.shutdown_with(how)).await;
        }
        self.end().await
    }

    fn submit(&mut self, options: &TaskOptions, deed: Deed, micros: u64) {
        self.report.tasks += 1;
        let number = self.report.tasks;
        let args = (self.file.clone(), number, deed, self.dice.below(micros));
        let handle = self.pool.submit_with(options, work, args);
        self.handles.push((number, deed, handle));
    }

    async fn step(&mut self) {
        let plain = TaskOptions::new();
        match self.dice.below(18) {
            0..=4 => {
                for _ in 0..self.dice.below(30) {
                    self.submit(&plain, Deed::Compute, 300);
                }
            }
            5 => {
                let limit = self.dice.micros(3000);
                self.submit(&plain.timeout(limit), Deed::Compute, 4000);
            }
            6 => {
                let limit = self.dice.micros(3000);
                self.submit(&plain.queue_timeout(limit), Deed::Compute, 2000);
            }
            7 => {
                let priority = self.dice.below(3) as i32;
                self.submit(&plain.priority(priority), Deed::Report, 500);
            }
            8 => {
                let any = self.dice.below(self.handles.len().max(1) as u64) as usize;
                if let Some((.., handle)) = self.handles.get(any) {
                    handle.abort();
                }
            }
            9 => self.kill_a_worker(),
            10 => self.stream(),
            11 => tokio::task::yield_now().await,
            // Does not wait for an event: a kill should happen at any point of the tasks.
            12 => tokio::time::sleep(self.dice.micros(3000)).await,
            13 => self.submit(&plain.retries(RETRIES), Deed::MayAbort, 500),
            14 => {
                let deeds = [Deed::Panic, Deed::Abort, Deed::Exit];
                let deed = deeds[self.dice.below(3) as usize];
                self.submit(&plain, deed, 500);
            }
            15 => {
                let bytes = vec![self.dice.below(256) as u8; self.dice.below(1 << 20) as usize];
                self.echoes.push(self.pool.submit(same, bytes));
            }
            16 if self.dice.one_in(4) => self.kill_the_fork_server(),
            _ => drop(self.pool.stats()),
        }
    }

    fn kill_a_worker(&mut self) {
        let workers = self.pool.workers();
        let any = self.dice.below(workers.len().max(1) as u64) as usize;
        if let Some(worker) = workers.get(any) {
            let signals = [Signal::KILL, Signal::TERM, Signal::ABORT];
            kill(worker.pid(), signals[self.dice.below(3) as usize]);
            self.report.workers_killed += 1;
        }
    }

    /// The only child of this process that is not a worker.
    fn kill_the_fork_server(&mut self) {
        // Without it, a pool with `Fork` gets no more workers. So this happens rarely.
        let seldom = self.method == StartMethod::Fork && !self.dice.one_in(8);
        if self.method == StartMethod::Spawn || seldom {
            return;
        }
        for fork_server in children() {
            kill(fork_server, Signal::KILL);
            self.report.fork_servers_killed += 1;
        }
    }

    fn fork_server_may_be_lost(&self) -> bool {
        self.method == StartMethod::Fork && self.report.fork_servers_killed > 0
    }

    fn stream(&mut self) {
        let (first, count) = (self.report.tasks + 1, self.dice.below(100));
        self.report.tasks += count;
        let (file, micros) = (self.file.clone(), self.dice.below(100));
        let items =
            (first..first + count).map(move |number| (file.clone(), number, Deed::Compute, micros));
        let mut map = self.pool.map(work, items);
        if self.dice.one_in(2) {
            map = map.chunk_size(1 + self.dice.below(40) as usize);
        }
        let taken = match self.dice.below(3) {
            0 => self.dice.below(10) as usize,
            _ => usize::MAX,
        };
        self.streams.push(Stream {
            first,
            count: count.min(taken as u64),
            results: tokio::spawn(map.take(taken).collect()),
        });
    }

    /// Sometimes ends all workers. Returns whether the pool continues.
    fn begin_to_end(&mut self) -> bool {
        match self.dice.below(8) {
            0 => self.pool.terminate_workers(),
            1 => self.pool.kill_workers(),
            _ => return true,
        }
        false
    }

    /// Waits until the pool has its full number of workers again, and checks that they work.
    async fn is_restored(&self) {
        let begun = Instant::now();
        while self.pool.workers().len() < self.min_workers {
            assert!(begun.elapsed() < TIME_LIMIT, "{:?}", self.pool.stats());
            tokio::task::yield_now().await;
        }
        let probe = self.pool.submit(same, vec![1, 2, 3]);
        assert_eq!(within(probe).await.expect("a worker is there"), [1, 2, 3]);
    }

    /// Waits for everything that was submitted.
    async fn end(self) -> (Report, HashMap<u64, Outcome>) {
        let may_have_no_worker = self.fork_server_may_be_lost();
        let mut outcomes = HashMap::new();
        let mut tell = |task, deed, result| {
            let outcome = Outcome {
                task,
                deed,
                result,
                may_have_no_worker,
            };
            assert!(
                outcomes.insert(task, outcome).is_none(),
                "one outcome a task"
            );
        };
        for (number, deed, mut handle) in self.handles {
            let result = tokio::time::timeout(TIME_LIMIT, &mut handle).await;
            let stuck = |_| {
                let workers = self.pool.workers();
                panic!(
                    "{deed:?}: {handle:?} waits in vain; {:?}, {workers:?}",
                    self.pool
                )
            };
            tell(number, deed, result.unwrap_or_else(stuck));
        }
        for stream in self.streams {
            let results = within(stream.results).await.expect("no panic");
            let ended_early = matches!(results.last(), Some(Err(error)) if error.is_shutdown());
            assert!(results.len() as u64 == stream.count || ended_early);
            for (number, result) in (stream.first..).zip(results) {
                tell(number, Deed::Compute, result);
            }
        }
        for echo in self.echoes {
            if let Ok(bytes) = within(echo).await {
                assert!(bytes.iter().all(|byte| *byte == bytes[0]));
            }
        }
        within(self.pool.shutdown()).await;
        let stats = self.pool.stats();
        let left = (stats.running, stats.queued, stats.workers);
        assert_eq!(left, (0, 0, 0), "{stats:?}");
        (self.report, outcomes)
    }
}

#[track_caller]
fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = Location::caller();
    async move {
        let outcome = tokio::time::timeout(TIME_LIMIT, future).await;
        outcome.unwrap_or_else(|_| panic!("waited for {TIME_LIMIT:?} in vain at {place}"))
    }
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    let _ = kill_process(pid, signal); // The process may have ended already.
}

/// The processes that this one has started and not reaped, including zombies.
fn children() -> Vec<u32> {
    let own = std::process::id().to_string();
    let is_child = |entry: &fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // pid (name) state parent ...
        let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest);
        after_name.and_then(|rest| rest.split(' ').nth(1)) == Some(&own)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = processes.filter(is_child);
    children
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn other_threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, |threads| threads.count() - 1)
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// In KiB.
fn resident_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    size.unwrap_or_default()
}
