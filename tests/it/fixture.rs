//! Servers and clients for the tests. Nothing here sleeps to wait for a
//! result: it waits for a condition, under a deadline.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use boardcast::{
    App,
    net::{self, Application, Ended, Gate, Handle, Limits, Listeners},
    telemetry::{Batch, Channel, ChannelId, Hub, HubSettings, Publisher},
};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use serde_json::Value;
use tungstenite::{
    Message, WebSocket, client::IntoClientRequest, handshake::client::Response, protocol::Role,
};

/// The longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    wait_for_or(condition, || what.to_owned())
}

/// The same; what was waited for is said with what there is instead.
#[track_caller]
pub(crate) fn wait_for_or<T>(
    mut condition: impl FnMut() -> Option<T>,
    what: impl Fn() -> String,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {}", what());
        // Whoever is waited for wants this processor, too.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// An engine in this process; it is stopped when the test is over.
pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    handle: Option<Handle>,
}

impl Engine {
    pub(crate) fn start(application: Arc<dyn Application>, gate: Gate, limits: Limits) -> Self {
        Self::listening(Self::anywhere(), application, gate, limits)
    }

    /// A free port.
    pub(crate) fn anywhere() -> Listeners {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Listeners::bind(&[any]).expect("a free port")
    }

    pub(crate) fn listening(
        listeners: Listeners,
        application: Arc<dyn Application>,
        gate: Gate,
        limits: Limits,
    ) -> Self {
        Self::from(net::start(listeners, application, gate, limits, None).expect("started"))
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.handle.as_ref().expect("running")
    }

    pub(crate) fn connections(&self) -> usize {
        (self.handle().occupancy())().0
    }

    pub(crate) fn streams(&self) -> usize {
        (self.handle().occupancy())().1
    }

    /// Stops it and waits until it has ended.
    pub(crate) fn stop(mut self) -> boardcast::Result<Ended> {
        let handle = self.handle.take().expect("running");
        (handle.stopper())();
        handle.join()
    }

    /// Waits until it ends by itself.
    pub(crate) fn join(mut self) -> boardcast::Result<Ended> {
        self.handle.take().expect("running").join()
    }
}

impl From<Handle> for Engine {
    fn from(handle: Handle) -> Self {
        Self { address: handle.addresses()[0], handle: Some(handle) }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            (handle.stopper())();
            let _ = handle.join();
        }
    }
}

/// The telemetry application in this process, fed by the test.
pub(crate) struct Board {
    pub(crate) engine: Engine,
    pub(crate) hub: Hub,
    publisher: Publisher,
    channel: ChannelId,
}

impl Board {
    pub(crate) fn start() -> Self {
        Self::with(HubSettings::default(), Limits::default())
    }

    pub(crate) fn with(settings: HubSettings, limits: Limits) -> Self {
        Self::listening(Engine::anywhere(), settings, limits)
    }

    pub(crate) fn listening(listeners: Listeners, settings: HubSettings, limits: Limits) -> Self {
        Self::guarded(listeners, Gate::local(), settings, limits)
    }

    /// One that lets in whom this gate does.
    pub(crate) fn behind(gate: Gate, limits: Limits) -> Self {
        Self::guarded(Engine::anywhere(), gate, HubSettings::default(), limits)
    }

    fn guarded(listeners: Listeners, gate: Gate, settings: HubSettings, limits: Limits) -> Self {
        let hub = Hub::new(settings);
        let publisher = hub.publisher("test");
        let channel = publisher.channel(Channel::gauge("count").expect("valid")).expect("declared");
        let app = App::new(hub.clone());
        let engine = Engine::listening(listeners, app.clone(), gate, limits);
        app.watch(engine.handle());
        Self { engine, hub, publisher, channel }
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    pub(crate) fn channel(&self) -> ChannelId {
        self.channel
    }

    /// Publishes the next number: batch `n` carries the value `n`.
    pub(crate) fn publish(&self) -> u64 {
        let mut batch = Batch::at(self.hub.clock().boot());
        batch.set(self.channel, self.hub.view().seq() + 1);
        self.publisher.publish(batch)
    }

    /// Publishes a batch with a text of this many bytes.
    pub(crate) fn publish_text(&self, bytes: usize) -> u64 {
        let mut batch = Batch::at(self.hub.clock().boot());
        batch.set(self.channel, "x".repeat(bytes).as_str());
        self.publisher.publish(batch)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.engine.address, "/ws")
    }
}

