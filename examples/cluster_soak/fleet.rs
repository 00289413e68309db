//! Servers and worker programs, and the faults that they suffer.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::dice::Dice;
use crate::nats::NatsServer;
use crate::program::{LOST_AFTER, Program};

/// The longest wait for an event that should happen soon.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(90);
/// How long faults are caused.
const FAULTS: Duration = Duration::from_secs(30);

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blows {
    pub(crate) workers_killed: u64,
    pub(crate) workers_stopped: u64,
    pub(crate) workers_drained: u64,
    pub(crate) servers_killed: u64,
    pub(crate) servers_frozen: u64,
}

#[derive(Debug)]
pub(crate) struct Fleet {
    dice: Dice,
    servers: Vec<NatsServer>,
    urls: String,
    workers: Vec<Program>,
    /// Stopped programs, with the time until which they stay stopped.
    stopped: Vec<(Instant, Program)>,
    /// Programs that received SIGTERM.
    leaving: Vec<(Instant, Program)>,
    blows: Blows,
}

impl Fleet {
    /// `None` if this machine has no server.
    pub(crate) fn start(seed: u64, nodes: usize, workers: usize) -> Option<Self> {
        let servers = match nodes {
            1 => vec![NatsServer::start("")?],
            nodes => NatsServer::start_cluster(nodes)?,
        };
        let urls: Vec<String> = servers.iter().map(NatsServer::url).collect();
        let mut fleet = Self {
            dice: Dice::new(seed),
            servers,
            urls: urls.join(","),
            workers: Vec::new(),
            stopped: Vec::new(),
            leaving: Vec::new(),
            blows: Blows::default(),
        };
        for _ in 0..workers {
            fleet.start_worker();
        }
        Some(fleet)
    }

    pub(crate) fn urls(&self) -> &str {
        &self.urls
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.servers[0].folder()
    }

    fn start_worker(&mut self) {
        let kind = ["thread", "process"][usize::from(self.dice.one_in(3))];
        self.workers.push(Program::start(kind, &self.urls));
    }

    /// Causes a fault about every 200 ms until `is_over`, for half a minute at most: on a busy machine no worker may
    /// live long enough to end a task. Afterwards everything runs again.
    pub(crate) fn suffer(&mut self, is_over: &AtomicBool) -> Result<Blows, String> {
        let until = Instant::now() + FAULTS;
        while !is_over.load(Relaxed) && Instant::now() < until {
            // Does not wait for an event: faults should happen at any moment.
            thread::sleep(self.dice.millis(400));
            match self.dice.below(14) {
                0 => self.strike_a_server(),
                1 => self.stop_a_worker(),
                2 => self.drain_a_worker(),
                _ => self.kill_a_worker(),
            }
            self.mend(false)?;
        }
        self.mend(true)?;
        Ok(self.blows)
    }

    fn strike_a_server(&mut self) {
        let any = self.dice.below(self.servers.len() as u64) as usize;
        let server = &mut self.servers[any];
        if self.dice.one_in(3) {
            self.blows.servers_frozen += 1;
            server.freeze();
            thread::sleep(self.dice.millis(3000));
            server.resume();
        } else {
            self.blows.servers_killed += 1;
            server.kill();
            thread::sleep(self.dice.millis(800));
            server.restart();
        }
    }

    fn take_a_worker(&mut self) -> Program {
        let any = self.dice.below(self.workers.len() as u64) as usize;
        let worker = self.workers.swap_remove(any);
        self.start_worker();
        worker
    }

    fn kill_a_worker(&mut self) {
        self.blows.workers_killed += 1;
        drop(self.take_a_worker());
    }

    fn stop_a_worker(&mut self) {
        self.blows.workers_stopped += 1;
        let worker = self.take_a_worker();
        worker.signal(Signal::STOP);
        let time = LOST_AFTER / 2 + self.dice.millis(2 * LOST_AFTER.as_millis() as u64);
        self.stopped.push((Instant::now() + time, worker));
    }

    fn drain_a_worker(&mut self) {
        self.blows.workers_drained += 1;
        let worker = self.take_a_worker();
        worker.signal(Signal::TERM);
        self.leaving.push((Instant::now() + TIME_LIMIT, worker));
    }

    /// Lets stopped workers continue, and waits for drained ones. `all`: also those whose time is not over.
    fn mend(&mut self, all: bool) -> Result<(), String> {
        let now = Instant::now();
        let is_due = |(at, _): &mut (Instant, Program)| all || *at <= now;
        for (_, worker) in self.stopped.extract_if(.., is_due) {
            worker.signal(Signal::CONT);
            worker.signal(Signal::TERM); // It continues, finishes its tasks, and ends.
            self.leaving.push((now + TIME_LIMIT, worker));
        }
        loop {
            let mut index = 0;
            while index < self.leaving.len() {
                let (until, worker) = &mut self.leaving[index];
                match worker.end() {
                    // SIGTERM itself ends a worker that has only just started.
                    Some(status) if status.success() || status.signal() == Some(15) => {
                        drop(self.leaving.swap_remove(index));
                    }
                    Some(status) => return Err(format!("a drained worker ended with {status}")),
                    None if *until < Instant::now() => {
                        return Err(format!("the drained worker {} does not end", worker.id()));
                    }
                    None => index += 1,
                }
            }
            if !all || self.leaving.is_empty() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5)); // There is no event for the end of a child.
        }
    }

    /// Drains all workers, and checks that they end.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        for worker in self.workers.drain(..) {
            worker.signal(Signal::TERM);
            self.leaving.push((Instant::now() + TIME_LIMIT, worker));
        }
        self.mend(true)
    }
}
