//! TLS on one socket, for both threads that use it.
//!
//! Whoever receives takes ciphertext from the socket outside the lock and
//! feeds it in; whoever sends writes plaintext under the lock, and only when
//! no ciphertext is left from before. So a slow peer costs at most one frame's
//! ciphertext, and no lock is held across a call that blocks.

use std::{
    io::{self, IoSlice, Read, Write},
    os::fd::RawFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::socket::{receive_some, send_some};
use crate::error::{Error, Result};

/// What the session may hold of plaintext that the peer has not taken.
const BUFFER: usize = 64 * 1024;

/// One TLS session.
pub(super) struct Session(Mutex<Connection>);

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    /// A client's session with the server of this name. `authorities` names a
    /// file of certificates (PEM) that are trusted in place of the system's.
    pub(super) fn to_server(name: &str, authorities: Option<&PathBuf>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        match authorities {
            Some(path) => add_file(&mut roots, path)?,
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            let why = "no certificate authority is known here; install ca-certificates, or name \
                       a file with Builder::authorities";
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
        let mut session = ClientConnection::new(Arc::new(config), name).map_err(refuse)?;
        session.set_buffer_limit(Some(BUFFER));
        Ok(Self(Mutex::new(session.into())))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plaintext that has come; `None` when there is none now, 0 at the end.
    pub(super) fn try_receive(&self, fd: RawFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.lock().reader().read(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An end without a farewell; whether a Close was said, the
                // WebSocket knows.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(0)),
                Err(error) => return Err(error),
            }
            let mut ciphertext = [0; 4096];
            let Some(length) = receive_some(fd, &mut ciphertext)? else { return Ok(None) };
            self.feed(fd, &ciphertext[..length])?;
        }
    }

    fn feed(&self, fd: RawFd, mut ciphertext: &[u8]) -> io::Result<()> {
        let mut session = self.lock();
        loop {
            let at_end = session.read_tls(&mut ciphertext)? == 0;
            if let Err(error) = session.process_new_packets() {
                // The peer is to hear why.
                let _ = flush(&mut session, fd);
                let mend = match &error {
                    rustls::Error::InvalidCertificate(_) => {
                        "; a certificate of its own? name its authority (Builder::authorities)"
                    }
                    _ => "; does it speak TLS?",
                };
                let kind = io::ErrorKind::InvalidData;
                return Err(io::Error::new(kind, format!("{error}{mend}")));
            }
            if at_end || ciphertext.is_empty() {
                break;
            }
        }
        // A handshake, or a new key, has something to answer; what does not go
        // out now goes before the next frame.
        flush(&mut session, fd).map(drop)
    }

    /// Takes plaintext unless ciphertext is left; returns how much it took.
    pub(super) fn try_send(&self, fd: RawFd, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.lock();
        if !flush(&mut session, fd)? {
            return Ok(0);
        }
        let mut taken = 0;
        for part in parts {
            let length = session.writer().write(part)?;
            taken += length;
            if length < part.len() {
                break;
            }
        }
        flush(&mut session, fd)?;
        Ok(taken)
    }

    /// Sends ciphertext that is left; whether nothing is left.
    pub(super) fn flush(&self, fd: RawFd) -> io::Result<bool> {
        flush(&mut self.lock(), fd)
    }

    /// Says that nothing more will be sent.
    pub(super) fn farewell(&self, fd: RawFd) {
        let mut session = self.lock();
        session.send_close_notify();
        // A peer that takes nothing misses it, as it misses all else.
        let _ = flush(&mut session, fd);
    }
}

fn flush(session: &mut Connection, fd: RawFd) -> io::Result<bool> {
    while session.wants_write() {
        match session.write_tls(&mut Raw(fd)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The socket as rustls writes to it.
struct Raw(RawFd);

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        send_some(self.0, bytes)?.ok_or(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
