//! The example's configuration for production permits what its users do, and nothing else.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use cluster_tests::{Certificates, NatsServer, USERS};
use concurrent_futures::cluster::{
    ClusterExecutor, Credentials, Functions, QueueSettings, QueueSetup, Worker, WorkerBuilder,
};
use concurrent_futures::{ExecutorExt as _, TaskOptions, ThreadPoolExecutor, functions, worker};
use futures::TryStreamExt as _;
use tokio::sync::oneshot;

const CONFIGURATION: &str = include_str!("../../examples/cluster/nats.conf");

/// Runs until it is cancelled, and says that it runs.
fn wait() {
    let context = worker::current().expect("in a task");
    context.report_progress(1, 2);
    while !context.is_cancelled() {
        std::thread::yield_now();
    }
}

fn reversed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

fn tasks() -> Functions {
    functions![u64::isqrt, reversed, wait]
}

/// A server with the example's configuration, and its certificates.
fn start() -> Option<(NatsServer, Certificates)> {
    let mut server = NatsServer::start("")?;
    let folder = server.folder().join("nats");
    let certificates = Certificates::new(&folder);
    certificates.sign("server");
    let folder = format!("{}/", folder.display());
    let configuration = CONFIGURATION
        .replace("/etc/nats/", &folder)
        .replace("include \"users.conf\"", USERS);
    assert!(configuration.contains(&folder) && configuration.contains(USERS));
    server.restart_with(&configuration);
    Some((server, certificates))
}

fn credentials(certificates: &Certificates, user: &str) -> Credentials {
    Credentials::new()
        .user(user, user)
        .roots(certificates.path("ca"))
}

fn worker_of(server: &NatsServer, credentials: Credentials) -> WorkerBuilder {
    Worker::connect(server.url())
        .queue("primes")
        .functions(tasks())
        .credentials(credentials)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_examples_configuration_admin_worker_and_client_may_do_all_they_do()
-> Result<(), Box<dyn Error>> {
    let Some((server, certificates)) = start() else {
        return Ok(());
    };
    QueueSetup::new(server.url())
        .credentials(credentials(&certificates, "admin"))
        .settings(QueueSettings::new().result_ttl(Duration::from_secs(60)))
        .create("primes")
        .await?;
    let client = || {
        ClusterExecutor::connect(server.url())
            .queue("primes")
            .functions(tasks())
            .credentials(credentials(&certificates, "client"))
    };
    let cluster = client().build().await?;

    // Before a worker is there: a cancel of what waits.
    let waits = cluster.submit(wait, ());
    cluster.stored(&waits).await;
    assert_eq!(cluster.depth().await?.waiting(), 1);
    waits.abort();
    let error = waits.await.unwrap_err();
    assert!(error.is_cancelled() && !error.was_started(), "{error}");

    let pool = Arc::new(ThreadPoolExecutor::new()?);
    let worker = worker_of(&server, credentials(&certificates, "worker"));
    let worker = worker.build(pool).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(worker.run_until(async {
        let _ = stopped.await;
    }));
    assert_eq!(cluster.submit(u64::isqrt, 49).await?, 7);
    while cluster.workers().await?.len() != 1 {} // On a busy machine, a worker may answer too late.
    let roots: Vec<u64> = cluster.map(u64::isqrt, 0..1000).try_collect().await?;
    assert!((0..1000).map(u64::isqrt).eq(roots));

    // Beyond the size of a message, both ways.
    let large = cluster.submit(reversed, vec![7; 3 << 20]).await?;
    assert_eq!(large.len(), 3 << 20);

    // A cancel of what runs.
    let mut runs = cluster.submit(wait, ());
    let mut progress = runs.progress();
    futures::StreamExt::next(&mut progress).await;
    runs.abort();
    let error = (&mut runs).await.unwrap_err();
    assert!(error.is_cancelled() && error.was_started(), "{error}");

    // Another client takes the outcome, also of a task that two clients submitted.
    let once = TaskOptions::new().deduplication_id("the root of 64");
    let key = cluster
        .stored(&cluster.submit_with(&once, u64::isqrt, 64))
        .await;
    let other = client().build().await?;
    assert_eq!(other.submit_with(&once, u64::isqrt, 64).await?, 8);
    assert_eq!(other.reattach::<u64>(&key).await?, 8);

    other.shutdown().await;
    cluster.shutdown().await;
    let _ = stop.send(());
    serving.await?;
    let log = server.log();
    assert!(!log.contains("Violation"), "{log}");
    Ok(())
}

#[tokio::test]
async fn with_the_examples_configuration_others_are_refused_and_each_error_says_why() {
    let Some((server, certificates)) = start() else {
        return;
    };
    let build = |queue: &str, user: &str| {
        let cluster = ClusterExecutor::connect(server.url());
        let cluster = cluster.queue(queue).functions(tasks());
        cluster
            .credentials(credentials(&certificates, user))
            .build()
    };
    let unknown = build("primes", "nobody").await.unwrap_err();
    assert!(unknown.is_unauthorized(), "{unknown:?}");
    let not_set_up = build("primes", "client").await.unwrap_err();
    assert!(not_set_up.is_permission_denied(), "{not_set_up:?}");
    let admin = QueueSetup::new(server.url()).credentials(credentials(&certificates, "admin"));
    for queue in ["primes", "other"] {
        admin.create(queue).await.expect("an admin may");
    }
    let other_queue = build("other", "client").await.unwrap_err();
    assert!(other_queue.is_permission_denied(), "{other_queue:?}");
    let roots = Credentials::new().roots(certificates.path("ca"));
    let pool = Arc::new(ThreadPoolExecutor::new().expect("a pool"));
    let anonymous = worker_of(&server, roots).build(pool).await.unwrap_err();
    assert!(anonymous.is_unauthorized(), "{anonymous:?}");
}
