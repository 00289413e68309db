//! Worker processes that repeat one action until it is time to end, and of which one after another is killed. Tasks of
//! this process take part, too, and survive.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};

use concurrent_futures::{ExecutorExt as _, JoinHandle, ProcessPoolExecutor};
use rustix::process::{Pid, Signal, kill_process};

use super::alone::{alone, children, descriptors};
use super::board::{Board, Member};
use super::common::{eventually, within};

/// How many processes and how many tasks of the service take part.
pub(super) const WORKERS: usize = 4;
pub(super) const TASKS: usize = 3;

const KILLS: usize = 25;

/// The word in which each member counts its steps.
pub(super) const STEPS: usize = 0;

/// A number that differs each time.
pub(super) fn any() -> u64 {
    RandomState::new().hash_one(0)
}

/// The tasks of the service are the first members, and survive.
pub(super) fn tasks(board: &Board) -> impl Iterator<Item = Member> {
    (0..TASKS).map(|who| board.member(who))
}

/// Kills a process that this test started.
pub(super) fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("it has begun");
    kill_process(pid, Signal::KILL).expect("it is there");
}

pub(super) struct Crew<S> {
    pool: ProcessPoolExecutor,
    board: Board,
    start: S,
    running: Vec<JoinHandle<()>>,
    services: Vec<tokio::task::JoinHandle<()>>,
    begun: usize,
}

impl<S: Fn(&ProcessPoolExecutor, Member) -> JoinHandle<()>> Crew<S> {
    pub(super) fn new<F>(board: &Board, serve: impl Fn(Member) -> F, start: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let services = tasks(board).map(|member| tokio::spawn(serve(member)));
        let mut crew = Self {
            pool: ProcessPoolExecutor::with_workers(WORKERS).expect("a pool"),
            board: board.clone(),
            start,
            running: Vec::new(),
            services: services.collect(),
            begun: TASKS,
        };
        (0..WORKERS).for_each(|_| crew.start_one());
        crew
    }

    fn start_one(&mut self) {
        let member = self.board.member(self.begun);
        self.running.push((self.start)(&self.pool, member));
        self.begun += 1;
    }

    /// Kills one of them, wherever it is, and lets another take its place.
    async fn kill_one(&mut self) {
        eventually(|| self.running.iter().all(JoinHandle::is_running)).await;
        let workers = self.pool.workers();
        kill(workers[any() as usize % workers.len()].pid());
        eventually(|| self.running.iter().any(JoinHandle::is_finished)).await;
        let dead = self.running.iter().position(JoinHandle::is_finished);
        let dead = self.running.swap_remove(dead.expect("one is"));
        let error = within(dead).await.expect_err("it does not end by itself");
        assert!(error.is_worker_lost(), "{error}");
        self.start_one();
    }

    /// Kills one after another, each when the others have done some more steps. At the end, they do more steps without
    /// a kill.
    pub(super) async fn kill_again_and_again(&mut self) {
        let board = self.board.clone();
        let steps = async |some| {
            let enough = board.sum(STEPS) + some;
            eventually(|| board.sum(STEPS) >= enough).await;
        };
        for _ in 0..KILLS {
            steps(any() % 40).await;
            self.kill_one().await;
        }
        steps(200).await;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.services.iter().all(|service| service.is_finished())
            && self.running.iter().all(JoinHandle::is_finished)
    }

    /// Waits until all have ended, as the caller has requested. Returns how many were killed.
    pub(super) async fn end(self) -> u64 {
        for service in self.services {
            within(service).await.expect("it ends");
        }
        for one in self.running {
            within(one).await.expect("it ends by itself");
        }
        within(self.pool.shutdown()).await;
        (self.begun - WORKERS - TASKS) as u64
    }
}

/// The mappings of the crate's memory in this process.
fn mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc");
    let ours = |line: &&str| line.contains("concurrent-futures");
    let is_memory = |line: &&str| line.contains("memfd") || line.contains("/dev/shm");
    maps.lines().filter(ours).filter(is_memory).count()
}

/// Runs a trial alone in its process, and checks that it leaves nothing there.
pub(super) fn leaves_nothing<F: Future<Output = ()>>(test: &str, trial: impl Fn() -> F) {
    fn nothing() {}
    alone(test, async || {
        // Everything that the runtime keeps exists after this.
        let pool = ProcessPoolExecutor::with_workers(1).expect("a pool");
        within(pool.submit(nothing, ())).await.expect("it ends");
        within(pool.shutdown()).await;
        let is_over = || children().is_empty() && mappings() == 0;
        eventually(is_over).await;
        let before = descriptors().len(); // Some descriptors may be about to close.
        trial().await;
        eventually(|| is_over() && descriptors().len() <= before).await;
    });
}
