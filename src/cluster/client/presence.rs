//! Which workers serve the queue. All answer one question.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::timeout;

use super::core::ClientCore;
use crate::cluster::connection::{Unanswered, refused};
use crate::cluster::control::{ControlMessage as _, Presence, Who};
use crate::cluster::error::{ClusterError, Problem};
use crate::cluster::record::WorkerId;

/// How long the server may take to answer if no worker does.
const LIMIT: Duration = Duration::from_secs(5);
/// How long the first answer may take, and each later one.
const FIRST: Duration = Duration::from_millis(500);
const NEXT: Duration = Duration::from_millis(100);
/// The most answers that are read.
const MOST_WORKERS: usize = 100_000;

/// A worker of a cluster, as it describes itself; see [`ClusterExecutor::workers`](super::ClusterExecutor::workers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterWorkerInfo {
    presence: Presence,
}

impl ClusterWorkerInfo {
    /// The id of the worker. No other worker ever has the same.
    pub fn id(&self) -> &str {
        &self.presence.by.id
    }

    /// The name that its user gave it, or its machine and process.
    pub fn name(&self) -> Cow<'_, str> {
        let WorkerId {
            host, pid, name, ..
        } = &self.presence.by;
        match name {
            Some(name) => name.into(),
            None => format!("{host}:{pid}").into(),
        }
    }

    /// The name of its machine.
    pub fn host(&self) -> &str {
        &self.presence.by.host
    }

    /// The process id of its program.
    pub fn pid(&self) -> u32 {
        self.presence.by.pid
    }

    /// The build of its program.
    pub fn build(&self) -> &str {
        &self.presence.build
    }

    /// The names of its functions, in alphabetical order.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.presence
            .functions
            .iter()
            .map(|function| &*function.name)
    }

    /// How many tasks it can run at the same time.
    pub fn slots(&self) -> usize {
        self.presence.slots as usize
    }

    /// How many tasks it runs.
    pub fn running(&self) -> usize {
        self.presence.running as usize
    }

    /// Whether it takes no new task, because it is about to end.
    pub fn is_draining(&self) -> bool {
        self.presence.is_draining
    }
}

impl ClientCore {
    /// Asks all workers. Runs on the runtime of the connection.
    pub(super) async fn gather_workers(&self) -> Result<Vec<ClusterWorkerInfo>, ClusterError> {
        let until = Instant::now() + LIMIT;
        loop {
            let mut connects = self.nats.connects();
            connects.borrow_and_update();
            let workers = self.ask_workers().await?;
            // No answer: there is no worker, all are stopped, or the server does not answer.
            if workers.is_empty() {
                self.ask_server_whether_it_answers(until).await?;
                if connects.has_changed().unwrap_or(false) && Instant::now() < until {
                    continue; // The question was lost with the connection.
                }
            }
            let open = workers.iter().filter(|worker| !worker.is_draining());
            let slots = open.map(ClusterWorkerInfo::slots).sum();
            self.present.note(workers.len(), slots);
            return Ok(workers);
        }
    }

    async fn ask_workers(&self) -> Result<Vec<ClusterWorkerInfo>, ClusterError> {
        let mut workers = Vec::new();
        let (client, subject) = (self.nats.client(), self.names.who());
        let inbox = client.new_inbox();
        let refusals = self.nats.events(); // Before the question, because a refusal may arrive at once.
        let answers = client.subscribe(inbox.clone()).await;
        let mut answers = answers.map_err(|_| ClusterError::closed())?;
        let asked = client.publish_with_reply(subject.clone(), inbox, Who::Workers.encode());
        asked.await.map_err(|_| ClusterError::closed())?;
        let refused = refused(refusals, &subject);
        tokio::pin!(refused);
        let mut limit = FIRST;
        loop {
            let answer = tokio::select! {
                answer = timeout(limit, answers.next()) => answer,
                _ = &mut refused => return Err(ClusterError::not_permitted(&subject)),
            };
            let Ok(Some(answer)) = answer else {
                return Ok(workers);
            };
            if answer.status == Some(StatusCode::NO_RESPONDERS) || workers.len() == MOST_WORKERS {
                return Ok(workers);
            }
            if let Ok(presence) = Presence::decode(&answer.payload) {
                workers.push(ClusterWorkerInfo { presence });
            }
            limit = NEXT;
        }
    }

    /// Sends a request that only the server answers.
    async fn ask_server_whether_it_answers(&self, until: Instant) -> Result<(), ClusterError> {
        let subject = format!("$JS.API.STREAM.INFO.{}", self.names.tasks_stream());
        let left = until.saturating_duration_since(Instant::now());
        let asked = self
            .nats
            .request(&subject, HeaderMap::new(), Bytes::new(), left);
        match asked.await {
            Ok(_) => Ok(()),
            Err(reason) => Err(unanswered(&subject, &reason)),
        }
    }

    /// Counts the workers, in the background.
    pub(super) fn count_workers(&self) {
        let me = self.shared();
        self.nats.spawn(async move {
            let _ = me.gather_workers().await; // The next count may succeed.
        });
    }
}

fn unanswered(subject: &str, reason: &Unanswered) -> ClusterError {
    if let Unanswered::Refused(_) = reason {
        return ClusterError::not_permitted(subject);
    }
    let text = format!(
        "no worker and no server says which workers there are: {reason}; check the servers and the network"
    );
    ClusterError::new(Problem::Unreachable, text)
}
