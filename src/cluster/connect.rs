//! The first connection: addresses, credentials, and what each failure means. It takes a limited time. Later losses of
//! the connection are not errors; see `connection`.

use std::error::Error;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_nats::rustls;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};

use super::connection::{NatsConnection, News};
use super::credentials::Credentials;
use super::error::{ClusterError, Problem};
use crate::home::{Background, unblock};

/// The longest pause between two attempts to reconnect, so that a server that starts again is found soon.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The interval of pings. A connection is lost after three intervals without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How many messages may wait in a subscription.
const SUBSCRIPTION: usize = 1 << 16;

/// The servers to connect to, and the identity to use.
#[derive(Clone, Debug)]
pub(crate) struct ConnectSettings {
    /// `nats://` or `tls://`, with commas between several.
    pub(crate) servers: String,
    /// The name that the server's tools show.
    pub(crate) name: String,
    /// The prefix of the subjects of answers.
    pub(crate) inbox: String,
    pub(crate) credentials: Credentials,
    /// The time limit of the first connection, and then of each request.
    pub(crate) limit: Duration,
}

/// Connects. Afterwards `connects` is 1.
pub(crate) async fn connect(settings: ConnectSettings) -> Result<NatsConnection, ClusterError> {
    let addresses = parse_addresses(&settings.servers)?;
    let credentials = with_user_of(&addresses, settings.credentials.clone());
    let hosts = addresses.len() as u32;
    let options = unblock(move || credentials.load()).await?;
    let no_runtime = |error| {
        ClusterError::with_source(
            Problem::Unreachable,
            "this system has no thread left",
            error,
        )
    };
    let background = Background::new().map_err(no_runtime)?;
    let limit = settings.limit;
    let news = News::new();
    let names = list(&addresses);
    let first = connect_once(
        addresses,
        with_settings(options, &settings, &news).connection_timeout(limit / hosts),
        news.clone(),
    );
    let client = background.run(async move { tokio::time::timeout(limit, first).await });
    match client.await {
        Some(Ok(Ok(client))) => Ok(NatsConnection::new(client, news, background, limit)),
        Some(Ok(Err(error))) => Err(explain(error, &names, settings.credentials.wants_tls())),
        Some(Err(_)) | None => {
            let text = format!(
                "no server answers within {limit:?} at {names}; check the address and the network"
            );
            Err(ClusterError::new(Problem::Unreachable, text))
        }
    }
}

async fn connect_once(
    addresses: Vec<ServerAddr>,
    options: ConnectOptions,
    news: Arc<News>,
) -> Result<Client, async_nats::ConnectError> {
    let client = options.connect(addresses).await?;
    // Another task receives the event. Events after this one are reconnects.
    let _ = news.connects().wait_for(|&connects| connects > 0).await;
    Ok(client)
}

fn with_settings(
    options: ConnectOptions,
    settings: &ConnectSettings,
    news: &Arc<News>,
) -> ConnectOptions {
    let news = news.clone();
    let jitter = RandomState::new();
    options
        .name(&settings.name)
        .custom_inbox_prefix(&settings.inbox)
        .request_timeout(Some(settings.limit))
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION)
        .reconnect_delay_callback(move |attempt| pause(attempt, jitter.hash_one(attempt)))
        .event_callback(move |event| {
            news.note(&event);
            std::future::ready(())
        })
}

/// The pause before an attempt. The first attempt has none. Later pauses double, and half of each is random.
fn pause(attempt: usize, random: u64) -> Duration {
    let Some(doublings) = attempt.checked_sub(2) else {
        return Duration::ZERO;
    };
    let longest = LONGEST_PAUSE.min(Duration::from_millis(10 << doublings.min(10)));
    let part = (random % 1024) as u32;
    longest / 2 + longest / 2 * part / 1024
}

