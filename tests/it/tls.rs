//! `wss://`: our client against a server made of rustls and tungstenite.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use boardcast::{
    Error,
    websocket::{CloseCode, WebSocket},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};

use crate::fixture::*;

/// An authority of the test's own, in a file that a client can be given.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(test: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("signed");
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.pem"));
        std::fs::write(&file, issuer.pem()).expect("written");
        Self { issuer, file }
    }

    /// An echo server with a certificate for this name.
    fn serve(&self, name: &str) -> SocketAddr {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            )
            .expect("a certificate and its key");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let session = ServerConnection::new(config.clone()).expect("a session");
                thread::spawn(move || {
                    // A client that refuses the certificate is part of the tests.
                    let Ok(mut ws) = tungstenite::accept(StreamOwned::new(session, stream)) else {
                        return;
                    };
                    while let Ok(message) = ws.read() {
                        if message.is_text() || message.is_binary() {
                            ws.send(message).expect("sent");
                        }
                    }
                });
            }
        });
        address
    }
}

#[test]
fn it_talks_over_tls_with_a_server_that_it_trusts() {
    let authority = Authority::new("trusted");
    let port = authority.serve("localhost").port();
    let url = format!("wss://localhost:{port}/x");
    let builder = WebSocket::builder(&url).authorities(&authority.file);
    let mut ws = builder.connect().expect("connected");
    assert_eq!(ws.url(), url);
    for length in [0, 1, 5000, 100_000, 1 << 20] {
        let bytes: Vec<u8> = (0..length).map(|n: u32| (n * 7) as u8).collect();
        let (sender, sent) = (ws.connection(), bytes.clone());
        let sending = thread::spawn(move || sender.send(sent));
        let echo = ws.recv_timeout(PATIENCE).expect("in time").expect("open");
        assert!(echo.into_bytes() == bytes, "{length} bytes");
        sending.join().expect("no panic").expect("sent");
    }
    ws.close(CloseCode(4001), "enough").expect("valid");
    while ws.recv_timeout(PATIENCE).expect("in time").is_some() {}
    let event = ws.close_event().expect("it has ended");
    assert_eq!((event.code, event.was_clean), (CloseCode(4001), true));
}

#[test]
fn a_certificate_that_does_not_fit_is_refused_in_bounded_time() {
    let (known, other) = (Authority::new("known"), Authority::new("other"));
    let attempt = |port: u16, authority: &Authority| {
        WebSocket::builder(&format!("wss://localhost:{port}/"))
            .authorities(&authority.file)
            .connect_timeout(Duration::from_secs(5))
            .connect()
            .map(drop)
            .expect_err("refused")
            .to_string()
    };
    let unknown = attempt(known.serve("localhost").port(), &other);
    assert!(unknown.contains("invalid peer certificate"), "{unknown}");
    assert!(unknown.contains("Builder::authorities"), "{unknown}");
    let named = attempt(known.serve("pi.local").port(), &known);
    assert!(named.contains("localhost") || named.contains("name"), "{named}");

    // A server that speaks no TLS, and one that TLS is spoken to without.
    let plain = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = plain.local_addr().expect("bound").port();
    let serving = thread::spawn(move || {
        let (stream, _) = plain.accept().expect("a client");
        drop(tungstenite::accept(stream));
    });
    assert!(attempt(port, &known).contains("connect to wss://localhost"));
    serving.join().expect("no panic");
}

#[test]
fn a_file_without_certificates_is_named() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("no-certificates.pem");
    std::fs::write(&file, "hello").expect("written");
    let port = Authority::new("unused").serve("localhost").port();
    for file in [file, "/nowhere/at/all.pem".into()] {
        let builder = WebSocket::builder(&format!("wss://localhost:{port}/")).authorities(&file);
        let error = builder.connect().map(drop).expect_err("no authority");
        assert!(matches!(error, Error::Setting(_)), "{error}");
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
}
