//! Everything at once: work of every kind, cancels, time-outs, grace periods, priorities, streams
//! that are dropped, workers that crash, idle, retire and are killed. Each task has one outcome,
//! runs at most once, and the pool ends.
//!
//! `CHAOS_ROUNDS` sets how many rounds are played (each has its own seed), for a long run by hand.

#![cfg(target_os = "linux")]

mod common;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use concurrent_futures::{
    Executor as _, ExecutorExt as _, JoinHandle, ProcessPoolExecutor, Shutdown, TaskError,
    TaskOptions,
};
use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task;

use self::common::within;

concurrent_futures::init_before_main!();

/// Small numbers in an order that a seed decides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.below(most))
    }
}

/// Leaves its number in the file, and computes for so many microseconds.
fn work(file: PathBuf, number: u64, micros: u64) -> u64 {
    let file = File::options().append(true).create(true).open(file);
    let written = file.and_then(|mut file| file.write_all(format!("{number}\n").as_bytes()));
    written.expect("the test's directory is there");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
    number
}

fn crash(_: PathBuf, _: u64, _: u64) -> u64 {
    std::process::abort();
}

/// A `map` over `first..first + count`, of which some results are taken and then it is dropped.
struct Stream {
    first: u64,
    count: u64,
    results: task::JoinHandle<Vec<Result<u64, TaskError>>>,
}

struct Round {
    dice: Dice,
    pool: ProcessPoolExecutor,
    file: PathBuf,
    submitted: u64,
    handles: Vec<(u64, JoinHandle<u64>)>,
    streams: Vec<Stream>,
}

impl Round {
    fn new(seed: u64, directory: &Path) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let workers = 1 + dice.below(3) as usize;
        let mut builder = ProcessPoolExecutor::builder().max_workers(workers);
        if dice.below(2) == 0 {
            builder = builder.max_tasks_per_child(1 + dice.below(20));
        }
        if dice.below(3) == 0 {
            builder = builder.max_age_per_child(Duration::from_micros(1) + dice.micros(20_000));
        }
        if dice.below(3) == 0 {
            builder = builder.idle_timeout(Duration::from_micros(1) + dice.micros(5000));
            builder = builder.min_workers(dice.below(workers as u64 + 1) as usize);
        }
        if dice.below(2) == 0 {
            let options = TaskOptions::new().grace_period(dice.micros(4000));
            builder = builder.task_options(options);
        }
        Self {
            dice,
            pool: builder.build().expect("a pool"),
            file: directory.join(seed.to_string()),
            submitted: 0,
            handles: Vec::new(),
            streams: Vec::new(),
        }
    }

    fn submit(&mut self, options: &TaskOptions, micros: u64) {
        self.submitted += 1;
        let args = (self.file.clone(), self.submitted, self.dice.below(micros));
        let handle = self.pool.submit_with(options, work, args);
        self.handles.push((self.submitted, handle));
    }

    async fn step(&mut self) {
        let plain = TaskOptions::new();
        match self.dice.below(14) {
            0..=4 => {
                for _ in 0..self.dice.below(30) {
                    self.submit(&plain, 300);
                }
            }
            5 => {
                let limit = self.dice.micros(3000);
                self.submit(&plain.timeout(limit), 2000);
            }
            6 => {
                let limit = self.dice.micros(3000);
                self.submit(&plain.queue_timeout(limit), 2000);
            }
            7 => {
                let priority = self.dice.below(3) as i32;
                self.submit(&plain.priority(priority), 200);
            }
            8 => {
                let any = self.dice.below(self.handles.len().max(1) as u64) as usize;
                if let Some((_, handle)) = self.handles.get(any) {
                    handle.abort();
                }
            }
            9 => self.kill(),
            10 => self.stream(),
            11 => task::yield_now().await,
            // Not to wait for anything: the tasks are to be found at all points of their way.
            12 => tokio::time::sleep(self.dice.micros(3000)).await,
            _ => {
                self.submitted += 1;
                let args = (self.file.clone(), self.submitted, 0);
                let handle = self.pool.submit(crash, args);
                self.handles.push((self.submitted, handle));
            }
        }
    }

    fn kill(&mut self) {
        let workers = self.pool.workers();
        let any = self.dice.below(3 * workers.len().max(1) as u64) as usize;
        if let Some(worker) = workers.get(any) {
            let pid = Pid::from_raw(worker.pid().cast_signed()).expect("a pid");
            let _ = kill_process(pid, Signal::KILL); // It may have gone by now.
        }
    }

    fn stream(&mut self) {
        let (first, count) = (self.submitted + 1, self.dice.below(100));
        self.submitted += count;
        let (file, micros) = (self.file.clone(), self.dice.below(100));
        let items = (first..first + count).map(move |number| (file.clone(), number, micros));
        let mut map = self.pool.map(work, items);
        if self.dice.below(2) == 0 {
            map = map.chunk_size(1 + self.dice.below(40) as usize);
        }
        let taken = match self.dice.below(3) {
            0 => self.dice.below(10) as usize,
            _ => usize::MAX,
        };
        self.streams.push(Stream {
            first,
            count: count.min(taken as u64),
            results: task::spawn(map.take(taken).collect()),
        });
    }

    /// Sees that all is as promised.
    async fn end(mut self) {
        match self.dice.below(8) {
            0 => self.pool.terminate_workers(),
            1 => self.pool.kill_workers(),
            _ => {}
        }
        if self.dice.below(3) == 0 {
            let how = Shutdown::new().cancel_pending(self.dice.below(2) == 0);
            let how = how.deadline(self.dice.micros(50_000));
            within(self.pool.shutdown_with(how)).await;
        }
        let mut outcomes = HashMap::new();
        for (number, handle) in self.handles {
            outcomes.insert(number, within(handle).await);
        }
        for stream in self.streams {
            let results = within(stream.results).await.expect("no panic");
            let ended_early = matches!(results.last(), Some(Err(error)) if error.is_shutdown());
            assert!(results.len() as u64 == stream.count || ended_early);
            outcomes.extend((stream.first..).zip(results));
        }
        within(self.pool.shutdown()).await;
        let stats = self.pool.stats();
        let left = (stats.running, stats.queued, stats.workers);
        assert_eq!(left, (0, 0, 0), "{stats:?}");

        let mut ran = BTreeSet::new();
        for line in fs::read_to_string(&self.file).unwrap_or_default().lines() {
            let number: u64 = line.parse().expect("a number");
            assert!(ran.insert(number), "{number} ran twice");
        }
        for (number, outcome) in outcomes {
            match outcome {
                Ok(result) => assert!(result == number && ran.contains(&number)),
                Err(error) => {
                    let foreseen = error.is_cancelled()
                        || error.is_timeout()
                        || error.is_rejected()
                        || error.is_worker_lost()
                        || error.is_shutdown();
                    assert!(foreseen, "{number}: {error}");
                    assert!(
                        error.was_started() || !ran.contains(&number),
                        "{number}: {error}"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_each_task_has_one_outcome_and_runs_at_most_once() {
    let rounds = std::env::var("CHAOS_ROUNDS").map(|rounds| rounds.parse().expect("a number"));
    let directory = tempfile::tempdir().expect("a directory");
    for seed in 1..=rounds.unwrap_or(8) {
        let mut round = Round::new(seed, directory.path());
        for _ in 0..200 {
            round.step().await;
        }
        round.end().await;
    }
}
