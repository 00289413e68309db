//! The first program creates a queue. If a queue exists with other settings, the error names them.

use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use cluster_tests::NatsServer;
use concurrent_futures::cluster::{ClusterError, Durability, QueueSettings, QueueSetup};

/// Longer than any step of these tests takes.
const LIMIT: Duration = Duration::from_secs(60);

async fn create(
    server: &NatsServer,
    queue: &str,
    settings: QueueSettings,
) -> Result<(), ClusterError> {
    let setup = QueueSetup::new(server.url())
        .settings(settings)
        .timeout(LIMIT);
    setup.create(queue).await
}

async fn raw(server: &NatsServer) -> jetstream::Context {
    jetstream::new(async_nats::connect(server.url()).await.expect("the server"))
}

async fn stream(raw: &jetstream::Context, name: &str) -> stream::Config {
    let mut stream = raw.get_stream(name).await.expect(name);
    stream.info().await.expect(name).config.clone()
}

/// Other tools and other versions of the crate depend on these settings.
#[tokio::test]
async fn a_new_queue_is_as_documented() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    create(&server, "primes", QueueSettings::new())
        .await
        .expect("made");
    let raw = raw(&server).await;
    let tasks = stream(&raw, "CF_primes").await;
    assert_eq!(tasks.subjects, ["cf.primes.t.>"]);
    assert_eq!(tasks.retention, stream::RetentionPolicy::WorkQueue);
    assert_eq!(tasks.discard, stream::DiscardPolicy::New);
    assert_eq!(
        (tasks.max_messages, tasks.max_bytes, tasks.max_age),
        (-1, -1, Duration::ZERO)
    );
    assert_eq!(tasks.duplicate_window, Duration::from_secs(120));
    let records = stream(&raw, "CFO_primes").await;
    assert_eq!(records.subjects, ["cf.primes.o.>"]);
    assert_eq!(records.max_messages_per_subject, 1);
    assert_eq!(records.max_age, Duration::from_secs(7 * 24 * 3600));
    assert!(records.allow_direct && records.allow_message_ttl);
    assert_eq!(
        records.republish.expect("it is set").destination,
        "cf.primes.r.>"
    );
    let payloads = stream(&raw, "CFL_primes").await;
    assert_eq!(payloads.subjects, ["cf.primes.l.>"]);
    assert_eq!(payloads.max_age, Duration::from_secs(7 * 24 * 3600));
    for lane in 0..3 {
        let consumer: consumer::PullConsumer = raw
            .get_consumer_from_stream(format!("lane{lane}"), "CF_primes")
            .await
            .expect("a consumer");
        let config = consumer.cached_info().config.clone();
        assert_eq!(config.filter_subject, format!("cf.primes.t.{lane}.>"));
        assert_eq!(config.ack_wait, Duration::from_secs(30));
        assert_eq!((config.max_deliver, config.max_ack_pending), (-1, -1));
    }
}

fn many_settings() -> QueueSettings {
    QueueSettings::new()
        .durability(Durability::memory())
        .ack_wait(Duration::from_secs(5))
        .duplicate_window(Duration::from_secs(7))
        .result_ttl(Duration::from_secs(11))
        .payload_ttl(Duration::from_secs(1300))
        .max_tasks(1000)
        .max_bytes(1_000_000)
}

#[tokio::test]
async fn a_second_set_up_changes_nothing() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let raw = raw(&server).await;
    create(&server, "primes", many_settings())
        .await
        .expect("made");
    let before = stream(&raw, "CF_primes").await;
    create(&server, "primes", many_settings())
        .await
        .expect("it is as stated");
    create(&server, "primes", QueueSettings::new())
        .await
        .expect("nothing is stated");
    assert_eq!(stream(&raw, "CF_primes").await, before);
    assert_eq!((before.max_messages, before.max_bytes), (1000, 1_000_000));
    assert_eq!(before.storage, stream::StorageType::Memory);
}

