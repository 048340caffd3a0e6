//! Fan-out: many clients, one source. What does a delivered message cost the
//! server, how late is it, and what does a client weigh?
//!
//! `make bench`, or `cargo bench --bench fanout -- 1000x100x10 9000x1x10`
//! (clients × batches a second × seconds). Three references are measured in
//! the same run: with `ws` as an argument Node's `ws`; with `prototype` the
//! bare shape that the design was chosen by; with `floor` a loop of `send(2)`
//! that knows no WebSocket: what the kernel alone costs here.
//!
//! The server is a process of its own (this program, started again), so that
//! its CPU time and memory are its alone. The load client checks every `seq`:
//! a message that is lost or doubled ends the run.

use std::{
    collections::VecDeque,
    fs,
    io::{self, BufRead, BufReader, IoSlice, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use boardcast::{
    App,
    net::{self, Gate, Limits, Listeners},
    telemetry::{Batch, Channel, Hub, HubSettings},
};
use bytes::Bytes;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        socket::{MsgFlags, send, sendmsg},
    },
    time::{ClockId, clock_gettime},
};

/// A data message of 128 bytes, as in the design's table.
const PAD: usize = 40;
/// What waits at most for the last messages, and for a server's word.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
struct Scenario {
    clients: usize,
    hz: u32,
    seconds: u32,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => return serve(),
        Some("serve-prototype") => return serve_prototype(),
        Some("serve-floor") => return serve_floor(),
        _ => raise_descriptors(),
    }
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let mut scenarios: Vec<Scenario> = arguments.iter().filter_map(|a| parse(a)).collect();
    if scenarios.is_empty() {
        let usual = ["100x100x10", "1000x10x10", "1000x100x10", "9000x1x10"];
        scenarios = usual.iter().filter_map(|text| parse(text)).collect();
    }
    println!(
        "| server | clients | batches/s | delivered | CPU a message | delay p50 | p99 | max | KiB a client |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for scenario in scenarios {
        println!("{}", measure("boardcast", own_server("serve"), scenario));
        if asked("ws") {
            println!("{}", measure("Node ws", node_server(), scenario));
        }
        if asked("prototype") {
            let server = own_server("serve-prototype");
            println!("{}", measure("prototype", server, scenario));
        }
        if asked("floor") {
            println!("{}", measure("bare send(2)", own_server("serve-floor"), scenario));
        }
    }
}

fn parse(text: &str) -> Option<Scenario> {
    let mut parts = text.split('x').map(str::parse::<u32>);
    let mut next = || parts.next()?.ok();
    Some(Scenario { clients: next()? as usize, hz: next()?, seconds: next()? })
}

fn raise_descriptors() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit can be raised");
    }
}

// ---- the servers

fn own_server(mode: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg(mode);
    command
}

fn node_server() -> Command {
    let mut command = Command::new("node");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/reference.mjs"));
    command
}

/// The server process: prints its port; publishes when it reads `HZ SECONDS`.
fn serve() {
    raise_descriptors();
    let hub = Hub::new(HubSettings::default());
    let limits = Limits { connections: 12_000, ..Limits::default() };
    let listeners = Listeners::bind(&[([127, 0, 0, 1], 0).into()]).expect("a free port");
    let app = App::new(hub.clone());
    let engine = net::start(listeners, app, Gate::open(), limits, None).expect("started");
    println!("{}", engine.addresses()[0].port());
    let publisher = hub.publisher("bench");
    let stamp = publisher.channel(Channel::gauge("stamp").expect("valid")).expect("declared");
    let pad = publisher.channel(Channel::state("pad").expect("valid")).expect("declared");
    let padding = "x".repeat(PAD);
    at_the_asked_rate(|| {
        let mut batch = Batch::at(hub.clock().boot());
        batch.set(stamp, micros());
        batch.set(pad, padding.as_str());
        publisher.publish(batch);
    });
    // The measuring side has gone: nobody is left to stop gently for.
    std::process::exit(0);
}

