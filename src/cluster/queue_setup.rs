//! [`QueueSetup`]: an admin creates a queue, so that clients and workers need no right to do so.

use std::time::Duration;

use super::access::QueueAccess;
use super::credentials::Credentials;
use super::error::ClusterError;
use super::permissions::QueueRole;
use super::settings::QueueSettings;

/// Creates a queue on the servers, as an admin.
///
/// Clients and workers also create a queue that does not exist. If their credentials do not permit that, a program of
/// the admin does it once. Repeating it changes nothing.
///
/// ```no_run
/// use concurrent_futures::cluster::{Credentials, Durability, QueueSettings, QueueSetup};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// QueueSetup::new("nats://a,nats://b")
///     .credentials(Credentials::new().user("admin", std::env::var("ADMIN_PASSWORD")?))
///     .settings(QueueSettings::new().durability(Durability::replicas(3)))
///     .create("primes")
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct QueueSetup(QueueAccess);

impl QueueSetup {
    /// Sets up queues on these servers: `nats://host:4222`, or `tls://host:4222`, with commas between several.
    pub fn new(servers: impl Into<String>) -> Self {
        Self(QueueAccess::new(servers.into()))
    }

    /// Sets the identity of the admin.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.0.credentials = credentials;
        self
    }

    /// Sets the settings of the queue.
    pub fn settings(mut self, settings: QueueSettings) -> Self {
        self.0.settings = settings;
        self
    }

    /// Sets the time limit of the connection, and then of the set-up. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.limit = timeout;
        self
    }

    /// Creates the queue, or checks that it exists with these settings.
    ///
    /// # Errors
    /// [`is_mismatch`](ClusterError::is_mismatch) if it exists with other settings,
    /// [`is_invalid`](ClusterError::is_invalid) for a setting that no server accepts, and all other kinds of
    /// [`ClusterError`].
    ///
    /// # Cancel safety
    /// Dropping it may leave a part of the queue. Call it again.
    pub async fn create(&self, queue: &str) -> Result<(), ClusterError> {
        let access = QueueAccess {
            queue: queue.to_owned(),
            ..self.0.clone()
        };
        access
            .open(QueueRole::Admin, "concurrent-futures set-up".to_owned())
            .await?;
        Ok(())
    }
}
