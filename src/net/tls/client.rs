//! A client's side of TLS: whom it trusts.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::Session;
use crate::error::{Error, Result};

impl Session {
    /// A client's session with the server of this name. `authorities` names a
    /// file of certificates (PEM) that are trusted in place of the system's;
    /// a server's own, where it has signed it itself, is one, too.
    pub(in crate::net) fn to_server(name: &str, authorities: Option<&PathBuf>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        match authorities {
            Some(path) => add_file(&mut roots, path)?,
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            let why = "no certificate authority is known here; install ca-certificates, or name \
                       a file (--authority FILE, Builder::authorities)";
            return Err(Error::Setting(why.into()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let refuse = |error: rustls::Error| Error::Setting(format!("TLS: {error}"));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(refuse)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| Error::Url(format!("{name:?} is no name that a certificate can have")))?;
        let session = ClientConnection::new(Arc::new(config), name).map_err(refuse)?;
        Ok(Connection::from(session).into())
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    let refuse = |why: String| {
        Error::Setting(format!("{} has no certificates in PEM form: {why}", path.display()))
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| refuse(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
    }
    if roots.is_empty() { Err(refuse("the file is empty".into())) } else { Ok(()) }
}