fn parse_addresses(servers: &str) -> Result<Vec<ServerAddr>, ClusterError> {
    let invalid = |why: &str| {
        let text = format!(
            "the address of the servers {why}; write `nats://host:4222`, and commas between several"
        );
        ClusterError::new(Problem::Invalid, text)
    };
    let parts: Vec<&str> = servers.split(',').map(str::trim).collect();
    if parts.iter().all(|part| part.is_empty()) {
        return Err(invalid("is empty"));
    }
    let parse = |part: &str| {
        let address: ServerAddr = part.parse().map_err(|_| invalid("is not a URL"))?;
        match address.scheme() {
            _ if address.host().is_empty() => Err(invalid("has no host")),
            "nats" | "tls" => Ok(address),
            _ => Err(invalid("has a scheme other than `nats` and `tls`")),
        }
    };
    parts.into_iter().map(parse).collect()
}

/// The user of the address, if the program gives no credentials of its own.
fn with_user_of(addresses: &[ServerAddr], credentials: Credentials) -> Credentials {
    let named = addresses.iter().find_map(|address| {
        let name = address.username()?;
        Some(match address.password() {
            Some(password) => credentials.clone().user(name, password),
            None => credentials.clone().token(name),
        })
    });
    match named {
        Some(named) if credentials.is_anonymous() => named,
        _ => credentials,
    }
}

/// Hosts and ports, without passwords.
fn list(addresses: &[ServerAddr]) -> String {
    let names = addresses
        .iter()
        .map(|address| format!("{}:{}", address.host(), address.port()));
    names.collect::<Vec<_>>().join(", ")
}

/// What a failure means, and what to do.
fn explain(error: async_nats::ConnectError, names: &str, wants_tls: bool) -> ClusterError {
    let (problem, text) = match error.kind() {
        _ if concerns_tls(&error) => (Problem::Tls, "cannot agree on TLS with"),
        ConnectErrorKind::Tls => (Problem::Tls, "cannot agree on TLS with"),
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            (Problem::Unauthorized, "the credentials are not accepted by")
        }
        ConnectErrorKind::ServerParse => (Problem::Invalid, "cannot use the address"),
        ConnectErrorKind::Dns => (Problem::Unreachable, "no address is known of"),
        ConnectErrorKind::TimedOut | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            (Problem::Unreachable, "no connection to")
        }
    };
    let advice = match problem {
        Problem::Tls if wants_tls => {
            "check that the server has TLS, its certificate, and those of `Credentials`"
        }
        Problem::Tls => {
            "name the server's root certificate by `Credentials::roots`, and its client's if it wants one"
        }
        Problem::Unauthorized => "check `Credentials` and the server's users",
        Problem::Invalid => "write `nats://host:4222`",
        _ => "check that `nats-server` runs there",
    };
    ClusterError::with_source(problem, format!("{text} {names}; {advice}"), error)
}

/// Whether an error, or one of its causes, is about TLS. An error inside an I/O error is not its `source`.
fn concerns_tls(error: &(dyn Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    let inner = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| concerns_tls(inner)) || error.source().is_some_and(concerns_tls)
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_to_half_a_second_and_half_of_it_is_random() {
        assert_eq!(pause(0, 7), Duration::ZERO);
        assert_eq!(pause(1, 7), Duration::ZERO);
        for attempt in 2..100 {
            let (least, most) = (pause(attempt, 0), pause(attempt, u64::MAX));
            assert!(
                least < most && most <= LONGEST_PAUSE,
                "{attempt}: {least:?} to {most:?}"
            );
            assert!(least >= pause(attempt - 1, 0));
        }
        assert_eq!(pause(100, 0), LONGEST_PAUSE / 2);
    }

    #[test]
    fn addresses_are_checked_and_shown_without_their_password() {
        let addresses = parse_addresses("nats://me:secret@a, tls://b:4333,c").expect("valid");
        assert_eq!(list(&addresses), "a:4222, b:4333, c:4222");
        for wrong in [
            "",
            " ",
            "a,,b",
            "http://a",
            "ws://a",
            "nats://",
            "nats://a:port",
        ] {
            let error = parse_addresses(wrong)
                .map(|found| list(&found))
                .expect_err(wrong);
            assert!(error.is_invalid(), "{error}");
        }
        let shown = |credentials| format!("{:?}", with_user_of(&addresses, credentials));
        assert!(shown(Credentials::new()).contains("\"me\""));
        assert!(!shown(Credentials::new()).contains("secret"));
        assert!(shown(Credentials::new().user("other", "")).contains("\"other\""));
    }
}