/// Calls `publish` as often as each line of standard input says.
fn at_the_asked_rate(mut publish: impl FnMut()) {
    for line in io::stdin().lock().lines() {
        let line = line.expect("a line");
        let mut words = line.split(' ').map(|word| word.parse::<u32>().expect("a number"));
        let (hz, seconds) = (words.next().expect("hz"), words.next().expect("seconds"));
        let start = Instant::now();
        for number in 0..hz * seconds {
            let deadline = start + Duration::from_secs(number.into()) / hz;
            thread::sleep(deadline.saturating_duration_since(Instant::now()));
            publish();
        }
        println!("done");
    }
}

/// The prototype: a thread that reads for each connection (tungstenite, its
/// default buffers), one push worker with a ring and cursors. No limits, no
/// time-outs, no slow clients: a send that would block ends the run.
fn serve_prototype() {
    #[derive(Default)]
    struct Shared {
        /// Frames, and the number of the first of them.
        ring: Mutex<(VecDeque<Bytes>, u64)>,
        joining: Mutex<Vec<(Arc<TcpStream>, u64)>>,
    }
    raise_descriptors();
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    println!("{}", listener.local_addr().expect("bound").port());
    let shared = Arc::new(Shared::default());
    let mut poll = Poll::new().expect("a poll");
    let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");

    let accepting = shared.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = Arc::new(stream.expect("accepted"));
            stream.set_nodelay(true).expect("set");
            let shared = accepting.clone();
            let serve = move || {
                let mut socket = tungstenite::accept(&*stream).expect("a WebSocket client");
                let ring = shared.ring.lock().expect("unharmed");
                let next = ring.1 + ring.0.len() as u64;
                shared.joining.lock().expect("unharmed").push((stream.clone(), next));
                drop(ring);
                while socket.read().is_ok() {}
            };
            thread::Builder::new().stack_size(128 * 1024).spawn(serve).expect("a thread");
        }
    });

    let pushing = shared.clone();
    thread::spawn(move || {
        let mut events = Events::with_capacity(64);
        let mut clients: Vec<(Arc<TcpStream>, u64)> = Vec::new();
        let mut frames: Vec<Bytes> = Vec::new();
        loop {
            poll.poll(&mut events, None).expect("polled");
            clients.append(&mut pushing.joining.lock().expect("unharmed"));
            for (stream, cursor) in &mut clients {
                let ring = pushing.ring.lock().expect("unharmed");
                let behind = cursor.saturating_sub(ring.1) as usize;
                frames.extend(ring.0.iter().skip(behind).cloned());
                drop(ring);
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                let sent = match &frames[..] {
                    [] => continue,
                    [frame] => send(stream.as_raw_fd(), frame, flags),
                    all => {
                        let parts: Vec<_> = all.iter().map(|frame| IoSlice::new(frame)).collect();
                        sendmsg::<()>(stream.as_raw_fd(), &parts, &[], flags, None)
                    }
                };
                let whole = frames.iter().map(Bytes::len).sum();
                assert_eq!(sent, Ok(whole), "a prototype's client is never slow");
                *cursor += frames.len() as u64;
                frames.clear();
            }
        }
    });

    let mut seq = 0;
    at_the_asked_rate(|| {
        seq += 1;
        let mut ring = shared.ring.lock().expect("unharmed");
        ring.0.push_back(data_frame(seq));
        if ring.0.len() > 1024 {
            ring.0.pop_front();
            ring.1 += 1;
        }
        drop(ring);
        waker.wake().expect("woken");
    });
    std::process::exit(0);
}

/// The floor: one thread that sends the same bytes to every socket in turn.
fn serve_floor() {
    raise_descriptors();
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    println!("{}", listener.local_addr().expect("bound").port());
    let viewers = Arc::new(Mutex::new(Vec::new()));
    let accepted = viewers.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepted");
            read_head(&mut stream);
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").expect("sent");
            stream.set_nodelay(true).expect("set");
            accepted.lock().expect("unharmed").push(stream);
        }
    });
    let mut seq = 0;
    at_the_asked_rate(|| {
        seq += 1;
        let frame = data_frame(seq);
        for viewer in viewers.lock().expect("unharmed").iter_mut() {
            viewer.write_all(&frame).expect("sent");
        }
    });
    std::process::exit(0);
}

