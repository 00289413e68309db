//! The settings of a program for a queue and its servers, and the connection that it makes with them.

use std::time::Duration;

use super::connect::{ConnectSettings, connect};
use super::connection::NatsConnection;
use super::credentials::Credentials;
use super::error::{ClusterError, Problem};
use super::names::QueueNames;
use super::permissions::{self, QueueRole};
use super::settings::QueueSettings;
use super::setup::{QueueInfo, set_up};

/// The settings that clients, workers and admins share.
#[derive(Clone, Debug)]
pub(super) struct QueueAccess {
    pub(super) servers: String,
    pub(super) queue: String,
    pub(super) credentials: Credentials,
    pub(super) settings: QueueSettings,
    /// The time limit of the connection, and then of the set-up.
    pub(super) limit: Duration,
}

/// A connection to a queue that exists.
pub(super) struct OpenQueue {
    pub(super) names: QueueNames,
    pub(super) nats: NatsConnection,
    pub(super) info: QueueInfo,
}

impl QueueAccess {
    pub(super) fn new(servers: String) -> Self {
        Self {
            servers,
            queue: "default".to_owned(),
            credentials: Credentials::new(),
            settings: QueueSettings::new(),
            limit: Duration::from_secs(10),
        }
    }

    /// Connects, finds or creates the queue, and checks all rights of the `role`. The servers' tools show `name`.
    pub(super) async fn open(
        self,
        role: QueueRole,
        name: String,
    ) -> Result<OpenQueue, ClusterError> {
        let names = QueueNames::new(&self.queue)
            .map_err(|error| ClusterError::new(Problem::Invalid, error.to_string()))?;
        self.settings.check()?;
        let connection = connect(ConnectSettings {
            servers: self.servers,
            name,
            inbox: names.inbox(role.name()),
            credentials: self.credentials,
            limit: self.limit,
        });
        let nats = connection.await?;
        let info = set_up(&nats, &names, &self.settings, self.limit).await?;
        permissions::check(&nats, &names, role, self.limit).await?;
        Ok(OpenQueue { names, nats, info })
    }
}
