//! A bad link: cut, stalled, dripping, every byte alone. Whoever comes back
//! with `since` has each batch exactly once, or is told what is missing.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use boardcast::{
    net::Limits,
    telemetry::HubSettings,
    websocket::{Message, WebSocket},
};
use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};
use serde_json::Value;

use crate::fixture::*;

#[test]
fn a_link_that_is_cut_20_times_loses_nothing_silently_and_doubles_nothing() {
    let told = cut(20, 0x5eed);
    assert!(told.batches > 100 && told.resumed > 3, "{told:?}");
}

/// What a client of a bad link went through.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Batches that arrived, each exactly once.
    pub(crate) batches: u64,
    /// Connections that went on where the last one ended, and that did not.
    pub(crate) resumed: u64,
    pub(crate) restarted: u64,
    /// Batches that it was told are missing.
    pub(crate) missing: u64,
    pub(crate) gaps: u64,
    /// What the link did.
    pub(crate) cuts: usize,
}

/// Reads 100 batches a second through a link that is cut so many times.
pub(crate) fn cut(times: usize, seed: u64) -> Told {
    // Less than a second of batches, so that some stalls lose some.
    let settings = HubSettings { ring_bytes: 16 * 1024, ..HubSettings::default() };
    let board = Arc::new(Board::with(settings, Limits::default()));
    let link = BadLink::start(board.engine.address, seed);
    let over = Arc::new(AtomicBool::new(false));
    let publisher = thread::spawn({
        let (board, over) = (board.clone(), over.clone());
        move || publish_until(&board, &over)
    });
    let mut record = Record::default();
    while link.cuts.load(Relaxed) < times {
        record.listen(link.address);
    }
    over.store(true, Relaxed);
    let last = publisher.join().expect("the publisher");
    // The rest over a good link: nothing may be left behind.
    while record.place < last {
        record.listen(board.engine.address);
        assert!(record.place <= last);
    }
    record.told.cuts = link.cuts.load(Relaxed);
    let Told { batches, missing, .. } = record.told;
    assert_eq!(
        batches + missing,
        last - record.start.expect("greeted"),
        "each exactly once, or told as missing"
    );
    record.told
}

