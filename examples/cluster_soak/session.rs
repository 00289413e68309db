//! A session: servers, workers and a client, from their start to their end.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use concurrent_futures::cluster::{ClusterError, ClusterExecutor};
use concurrent_futures::{Executor as _, ExecutorExt as _};

use crate::dice::Dice;
use crate::fleet::{Blows, Fleet, TIME_LIMIT};
use crate::load::{Load, Outcome};
use crate::program::{LOST_AFTER, QUEUE, settings, tasks};
use crate::verdict::{Kind, runs};

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) workers: usize,
    pub(crate) tasks: u64,
    /// The only kind of task, by its result of the dice in `load`.
    pub(crate) only: Option<u64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            nodes: 1,
            workers: 3,
            tasks: 3000,
            only: None,
        }
    }
}

/// Counts of what happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sessions: u64,
    blows: Blows,
    outcomes: BTreeMap<(Kind, &'static str), u64>,
    /// Starts of tasks with retries beyond the first.
    ran_again: u64,
    /// Records that only the age limit removes. A server or a worker that is killed may leave some.
    left: u64,
}

/// Plays a session. `None` if this machine has no server.
pub(crate) fn play(plan: &Plan) -> Result<Option<Tally>, String> {
    let mut dice = Dice::new(plan.seed);
    let Some(mut fleet) = Fleet::start(dice.below(1 << 32), plan.nodes, plan.workers) else {
        return Ok(None);
    };
    let log = fleet.folder().join("log");
    File::create(&log).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let urls = fleet.urls().to_owned();
    let cluster = runtime
        .block_on(connect(&urls, plan))
        .map_err(|error| error.to_string())?;
    let load = Load {
        cluster: &cluster,
        log: log.to_str().expect("text").to_owned(),
        seed: plan.seed,
        dice,
        submitted: 0,
        kinds: BTreeMap::new(),
        only: plan.only,
    };
    let is_over = AtomicBool::new(false);
    let (outcomes, blows) = thread::scope(|scope| {
        let harm = scope.spawn(|| fleet.suffer(&is_over));
        let outcomes = runtime.block_on(load.run(plan.tasks));
        is_over.store(true, Relaxed);
        (outcomes, harm.join().expect("no panic"))
    });
    let mut tally = judge(&outcomes?, &log)?;
    (tally.blows, tally.sessions) = (blows?, 1);
    runtime.block_on(until_empty(&cluster))?;
    runtime.block_on(cluster.shutdown());
    drop(cluster);
    fleet.end()?;
    let left = runtime.block_on(streams_are_empty(&urls))?;
    tally.left = left.len() as u64;
    // A worker that is killed after it removed a message, and before its record expires, leaves the record.
    if tally.left > tally.blows.workers_killed && tally.blows.servers_killed == 0 {
        return Err(format!(
            "these records are left, and do not expire: {left:?}"
        ));
    }
    Ok(Some(tally))
}

async fn connect(urls: &str, plan: &Plan) -> Result<ClusterExecutor, ClusterError> {
    ClusterExecutor::connect(urls)
        .queue(QUEUE)
        .functions(tasks())
        .settings(settings(plan.nodes))
        .lost_after(LOST_AFTER)
        .timeout(TIME_LIMIT)
        .build()
        .await
}

fn judge(outcomes: &[Outcome], log: &std::path::Path) -> Result<Tally, String> {
    let mut runs = runs(log);
    let mut tally = Tally::default();
    let mut problems = Vec::new();
    for (kind, number, result) in outcomes {
        let runs = runs.remove(number).unwrap_or(0);
        tally.ran_again += u64::from(runs.saturating_sub(1));
        let judged = match result {
            Some(result) => kind.judge(result, *number, runs),
            None if runs > kind.retries() + 1 => Err(format!("it ran {runs} times")),
            None => Ok("dropped"),
        };
        match judged {
            Ok(name) => *tally.outcomes.entry((*kind, name)).or_default() += 1,
            Err(what) => problems.push(format!("{kind:?} {number}: {what}")),
        }
    }
    let unknown: Vec<_> = runs.keys().collect();
    if !unknown.is_empty() {
        problems.push(format!("these ran, and have no outcome: {unknown:?}"));
    }
    match problems.is_empty() {
        true => Ok(tally),
        false => Err(format!(
            "{} wrong:\n{}",
            problems.len(),
            problems.join("\n")
        )),
    }
}

