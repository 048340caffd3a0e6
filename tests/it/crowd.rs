//! Five hundred viewers at once, of every kind: those who want everything, one
//! group, one look a second, binary; and those who take nothing, or little.
//! Each gets exactly what it asked for, and the sick cost the others nothing.
//!
//! The board is a process of its own, so that its memory can be seen: this
//! test program again, as [`the_board`].

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use boardcast::{
    App,
    net::{Gate, Limits},
    telemetry::{Batch, Channel, ChannelId, Clock, Hub, HubSettings, Publisher, SystemClock},
    wire::binary,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use crate::{fixture::*, strain::Process};

const CHANNELS: [&str; 6] = ["cpu/a", "cpu/b", "cpu/sent", "mem/a", "mem/b", "net/eth0/rx"];
/// The channel that carries when its batch was published, in microseconds.
const SENT: usize = 2;
const BATCHES_A_SECOND: u32 = 50;

/// What batch `seq` says of a channel; `None` when it does not mention it.
/// Every third batch is of `mem` alone.
fn value(seq: u64, channel: usize) -> Option<f64> {
    let mentioned = seq % 3 != 0 || CHANNELS[channel].starts_with("mem/");
    mentioned.then(|| ((seq * 31 + channel as u64 * 7919) % 100_003) as f64 / 8.0)
}

fn micros() -> u64 {
    SystemClock.boot().since_boot().as_micros() as u64
}

/// The other half of the tests here: they start this program anew with it.
#[test]
#[ignore = "a board for the tests of a crowd"]
fn the_board() {
    if std::env::var_os("BOARDCAST_CROWD").is_none() {
        return;
    }
    let hub = Hub::new(HubSettings { ring_bytes: 256 * 1024, ..HubSettings::default() });
    let publisher = hub.publisher("crowd");
    let declare = |name: &str| publisher.channel(Channel::gauge(name).expect("valid"));
    let ids = CHANNELS.map(|name| declare(name).expect("declared"));
    let app = App::new(hub.clone());
    let limits = Limits { connections: 900, ..Limits::default() };
    let engine = Engine::start(app.clone(), Gate::local(), limits);
    app.watch(engine.handle());
    println!("stream ws://{}/ws\nchannels", engine.address);
    // Nobody reads on, and the harness has something to say after a minute.
    let nowhere = File::options().write(true).open("/dev/null").expect("opened");
    nix::unistd::dup2_stdout(nowhere).expect("set");
    let start = Instant::now();
    for count in 1.. {
        publish(&hub, &publisher, &ids);
        let next = start + Duration::from_secs(1) / BATCHES_A_SECOND * count;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn publish(hub: &Hub, publisher: &Publisher, ids: &[ChannelId]) {
    let seq = hub.view().seq() + 1;
    let mut batch = Batch::at(hub.clock().boot());
    for (channel, &id) in ids.iter().enumerate() {
        match value(seq, channel) {
            Some(_) if channel == SENT => batch.set(id, micros()),
            Some(value) => batch.set(id, value),
            None => {}
        }
    }
    assert_eq!(publisher.publish(batch), seq);
}

fn start_board() -> Binary {
    let program = std::env::current_exe().expect("this program");
    let program = command(program.to_str().expect("a path of text"));
    let mut board = Command::new(program.get_program());
    board.args(program.get_args()).env("BOARDCAST_CROWD", "1");
    Binary::run(board.args(["--exact", "crowd::the_board", "--ignored", "--nocapture"]))
}

/// What a viewer asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Everything,
    Group,
    OnceASecond,
    Binary,
    /// Everything, but it takes 100 bytes at a time, 20 times a second.
    Drip,
}

/// One viewer that reads, and checks what it gets.
struct Viewer {
    stream: TcpStream,
    kind: Kind,
    bytes: Vec<u8>,
    /// The last batch that it has.
    seq: Option<u64>,
    /// A snapshot of this number has to come next.
    snapshot: Option<u64>,
    messages: u64,
    gaps: u64,
    /// From publishing to reading, in microseconds.
    delays: Vec<u32>,
}

impl Viewer {
    fn connect(address: SocketAddr, kind: Kind) -> Self {
        let mut stream = match kind {
            Kind::Drip => narrow_tcp(address),
            _ => tcp(address),
        };
        let path = match kind {
            Kind::Everything | Kind::Binary | Kind::Drip => "/ws",
            Kind::Group => "/ws?channels=cpu/%23",
            Kind::OnceASecond => "/ws?max_hz=1",
        };
        stream = match kind {
            Kind::Binary => {
                let offer = "Sec-WebSocket-Protocol: boardcast.v1.bin\r\n\r\n";
                upgrade_with(
                    stream,
                    &handshake(path).replacen("\r\n\r\n", &format!("\r\n{offer}"), 1),
                )
            }
            _ => upgrade(stream, path),
        };
        stream.set_nonblocking(true).expect("set");
        let (seq, snapshot, bytes, delays) = (None, None, Vec::new(), Vec::new());
        Self { stream, kind, bytes, seq, snapshot, messages: 0, gaps: 0, delays }
    }

    /// Reads what there is, at most `most` bytes, and looks at whole messages.
    fn read(&mut self, most: usize) {
        let mut buffer = [0; 4096];
        let most = most.min(buffer.len());
        match self.stream.read(&mut buffer[..most]) {
            Ok(0) => panic!("a {:?} was ended", self.kind),
            Ok(length) => self.bytes.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => panic!("a {:?} was cut: {error}", self.kind),
        }
        while let Some((opcode, header, length)) = frame(&self.bytes) {
            if self.bytes.len() < header + length {
                break;
            }
            let payload: Vec<u8> = self.bytes.drain(..header + length).skip(header).collect();
            match opcode {
                1 => self.hear(&serde_json::from_slice(&payload).expect("JSON")),
                2 => self.hear_binary(&payload),
                9 => {
                    // A masked Pong, by a mask of zeroes.
                    let mut pong = vec![0x8a, 0x80 | payload.len() as u8, 0, 0, 0, 0];
                    pong.extend(payload);
                    self.stream.write_all(&pong).expect("a Pong fits");
                }
                other => panic!("opcode {other} for a {:?}", self.kind),
            }
        }
    }

    fn hear(&mut self, message: &Value) {
        let seq = message["seq"].as_u64();
        if let Some(expected) = self.snapshot.take() {
            assert_eq!((&message["snapshot"], seq), (&true.into(), Some(expected)));
        }
        match message["type"].as_str().expect("a type") {
            "hello" | "subscribed" | "heartbeat" => {}
            "data" if message["snapshot"] == true => self.seq = seq,
            "data" => {
                let values = message["values"].as_object().expect("values");
                let number = |value: &Value| value.as_f64().expect("a number");
                let values = values.iter().map(|(name, v)| (name.as_str(), number(v))).collect();
                self.check(seq.expect("a number"), &values);
            }
            "gap" => {
                assert_eq!(self.kind, Kind::Drip, "a healthy viewer was overtaken");
                assert_eq!(message["from"].as_u64(), self.seq.map(|seq| seq + 1));
                self.snapshot = message["to"].as_u64();
                self.gaps += 1;
            }
            other => panic!("{other} for a {:?}", self.kind),
        }
    }

    fn hear_binary(&mut self, payload: &[u8]) {
        assert_eq!(self.kind, Kind::Binary);
        let data = binary::decode(payload).expect("valid").expect("data");
        let columns = data.columns().map(|(id, values)| (CHANNELS[id as usize], values[0]));
        self.check(data.seq, &columns.collect());
    }

    /// Value by value against what the source said.
    fn check(&mut self, seq: u64, values: &BTreeMap<&str, f64>) {
        self.messages += 1;
        let before = self.seq.expect("a snapshot comes first");
        let wanted =
            |channel: usize| self.kind != Kind::Group || CHANNELS[channel].starts_with("cpu/");
        let holds = |seq| (0..CHANNELS.len()).any(|c| wanted(c) && value(seq, c).is_some());
        // What a paced viewer gets is the newest of each channel since its last.
        let first = if self.kind == Kind::OnceASecond { before + 1 } else { seq };
        if self.kind != Kind::OnceASecond {
            let next = (before + 1..).find(|&seq| holds(seq));
            assert_eq!(Some(seq), next, "a {:?} after {before}", self.kind);
        }
        assert!(seq > before);
        let newest = |channel| (first..=seq).rev().find_map(|seq| value(seq, channel));
        let mut expected = 0;
        for channel in (0..CHANNELS.len()).filter(|&channel| wanted(channel)) {
            let Some(value) = newest(channel) else { continue };
            expected += 1;
            let got = *values.get(CHANNELS[channel]).expect(CHANNELS[channel]);
            if channel != SENT {
                assert_eq!(got, value, "{} of {seq} for a {:?}", CHANNELS[channel], self.kind);
            } else if self.kind != Kind::OnceASecond {
                self.delays.push(micros().saturating_sub(got as u64) as u32);
            }
        }
        assert_eq!(values.len(), expected, "{values:?} of {seq} for a {:?}", self.kind);
        self.seq = Some(seq);
    }
}

/// Opcode, length of the header and of the payload of the frame that begins
/// here.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let opcode = bytes.first()? & 15;
    Some(match bytes.get(1)? {
        126 => (opcode, 4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
        127 => (opcode, 10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        &short => (opcode, 2, short.into()),
    })
}

fn upgrade_with(mut stream: TcpStream, request: &str) -> TcpStream {
    send(&mut stream, request);
    read_upgrade(stream)
}

/// Lets viewers read until the deadline, whoever has something.
fn read_along(mut viewers: Vec<Viewer>, deadline: Instant) -> Vec<Viewer> {
    let mut drip_at = Instant::now();
    while Instant::now() < deadline {
        let readable: Vec<usize> = {
            let healthy = |viewer: &&Viewer| viewer.kind != Kind::Drip;
            let watch = |viewer| PollFd::new(Viewer::stream(viewer), PollFlags::POLLIN);
            let mut list: Vec<_> = viewers.iter().filter(healthy).map(watch).collect();
            poll(&mut list, PollTimeout::from(20_u8)).expect("polled");
            let some = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            let indices = viewers.iter().enumerate().filter(|(_, viewer)| healthy(viewer));
            indices.zip(&list).filter(|(_, fd)| some(fd)).map(|((index, _), _)| index).collect()
        };
        readable.into_iter().for_each(|index| viewers[index].read(4096));
        if Instant::now() >= drip_at {
            drip_at += Duration::from_millis(50);
            let dripping = viewers.iter_mut().filter(|viewer| viewer.kind == Kind::Drip);
            dripping.for_each(|viewer| viewer.read(100));
        }
    }
    viewers
}

impl Viewer {
    fn stream(&self) -> std::os::fd::BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What a crowd saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) viewers: usize,
    pub(crate) stuck: usize,
    pub(crate) messages: u64,
    pub(crate) gaps: u64,
    pub(crate) ended: u64,
    /// Of the healthy, in microseconds.
    pub(crate) median: u32,
    pub(crate) p99: u32,
    pub(crate) worst: u32,
    /// Of the board, in bytes.
    pub(crate) resident: i64,
    pub(crate) growth: i64,
}

/// Four times as many healthy viewers as `each` says and, if wanted, as many
/// sick ones, for so long.
pub(crate) fn watch(each: usize, time: Duration, with_sick: bool) -> Seen {
    let board = start_board();
    let process = Process::of(&board);
    let mut viewers = Vec::new();
    for kind in [Kind::Everything, Kind::Group, Kind::OnceASecond, Kind::Binary] {
        viewers.extend((0..each).map(|_| Viewer::connect(board.address, kind)));
    }
    let stuck = || upgrade(narrow_tcp(board.address), "/ws");
    let sick = if with_sick { each / 2 } else { 0 };
    viewers.extend((0..sick).map(|_| Viewer::connect(board.address, Kind::Drip)));
    let mut stuck: Vec<_> = (0..sick).map(|_| stuck()).collect();
    let half = viewers.split_off(viewers.len() / 2);
    let before = process.resident();
    let deadline = Instant::now() + time;
    let readers = [viewers, half].map(|list| thread::spawn(move || read_along(list, deadline)));
    let mut ended = 0;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        // Who took nothing for 10 s is ended; another one takes its place.
        let now = board.metric("boardcast_ended_slow_total");
        let places = (now - ended) as usize;
        stuck.extend((0..places).map(|_| upgrade(narrow_tcp(board.address), "/ws")));
        ended = now;
        thread::sleep(left.min(Duration::from_secs(1)));
    }
    let resident = process.resident();
    let viewers: Vec<_> =
        readers.into_iter().flat_map(|reader| reader.join().expect("no complaint")).collect();
    report(
        &viewers,
        Seen { stuck: stuck.len(), ended, resident, growth: resident - before, ..Seen::default() },
    )
}

fn report(viewers: &[Viewer], mut seen: Seen) -> Seen {
    let mut delays: Vec<u32> = Vec::new();
    for viewer in viewers {
        assert!(viewer.messages > 0, "a {:?} heard nothing", viewer.kind);
        seen.messages += viewer.messages;
        seen.gaps += viewer.gaps;
        if viewer.kind != Kind::Drip {
            delays.extend(&viewer.delays);
        }
    }
    delays.sort_unstable();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    (seen.median, seen.p99, seen.worst) = (at(0.5), at(0.99), at(1.0));
    seen.viewers = viewers.len();
    seen
}

#[test]
fn five_hundred_viewers_of_all_kinds_get_exactly_what_they_asked_for() {
    // An emulator has not the speed for so many.
    let each = if emulated() { 10 } else { 100 };
    let seen = watch(each, Duration::from_secs(5), true);
    assert_eq!((seen.viewers, seen.stuck), (each * 9 / 2, each / 2));
    assert!(seen.growth < 4 << 20 || emulated(), "it grew by {} bytes", seen.growth);
}
