//! Why a program cannot use a queue: one opaque error with predicates.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Why a connection to the cluster, or the set-up of a queue, failed.
///
/// The predicates tell the kind of problem; `Display` says what happened, to what, and what to do.
/// [`source`](Error::source) is the error of the network, the server or the file system. Cheap to clone.
///
/// ```
/// use concurrent_futures::cluster::QueueSetup;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// // Nothing listens there.
/// let error = QueueSetup::new("nats://127.0.0.1:1").create("primes").await.unwrap_err();
/// assert!(error.is_unreachable());
/// println!("{error}");
/// # }
/// ```
#[derive(Clone)]
pub struct ClusterError(Arc<Details>);

struct Details {
    problem: Problem,
    text: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What kind of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    Unreachable,
    Tls,
    Unauthorized,
    PermissionDenied,
    Mismatch,
    Invalid,
    Full,
    /// A large payload does not exist any more, or has changed since it was stored.
    Damaged,
}

impl ClusterError {
    pub(crate) fn new(problem: Problem, text: impl Into<String>) -> Self {
        Self(Arc::new(Details {
            problem,
            text: text.into(),
            source: None,
        }))
    }

    pub(crate) fn with_source(
        problem: Problem,
        text: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Details {
            problem,
            text: text.into(),
            source: Some(source.into()),
        }))
    }

    /// The connection is closed.
    pub(crate) fn closed() -> Self {
        Self::new(Problem::Unreachable, "the connection is closed")
    }

    /// The user of this connection may not send a request.
    pub(crate) fn not_permitted(subject: &str) -> Self {
        let text = format!("the server permits this user no publish to `{subject}`; permit it");
        Self::new(Problem::PermissionDenied, text)
    }

    #[cfg(all(test, target_os = "linux", not(properties)))]
    pub(crate) fn problem(&self) -> Problem {
        self.0.problem
    }

    /// Returns whether no server answers, or a server answers that it cannot serve the queue: JetStream is off, or its
    /// nodes have no leader. A later attempt may succeed.
    pub fn is_unreachable(&self) -> bool {
        self.0.problem == Problem::Unreachable
    }

    /// Returns whether the encryption failed: a certificate that one side does not accept, or a server without TLS.
    pub fn is_tls(&self) -> bool {
        self.0.problem == Problem::Tls
    }

    /// Returns whether the server does not accept the credentials.
    pub fn is_unauthorized(&self) -> bool {
        self.0.problem == Problem::Unauthorized
    }

    /// Returns whether the server accepts the credentials, but they lack a right that the crate needs.
    pub fn is_permission_denied(&self) -> bool {
        self.0.problem == Problem::PermissionDenied
    }

    /// Returns whether the queue exists with settings that differ from those of the program, or that the crate cannot
    /// use.
    pub fn is_mismatch(&self) -> bool {
        self.0.problem == Problem::Mismatch
    }

    /// Returns whether a value from the program is wrong: an address, a name, a file, a setting.
    pub fn is_invalid(&self) -> bool {
        self.0.problem == Problem::Invalid
    }

    /// Returns whether the server has no space left, or a limit of the queue is reached.
    pub fn is_full(&self) -> bool {
        self.0.problem == Problem::Full
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterError")
            .field("problem", &self.0.problem)
            .field("text", &self.0.text)
            .field("source", &self.0.source)
            .finish()
    }
}

impl Error for ClusterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}
