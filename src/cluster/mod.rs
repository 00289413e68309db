//! Executors and workers on many machines, over [NATS JetStream](https://docs.nats.io/nats-concepts/jetstream).
//!
//! # Set-up and permissions
//!
//! A program creates a queue that does not exist, if its user has the right to do so. In production, an admin should
//! create it by [`QueueSetup`], and permit clients and workers only the following, shown for a queue `primes`. The
//! configuration of the tests, `examples/cluster/users.conf`, contains the same for the server. The server refuses
//! everything else. A client and a worker try all their rights when they connect, except the right to submit. A missing
//! right is an error of `build`.
//!
//! | subject | client | worker |
//! |---|---|---|
//! | `cf.primes.t.>` | publishes tasks | |
//! | `cf.primes.o.*.*` | cancels | claims, stores outcomes |
//! | `cf.primes.r.*.*` | receives outcomes | |
//! | `cf.primes.p.*.*` | receives progress | reports progress |
//! | `cf.primes.l.*.*` | stores and deletes large payloads | the same |
//! | `cf.primes.w.*.*` | cancels running tasks | receives requests; asks other workers |
//! | `cf.primes.who` | asks which workers there are | receives the question |
//! | `_INBOX.cf.primes.client.>` | receives answers | answers |
//! | `_INBOX.cf.primes.worker.>` | | receives answers, and answers |
//! | `$JS.ACK.CF_primes.>` | has the task of a lost worker delivered again | publishes |
//! | `$JS.API.STREAM.INFO.` + `CF_primes`, `CFO_primes`, `CFL_primes` | publishes | publishes |
//! | `$JS.API.CONSUMER.INFO.CF_primes.*` | publishes | publishes |
//! | `$JS.API.CONSUMER.MSG.NEXT.CF_primes.*` | | publishes |
//! | `$JS.API.DIRECT.GET.CF_primes` | publishes, to find waiting tasks | |
//! | `$JS.API.DIRECT.GET.` + `CFO_primes`, `CFO_primes.>`, `CFL_primes.>` | publishes | publishes, except to the first |
//! | `$JS.API.STREAM.MSG.DELETE.CF_primes` | publishes, to remove cancelled tasks | |
//!
//! An admin needs `$JS.API.STREAM.INFO.*`, `$JS.API.STREAM.CREATE.*`, `$JS.API.CONSUMER.INFO.*.*`,
//! `$JS.API.CONSUMER.CREATE.>` and the answers at `_INBOX.cf.primes.setup.>`. Permit no program `$JS.API.>`: that
//! includes the right to delete all streams.

// Reading order:
//
// - `token`: any text as a part of a subject; `names`: the names of streams and subjects;
// - `error`: why a queue cannot be used;
// - `credentials`: who connects; `events`: what a connection reports; `connection`: a connection that reconnects for
//   ever; `connect`: the first connection;
// - `settings`: what a user may choose for a queue; `streams`: these settings as the servers' configuration;
//   `differences`: compares it with that of the servers; `api`: requests to them; `setup`: creates or checks a queue;
//   `queue_setup`: the same for an admin; `permissions`: whether the server permits a role; `access`: from settings to
//   a connection;
// - `object_name`: the name of a large payload; `large`: payloads that do not fit in a message;
// - `functions`: which functions other programs call, and their names; `entry`: one of them;
// - `task_message`: a task as it is sent; `record`: its claim, and then its outcome; `control`: messages that are not
//   stored; `malformed`: why bytes are refused; `publish_answer`: the answer of a stream; `headers`: headers that the
//   server reads and writes; `lost`: the error of a lost worker;
// - `swap`: the compare-and-swap of a record; `delivery`: what the server reports about a delivery;
// - `client`: the submitting side; `worker`: the serving side.

mod access;
mod api;
mod client;
mod connect;
mod connection;
mod control;
mod credentials;
mod delivery;
mod differences;
mod entry;
mod error;
mod events;
mod functions;
mod headers;
mod large;
mod lost;
mod malformed;
mod names;
mod object_name;
mod permissions;
mod publish_answer;
mod queue_setup;
mod record;
mod settings;
mod setup;
mod streams;
mod swap;
mod task_message;
mod token;
mod worker;

pub use self::client::{
    ClusterBuilder, ClusterExecutor, ClusterWorkerInfo, InvalidTaskKey, LaneDepth, QueueDepth,
    TaskKey,
};
pub use self::credentials::Credentials;
pub use self::error::ClusterError;
pub use self::functions::Functions;
pub use self::queue_setup::QueueSetup;
pub use self::settings::{Durability, QueueSettings};
pub use self::worker::{Worker, WorkerBuilder, WorkerReport, sigterm};

#[cfg(all(test, target_os = "linux", not(properties)))]
#[path = "../../tests/common/nats.rs"]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "the package of the tests exports it"
)]
mod nats_server;
/// Servers for the tests.
#[cfg(all(test, properties))]
#[path = "../../tests/properties/cluster/script.rs"]
mod script;
#[cfg(all(test, target_os = "linux", not(properties)))]
#[path = "../../tests/cluster/inside/mod.rs"]
mod tests;
