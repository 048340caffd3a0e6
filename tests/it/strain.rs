//! The program under strain: too many clients, too few descriptors, clients
//! that stand still, that come and go by the thousand, and a stop amid them.
//!
//! The bodies take sizes. Here are the short forms, which every `cargo test`
//! runs; `stress` has the long ones, which print what they measured.

use std::{
    fs,
    io::{self, BufReader, Read},
    net::TcpStream,
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use boardcast::{
    net::Limits,
    telemetry::{Batch, Channel, ChannelId, HubSettings},
};
use nix::sys::signal::Signal;
use tungstenite::WebSocket;

use crate::fixture::*;

#[test]
fn of_200_connections_128_have_a_place_and_the_others_are_told_when_to_come_back() {
    let server = Binary::start(&["--interval", "10s"]);
    let process = Process::of(&server);
    let before = process.threads();
    let (mut streams, others) = two_hundred(&server);
    assert_eq!((streams.len(), others), (112, 88));
    wait_for("the refused to be gone", || (process.threads() == before + 112).then_some(()));

    // Requests that are under way hold the places that are kept for HTTP.
    let half: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = tcp(server.address);
            send(&mut stream, "GET /healthz HT");
            stream
        })
        .collect();
    for _ in 0..72 {
        is_refused(&get(server.address, "/healthz"));
    }
    for mut stream in half {
        send(&mut stream, "TP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(Answer::read(&mut BufReader::new(stream)).status, 200);
    }
    assert_eq!(server.metric("boardcast_clients"), 112);

    streams.drain(..20);
    wait_for("free places", || (server.metric("boardcast_clients") == 92).then_some(()));
    for _ in 0..20 {
        let mut newcomer = Client::connect(server.address, "/ws");
        assert_eq!(newcomer.json()["type"], "hello");
        streams.push(BufReader::new(newcomer.socket.get_mut().try_clone().expect("cloned")));
    }
    is_refused(&ask(server.address, &handshake("/ws")));
}

/// Opens 200 connections, all at the same time, that ask for the stream;
/// returns those that got it, and how many were refused.
fn two_hundred(server: &Binary) -> (Vec<BufReader<TcpStream>>, usize) {
    let mut connections: Vec<_> = (0..200).map(|_| BufReader::new(tcp(server.address))).collect();
    for connection in &mut connections {
        send(connection.get_mut(), handshake("/ws"));
    }
    let mut refused = 0;
    connections.retain_mut(|connection| {
        let answer = Answer::read(connection);
        if answer.status != 101 {
            is_refused(&answer);
            refused += 1;
        }
        answer.status == 101
    });
    (connections, refused)
}

fn is_refused(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.head);
    let wait: u64 = answer.header("retry-after").expect("when").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "come back in {wait} s");
}

#[test]
fn with_40_descriptors_it_serves_whom_it_can_and_readings_go_on() {
    let server = with_40_descriptors(&["--interval", "100ms"]);
    let mut viewer = Client::connect(server.address, "/ws");
    viewer.next("data");
    let _crowd = crowd(&server);
    let mut seen = 0;
    while seen < 10 {
        let text = viewer.text();
        assert!(!text.contains("Too many open files"), "{text}");
        seen += usize::from(text.contains(r#""cpu/usage":"#));
    }
    drop(server);
    exhaust(&with_40_descriptors(&[]), Duration::from_millis(500));
}

#[test]
fn when_descriptors_run_out_it_waits_patiently_says_so_once_and_recovers() {
    exhaust(&without_further_descriptors(), Duration::from_secs(1));
}

/// The program under a limit of 40 descriptors, of which it needs some itself.
pub(crate) fn with_40_descriptors(arguments: &[&str]) -> Binary {
    let program = command(env!("CARGO_BIN_EXE_boardcast"));
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 40; exec \"$@\"", "sh"]);
    shell.arg(program.get_program()).args(program.get_args());
    Binary::run(shell.args(["--listen", "127.0.0.1:0"]).args(arguments))
}

/// The program under a limit that came after it had counted on more, as when
/// the whole system runs out.
pub(crate) fn without_further_descriptors() -> Binary {
    let server = Binary::start(&[]);
    let pid = server.child.id().to_string();
    let lowered = Command::new("prlimit").args(["--pid", &pid, "--nofile=40"]).status();
    assert!(lowered.expect("util-linux's prlimit").success());
    server
}

