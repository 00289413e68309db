//! Helpers of the cluster tests: servers ([`NatsServer`]), proxies in front of them ([`Proxy`]), certificates
//! ([`Certificates`]), and a configuration with users and permissions ([`USERS`]).

mod certificates;
#[path = "../../common/nats.rs"]
#[allow(missing_docs, reason = "tests use it")]
mod nats;
#[path = "../../common/proxy.rs"]
#[allow(missing_docs, reason = "tests use it")]
mod proxy;

pub use self::certificates::Certificates;
pub use self::nats::NatsServer;
pub use self::proxy::{Act, Proxy, Side};

/// The example's users with their permissions, for the queue `primes`. Each password is the name of its user.
pub const USERS: &str = concat!(
    "ADMIN_PASSWORD: admin\nCLIENT_PASSWORD: client\nWORKER_PASSWORD: worker\n",
    include_str!("../../../examples/cluster/users.conf")
);