/// A WebSocket client that behaves.
pub(crate) struct Client {
    pub(crate) socket: WebSocket<TcpStream>,
    pub(crate) response: Response,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, path: &str) -> Self {
        Self::try_connect(address, path, &[]).expect("connected")
    }

    /// Connects with further headers.
    pub(crate) fn try_connect(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tungstenite::Error> {
        let url = format!("ws://{address}{path}");
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let (socket, response) =
            tungstenite::client(request, tcp(address)).map_err(|error| match error {
                tungstenite::HandshakeError::Failure(error) => error,
                tungstenite::HandshakeError::Interrupted(_) => panic!("no answer in time"),
            })?;
        Ok(Self { socket, response })
    }

    /// From now on it waits longer for a message: for what others first have to
    /// find each other again.
    #[cfg(feature = "mqtt")]
    pub(crate) fn be_patient(&self) {
        self.socket.get_ref().set_read_timeout(Some(4 * PATIENCE)).expect("a time-out");
    }

    /// Goes on after a handshake that was made by hand.
    pub(crate) fn over(stream: TcpStream) -> Self {
        let socket = WebSocket::from_raw_socket(stream, Role::Client, None);
        Self { socket, response: Response::new(None) }
    }

    /// The next text message.
    pub(crate) fn text(&mut self) -> String {
        loop {
            match self.socket.read().expect("a message") {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) => {}
                other => panic!("{other:?} instead of a text"),
            }
        }
    }

    /// The next message, as JSON.
    pub(crate) fn json(&mut self) -> Value {
        serde_json::from_str(&self.text()).expect("JSON")
    }

    /// The next message of this type; others are passed over.
    pub(crate) fn next(&mut self, kind: &str) -> Value {
        loop {
            let message = self.json();
            if message["type"] == kind {
                return message;
            }
        }
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("sent");
    }

    /// Reads to the end; the code of the server's Close, or `None` without one.
    pub(crate) fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

/// A TCP connection whose reads do not wait for ever.
pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// A TCP connection whose kernel takes little: so its window was from the
/// first, and no tuning widens it.
pub(crate) fn narrow_tcp(address: SocketAddr) -> TcpStream {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    setsockopt(&socket, sockopt::RcvBuf, &4096).expect("set");
    connect(socket.as_raw_fd(), &SockaddrStorage::from(address)).expect("connected");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// A raw connection after the handshake, with nothing read behind its head.
pub(crate) fn raw_websocket(address: SocketAddr, path: &str) -> TcpStream {
    upgrade(tcp(address), path)
}

/// The handshake on a connection, with nothing read behind its head.
pub(crate) fn upgrade(mut stream: TcpStream, path: &str) -> TcpStream {
    send(&mut stream, handshake(path));
    read_upgrade(stream)
}

/// The answer to a handshake, and not a byte more.
pub(crate) fn read_upgrade(mut stream: TcpStream) -> TcpStream {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// The handshake of RFC 6455 section 1.3.
pub(crate) fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

pub(crate) fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).expect("sent");
}