/// What 200 clients of a program without descriptors saw.
#[derive(Debug)]
pub(crate) struct Exhausted {
    pub(crate) served: usize,
    pub(crate) refused: usize,
    pub(crate) waiting: usize,
    /// CPU time for each second of wall time.
    pub(crate) cpu: f64,
    pub(crate) lines: usize,
    pub(crate) recovery: Duration,
}

/// Two hundred handshakes at once, of which some have been refused.
fn crowd(server: &Binary) -> Vec<TcpStream> {
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = tcp(server.address);
            send(&mut stream, handshake("/ws"));
            stream
        })
        .collect();
    wait_for("a refusal", || {
        clients.iter().any(|client| status_so_far(client) == Some(503)).then_some(())
    });
    clients
}

/// Two hundred clients come to the program; it is watched for so long, and then
/// they go.
pub(crate) fn exhaust(server: &Binary, watch: Duration) -> Exhausted {
    let process = Process::of(server);
    let clients = crowd(server);
    let (started, before) = (Instant::now(), process.cpu());
    thread::sleep(watch);
    let cpu = (process.cpu() - before).as_secs_f64() / started.elapsed().as_secs_f64();
    assert!(cpu < 0.2 || emulated(), "it takes {cpu:.2} s of CPU time a second for nothing");
    let states: Vec<_> = clients.iter().map(status_so_far).collect();
    let count = |wanted| states.iter().filter(|&&state| state == wanted).count();
    let (served, refused, waiting) = (count(Some(101)), count(Some(503)), count(None));
    assert_eq!(served + refused + waiting, 200, "{states:?}");
    assert!(served >= 5, "{served} served, {refused} refused");
    let log = server.log();
    let lines = log.lines().count();
    assert!((1..=4).contains(&lines), "{log}");

    drop(clients);
    let started = Instant::now();
    // While the others' places are being freed, it may be told to come again.
    let mut newcomer =
        wait_for("a place for a newcomer", || Client::try_connect(server.address, "/ws", &[]).ok());
    assert_eq!(newcomer.json()["type"], "hello");
    let recovery = started.elapsed();
    assert!(recovery < Duration::from_secs(2) || emulated(), "a newcomer waited for {recovery:?}");
    wait_for("the others' places", || (server.metric("boardcast_clients") == 1).then_some(()));
    let latest = wait_for("readings", || {
        let latest = get(server.address, "/api/channels");
        (!latest.text().contains("Too many open files")).then_some(latest)
    });
    assert!(latest.text().contains("cpu/usage"), "{}", latest.text());
    Exhausted { served, refused, waiting, cpu, lines, recovery }
}

/// The status of the answer that has come, without waiting for one.
fn status_so_far(stream: &TcpStream) -> Option<u16> {
    stream.set_nonblocking(true).expect("set");
    let mut head = [0; 12];
    match stream.peek(&mut head) {
        Ok(12) => std::str::from_utf8(&head[9..]).expect("ASCII").parse().ok(),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        other => panic!("{other:?} instead of an answer"),
    }
}

#[test]
fn beside_a_client_that_stands_still_memory_is_flat_and_nobody_loses_anything() {
    let stood = stand_still(Duration::from_secs(2));
    assert_eq!(stood.gaps, 0, "the ring holds more than two seconds");
}

/// What became of a client that stood still, and of the program.
#[derive(Debug)]
pub(crate) struct Stood {
    pub(crate) batches: u64,
    /// Growth of the program's memory meanwhile, in bytes.
    pub(crate) growth: i64,
    /// How many gaps the client was told of when it read on.
    pub(crate) gaps: usize,
}

/// One client stands still for this long beside 20 that read, and reads on.
pub(crate) fn stand_still(time: Duration) -> Stood {
    let server = Binary::start(&["--interval", "10ms"]);
    let process = Process::of(&server);
    let mut still = Reader::new(narrow_tcp(server.address));
    wait_for("the first refused send", || {
        (server.metric("boardcast_blocked_sends_total") > 0).then_some(())
    });
    let mut readers: Vec<_> = (0..20).map(|_| Reader::new(tcp(server.address))).collect();
    let first = readers[0].seq;
    // Buffers and stacks reach their size in the first moments.
    for reader in &mut readers {
        reader.read_to(first + 50);
    }
    let (started, resident) = (Instant::now(), process.resident());
    let mut last = first + 50;
    while started.elapsed() < time {
        last += 1;
        for reader in &mut readers {
            reader.read_to(last);
        }
    }
    assert!(readers.iter().all(|reader| reader.gaps == 0), "a reader was overtaken");
    let growth = process.resident() - resident;
    assert!(growth < 4 << 20, "memory grew by {growth} bytes");
    still.read_to(last);
    let gaps = still.gaps;
    still.read_to(last + 50);
    assert_eq!(still.gaps, gaps, "it goes on without a further gap");
    assert_eq!(server.metric("boardcast_gaps_total"), gaps as u64);
    Stood { batches: last - first, growth, gaps }
}