/// The message that Boardcast sends, made by hand.
fn data_frame(seq: u64) -> Bytes {
    let (stamp, padding) = (micros(), "x".repeat(PAD));
    net::text_frame(&format!(
        r#"{{"type":"data","seq":{seq},"t":1763796001.118,"values":{{"stamp":{stamp},"pad":"{padding}"}}}}"#
    ))
}

/// The clock that both sides read.
fn micros() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    Duration::from(now).as_micros() as u64
}

struct Server {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server can be started");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a port");
        let port: u16 = line.trim().parse().expect("a port");
        Self { child, out, address: ([127, 0, 0, 1], port).into() }
    }

    fn publish(&mut self, scenario: Scenario) {
        let Scenario { hz, seconds, .. } = scenario;
        let mut stdin = self.child.stdin.as_ref().expect("piped");
        writeln!(stdin, "{hz} {seconds}").expect("told");
    }

    /// CPU time of all its threads that live, from `schedstat` (ns).
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("its threads");
        let nanos = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Resident memory, in KiB.
    fn resident(&self) -> f64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("its status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---- the load client

fn measure(name: &str, command: Command, scenario: Scenario) -> String {
    let mut server = Server::start(command);
    let at_rest = server.resident();
    let mut load = Load::connect(server.address, scenario.clients);
    // Greetings are not part of the cost of a message.
    load.settle();
    let weight = (server.resident() - at_rest) / scenario.clients as f64;
    let before = server.cpu();
    server.publish(scenario);
    let expected = u64::from(scenario.hz * scenario.seconds) * scenario.clients as u64;
    let deadline = Instant::now() + Duration::from_secs(scenario.seconds.into()) + PATIENCE;
    while load.received < expected && Instant::now() < deadline {
        load.turn(Duration::from_millis(100));
    }
    let cpu = server.cpu() - before;
    let mut line = String::new();
    server.out.read_line(&mut line).expect("the end of publishing");
    let Scenario { clients, hz, .. } = scenario;
    let per_message = cpu.as_secs_f64() * 1e6 / load.received.max(1) as f64;
    let share = 100.0 * load.received as f64 / expected as f64;
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| load.delays.at(part));
    format!(
        "| {name} | {clients} | {hz} | {share:.1} % | {per_message:.1} µs | {p50:.2} ms | {p99:.2} ms | {max:.2} ms | {weight:.1} |"
    )
}

struct Viewer {
    stream: mio::net::TcpStream,
    /// The beginning of a frame whose end has not come yet.
    rest: Vec<u8>,
    next_seq: Option<u64>,
}

struct Load {
    poll: Poll,
    events: Events,
    viewers: Vec<Viewer>,
    buffer: Vec<u8>,
    received: u64,
    delays: Delays,
}

impl Load {
    fn connect(address: SocketAddr, clients: usize) -> Self {
        let poll = Poll::new().expect("a poll");
        let mut viewers = Vec::with_capacity(clients);
        for number in 0..clients {
            let stream = handshake(address);
            stream.set_nonblocking(true).expect("set");
            let mut stream = mio::net::TcpStream::from_std(stream);
            let registry = poll.registry();
            registry.register(&mut stream, Token(number), Interest::READABLE).expect("registered");
            viewers.push(Viewer { stream, rest: Vec::new(), next_seq: None });
        }
        Self {
            poll,
            events: Events::with_capacity(1024),
            viewers,
            buffer: vec![0; 256 * 1024],
            received: 0,
            delays: Delays::default(),
        }
    }

    /// Reads until nothing has come for half a second, and forgets it.
    fn settle(&mut self) {
        let mut quiet = Instant::now();
        while quiet.elapsed() < Duration::from_millis(500) {
            if self.turn(Duration::from_millis(100)) > 0 {
                quiet = Instant::now();
            }
        }
        (self.received, self.delays) = (0, Delays::default());
    }