/// One masked frame of a client, with a mask of zeroes.
pub(crate) fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Reads server frames until a Close; its code, or `None` at the end without one.
pub(crate) fn raw_close_code(stream: &mut impl Read) -> Option<u16> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).ok()?;
        let length = match head[1] {
            126 => {
                let mut long = [0; 2];
                stream.read_exact(&mut long).ok()?;
                usize::from(u16::from_be_bytes(long))
            }
            127 => {
                let mut long = [0; 8];
                stream.read_exact(&mut long).ok()?;
                u64::from_be_bytes(long) as usize
            }
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).ok()?;
        if head[0] == 0x88 {
            return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        }
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads one answer; a body as long as `Content-Length` says.
    pub(crate) fn read(reader: &mut impl BufRead) -> Self {
        let head = Self::read_head(reader);
        let length = head.body_length();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        Self { body, ..head }
    }

    /// Reads the head of one answer (to a HEAD request, say).
    pub(crate) fn read_head(reader: &mut impl BufRead) -> Self {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let length = reader.read_line(&mut head).expect("a head");
            assert!(length > 0, "the connection ended within {head:?}");
        }
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Self { status: status.expect("a status"), head, body: Vec::new() }
    }

    fn body_length(&self) -> usize {
        self.header("content-length").map_or(0, |length| length.parse().expect("a length"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

/// One request on a connection of its own.
pub(crate) fn ask(address: SocketAddr, request: &str) -> Answer {
    let mut stream = tcp(address);
    send(&mut stream, request);
    Answer::read(&mut BufReader::new(stream))
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

/// A number of `/metrics` that has no labels.
pub(crate) fn metric(address: SocketAddr, name: &str) -> u64 {
    let page = get(address, "/metrics");
    assert_eq!(page.status, 200, "{}", page.text());
    let mut lines = page.text().lines().filter_map(|line| line.split_once(' '));
    let (_, value) = lines.find(|(key, _)| *key == name).expect(name);
    value.parse().expect("a number")
}

/// The real binary.
pub(crate) struct Binary {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) greeting: String,
    /// Standard error so far.
    log: Arc<Mutex<String>>,
    /// Reads it along: a full pipe would hold the program up.
    reader: Option<JoinHandle<()>>,
}

/// A command that starts a program of this package, behind `TEST_RUNNER` when
/// it is foreign to this machine.
pub(crate) fn command(program: &str) -> Command {
    match std::env::var("TEST_RUNNER") {
        Ok(runner) => {
            let mut words = runner.split_whitespace();
            let mut command = Command::new(words.next().expect("a runner"));
            command.args(words).arg(program);
            command
        }
        Err(_) => Command::new(program),
    }
}

/// Whether the program runs in an emulator, which takes several times its CPU
/// time, and memory of its own for every thread.
pub(crate) fn emulated() -> bool {
    std::env::var_os("TEST_RUNNER").is_some()
}

impl Binary {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
        Self::run(command.args(["--listen", "127.0.0.1:0"]).args(arguments))
    }

    /// Runs a command that ends in the program, and waits for its greeting.
    pub(crate) fn run(command: &mut Command) -> Self {
        Self::try_run(command).unwrap_or_else(|(code, log)| panic!("it ended with {code:?}: {log}"))
    }

    /// The same; its exit code and its log when it ends before it greets.
    pub(crate) fn try_run(command: &mut Command) -> Result<Self, (Option<i32>, String)> {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        let log = Arc::new(Mutex::new(String::new()));
        let written = log.clone();
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        let reader = std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                *written.lock().expect("no panic") += &(line + "\n");
            }
        });
        let mut greeting = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        while !greeting.contains("channels") {
            let length = out.read_line(&mut greeting).expect("a greeting");
            if length == 0 {
                let code = child.wait().expect("waited").code();
                reader.join().expect("no panic");
                let log = log.lock().expect("no panic").clone();
                return Err((code, log));
            }
        }
        let is_stream = |line: &&str| line.contains("ws://") || line.contains("wss://");
        let stream = greeting.lines().find(is_stream).expect("a stream");
        let address = stream.split("://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.and_then(|address| address.parse().ok()).expect("an address");
        Ok(Self { child, address, greeting, log, reader: Some(reader) })
    }

    /// What it has written to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// A number of `/metrics` that the program counts about itself.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        metric(self.address, name)
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, signal).expect("signalled");
    }

    /// Waits for its end; the exit code and what it wrote to standard error.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let status = wait_for("the program's end", || self.child.try_wait().expect("waited"));
        self.reader.take().expect("not joined yet").join().expect("no panic");
        (status.code(), self.log())
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
