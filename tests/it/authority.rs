//! An authority of the tests' own, the certificates that it signs, and what a
//! client needs that trusts it.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use boardcast::net::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::fixture::*;

/// A client's connection with TLS on it.
pub(crate) type Secure = StreamOwned<ClientConnection, TcpStream>;

/// An authority, in a folder of its own.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    /// Its certificate, for whoever trusts it.
    pub(crate) file: PathBuf,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// Its files are named after the test.
    pub(crate) fn new(test: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("signed");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{test}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("made");
        let file = folder.join("authority.pem");
        fs::write(&file, issuer.pem()).expect("written");
        Self { issuer, folder, file }
    }

    /// A certificate for this name.
    pub(crate) fn sign(&self, name: &str) -> Pair {
        self.sign_until(name, 2100)
    }

    /// One that ends with the beginning of a year.
    pub(crate) fn sign_until(&self, name: &str, year: i32) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Writes a pair, and says where it is.
    pub(crate) fn write(&self, pair: &Pair) -> (PathBuf, PathBuf) {
        let (certificate, key) = (self.folder.join("cert.pem"), self.folder.join("key.pem"));
        put(&key, &pair.key);
        put(&certificate, &pair.certificate);
        (certificate, key)
    }

    /// What a server needs that is called localhost.
    pub(crate) fn tls(&self) -> Tls {
        let (certificate, key) = self.write(&self.sign("localhost"));
        Tls::load(&certificate, &key).expect("a certificate and its key")
    }

    /// A client that trusts it.
    pub(crate) fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// Connects to a server that is called localhost; the handshake comes with
    /// the first byte.
    pub(crate) fn connect(&self, address: SocketAddr) -> Secure {
        self.over(tcp(address), self.client(rustls::ALL_VERSIONS))
    }

    /// Puts TLS on a connection.
    pub(crate) fn over(&self, stream: TcpStream, config: ClientConfig) -> Secure {
        let name = "localhost".try_into().expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        StreamOwned::new(session, stream)
    }
}

/// Puts a file in the place of the old one in one step, for its owner alone.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("written");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).expect("set");
    fs::rename(&beside, path).expect("renamed");
}
