//! Unit tests of private items on real servers. The files in the parent folder test public items.

mod connection;
mod large;
mod republish;
mod setup;

use std::time::Duration;

use super::connect::{ConnectSettings, connect};
use super::connection::NatsConnection;
use super::credentials::Credentials;
use super::names::QueueNames;
use super::nats_server::NatsServer;
use super::settings::QueueSettings;
use super::setup::set_up;

/// Longer than any step of these tests takes.
const LIMIT: Duration = Duration::from_secs(60);

fn names() -> QueueNames {
    QueueNames::new("primes").expect("a valid name")
}

fn settings_for(server: &NatsServer) -> ConnectSettings {
    ConnectSettings {
        servers: server.url(),
        name: "test".to_owned(),
        inbox: names().inbox("client"),
        credentials: Credentials::new(),
        limit: LIMIT,
    }
}

async fn connected(server: &NatsServer) -> NatsConnection {
    connect(settings_for(server)).await.expect("a server")
}

/// A connection, and a queue with these settings.
async fn with_queue(server: &NatsServer, settings: &QueueSettings) -> NatsConnection {
    let connection = connected(server).await;
    set_up(&connection, &names(), settings, LIMIT)
        .await
        .expect("a queue");
    connection
}