/// A client that checks that it gets every batch exactly once, but for gaps
/// that it is told of.
pub(crate) struct Reader {
    socket: WebSocket<TcpStream>,
    pub(crate) seq: u64,
    pub(crate) gaps: usize,
}

impl Reader {
    /// Takes the handshake, hello and the first snapshot in.
    pub(crate) fn new(stream: TcpStream) -> Self {
        let url = format!("ws://{}/ws", stream.peer_addr().expect("connected"));
        let (socket, _) = tungstenite::client(url, stream).expect("connected");
        let mut reader = Self { socket, seq: 0, gaps: 0 };
        assert!(reader.text().starts_with(r#"{"type":"hello""#));
        reader.seq = loop {
            if let Some(seq) = seq_of(&reader.text(), "data") {
                break seq;
            }
        };
        reader
    }

    fn text(&mut self) -> String {
        loop {
            match self.socket.read().expect("a message") {
                tungstenite::Message::Text(text) => return text.to_string(),
                tungstenite::Message::Ping(_) => {}
                other => panic!("{other:?} instead of a text"),
            }
        }
    }

    /// Reads until it has everything up to this batch.
    pub(crate) fn read_to(&mut self, last: u64) {
        while self.seq < last {
            let text = self.text();
            if text.starts_with(r#"{"type":"gap""#) {
                let gap: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(gap["from"], self.seq + 1, "a gap begins where the batches end");
                let text = self.text();
                assert!(text.contains(r#""snapshot":true"#), "{text}");
                self.seq = seq_of(&text, "data").expect("a snapshot");
                assert_eq!(gap["to"], self.seq);
                self.gaps += 1;
            } else if let Some(seq) = seq_of(&text, "data") {
                assert_eq!(seq, self.seq + 1, "each batch once and in order");
                self.seq = seq;
            }
        }
    }
}

/// The number in the head of a message of this type. (Parsing them all takes a
/// test without optimisation too long.)
pub(crate) fn seq_of(text: &str, kind: &str) -> Option<u64> {
    let rest = text.strip_prefix(&format!(r#"{{"type":"{kind}","seq":"#))?;
    rest.split(',').next()?.parse().ok()
}

#[test]
fn sigterm_amid_many_clients_tells_all_that_listen_and_waits_for_no_one_else() {
    stop_amid(60, 6);
}

/// SIGTERM with this many clients, of which so many do not read; returns how
/// long the stop took.
pub(crate) fn stop_amid(clients: usize, stuck: usize) -> Duration {
    let server = Binary::start(&["--max-connections", "600", "--interval", "50ms"]);
    let still: Vec<_> = (0..stuck).map(|_| upgrade(narrow_tcp(server.address), "/ws")).collect();
    wait_for("full sockets", || {
        (server.metric("boardcast_blocked_sends_total") >= stuck as u64).then_some(())
    });
    let mut readers: Vec<_> =
        (stuck..clients).map(|_| Client::connect(server.address, "/ws")).collect();
    for reader in &mut readers {
        reader.next("data");
    }
    assert_eq!(server.metric("boardcast_clients"), clients as u64);
    let started = Instant::now();
    server.signal(Signal::SIGTERM);
    thread::scope(|scope| {
        for readers in readers.chunks_mut(clients.div_ceil(8)) {
            scope.spawn(|| {
                for reader in readers {
                    assert_eq!(reader.close_code(), Some(1001));
                    let _ = reader.socket.flush();
                }
            });
        }
    });
    let (code, log) = server.wait();
    let took = started.elapsed();
    assert_eq!(code, Some(0), "{log}");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    drop(still);
    took
}

#[test]
fn sigterm_within_handshakes_ends_them_too() {
    let server = Binary::start(&[]);
    let mut half = tcp(server.address);
    send(&mut half, "GET /ws HTTP/1.1\r\nHo");
    let mut handshakes: Vec<_> = (0..24).map(|_| tcp(server.address)).collect();
    wait_for("all", || (server.metric("boardcast_connections") == 26).then_some(()));
    // Stopped, it finds all at the same time: heads, connections, the signal.
    server.signal(Signal::SIGSTOP);
    let process = Process::of(&server);
    wait_for("standstill", || process.status("State").starts_with('T').then_some(()));
    handshakes.extend((0..4).map(|_| tcp(server.address)));
    for stream in handshakes.iter_mut().skip(12) {
        send(stream, handshake("/ws"));
    }
    server.signal(Signal::SIGTERM);
    let started = Instant::now();
    server.signal(Signal::SIGCONT);
    // And these come while it is stopping.
    for stream in handshakes.iter_mut().take(12) {
        thread::sleep(Duration::from_millis(5));
        send(stream, handshake("/ws"));
    }
    for stream in handshakes.into_iter().chain([half]) {
        assert!(is_proper_end(stream), "a WebSocket ended without 1001");
    }
    let (code, log) = server.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Whether a handshake that met the end of the server ended in a proper way:
/// by a refusal, by nothing at all, or by a WebSocket that is closed with 1001.
fn is_proper_end(mut stream: TcpStream) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Ok(_) => return head.is_empty(),
            Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
    !head.starts_with(b"HTTP/1.1 101") || raw_close_code(&mut stream) == Some(1001)
}

#[test]
fn two_thousand_connections_that_come_and_go_leave_nothing_behind() {
    churn(2000, 1000, seed());
}

fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_nanos() as u64
}

/// What the program was before and after, and how long it took.
#[derive(Debug)]
pub(crate) struct Churned {
    pub(crate) took: Duration,
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    pub(crate) resident: i64,
    /// Growth of its memory after the warm-up, in bytes.
    pub(crate) growth: i64,
}

/// So many connections come and go in random ways, after a warm-up.
pub(crate) fn churn(connections: usize, warm_up: usize, seed: u64) -> Churned {
    // Seen when the test fails.
    println!("seed {seed}");
    let server = Binary::start(&["--interval", "100ms"]);
    let process = Process::of(&server);
    let threads = process.threads();
    // The sampler opens a file now and then.
    let looks = (0..100).map(|_| process.descriptors());
    let descriptors = looks.min().expect("a hundred");
    let settled = || {
        wait_for("an end of all connections", || {
            let now = (process.threads(), process.descriptors());
            (now == (threads, descriptors)).then_some(())
        });
        assert_eq!(server.metric("boardcast_connections"), 1, "the one that asks");
        assert_eq!(server.metric("boardcast_panics_total"), 0);
    };
    come_and_go(&server, warm_up, seed);
    settled();
    let (started, resident) = (Instant::now(), process.resident());
    come_and_go(&server, connections, seed.wrapping_add(1 << 32));
    settled();
    let took = started.elapsed();
    let growth = process.resident() - resident;
    assert!(growth < 2 << 20 || emulated(), "memory grew by {growth} bytes");
    Churned { took, threads, descriptors, resident, growth }
}

/// Clients at the same time.
const CROWD: usize = 4;

fn come_and_go(server: &Binary, connections: usize, seed: u64) {
    thread::scope(|scope| {
        for number in 0..CROWD {
            scope.spawn(move || {
                let mut random = Random::new(seed.wrapping_add(number as u64));
                let mut still = Vec::new();
                for _ in 0..connections / CROWD {
                    visit(server, &mut random, &mut still);
                }
            });
        }
    });
}

/// One connection, from its beginning to its end; one that stands still stays
/// for a while among the `still`.
pub(crate) fn visit(server: &Binary, random: &mut Random, still: &mut Vec<TcpStream>) {
    let address = server.address;
    let path = ["/", "/healthz", "/metrics", "/api/latest", "/nothing"][random.below(5)];
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let expected = if path == "/nothing" { 404 } else { 200 };
    let handshake = handshake("/ws");
    let mut stream = tcp(address);
    match random.below(11) {
        0 => assert_eq!(get(address, path).status, expected),
        1 => {
            let mut reader = BufReader::new(stream);
            for _ in 0..1 + random.below(4) {
                send(reader.get_mut(), &request);
                assert_eq!(Answer::read(&mut reader).status, expected);
            }
        }
        2 => {
            let count = 2 + random.below(4);
            send(&mut stream, request.repeat(count));
            let mut reader = BufReader::new(stream);
            for _ in 0..count {
                assert_eq!(Answer::read(&mut reader).status, expected);
            }
        }
        3 => send(&mut stream, &handshake.as_bytes()[..random.below(handshake.len())]),
        4 => {
            send(&mut stream, &handshake.as_bytes()[..random.below(handshake.len() + 1)]);
            reset_at_end(&stream);
        }
        5 => {
            let mut stream = upgrade(stream, "/ws");
            send(&mut stream, client_frame(0x88, &1000_u16.to_be_bytes()));
            assert_eq!(raw_close_code(&mut BufReader::new(stream)), Some(1000));
        }
        6 => {
            let mut stream = upgrade(stream, "/ws");
            stream.read_exact(&mut vec![0; random.below(3000)]).expect("hello");
            if random.below(2) == 0 {
                reset_at_end(&stream);
            }
        }
        7 => {
            still.push(upgrade(narrow_tcp(address), "/ws"));
            if still.len() > 8 {
                still.swap_remove(random.below(8));
            }
        }
        8 => {
            let garbage = random.bytes(400);
            send(&mut stream, garbage);
        }
        9 => {
            let mut stream = upgrade(stream, "/ws");
            // A reserved bit, and a header's worth: no frame, whatever follows.
            let garbage = [&[0xf0][..], &[0; 14], &random.bytes(100)].concat();
            send(&mut stream, garbage);
            assert_eq!(raw_close_code(&mut BufReader::new(stream)), Some(1002));
        }
        _ => {
            send(&mut stream, format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(9000)));
            assert_eq!(Answer::read(&mut BufReader::new(stream)).status, 431);
        }
    }
}

/// Lets a connection end by RST: nothing of it lingers (socket(7), `SO_LINGER`).
fn reset_at_end(stream: &TcpStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger).expect("set");
}

/// xorshift64 (Marsaglia 2003): enough to be different every time, and the
/// same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring seeds go apart, and none of them is zero.
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    /// At least one byte and at most `most`.
    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..1 + self.below(most)).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn the_cpu_use_that_it_tells_is_what_another_reader_sees() {
    let windows = compare_cpu(5, 3);
    println!("{windows:?}");
}

/// Reads `/proc/stat` whenever readings arrive, and compares; returns what the
/// program told and what we saw. Ends when `wanted` of at most `most` agree.
///
/// Two readers cannot look at the same instant: at each end of a window one of
/// them may see one tick of 10 ms more. On two cores that is one percent; a
/// reader that is held up sees more, and so not every window counts.
pub(crate) fn compare_cpu(most: usize, wanted: usize) -> Vec<(f64, f64)> {
    let server = Binary::start(&["--interval", "1s"]);
    let mut client = Client::connect(server.address, "/ws");
    let mut told = || loop {
        let data = client.next("data");
        if let (Some(usage), None) = (data["values"]["cpu/usage"].as_f64(), data.get("snapshot")) {
            return usage;
        }
    };
    told();
    let mut before = busy_and_all();
    let mut windows = Vec::new();
    let agree = |windows: &[(f64, f64)]| {
        windows.iter().filter(|(told, seen)| (told - seen).abs() <= 1.0).count()
    };
    while windows.len() < most && agree(&windows) < wanted {
        // So that no window is like the one before.
        let work = Instant::now() + Duration::from_millis([0, 700, 300][windows.len() % 3]);
        while Instant::now() < work {
            std::hint::spin_loop();
        }
        let told = told();
        let now = busy_and_all();
        let seen = (now.0 - before.0) as f64 / (now.1 - before.1) as f64 * 100.0;
        windows.push((told, seen));
        before = now;
    }
    assert!(agree(&windows) >= wanted, "told and seen: {windows:.1?}");
    windows
}

/// The ticks of all cores that were not idle, and all (proc(5): user, nice,
/// system, idle, iowait, irq, softirq, steal).
fn busy_and_all() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/stat").expect("read");
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .expect("a line")
        .split_whitespace()
        .skip(1)
        .map(|number| number.parse().expect("a number"))
        .take(8)
        .collect();
    let all = ticks.iter().sum::<u64>();
    (all - ticks[3] - ticks[4], all)
}

#[test]
fn a_slow_client_of_a_board_with_a_thousand_channels_gets_it_all_without_a_gap() {
    let board = Board::with(HubSettings::default(), Limits::default());
    let ids: Vec<_> = (0..1000)
        .map(|number| {
            let channel = Channel::gauge(&format!("many/{number}")).expect("valid");
            board.publisher().channel(channel.label("one of a great many")).expect("declared")
        })
        .collect();
    publish_all(&board, &ids);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let rounds = 0_u64..;
            for round in rounds.take_while(|_| !over.load(Relaxed)) {
                board.publish();
                if round % 25 == 24 {
                    publish_all(&board, &ids);
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        let read = scope.spawn(|| read_slowly(&board)).join();
        over.store(true, Relaxed);
        read.expect("everything, in order");
    });
    assert_eq!(metric(board.engine.address, "boardcast_gaps_total"), 0);
    assert_eq!(board.engine.handle().stats().ended_slow.get(), 0);
    assert!(board.engine.handle().stats().blocked_sends.get() > 0, "it was not slow");
}

fn publish_all(board: &Board, ids: &[ChannelId]) {
    let mut batch = Batch::at(board.hub.clock().boot());
    for (number, &id) in ids.iter().enumerate() {
        batch.set(id, number as f64);
    }
    board.publisher().publish(batch);
}

/// Descriptions and values of all channels, and then two hundred batches.
fn read_slowly(board: &Board) {
    let url = format!("ws://{}/ws", board.engine.address);
    let (socket, _) =
        tungstenite::client(url, Slow(narrow_tcp(board.engine.address))).expect("connected");
    let mut socket = socket;
    let mut next = || -> serde_json::Value {
        let text = socket.read().expect("a message").into_text().expect("a text");
        serde_json::from_str(&text).expect("JSON")
    };
    let hello = next();
    let mut described = hello["channels"].as_array().expect("a list").len();
    let (mut valued, mut seq) = (0, hello["seq"].as_u64().expect("a number"));
    let mut batches = 0;
    while batches < 200 {
        let message = next();
        match message["type"].as_str() {
            Some("channels") => described += message["channels"].as_array().expect("a list").len(),
            Some("data") if message["snapshot"] == true => {
                assert_eq!((&message["seq"], batches), (&seq.into(), 0));
                valued += message["values"].as_object().expect("values").len();
            }
            Some("data") => {
                assert!(described == 1001 && valued >= 1000, "{described} {valued}");
                seq += 1;
                assert_eq!(message["seq"], seq);
                batches += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A connection that takes 200 KB a second at most.
struct Slow(TcpStream);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        thread::sleep(Duration::from_millis(5));
        let most = buffer.len().min(1000);
        self.0.read(&mut buffer[..most])
    }
}

impl io::Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What the kernel counts of a process (proc(5)).
pub(crate) struct Process(String);

impl Process {
    pub(crate) fn of(server: &Binary) -> Self {
        Self(format!("/proc/{}", server.child.id()))
    }

    /// The value of a line of `status`.
    pub(crate) fn status(&self, key: &str) -> String {
        value_of(&format!("{}/status", self.0), key).expect("a running process")
    }

    /// `VmRSS`, in bytes.
    pub(crate) fn resident(&self) -> i64 {
        self.bytes("VmRSS")
    }

    /// What it has had resident at most so far, in bytes.
    pub(crate) fn most_resident(&self) -> i64 {
        self.bytes("VmHWM")
    }

    fn bytes(&self, key: &str) -> i64 {
        let kib = self.status(key);
        kib.trim_end_matches(" kB").parse::<i64>().expect("a number") * 1024
    }

    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("{}/task", self.0)).expect("a running process").count()
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("{}/fd", self.0)).expect("a running process").count()
    }

