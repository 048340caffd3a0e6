//! The server with TLS, over real sockets: handshakes that succeed and that
//! do not, HTTP and WebSockets on top, and certificates that are renewed.

use std::{
    fs,
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use boardcast::{
    net::{Answer as NetAnswer, Application, Gate, Limits, Request, Response, Upgrade},
    telemetry::HubSettings,
    websocket::{CloseCode, Connection, Message, Server, WebSocket},
};
use nix::sys::signal::Signal;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{authority::*, fixture::*};

/// Says where a request went; `/big` is 1 MiB, and `/ws` an echo.
struct Place;

impl Application for Place {
    fn respond(&self, request: &Request) -> NetAnswer {
        if request.wants_websocket() {
            return NetAnswer::Upgrade(Upgrade::new(|connection: &Connection, _: &Request| {
                let connection = connection.clone();
                move |message: Message| drop(connection.send(message))
            }));
        }
        let body = match request.path() {
            "/big" => "0123456789abcdef".repeat(65_536),
            _ => format!("{} {}", request.is_secure(), request.url()),
        };
        NetAnswer::Response(Response::text(200, body))
    }
}

fn start(authority: &Authority, limits: Limits) -> Engine {
    let listeners = Engine::anywhere().secured(authority.tls());
    Engine::listening(listeners, Arc::new(Place), Gate::open(), limits)
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: pi\r\n\r\n")
}

#[test]
fn requests_are_answered_over_either_version_one_after_the_other() {
    let authority = Authority::new("versions");
    let engine = start(&authority, Limits::default());
    for version in rustls::ALL_VERSIONS {
        let mut config = authority.client(&[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut stream = BufReader::new(authority.over(tcp(engine.address), config));
        for path in ["/a", "/big", "/b?c"] {
            stream.get_mut().write_all(request(path).as_bytes()).expect("sent");
            let answer = Answer::read(&mut stream);
            assert_eq!(answer.status, 200);
            match path {
                "/big" => assert_eq!(answer.body.len(), (1 << 20) + 1),
                path => assert_eq!(answer.text(), format!("true wss://pi{path}\n")),
            }
        }
        let session = &stream.get_ref().conn;
        assert_eq!(session.protocol_version(), Some(version.version));
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    let mut other = authority.client(rustls::ALL_VERSIONS);
    other.alpn_protocols = vec![b"h2".to_vec()];
    let mut stream = authority.over(tcp(engine.address), other);
    let error = stream.write_all(b"x").expect_err("HTTP/2 alone").to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn the_last_answer_ends_with_a_farewell_and_the_peer_may_take_its_time() {
    let authority = Authority::new("last");
    let engine = start(&authority, Limits::default());
    let mut stream =
        authority.over(narrow_tcp(engine.address), authority.client(rustls::ALL_VERSIONS));
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n").expect("sent");
    // It cannot be sent at once: the kernel takes little.
    let mut all = Vec::new();
    // Without a farewell this would be an error.
    stream.read_to_end(&mut all).expect("to the end");
    assert!(all.starts_with(b"HTTP/1.1 200") && all.len() > 1 << 20, "{} bytes", all.len());
    drop(stream);
    wait_for("its place", || (engine.connections() == 0).then_some(()));
    assert_eq!(engine.handle().stats().refused_tls.get(), 0);
}

#[test]
fn a_request_without_tls_is_told_where_to_go() {
    let authority = Authority::new("plain");
    let engine = start(&authority, Limits::default());
    let see = |request: &str| ask(engine.address, request);
    for (target, host, place) in [
        ("/", "pi:8642", "https://pi:8642/"),
        ("/a/b?c=d&e", "192.168.1.20", "https://192.168.1.20/a/b?c=d&e"),
        ("/", "[fd00::20]:8642", "https://[fd00::20]:8642/"),
        ("//evil.example/x", "pi", "https://pi//evil.example/x"),
        ("http://pi/x", "pi", "https://pi/x"),
    ] {
        let answer = see(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((answer.status, answer.header("location")), (308, Some(place)), "{target}");
        assert!(answer.text().contains(place), "{}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(answer.header("strict-transport-security"), None);
    }
    for host in ["", "a b", "pi@evil.example", "pi:x", "pi:99999", "[::1", "[x]", "pi/..", "a\tb"] {
        let answer = see(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((answer.status, answer.header("location")), (400, None), "{host}");
        assert!(answer.text().contains("https://"), "{}", answer.text());
    }
    assert_eq!(
        see("OPTIONS * HTTP/1.1\r\nHost: pi\r\n\r\n").header("location"),
        Some("https://pi/")
    );
    assert_eq!(see(&handshake("/ws")).status, 308, "a WebSocket without TLS is none");
    let two_hosts = "GET http://evil.example/x HTTP/1.1\r\nHost: pi\r\n\r\n";
    assert_eq!(see(two_hosts).status, 400, "nobody is led to a host that only the target names");
    assert_eq!(see("garbage\r\n\r\n").status, 400);
    assert_eq!(see("\u{1}\u{2}\u{3}\r\n\r\n").status, 400);
    assert_eq!(engine.handle().stats().streams.get(), 0);
}

/// A first message of TLS 1.1, as its RFC 4346 section 7.4.1.2 has it: two
/// suites, no extensions.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0, 0x2f, 0xc0, 0x13, 1, 0]);
    let mut message = vec![1, 0, 0, body.len() as u8];
    message.extend(body);
    let mut record = vec![22, 3, 1, 0, message.len() as u8];
    record.extend(message);
    record
}

/// What comes until the end.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("to the end");
    rest
}

#[test]
fn no_tls_comes_about_with_tls_1_1_or_nonsense_and_the_peer_hears_why() {
    let authority = Authority::new("nonsense");
    let engine = start(&authority, Limits::default());
    let good = {
        let mut stream = authority.connect(engine.address);
        stream.write_all(request("/").as_bytes()).expect("sent");
        stream
    };
    let mut nonsense = vec![22, 3, 3, 0, 5];
    nonsense.extend([255; 5]);
    for (sent, alert) in [(hello_of_tls_1_1(), 21), (nonsense, 21), (vec![22; 3000], 21)] {
        let mut stream = tcp(engine.address);
        send(&mut stream, sent);
        assert_eq!(rest(&mut stream).first(), Some(&alert));
    }
    assert_eq!(engine.handle().stats().refused_tls.get(), 3);
    assert_eq!(Answer::read(&mut BufReader::new(good)).status, 200, "nobody else was disturbed");
}

#[test]
fn a_handshake_has_the_time_of_a_head_and_its_place() {
    let authority = Authority::new("drip");
    let limits =
        Limits { head_time: Duration::from_millis(400), unfinished_heads: 1, ..Limits::default() };
    let engine = start(&authority, limits);
    // Says nothing; begins and stops; drips; shakes hands and asks for half.
    // One place: each has it when the one before has ended.
    let mut silent = tcp(engine.address);
    let mut half = tcp(engine.address);
    send(&mut half, [22, 3, 1, 1, 0, 1, 0]);
    let mut dripping = tcp(engine.address);
    let mut mute = authority.connect(engine.address);
    let drip = std::thread::spawn(move || {
        // A record of the largest size, byte by byte.
        let mut bytes =
            [22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc].into_iter().chain(std::iter::repeat(0));
        while dripping.write_all(&[bytes.next().expect("endless")]).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    mute.write_all(b"GET / HT").expect("hands were shaken");
    assert_eq!(rest(&mut silent), b"");
    assert_eq!(rest(&mut half), [21, 3, 3, 0, 2, 1, 0], "a farewell: close_notify");
    drip.join().expect("no panic");
    let mut said = Vec::new();
    mute.read_to_end(&mut said).expect("to the end");
    assert!(said.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&said));
    drop(mute);
    wait_for("all places", || (engine.connections() == 0).then_some(()));
    let stats = engine.handle().stats();
    assert_eq!((stats.refused_tls.get(), stats.refused_head.get()), (2, 1));
}

#[test]
fn whom_there_is_no_room_for_hears_an_alert() {
    let authority = Authority::new("full");
    let limits = Limits { connections: 2, reserved_for_http: 0, ..Limits::default() };
    let engine = start(&authority, limits);
    let _two = [tcp(engine.address), tcp(engine.address)];
    let mut third = tcp(engine.address);
    // internal_error, as nothing says "come back later".
    assert_eq!(rest(&mut third), [21, 3, 3, 0, 2, 2, 80]);
    let error = authority.connect(engine.address).read(&mut [0]).expect_err("refused").to_string();
    assert!(error.contains("InternalError"), "{error}");
}

#[test]
fn a_programs_own_server_speaks_it_too() {
    let authority = Authority::new("program");
    let server = Server::builder().listen("127.0.0.1:0").tls(authority.tls()).bind();
    let server = server.expect("bound").start(|ws: &Connection, request: &Request| {
        ws.send(request.url()).expect("open");
        |_: Message| {}
    });
    let server = Engine::from(server.expect("started"));
    let mut ws = websocket(&authority, server.address).expect("connected");
    let url = ws.recv_timeout(PATIENCE).expect("in time").expect("open");
    assert_eq!(
        url.as_text(),
        Some(&*format!("wss://{}/ws", ws.url().split('/').nth(2).expect("a host")))
    );
}

/// Our own client, trusting the authority.
fn websocket(authority: &Authority, address: SocketAddr) -> boardcast::Result<WebSocket> {
    let url = format!("wss://localhost:{}/ws", address.port());
    WebSocket::builder(&url).authorities(&authority.file).connect()
}

#[test]
fn a_websocket_over_tls_echoes_what_it_hears_and_closes_cleanly() {
    let authority = Authority::new("echo");
    let limits = Limits { message_bytes: 1 << 20, message_rate: 1000, ..Limits::default() };
    let engine = start(&authority, limits);
    let mut ws = websocket(&authority, engine.address).expect("connected");
    for length in [0, 1, 125, 126, 1000, 16_384, 65_536, 1 << 20] {
        let bytes: Vec<u8> = (0..length).map(|n: u32| (n * 7) as u8).collect();
        let (sender, sent) = (ws.connection(), bytes.clone());
        let sending = std::thread::spawn(move || sender.send(sent));
        let echo = ws.recv_timeout(PATIENCE).expect("in time").expect("open");
        assert!(echo.into_bytes() == bytes, "{length} bytes");
        sending.join().expect("no panic").expect("sent");
    }
    ws.close(CloseCode(4001), "enough").expect("valid");
    while ws.recv_timeout(PATIENCE).expect("in time").is_some() {}
    let event = ws.close_event().expect("it has ended");
    assert_eq!((event.code, event.was_clean), (CloseCode(4001), true));
    wait_for("its place", || (engine.connections() == 0).then_some(()));
}

#[test]
fn at_the_stop_a_client_hears_1001() {
    let authority = Authority::new("stop");
    let engine = start(&authority, Limits::default());
    let mut ws = websocket(&authority, engine.address).expect("connected");
    let mut idle = authority.connect(engine.address);
    idle.write_all(request("/").as_bytes()).expect("sent");
    assert_eq!(Answer::read(&mut BufReader::new(&mut idle)).status, 200);
    (engine.handle().stopper())();
    while ws.recv_timeout(PATIENCE).expect("in time").is_some() {}
    let event = ws.close_event().expect("it has ended");
    assert_eq!((event.code, event.was_clean), (CloseCode(1001), true));
    engine.stop().expect("stopped");
}

/// The certificate that a server shows.
fn shown(authority: &Authority, address: SocketAddr) -> CertificateDer<'static> {
    let mut stream = authority.connect(address);
    stream.write_all(request("/").as_bytes()).expect("sent");
    let certificates = stream.conn.peer_certificates().expect("a certificate");
    certificates[0].clone().into_owned()
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_renewal_drops_nobody_and_a_broken_one_changes_nothing() {
    let authority = Authority::new("renewal");
    let first = authority.sign("localhost");
    let (certificate, key) = authority.write(&first);
    let arguments =
        ["--tls-cert", text(&certificate), "--tls-key", text(&key), "--interval", "100ms"];
    let server = Binary::start(&[&arguments[..], &["--config", "/dev/null"]].concat());
    assert!(server.greeting.contains("https://") && server.greeting.contains("wss://"));
    let mut ws = websocket(&authority, server.address).expect("connected");
    assert_eq!(shown(&authority, server.address), der(&first));

    let second = authority.sign("localhost");
    authority.write(&second);
    server.signal(Signal::SIGHUP);
    wait_for("the new certificate", || {
        (shown(&authority, server.address) == der(&second)).then_some(())
    });

    let stranger = Pair { key: first.key.clone(), ..authority.sign("localhost") };
    authority.write(&stranger);
    for read in 2..4 {
        server.signal(Signal::SIGHUP);
        wait_for("the settings to be read", || {
            (server.log().matches("are read anew").count() == read).then_some(())
        });
    }
    assert_eq!(shown(&authority, server.address), der(&second));
    authority.write(&first);
    server.signal(Signal::SIGHUP);
    wait_for("the first again", || {
        (shown(&authority, server.address) == der(&first)).then_some(())
    });
    assert_eq!(server.log().matches("the old certificate stays").count(), 1, "{}", server.log());

    // It was there all the time, and still is.
    let mut seen = 0;
    while seen < 5 {
        let message = ws.recv_timeout(PATIENCE).expect("in time").expect("open");
        seen += usize::from(message.as_text().is_some_and(|text| text.contains("\"data\"")));
    }
}

fn run(arguments: &[&str]) -> Output {
    command(env!("CARGO_BIN_EXE_boardcast")).args(arguments).output().expect("it runs")
}

/// What a run that fails says, and its exit code.
fn complaint(output: &Output) -> (Option<i32>, String) {
    let said = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(said.lines().count(), 1, "{said}");
    (output.status.code(), said)
}

#[test]
fn a_pair_that_cannot_be_used_keeps_it_from_starting_with_one_line() {
    let authority = Authority::new("wrong");
    let (one, other) = (authority.sign("localhost"), authority.sign("localhost"));
    let (certificate, key) = authority.write(&Pair { key: other.key, ..one });
    let serve = |arguments: &[&str]| {
        let always = ["--config", "/dev/null", "--listen", "127.0.0.1:0"];
        complaint(&run(&[arguments, &always[..]].concat()))
    };
    let (code, said) = serve(&["--tls-cert", text(&certificate), "--tls-key", text(&key)]);
    assert_eq!(code, Some(1));
    assert!(said.contains("is not the one of the certificate"), "{said}");
    let (code, said) = serve(&["--tls-cert", "/nowhere/cert.pem", "--tls-key", text(&key)]);
    assert_eq!(code, Some(1));
    assert!(said.contains("/nowhere/cert.pem") && said.contains("boardcast cert"), "{said}");
    for (one, mend) in [("--tls-cert", "set tls_key"), ("--tls-key", "set tls_cert")] {
        let (code, said) = serve(&[one, text(&key)]);
        assert_eq!(code, Some(2));
        assert!(said.contains(mend), "{said}");
    }
}

#[test]
fn everyone_may_read_the_key_is_worth_a_warning() {
    let authority = Authority::new("readable");
    let (certificate, key) = authority.write(&authority.sign("localhost"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("set");
    let server = Binary::start(&["--tls-cert", text(&certificate), "--tls-key", text(&key)]);
    wait_for("the warning", || server.log().contains("chmod 640").then_some(()));
}

#[test]
fn the_clients_reach_a_board_that_they_trust() {
    let authority = Authority::new("watch");
    let (certificate, key) = authority.write(&authority.sign("localhost"));
    let server = Binary::start(&["--tls-cert", text(&certificate), "--tls-key", text(&key)]);
    let port = server.address.port();
    for address in [format!("https://localhost:{port}/"), format!("wss://localhost:{port}/ws")] {
        for verb in ["once", "channels"] {
            let output = run(&[verb, &address, "cpu/usage", "--authority", text(&authority.file)]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(String::from_utf8_lossy(&output.stdout).contains("cpu/usage"));
        }
    }
    let found = run(&["doctor", "--port", &port.to_string()]);
    let told = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(
        told.contains(&format!("a server runs, with TLS: https://127.0.0.1:{port}/")),
        "{told}"
    );

    let https = format!("https://localhost:{port}/");
    let mut with_variable = command(env!("CARGO_BIN_EXE_boardcast"));
    with_variable.args(["once", &https]).env("SSL_CERT_FILE", &authority.file);
    assert!(with_variable.output().expect("it runs").status.success());

    let (code, said) = complaint(&run(&["once", &https]));
    assert_eq!(code, Some(1));
    assert!(said.contains("--authority"), "{said}");
    let (code, said) = complaint(&run(&["once", &format!("localhost:{port}")]));
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("write https://localhost:{port}/ws")), "{said}");
    let (_, said) = complaint(&run(&["once", &https, "--authority", "/nowhere.pem"]));
    assert!(said.contains("/nowhere.pem"), "{said}");
}

#[test]
fn a_certificate_that_it_makes_is_one_that_it_serves_with() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tls-made/new");
    let _ = fs::remove_dir_all(&folder);
    let made = run(&["cert", "--out", text(&folder), "board.example.org"]);
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    for part in ["board.example.org", "localhost", "127.0.0.1", "SHA-256", "tls_cert = \""] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&key), mode(&certificate)), (0o600, 0o644));

    // The two lines for the settings are such as they can be pasted.
    let settings = folder.join("boardcast.toml");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("tls_")).collect();
    fs::write(&settings, lines.join("\n")).expect("written");
    let server = Binary::start(&["--config", text(&settings)]);
    for host in ["localhost", "127.0.0.1"] {
        let address = format!("https://{host}:{}/", server.address.port());
        let output = run(&["once", &address, "--authority", text(&certificate)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    let before = fs::read(&key).expect("there");
    let (code, said) = complaint(&run(&["cert", "--out", text(&folder)]));
    assert_eq!((code, said.contains("--force")), (Some(1), true), "{said}");
    assert_eq!(fs::read(&key).expect("there"), before);
    assert!(run(&["cert", "--out", text(&folder), "--force"]).status.success());
    assert_ne!(fs::read(&key).expect("there"), before);
    assert_eq!(mode(&key), 0o600);
    assert_eq!(fs::read_dir(&folder).expect("there").count(), 3, "nothing is left behind");
    let (code, said) = complaint(&run(&["cert", "--out", text(&folder), "pi:8642"]));
    assert_eq!((code, said.contains("without a port")), (Some(1), true), "{said}");
}

#[test]
fn a_board_streams_over_tls() {
    let authority = Authority::new("page");
    let listeners = Engine::anywhere().secured(authority.tls());
    let board = Board::listening(listeners, HubSettings::default(), Limits::default());
    let mut ws = websocket(&authority, board.engine.address).expect("connected");
    let hello = ws.recv_timeout(PATIENCE).expect("in time").expect("open");
    assert!(hello.as_text().is_some_and(|text| text.contains("\"hello\"")));
    let seq = board.publish();
    wait_for("the batch", || {
        let message = ws.recv_timeout(PATIENCE).expect("in time").expect("open");
        message
            .as_text()
            .is_some_and(|text| text.contains(&format!("\"seq\":{seq},")))
            .then_some(())
    });
}

/// One that the test's own Python or curl would not tell apart.
#[test]
fn openssl_agrees_about_the_versions() {
    let authority = Authority::new("openssl");
    let engine = start(&authority, Limits::default());
    let connect = engine.address.to_string();
    let try_with = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &connect, "-servername", "localhost"]);
        command.args(["-verify_return_error", "-CAfile", text(&authority.file), "-brief"]);
        let output = command.args(arguments).stdin(std::process::Stdio::null()).output();
        let output = output.expect("openssl, which tests/setup.sh installs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let (fine, said) = try_with(&[version]);
        assert!(fine && said.contains("Verification: OK"), "{version}: {said}");
    }
    for version in ["-tls1", "-tls1_1"] {
        let (fine, said) = try_with(&[version, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(!fine && said.contains("alert"), "{version}: {said}");
    }
}
