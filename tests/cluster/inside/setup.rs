//! What users with the documented narrow permissions can do.

use std::error::Error as _;

use super::super::error::ClusterError;
use super::super::setup::QueueInfo;
use super::*;

/// The example's users. Each password is the name of its user.
const USERS: &str = concat!(
    "ADMIN_PASSWORD: admin\nCLIENT_PASSWORD: client\nWORKER_PASSWORD: worker\n",
    include_str!("../../../examples/cluster/users.conf")
);

async fn connected_as(server: &NatsServer, user: &str) -> NatsConnection {
    let role = if user == "admin" { "setup" } else { user };
    let settings = ConnectSettings {
        credentials: Credentials::new().user(user, user),
        inbox: names().inbox(role),
        ..settings_for(server)
    };
    connect(settings).await.expect("a user of the server")
}

async fn set_up_as(
    server: &NatsServer,
    user: &str,
    settings: &QueueSettings,
) -> Result<QueueInfo, ClusterError> {
    let connection = connected_as(server, user).await;
    set_up(&connection, &names(), settings, LIMIT).await
}

#[tokio::test]
async fn clients_and_workers_use_a_queue_that_an_admin_created() {
    let Some(server) = NatsServer::start(USERS) else {
        return;
    };
    for user in ["client", "worker"] {
        let error = set_up_as(&server, user, &QueueSettings::new())
            .await
            .expect_err("nothing is there");
        assert!(error.is_permission_denied(), "{error:?}");
        assert!(
            error.to_string().contains("STREAM.CREATE.CF_primes"),
            "{error}"
        );
        assert!(error.to_string().contains("QueueSetup"), "{error}");
        assert!(error.source().is_none());
    }
    let settings = QueueSettings::new()
        .result_ttl(Duration::from_secs(77))
        .ack_wait(Duration::from_secs(5));
    set_up_as(&server, "admin", &settings)
        .await
        .expect("an admin may");
    for user in ["client", "worker"] {
        let info = set_up_as(&server, user, &QueueSettings::new())
            .await
            .expect("it is there");
        assert_eq!(info.result_ttl, Duration::from_secs(77));
        assert_eq!(info.ack_wait, Duration::from_secs(5));
        assert_eq!(info.duplicate_window, Duration::from_secs(120));
    }
}

#[tokio::test]
async fn a_user_without_any_right_learns_which_one_is_missing() {
    let users = r#"authorization { users: [ { user: client, password: client, permissions: { publish: [a] } } ] }"#;
    let Some(server) = NatsServer::start(users) else {
        return;
    };
    let error = set_up_as(&server, "client", &QueueSettings::new())
        .await
        .expect_err("it is refused");
    assert!(error.is_permission_denied(), "{error:?}");
    assert!(
        error.to_string().contains("$JS.API.STREAM.INFO.CF_primes"),
        "{error}"
    );
}

#[tokio::test]
async fn clients_and_workers_may_exchange_large_payloads() {
    use super::super::large::{delete, get, put};
    let Some(server) = NatsServer::start(USERS) else {
        return;
    };
    set_up_as(&server, "admin", &QueueSettings::new())
        .await
        .expect("an admin may");
    for (from, to) in [("client", "worker"), ("worker", "client")] {
        let (from, to) = (
            connected_as(&server, from).await,
            connected_as(&server, to).await,
        );
        let writer = from.clone();
        let put = from.run(async move { put(&writer, &names(), vec![7; 600_000].into()).await });
        let object = put.await.expect("open").expect("stored");
        let reader = to.clone();
        let read = to.run(async move {
            let bytes = get(&reader, &names(), &object, 600_000).await;
            delete(&reader, &names(), &object).await;
            bytes
        });
        assert!(
            read.await
                .expect("open")
                .expect("read")
                .iter()
                .all(|&byte| byte == 7)
        );
    }
}