/// 100 a second; the number of the last.
fn publish_until(board: &Board, over: &AtomicBool) -> u64 {
    let start = Instant::now();
    let mut count = 0;
    loop {
        let seq = board.publish();
        if over.load(Relaxed) {
            return seq;
        }
        count += 1;
        let next = start + Duration::from_millis(10) * count;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// What arrived, and the rules that it has to keep.
#[derive(Default)]
struct Record {
    epoch: String,
    /// The last batch that the client has, or was told that it will not get.
    place: u64,
    /// The first snapshot: what was before is none of the client's business.
    start: Option<u64>,
    /// The next message has to be the snapshot of this number.
    snapshot: Option<u64>,
    told: Told,
}

impl Record {
    /// One connection, until it ends or has everything.
    fn listen(&mut self, address: SocketAddr) {
        let since = format!("?since={}:{}", self.epoch, self.place);
        let query = if self.start.is_none() { "" } else { &since };
        let connecting = WebSocket::builder(&format!("ws://{address}/ws{query}"))
            .connect_timeout(Duration::from_millis(1500))
            .close_timeout(Duration::from_millis(1))
            .connect();
        let Ok(mut socket) = connecting else { return };
        // Of two halves of a greeting the first alone says nothing.
        self.snapshot = None;
        while let Ok(Some(Message::Text(text))) = socket.recv_timeout(Duration::from_millis(700)) {
            let message = serde_json::from_str(&text).expect("whole messages only");
            self.hear(&message);
        }
    }

    fn hear(&mut self, message: &Value) {
        let number = |name: &str| message[name].as_u64().expect("a number");
        if let Some(seq) = self.snapshot.take() {
            assert_eq!((&message["snapshot"], number("seq")), (&true.into(), seq), "{message}");
        }
        match message["type"].as_str().expect("a type") {
            "hello" if self.start.is_none() => {
                self.epoch = message["epoch"].as_str().expect("an epoch").to_owned();
                self.snapshot = Some(number("seq"));
            }
            "hello" => {
                assert_eq!(message["epoch"], self.epoch.as_str());
                assert!(number("seq") >= self.place, "the board knows what it has sent");
            }
            "subscribed" if message["recovered"] == true => self.told.resumed += 1,
            "subscribed" => {
                self.told.restarted += 1;
            }
            "data" if message["snapshot"] == true => {
                let seq = number("seq");
                assert_eq!(message["values"].get("count"), (seq > 0).then_some(&seq.into()));
                if self.start.is_none() {
                    self.start = Some(seq);
                } else {
                    assert!(seq > self.place, "it had everything and was not resumed");
                    self.told.missing += seq - self.place;
                }
                self.place = seq;
            }
            "data" => {
                assert_eq!(number("seq"), self.place + 1, "twice, or a hole that nobody told of");
                assert_eq!(message["values"]["count"], number("seq"));
                self.place += 1;
                self.told.batches += 1;
            }
            "gap" => {
                assert_eq!(number("from"), self.place + 1);
                assert!(number("to") >= number("from"));
                self.told.gaps += 1;
                self.snapshot = Some(number("to"));
            }
            "heartbeat" => assert_eq!(number("seq"), self.place),
            other => panic!("{other} is not expected here"),
        }
    }
}

/// How a connection is treated until it is cut.
#[derive(Clone, Copy, Debug)]
enum Treatment {
    /// Passed on as it comes.
    Pass,
    /// Passed on, and then nothing for this long.
    Stall(Duration),
    /// A few bytes at a time, and slowly.
    Drip,
    /// Every byte in a packet of its own.
    Split,
}

/// A TCP proxy that treats its connections badly, each in another way, by a
/// seed.
struct BadLink {
    address: SocketAddr,
    cuts: Arc<AtomicUsize>,
    quit: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl BadLink {
    fn start(board: SocketAddr, mut seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (cuts, quit) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (cuts, quit) = (cuts.clone(), quit.clone());
            move || {
                for client in listener.incoming() {
                    if quit.load(Relaxed) {
                        return;
                    }
                    let server = TcpStream::connect(board).expect("the board serves");
                    treat(&client.expect("accepted"), &server, &mut seed);
                    cuts.fetch_add(1, Relaxed);
                }
            }
        });
        Self { address, cuts, quit, thread: Some(thread) }
    }
}

impl Drop for BadLink {
    fn drop(&mut self) {
        self.quit.store(true, Relaxed);
        // The loop waits for a connection.
        let _ = TcpStream::connect(self.address);
        let thread = self.thread.take().expect("running");
        assert!(thread.join().is_ok(), "the link broke in another way than it should");
    }
}

fn random(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}

/// Passes on what the server says until a random byte, and cuts both ends.
fn treat(client: &TcpStream, server: &TcpStream, seed: &mut u64) {
    let treatment = match random(seed, 5) {
        0 => Treatment::Stall(Duration::from_millis(random(seed, 1500))),
        1 => Treatment::Drip,
        2 => Treatment::Split,
        _ => Treatment::Pass,
    };
    // Some are cut within the handshake, most amid the batches.
    let most = [300, 3_000, 30_000][random(seed, 3) as usize];
    let cut_at = random(seed, most) as usize;
    client.set_nodelay(true).expect("set");
    let asking = thread::spawn({
        let (from, to) = (client.try_clone().expect("cloned"), server.try_clone().expect("cloned"));
        move || pass_all(from, to)
    });
    pass(server, client, treatment, cut_at, seed);
    if random(seed, 2) == 0 {
        // A reset, as when a router forgets the connection.
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(client, sockopt::Linger, &linger).expect("set");
    }
    let _ = (server.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both));
    let _ = asking.join();
}

fn pass_all(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn pass(
    mut server: &TcpStream,
    mut client: &TcpStream,
    treatment: Treatment,
    cut_at: usize,
    seed: &mut u64,
) {
    // Nobody waits longer than that for a byte.
    let deadline = Instant::now() + Duration::from_secs(2);
    server.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
    let (mut passed, mut buffer) = (0, [0; 2048]);
    while passed < cut_at && Instant::now() < deadline {
        let most = match treatment {
            Treatment::Drip => 1 + random(seed, 40) as usize,
            Treatment::Split => 1,
            Treatment::Pass | Treatment::Stall(_) => buffer.len(),
        };
        let most = most.min(cut_at - passed);
        match server.read(&mut buffer[..most]) {
            Ok(0) => return,
            Ok(length) => {
                if client.write_all(&buffer[..length]).is_err() {
                    return;
                }
                passed += length;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        if matches!(treatment, Treatment::Drip) {
            thread::sleep(Duration::from_millis(1));
        }
    }
    if let Treatment::Stall(time) = treatment {
        thread::sleep(time);
    }
}
