//! A server's side of TLS: its certificate and key, read anew when they
//! change, and how a connection begins.
//!
//! Nobody polls the files. Whoever begins a connection looks at them, at most
//! every ten seconds, on that connection's own thread, so that a disk that
//! hangs holds up nobody else. A pair that cannot be used changes nothing and
//! is told once; who is connected goes on with the keys that it has.
//!
//! No session is kept to be resumed: it would take memory for each browser
//! that ever came, and spares a board that is looked at by few next to nothing.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, TryLockError},
    time::{Duration, Instant},
};

use rustls::{
    Connection, InconsistentKeys, ServerConfig, ServerConnection,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::NoServerSessionStorage,
};

use super::{super::socket::Socket, Session};
use crate::error::{Error, Result};

/// How often the files are looked at while connections come.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The longest file that is read: a chain of certificates has some KiB.
const LONGEST: u64 = 256 * 1024;
/// The first byte of every TLS connection: a record of the handshake
/// (RFC 8446 section 5.1). No request of HTTP begins with it.
const HANDSHAKE: u8 = 22;

/// What a server shows to prove that it is the one that is meant: a
/// certificate and its key. Clones are handles to the same pair.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    certificate: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
    watch: Mutex<Watch>,
}

/// When the files were last looked at, and how they were then.
struct Watch {
    looked: Instant,
    seen: [Option<Stamp>; 2],
}

/// What changes when a file does: it is replaced, written, or let be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    size: u64,
    times: [(i64, i64); 2],
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Greeting {
    /// With TLS; the handshake is over.
    Tls,
    /// Without, perhaps with a request in plain HTTP. Nothing was read.
    Plain,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.0.certificate).finish()
    }
}

impl Tls {
    /// Reads a certificate (with those between it and its authority, if any,
    /// behind it) and its key, both in PEM form; one file may hold both. They
    /// are read anew when they change. TLS 1.3 and 1.2 are spoken.
    ///
    /// # Errors
    /// [`Error::Setting`] when a file cannot be read or is not what it should
    /// be, or when the key is not the certificate's: one sentence each.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self> {
        let seen = [stamp(certificate), stamp(key)];
        let config = RwLock::new(Arc::new(read(certificate, key)?));
        let watch = Mutex::new(Watch { looked: Instant::now(), seen });
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Self(Arc::new(Shared { certificate, key, config, watch })))
    }

    /// Looks at the files now; when they have changed, new connections get
    /// what they hold, and connections that are there go on as they are. What
    /// cannot be used is told in the log and changes nothing.
    pub fn refresh(&self) {
        self.look(Duration::ZERO);
    }

    fn look(&self, every: Duration) {
        let shared = &*self.0;
        let mut watch = match shared.watch.try_lock() {
            Ok(watch) => watch,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody looks already; nobody waits for a disk.
            Err(TryLockError::WouldBlock) => return,
        };
        if watch.looked.elapsed() < every {
            return;
        }
        // Before they are read: what changes meanwhile is seen the next time.
        let seen = [stamp(&shared.certificate), stamp(&shared.key)];
        watch.looked = Instant::now();
        if watch.seen == seen {
            return;
        }
        watch.seen = seen;
        match read(&shared.certificate, &shared.key) {
            Ok(config) => {
                let mut current = shared.config.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::new(config);
                log::info!("a new certificate: {}", shared.certificate.display());
            }
            Err(error) => log::error!("the old certificate stays in use: {error}"),
        }
    }

    fn session(&self) -> io::Result<Session> {
        self.look(LOOK_EVERY);
        let config = self.0.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Connection::from(connection).into())
    }

    /// Waits for the first byte of a connection and, when that speaks TLS,
    /// shakes hands; for the connection's own thread. The deadline is the accept
    /// loop's.
    pub(in crate::net) fn greet(&self, socket: &Socket) -> io::Result<Greeting> {
        match socket.peek()? {
            Some(HANDSHAKE) => {
                socket.secure(self.session()?)?;
                Ok(Greeting::Tls)
            }
            Some(_) => Ok(Greeting::Plain),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// `None` where there is none.
fn stamp(path: &Path) -> Option<Stamp> {
    let data: Metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        place: (data.dev(), data.ino()),
        size: data.size(),
        times: [(data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec())],
    })
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig> {
    let refuse = |why: String| Error::Setting(why);
    let chain = chain(certificate)?;
    let secret = secret(key)?;
    let (certificate, key) = (certificate.display(), key.display());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(format!("TLS: {error}")))?
        .with_no_client_auth();
    let mut config = builder.with_single_cert(chain, secret).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            refuse(format!("the key in {key} is not the one of the certificate in {certificate}"))
        }
        rustls::Error::InvalidCertificate(why) => {
            refuse(format!("the certificate in {certificate} cannot be used: {why:?}"))
        }
        error => refuse(format!(
            "the key in {key} cannot be used ({error}): ECDSA with P-256 or P-384, Ed25519 and \
             RSA can"
        )),
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let (bytes, _) = bytes("certificate", path)?;
    let refuse = |why: String| Error::Setting(format!("{}: {why}", path.display()));
    let chain: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) if holds(&bytes, "PRIVATE KEY-----") => {
            Err(refuse("holds a key and no certificate; are tls_cert and tls_key mixed up?".into()))
        }
        Ok(_) => Err(refuse(
            "holds no certificate in PEM form, with a line -----BEGIN CERTIFICATE-----".into(),
        )),
        Err(error) => Err(refuse(format!("is no certificate in PEM form: {error}"))),
    }
}

fn secret(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let (bytes, mode) = bytes("key", path)?;
    let shown = path.display();
    let refuse = |why: String| Error::Setting(format!("{shown}: {why}"));
    let locked = ["BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];
    if locked.iter().any(|mark| holds(&bytes, mark)) {
        return Err(refuse(format!(
            "the key is locked with a passphrase, and nobody is here to type it; unlock it: \
             openssl pkey -in {shown} -out key.pem"
        )));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound if holds(&bytes, "BEGIN CERTIFICATE-----") => {
            refuse("holds a certificate and no key; are tls_cert and tls_key mixed up?".into())
        }
        pem::Error::NoItemsFound => {
            refuse("holds no key in PEM form, with a line -----BEGIN PRIVATE KEY-----".into())
        }
        error => refuse(format!("is no key in PEM form: {error}")),
    })?;
    if mode & 0o004 != 0 {
        log::warn!("everyone on this machine may read the key: chmod 640 {shown}");
    }
    Ok(key)
}

fn holds(bytes: &[u8], mark: &str) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark.as_bytes())
}

/// What is in a file, and its mode.
fn bytes(what: &str, path: &Path) -> Result<(Vec<u8>, u32)> {
    let refuse = |error: io::Error| {
        let mend = match error.kind() {
            io::ErrorKind::NotFound => "; boardcast cert makes one",
            io::ErrorKind::PermissionDenied => {
                "; let the user read it that boardcast runs as: chgrp boardcast and chmod 640"
            }
            _ => "",
        };
        Error::Setting(format!("cannot read the {what} {}: {error}{mend}", path.display()))
    };
    // A pipe would be waited for.
    let data = fs::metadata(path).map_err(refuse)?;
    if !data.is_file() {
        return Err(Error::Setting(format!("{} is no file", path.display())));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(refuse)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(refuse)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Error::Setting(format!(
            "{} is longer than 256 KiB: no {what} is",
            path.display()
        )));
    }
    Ok((bytes, data.permissions().mode()))
}

#[cfg(test)]
mod tests;