    /// User and system time, of ended threads too; ticks of 10 ms.
    pub(crate) fn cpu(&self) -> Duration {
        self.try_cpu().expect("a running process")
    }

    /// The same, unless it has ended.
    pub(crate) fn try_cpu(&self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("{}/stat", self.0)).ok()?;
        // The name may contain anything; behind its parenthesis is field 3.
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        let fields: Vec<_> = fields.split(' ').collect();
        let ticks = |field: usize| fields[field - 3].parse::<u64>().expect("a number");
        // proc(5): a zombie.
        (fields[0] != "Z").then(|| Duration::from_millis((ticks(14) + ticks(15)) * 10))
    }

    /// For each thread, its name and how often it has gone to sleep.
    pub(crate) fn sleeps(&self) -> Vec<(String, u64)> {
        let tasks = fs::read_dir(format!("{}/task", self.0)).expect("a running process");
        let mut sleeps: Vec<_> = tasks
            .filter_map(|task| {
                let status = task.expect("a thread").path().join("status");
                let value = |key| value_of(status.to_str()?, key);
                Some((value("Name")?, value("voluntary_ctxt_switches")?.parse().ok()?))
            })
            .collect();
        sleeps.sort();
        sleeps
    }
}

fn value_of(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(":\t"));
    lines.find(|(name, _)| *name == key).map(|(_, value)| value.trim().to_owned())
}
