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
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{authority::*, fixture::*};

/// An echo server with a certificate.
fn serve(pair: &Pair) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
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

#[test]
fn it_talks_over_tls_with_a_server_that_it_trusts() {
    let authority = Authority::new("trusted");
    let port = serve(&authority.sign("localhost")).port();
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
    // A burst of records of every size, large beside small.
    let sender = ws.connection();
    let burst = thread::spawn(move || {
        for length in (0..40).flat_map(|n| [16_384 + n * 97, 1 + n, 700 * n]) {
            sender.send(vec![7_u8; length]).expect("sent");
        }
    });
    for length in (0..40).flat_map(|n| [16_384 + n * 97, 1 + n, 700 * n]) {
        let echo = ws.recv_timeout(PATIENCE).expect("in time").expect("open");
        assert_eq!(echo.len(), length);
    }
    burst.join().expect("no panic");
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
    let unknown = attempt(serve(&known.sign("localhost")).port(), &other);
    assert!(unknown.contains("invalid peer certificate"), "{unknown}");
    assert!(unknown.contains("Builder::authorities"), "{unknown}");
    let named = attempt(serve(&known.sign("pi.local")).port(), &known);
    assert!(named.contains("localhost") || named.contains("name"), "{named}");
    let expired = attempt(serve(&known.sign_until("localhost", 2020)).port(), &known);
    assert!(expired.contains("expired"), "{expired}");

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
    let port = serve(&Authority::new("unused").sign("localhost")).port();
    for file in [file, "/nowhere/at/all.pem".into()] {
        let builder = WebSocket::builder(&format!("wss://localhost:{port}/")).authorities(&file);
        let error = builder.connect().map(drop).expect_err("no authority");
        assert!(matches!(error, Error::Setting(_)), "{error}");
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
}
