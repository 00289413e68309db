//! The load: tasks of all kinds, some hundreds at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use concurrent_futures::cluster::ClusterExecutor;
use concurrent_futures::{ExecutorExt as _, TaskError, TaskOptions};
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::FuturesUnordered;

use crate::dice::Dice;
use crate::fleet::TIME_LIMIT;
use crate::program::{Deed, logged, same};
use crate::verdict::Kind;

/// A task and its result; `None` if its result was not awaited.
pub(crate) type Outcome = (Kind, u64, Option<Result<u64, TaskError>>);

/// The most tasks that are submitted and have no outcome.
const MOST_IN_FLIGHT: u64 = 500;
/// How long a task works, in ms.
const WORK: u64 = 10;
/// Larger than the servers' largest message.
const LARGE: usize = 1_200_000;

pub(crate) struct Load<'a> {
    pub(crate) cluster: &'a ClusterExecutor,
    pub(crate) log: String,
    pub(crate) seed: u64,
    pub(crate) dice: Dice,
    pub(crate) submitted: u64,
    /// What was submitted, by number. A `map` counts once.
    pub(crate) kinds: BTreeMap<u64, Kind>,
    /// The only result of the dice, to search for a fault in one kind of task.
    pub(crate) only: Option<u64>,
}

impl<'a> Load<'a> {
    /// Submits `tasks` tasks, and returns their outcomes.
    pub(crate) async fn run(mut self, tasks: u64) -> Result<Vec<Outcome>, String> {
        let mut waiting = FuturesUnordered::new();
        let mut outcomes = Vec::new();
        while self.submitted < tasks || !waiting.is_empty() {
            while self.submitted < tasks
                && self.submitted - (outcomes.len() as u64) < MOST_IN_FLIGHT
            {
                waiting.push(self.submit());
            }
            let next = tokio::time::timeout(TIME_LIMIT, waiting.next()).await;
            let done = next.map_err(|_| {
                let stats = concurrent_futures::Executor::stats(self.cluster);
                let mut kinds = self.kinds.clone();
                kinds.retain(|number, _| outcomes.iter().all(|(_, other, _)| other != number));
                format!(
                    "{} tasks wait in vain, {kinds:?}: {stats:?}, {:?}",
                    waiting.len(),
                    self.cluster
                )
            })?;
            outcomes.extend(done.unwrap_or_default());
        }
        Ok(outcomes)
    }

    fn submit(&mut self) -> BoxFuture<'a, Vec<Outcome>> {
        let throw = self.dice.below(20);
        match self.only.unwrap_or(throw) {
            0..=3 => self.one(Kind::Once, Deed::Work),
            4..=8 => self.one(Kind::Again, Deed::Work),
            9 => self.one(Kind::Again, Deed::Report),
            10 | 11 => self.aborted(),
            12 => self.one(Kind::Impatient, Deed::Work),
            13 => self.one(Kind::Slow, Deed::Work),
            14 => self.one(Kind::Panicking, Deed::Panic),
            15 => self.map(Kind::Item),
            16 => self.map(Kind::ItemAgain),
            17 => self.twice(),
            18 => self.reattached(),
            _ => self.large(),
        }
    }

    fn next(&mut self) -> u64 {
        self.submitted += 1;
        self.submitted
    }

    fn options(&mut self, kind: Kind) -> TaskOptions {
        self.kinds.insert(self.submitted, kind);
        let options = TaskOptions::new().retries(kind.retries());
        let options = options.priority(self.dice.below(3) as i32 - 1);
        match kind {
            Kind::Impatient => options.queue_timeout(self.dice.millis(600)),
            Kind::Slow => options.timeout(self.dice.millis(WORK / 2)),
            _ => options,
        }
    }

    fn one(&mut self, kind: Kind, deed: Deed) -> BoxFuture<'a, Vec<Outcome>> {
        let (number, options) = (self.next(), self.options(kind));
        let args = (self.log.clone(), number, WORK, deed);
        let handle = self.cluster.submit_with(&options, logged, args);
        async move { vec![(kind, number, Some(handle.await))] }.boxed()
    }

    fn aborted(&mut self) -> BoxFuture<'a, Vec<Outcome>> {
        let (number, options) = (self.next(), self.options(Kind::Aborted));
        let args = (self.log.clone(), number, WORK, Deed::Work);
        let mut handle = self.cluster.submit_with(&options, logged, args);
        let moment = self.dice.millis(600);
        async move {
            let result = match tokio::time::timeout(moment, &mut handle).await {
                Ok(result) => result,
                Err(_) => {
                    handle.abort();
                    handle.await
                }
            };
            vec![(Kind::Aborted, number, Some(result))]
        }
        .boxed()
    }

    fn map(&mut self, kind: Kind) -> BoxFuture<'a, Vec<Outcome>> {
        let first = self.submitted + 1;
        let count = 1 + self.dice.below(60);
        self.submitted += count;
        let log = self.log.clone();
        let items = (first..first + count).map(move |number| (log.clone(), number, 2, Deed::Work));
        let mut map = self.cluster.map(logged, items).options(self.options(kind));
        if self.dice.one_in(2) {
            map = map.chunk_size(1 + self.dice.below(20) as usize);
        }
        // Some streams are dropped early, which cancels the rest.
        let taken = match self.dice.one_in(4) {
            true => self.dice.below(count),
            false => count,
        };
        async move {
            let results: Vec<_> = map.take(taken as usize).collect().await;
            let mut results = results.into_iter();
            (first..first + count)
                .map(|number| (kind, number, results.next()))
                .collect()
        }
        .boxed()
    }

    /// Two tasks with one deduplication id are one task.
    fn twice(&mut self) -> BoxFuture<'a, Vec<Outcome>> {
        let number = self.next();
        let id = format!("{}-{number}", self.seed);
        let options = self.options(Kind::Twice).deduplication_id(id);
        let args = (self.log.clone(), number, WORK, Deed::Work);
        let first = self.cluster.submit_with(&options, logged, args.clone());
        let second = self.cluster.submit_with(&options, logged, args);
        async move {
            let (first, second) = futures::future::join(first, second).await;
            let result = first.and_then(|value| {
                assert_eq!(value, number);
                second
            });
            vec![(Kind::Twice, number, Some(result))]
        }
        .boxed()
    }

    fn reattached(&mut self) -> BoxFuture<'a, Vec<Outcome>> {
        let (number, options) = (self.next(), self.options(Kind::Reattached));
        let args = (self.log.clone(), number, WORK, Deed::Work);
        let handle = self.cluster.submit_with(&options, logged, args);
        let cluster = self.cluster;
        let moment: Duration = self.dice.millis(300);
        async move {
            let key = cluster.stored(&handle).await;
            drop(handle);
            tokio::time::sleep(moment).await; // The outcome may come before or after.
            let result = cluster.reattach::<u64>(&key).await;
            vec![(Kind::Reattached, number, Some(result))]
        }
        .boxed()
    }

    fn large(&mut self) -> BoxFuture<'a, Vec<Outcome>> {
        let (number, options) = (self.next(), self.options(Kind::Large));
        let bytes = vec![number as u8; LARGE + self.dice.below(LARGE as u64) as usize];
        let args = (self.log.clone(), number, bytes.clone());
        let handle = self.cluster.submit_with(&options, same, args);
        async move {
            let result = handle.await.map(|echo| match echo == bytes {
                true => number,
                false => u64::MAX, // A wrong result.
            });
            vec![(Kind::Large, number, Some(result))]
        }
        .boxed()
    }
}
