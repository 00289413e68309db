//! A root certificate, and certificates that it signs.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

/// PEM files in a folder: `<name>.pem` and `<name>.key`.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
    root: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    /// Makes a root, `ca.pem`.
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is wrong");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("the system has randomness");
        let root = CertifiedIssuer::self_signed(params, key).expect("the key fits");
        fs::create_dir_all(folder).expect("the parent is there");
        fs::write(folder.join("ca.pem"), root.pem()).expect("the folder is there");
        Self {
            folder: folder.to_owned(),
            root,
        }
    }

    /// Signs a certificate for 127.0.0.1, of a server or of a client.
    pub fn sign(&self, name: &str) {
        let mut params =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])
                .expect("valid names");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("the system has randomness");
        let certificate = params
            .signed_by(&key, &self.root)
            .expect("the root may sign");
        fs::write(self.path(name), certificate.pem()).expect("the folder is there");
        fs::write(self.key(name), key.serialize_pem()).expect("the folder is there");
    }

    /// The certificate `name`; `ca` is the root.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    /// The key of the certificate `name`.
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.key"))
    }
}