    /// Reads what is there; returns how many bytes.
    fn turn(&mut self, timeout: Duration) -> usize {
        self.poll.poll(&mut self.events, Some(timeout)).expect("polled");
        let now = micros();
        let mut bytes = 0;
        for event in &self.events {
            let viewer = &mut self.viewers[event.token().0];
            loop {
                match viewer.stream.read(&mut self.buffer) {
                    Ok(0) => panic!("client {} was ended", event.token().0),
                    Ok(length) => {
                        bytes += length;
                        let part = &self.buffer[..length];
                        self.received += viewer.take(part, now, &mut self.delays);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => panic!("client {}: {error}", event.token().0),
                }
            }
        }
        bytes
    }
}

fn handshake(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connected");
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    read_head(&mut stream);
    stream
}

fn read_head(stream: &mut TcpStream) {
    let mut last = [0; 4];
    let mut byte = [0];
    while &last != b"\r\n\r\n" {
        stream.read_exact(&mut byte).expect("a head");
        last.rotate_left(1);
        last[3] = byte[0];
    }
}

impl Viewer {
    /// Takes bytes; returns how many batches were whole.
    fn take(&mut self, bytes: &[u8], now: u64, delays: &mut Delays) -> u64 {
        if self.rest.is_empty() {
            let (taken, count) = self.frames(bytes, now, delays);
            self.rest.extend_from_slice(&bytes[taken..]);
            return count;
        }
        let mut whole = std::mem::take(&mut self.rest);
        whole.extend_from_slice(bytes);
        let (taken, count) = self.frames(&whole, now, delays);
        whole.drain(..taken);
        if !whole.is_empty() {
            self.rest = whole;
        }
        count
    }

    fn frames(&mut self, mut bytes: &[u8], now: u64, delays: &mut Delays) -> (usize, u64) {
        let (mut taken, mut count) = (0, 0);
        while let Some((head, length)) = frame(bytes) {
            if bytes.len() < head + length {
                break;
            }
            let payload = &bytes[head..head + length];
            if bytes[0] == 0x81 {
                count += u64::from(self.message(payload, now, delays));
            }
            bytes = &bytes[head + length..];
            taken += head + length;
        }
        (taken, count)
    }

    /// Whether it was a batch. Checks that none is missing and none doubled.
    fn message(&mut self, payload: &[u8], now: u64, delays: &mut Delays) -> bool {
        let text = std::str::from_utf8(payload).expect("UTF-8");
        if !text.starts_with("{\"type\":\"data\"") {
            assert!(!text.starts_with("{\"type\":\"gap\""), "a client fell behind: {text}");
            return false;
        }
        let seq = number(text, "\"seq\":").expect("a seq");
        if text.contains("\"snapshot\":true") {
            self.next_seq = Some(seq + 1);
            return false;
        }
        if let Some(expected) = self.next_seq {
            assert_eq!(seq, expected, "a batch was lost or came twice");
        }
        self.next_seq = Some(seq + 1);
        let stamp = number(text, "\"stamp\":").expect("a stamp");
        delays.note(now.saturating_sub(stamp));
        true
    }
}

/// Header and payload length of an unmasked frame, when the header is whole.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        126 => Some((4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])))),
        127 => {
            let length: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
            Some((10, u64::from_be_bytes(length) as usize))
        }
        short => Some((2, usize::from(short))),
    }
}

fn number(text: &str, key: &str) -> Option<u64> {
    let from = text.find(key)? + key.len();
    let digits = text[from..].split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Delays in steps of 10 µs up to 2 s.
#[derive(Default)]
struct Delays {
    counts: Vec<u64>,
    total: u64,
}

impl Delays {
    const STEP: u64 = 10;
    const MOST: usize = 200_000;

    fn note(&mut self, micros: u64) {
        let index = ((micros / Self::STEP) as usize).min(Self::MOST);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.total += 1;
    }

    /// The delay that this part of all messages stays under, in ms.
    fn at(&self, part: f64) -> f64 {
        let wanted = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        (index.unwrap_or(0) as u64 + 1) as f64 * Self::STEP as f64 / 1000.0
    }
}
