//! An operator and an account that issue a user's JWT.

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;

pub(crate) struct Issuer {
    operator: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
            system: KeyPair::new_account(),
        }
    }

    /// The server's configuration.
    pub(crate) fn config(&self) -> String {
        let operator = token(&self.operator, &self.operator, r#""type":"operator""#);
        let limits = r#""subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1"#;
        let stores = r#""mem_storage":-1,"disk_storage":-1,"streams":-1,"consumer":-1"#;
        let system = token(
            &self.operator,
            &self.system,
            &format!(r#""type":"account","limits":{{{limits}}}"#),
        );
        let account = format!(r#""type":"account","limits":{{{limits},{stores}}}"#);
        let account = token(&self.operator, &self.account, &account);
        let (system_key, account_key) = (self.system.public_key(), self.account.public_key());
        format!(
            "operator: {operator}\nsystem_account: {system_key}\nresolver: MEMORY\n\
             resolver_preload: {{ {system_key}: {system}, {account_key}: {account} }}\n"
        )
    }

    /// The file of a new user.
    pub(crate) fn credentials(&self) -> String {
        let user = KeyPair::new_user();
        let jwt = token(
            &self.account,
            &user,
            r#""type":"user","subs":-1,"data":-1,"payload":-1"#,
        );
        let seed = user.seed().expect("it is new");
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

/// A JWT of `subject`, signed by `issuer`.
fn token(issuer: &KeyPair, subject: &KeyPair, claims: &str) -> String {
    let (by, of) = (issuer.public_key(), subject.public_key());
    let head = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let body = format!(
        r#"{{"jti":"{of}","iat":1,"iss":"{by}","name":"test","sub":"{of}","nats":{{{claims},"version":2}}}}"#
    );
    let text = format!("{head}.{}", BASE64URL_NOPAD.encode(body.as_bytes()));
    let signature = issuer.sign(text.as_bytes()).expect("it has a seed");
    format!("{text}.{}", BASE64URL_NOPAD.encode(&signature))
}
