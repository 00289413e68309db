//! The identity of a program, and the certificates of both sides. `connect` handles the server's response.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{ClientConfig, RootCertStore, crypto::ring};
use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::KeyPair;

use super::error::{ClusterError, Problem};

/// How a program proves its identity to the servers, and which servers it trusts.
///
/// An identity is a user with a password, a token, an nkey or a JWT file. If several are set, the last one counts.
/// `Debug` shows no secret.
///
/// ```
/// use concurrent_futures::cluster::Credentials;
///
/// let credentials = Credentials::new().user("web", "secret").roots("/etc/cluster/ca.pem");
/// assert!(!format!("{credentials:?}").contains("secret"));
/// ```
#[derive(Clone, Default)]
pub struct Credentials {
    identity: Identity,
    roots: Vec<PathBuf>,
    /// The certificate and its key.
    client: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, Default)]
enum Identity {
    #[default]
    Anonymous,
    User {
        name: String,
        password: String,
    },
    Token(String),
    Nkey(String),
    JwtFile(PathBuf),
}

impl Credentials {
    /// Creates credentials without an identity. They trust the certificates that the system trusts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects as a user with a password.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        let (name, password) = (name.into(), password.into());
        self.identity = Identity::User { name, password };
        self
    }

    /// Connects with a token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.identity = Identity::Token(token.into());
        self
    }

    /// Connects with an nkey. `seed` is its secret part, which begins with `SU`.
    #[must_use]
    pub fn nkey(mut self, seed: impl Into<String>) -> Self {
        self.identity = Identity::Nkey(seed.into());
        self
    }

    /// Connects with a JWT and its key, from a file as `nsc generate creds` writes it. Each connection reads the file
    /// again, so a renewed JWT needs no restart.
    #[must_use]
    pub fn jwt_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.identity = Identity::JwtFile(path.into());
        self
    }

    /// Trusts the certificates in a PEM file, instead of those that the system trusts.
    #[must_use]
    pub fn roots(mut self, path: impl Into<PathBuf>) -> Self {
        self.roots.push(path.into());
        self
    }

    /// Presents a certificate to the servers. Both files are in PEM format.
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.client = Some((certificate.into(), key.into()));
        self
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        matches!(self.identity, Identity::Anonymous)
    }

    /// Whether the program expects an encrypted connection.
    pub(crate) fn wants_tls(&self) -> bool {
        !self.roots.is_empty() || self.client.is_some()
    }

    /// Reads and checks all files. Blocks.
    pub(crate) fn load(&self) -> Result<ConnectOptions, ClusterError> {
        let options = match &self.identity {
            Identity::Anonymous => ConnectOptions::new(),
            Identity::User { name, password } => {
                ConnectOptions::with_user_and_password(name.clone(), password.clone())
            }
            Identity::Token(token) => ConnectOptions::with_token(token.clone()),
            Identity::Nkey(seed) => {
                key_of(seed).map_err(|error| {
                    let text = "the seed of the nkey is invalid; it has 58 characters and begins with `SU`";
                    ClusterError::with_source(Problem::Invalid, text, error)
                })?;
                ConnectOptions::with_nkey(seed.clone())
            }
            Identity::JwtFile(path) => {
                read_jwt(path)?;
                let path = path.clone();
                // Called for each connection, with the nonce that the server wants signed. The file is small.
                ConnectOptions::with_auth_callback(move |nonce| {
                    std::future::ready(sign(&path, &nonce))
                })
            }
        };
        let options = options.require_tls(self.wants_tls());
        Ok(options.tls_client_config(self.tls()?))
    }

    /// Names its own implementation of the algorithms, because the program may have another one, or several.
    fn tls(&self) -> Result<ClientConfig, ClusterError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                ClusterError::with_source(Problem::Tls, "this program has no TLS", error)
            })?
            .with_root_certificates(self.trusted()?);
        let Some((certificate, key)) = &self.client else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = read_certificates(certificate)?;
        let private =
            PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("key", key, error))?;
        builder
            .with_client_auth_cert(chain, private)
            .map_err(|error| unreadable("key of the client's certificate", key, error))
    }

    fn trusted(&self) -> Result<RootCertStore, ClusterError> {
        let mut trusted = RootCertStore::empty();
        if self.roots.is_empty() {
            // A system without certificates is an error only if a server needs one.
            trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        for path in &self.roots {
            for certificate in read_certificates(path)? {
                trusted
                    .add(certificate)
                    .map_err(|error| unreadable("certificate", path, error))?;
            }
        }
        Ok(trusted)
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClusterError> {
    let certificates =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.map_err(|error| unreadable("certificate", path, error))?;
    match certificates.is_empty() {
        true => Err(unreadable(
            "certificate",
            path,
            "the file has no PEM certificate",
        )),
        false => Ok(certificates),
    }
}

fn unreadable(
    what: &str,
    path: &Path,
    error: impl Into<Box<dyn Error + Send + Sync>>,
) -> ClusterError {
    let text = format!("cannot use {} as a {what}", path.display());
    ClusterError::with_source(Problem::Invalid, text, error)
}

fn key_of(seed: &str) -> Result<KeyPair, nkeys::error::Error> {
    KeyPair::from_seed(seed.trim())
}

/// The JWT and the key of a credentials file.
fn read_jwt(path: &Path) -> Result<(String, KeyPair), ClusterError> {
    let what = "JWT file";
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(what, path, error))?;
    let jwt = section(&text, "NATS USER JWT")
        .ok_or_else(|| unreadable(what, path, "it has no section `NATS USER JWT`"))?;
    let seed = section(&text, "USER NKEY SEED")
        .ok_or_else(|| unreadable(what, path, "it has no section `USER NKEY SEED`"))?;
    let key = key_of(seed).map_err(|error| unreadable(what, path, error))?;
    Ok((jwt.to_owned(), key))
}

/// The line after `-----BEGIN <title>-----`.
fn section<'a>(text: &'a str, title: &str) -> Option<&'a str> {
    let begin = format!("BEGIN {title}-");
    let mut lines = text.lines().skip_while(|line| !line.contains(&begin));
    lines
        .nth(1)
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('-'))
}

fn sign(path: &Path, nonce: &[u8]) -> Result<Auth, AuthError> {
    let (jwt, key) = read_jwt(path).map_err(AuthError::new)?;
    let mut auth = Auth::new();
    auth.jwt = Some(jwt);
    auth.signature = Some(key.sign(nonce).map_err(AuthError::new)?);
    Ok(auth)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Credentials");
        match &self.identity {
            Identity::Anonymous => &mut debug,
            Identity::User { name, .. } => debug.field("user", name),
            Identity::Token(_) => debug.field("token", &"hidden"),
            Identity::Nkey(_) => debug.field("nkey", &"hidden"),
            Identity::JwtFile(path) => debug.field("jwt_file", path),
        };
        debug
            .field("roots", &self.roots)
            .field("client_certificate", &self.client)
            .finish()
    }
}