/// Waits until `left` is empty.
async fn until_none<F: AsyncFnMut() -> String>(mut left: F) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let left = left().await;
        if left.is_empty() {
            return Ok(());
        }
        if start.elapsed() > TIME_LIMIT {
            return Err(format!("left: {left}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // There is no event for the end of a TTL.
    }
}

/// Waits until the queue and the client's table are empty.
async fn until_empty(cluster: &ClusterExecutor) -> Result<(), String> {
    // A map that was dropped may have a chunk that still runs.
    until_none(async || {
        let stats = cluster.stats();
        match (stats.running, stats.queued) {
            (0, 0) => String::new(),
            _ => format!("all tasks have outcomes, and the client has {stats:?}"),
        }
    })
    .await?;
    until_none(async || match cluster.depth().await {
        Ok(depth) if depth.waiting() + depth.running() == 0 => String::new(),
        Ok(depth) => format!("{depth:?}"),
        Err(error) => error.to_string(),
    })
    .await
}

/// Checks that no task is left in the servers. Returns how many records are left that do not expire soon.
async fn streams_are_empty(urls: &str) -> Result<Vec<String>, String> {
    let servers: Vec<async_nats::ServerAddr> = urls
        .split(',')
        .map(|url| url.parse().expect("an address"))
        .collect();
    let client = async_nats::connect(servers)
        .await
        .map_err(|error| error.to_string())?;
    let context = async_nats::jetstream::new(client);
    until_none(
        async || match context.get_stream(format!("CF_{QUEUE}")).await {
            Ok(stream) if stream.cached_info().state.messages == 0 => String::new(),
            Ok(stream) => format!("{:?}", stream.cached_info().state),
            Err(error) => error.to_string(),
        },
    )
    .await?;
    let mut last = Err("never read".to_owned());
    until_none(async || {
        last = records_without_end(&context).await;
        match &last {
            Ok(_) => String::new(),
            Err(error) => error.clone(),
        }
    })
    .await?;
    last
}

/// The records that do not expire.
async fn records_without_end(
    context: &async_nats::jetstream::Context,
) -> Result<Vec<String>, String> {
    let stream = context.get_stream(format!("CFO_{QUEUE}")).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let (mut seq, mut left) = (stream.cached_info().state.first_sequence, Vec::new());
    while seq <= stream.cached_info().state.last_sequence {
        match stream.get_first_raw_message_by_subject(">", seq).await {
            Ok(record) => {
                let expires = record.headers.get(async_nats::header::NATS_MESSAGE_TTL);
                if expires.is_none() {
                    let body = record.payload.escape_ascii();
                    left.push(format!("{}: {body}", record.subject));
                }
                seq = record.sequence + 1;
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(left)
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.ran_again += other.ran_again;
        self.left += other.left;
        let (to, from) = (&mut self.blows, &other.blows);
        to.workers_killed += from.workers_killed;
        to.workers_stopped += from.workers_stopped;
        to.workers_drained += from.workers_drained;
        to.servers_killed += from.servers_killed;
        to.servers_frozen += from.servers_frozen;
        for (name, count) in &other.outcomes {
            *self.outcomes.entry(*name).or_default() += count;
        }
    }

    pub(crate) fn tasks(&self) -> u64 {
        self.outcomes.values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Blows {
            workers_killed,
            workers_stopped,
            workers_drained,
            servers_killed,
            servers_frozen,
        } = self.blows;
        write!(
            f,
            "{} sessions, {} tasks, {} runs again, {} records left; workers: {workers_killed} killed, \
             {workers_stopped} stopped, {workers_drained} drained; servers: {servers_killed} killed, {servers_frozen} frozen",
            self.sessions,
            self.tasks(),
            self.ran_again,
            self.left,
        )?;
        let mut outcomes = self.outcomes.iter();
        outcomes.try_for_each(|((kind, name), count)| write!(f, "\n  {kind:?}: {count} {name}"))
    }
}