#[tokio::test]
async fn a_setting_that_differs_is_named_with_both_values() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    create(&server, "primes", many_settings())
        .await
        .expect("made");
    let seconds = Duration::from_secs;
    let others = [
        (
            QueueSettings::new().durability(Durability::file()),
            "storage",
            "Memory",
            "File",
        ),
        (
            QueueSettings::new().ack_wait(seconds(6)),
            "ack_wait",
            "5s",
            "6s",
        ),
        (
            QueueSettings::new().duplicate_window(seconds(8)),
            "duplicate_window",
            "7s",
            "8s",
        ),
        (
            QueueSettings::new().result_ttl(seconds(12)),
            "result TTL",
            "11s",
            "12s",
        ),
        (
            QueueSettings::new().payload_ttl(seconds(1400)),
            "max_age",
            "1300s",
            "1400s",
        ),
        (
            QueueSettings::new().max_tasks(1001),
            "max_msgs",
            "1000",
            "1001",
        ),
        (
            QueueSettings::new().max_bytes(1_000_001),
            "max_bytes",
            "1000000",
            "1000001",
        ),
    ];
    for (settings, setting, found, wanted) in others {
        let error = create(&server, "primes", settings)
            .await
            .expect_err(setting);
        assert!(error.is_mismatch(), "{error}");
        let text = error.to_string();
        for part in ["queue `primes`", "_primes`", setting, found, wanted] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_another_program_made_is_a_mismatch() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let raw = raw(&server).await;
    for (queue, name, subject) in [
        ("a", "CF_a", "cf.a.t.>"),
        ("b", "CFO_b", "other.b"),
        ("c", "other", "cf.c.l.>"),
    ] {
        let foreign = stream::Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            ..stream::Config::default()
        };
        raw.create_stream(foreign).await.expect("made");
        let error = create(&server, queue, QueueSettings::new())
            .await
            .expect_err(queue);
        assert!(error.is_mismatch(), "{queue}: {error:?}");
    }
    create(&server, "d", QueueSettings::new())
        .await
        .expect("made");
    raw.delete_consumer_from_stream("lane1", "CF_d")
        .await
        .expect("deleted");
    let foreign = consumer::pull::Config {
        durable_name: Some("lane1".to_owned()),
        filter_subject: "cf.d.t.1.>".to_owned(),
        max_deliver: 3,
        ..consumer::pull::Config::default()
    };
    raw.create_consumer_on_stream(foreign, "CF_d")
        .await
        .expect("made");
    let error = create(&server, "d", QueueSettings::new())
        .await
        .expect_err("lane1");
    assert!(
        error.is_mismatch() && error.to_string().contains("max_deliver"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_set_up_at_once_all_find_one_queue() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    for round in 0..5 {
        let queue = format!("q{round}");
        // All have the same settings.
        let all = (0..8).map(|_| create(&server, &queue, QueueSettings::new().max_tasks(7)));
        for made in futures::future::join_all(all).await {
            made.expect("one queue");
        }
        // Their settings differ, so the later programs get an error.
        let queue = format!("r{round}");
        let all =
            (1..=8).map(|tasks| create(&server, &queue, QueueSettings::new().max_tasks(tasks)));
        let all = futures::future::join_all(all).await;
        let (made, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        assert_eq!(made.len(), 1, "{refused:?}");
        for error in refused {
            let error = error.expect_err("it is refused");
            assert!(error.is_mismatch(), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_server_without_jetstream_is_named_unreachable() {
    let Some(server) = NatsServer::start_without_jetstream() else {
        return;
    };
    let setup = QueueSetup::new(server.url()).timeout(Duration::from_millis(500));
    let error = setup
        .create("primes")
        .await
        .expect_err("it has no JetStream");
    assert!(
        error.is_unreachable() && error.to_string().contains("-js"),
        "{error}"
    );
}

#[tokio::test]
async fn replicas_need_servers() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let error = create(
        &server,
        "primes",
        QueueSettings::new().durability(Durability::replicas(3)),
    )
    .await;
    let error = error.expect_err("there is one server");
    assert!(
        error.is_invalid() && error.to_string().contains("replicas"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_full_account_is_named_full() {
    let Some(server) = NatsServer::start("") else {
        return;
    };
    let settings = QueueSettings::new().max_bytes(1 << 45);
    let error = create(&server, "primes", settings)
        .await
        .expect_err("no disk is so large");
    assert!(error.is_full(), "{error:?}");
}

#[tokio::test]
async fn settings_that_no_server_accepts_are_refused_before_anything_is_sent() {
    let nowhere = |settings| QueueSetup::new("nats://127.0.0.1:1").settings(settings);
    let all = [
        QueueSettings::new().durability(Durability::replicas(0)),
        QueueSettings::new().durability(Durability::replicas(6)),
        QueueSettings::new().ack_wait(Duration::ZERO),
        QueueSettings::new().duplicate_window(Duration::from_millis(1)),
        QueueSettings::new().result_ttl(Duration::from_millis(999)),
        QueueSettings::new().payload_ttl(Duration::MAX),
        QueueSettings::new().max_tasks(0),
        QueueSettings::new().max_bytes(u64::MAX),
    ];
    for settings in all {
        let error = nowhere(settings.clone())
            .create("primes")
            .await
            .expect_err("it is invalid");
        assert!(error.is_invalid(), "{settings:?}: {error}");
    }
    for queue in ["", "a.b", "a b", "*", ">", "é", "a/b", &"a".repeat(33)] {
        let error = nowhere(QueueSettings::new())
            .create(queue)
            .await
            .expect_err(queue);
        assert!(error.is_invalid(), "{queue:?}: {error}");
    }
}

#[tokio::test]
async fn three_servers_keep_a_queue_while_one_is_down() {
    let Some(mut servers) = NatsServer::start_cluster(3) else {
        return;
    };
    let urls: Vec<String> = servers.iter().map(NatsServer::url).collect();
    let settings = QueueSettings::new().durability(Durability::replicas(3));
    // At once: the cluster may have no leader yet.
    let setup = QueueSetup::new(urls.join(","))
        .settings(settings)
        .timeout(LIMIT);
    setup.create("primes").await.expect("made");
    let raw = raw(&servers[0]).await;
    let mut tasks = raw.get_stream("CF_primes").await.expect("it is there");
    let info = tasks.info().await.expect("it is there").clone();
    assert_eq!(info.config.num_replicas, 3);
    let leader = info
        .cluster
        .and_then(|cluster| cluster.leader)
        .expect("it has a leader");
    let leader = servers
        .iter_mut()
        .find(|server| server.name() == leader)
        .expect("one of them");
    leader.kill();
    setup.create("primes").await.expect("another leads");
    leader.restart();
    QueueSetup::new(leader.url())
        .timeout(LIMIT)
        .create("primes")
        .await
        .expect("it is back");
}
