//! Many boards, one broker, few servers (`docs/scale.md`). The bodies take
//! sizes: `cargo test` runs the short forms, `make stress` the long ones, which
//! print what they measured.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use boardcast::mqtt::{self, Client as MqttClient, Incoming, Link, Options, Publication, Qos};
use serde_json::Value;

use crate::{broker::Mosquitto, fixture::*, strain::Process};

#[test]
fn a_few_boards_and_viewers_outlive_their_broker() {
    let seen = outage(3, 8, Duration::from_secs(1));
    assert_eq!((seen.wrong, seen.silent), (0, 0), "values that are not the board's, or lost");
    // Two for each viewer, before and after; on a quiet machine it is ten times as many.
    assert!(seen.compared >= 16, "{}", seen.compared);
}

#[test]
fn a_hundred_simulated_boards_are_one_fleet() {
    let seen = simulated(100, Duration::from_secs(2));
    assert_eq!((seen.devices, seen.lost), (100, 0));
}

mod stress {
    use super::*;

    #[test]
    #[ignore = "stress: 2 min"]
    fn twenty_boards_two_servers_two_hundred_viewers_and_a_broker_that_goes() {
        let seen = outage(20, 200, Duration::from_secs(30));
        println!(
            "| boards, servers, viewers | values compared | wrong | gaps told | lost silently |"
        );
        println!("|---|---|---|---|---|");
        println!(
            "| 20, 2, 200 | {} | {} | {} | {} |",
            seen.compared, seen.wrong, seen.gaps, seen.silent
        );
        println!("| the boards' own viewers | before | during | after |\n|---|---|---|---|");
        let [before, during, after] = seen.delays.map(|mut all| quantile(&mut all, 0.99));
        println!("| delay p99, ms | {before:.1} | {during:.1} | {after:.1} |");
        println!("| memory of a server, KiB | {:+} |", seen.growth / 1024);
        assert_eq!((seen.wrong, seen.silent), (0, 0));
        assert!(seen.growth < 8 << 20, "it grows by {} bytes", seen.growth);
    }

    #[test]
    #[ignore = "stress: 90 s"]
    fn two_thousand_boards_at_one_batch_a_second() {
        let mut seen = simulated(2000, Duration::from_secs(60));
        let (p50, p99) = (quantile(&mut seen.delays, 0.5), quantile(&mut seen.delays, 0.99));
        println!(
            "| boards | batches seen | lost | CPU of the server | a board takes | delay p50 | p99 |"
        );
        println!("|---|---|---|---|---|---|---|");
        println!(
            "| {} | {} | {} | {:.1} % | {} bytes | {p50:.1} ms | {p99:.1} ms |",
            seen.devices,
            seen.batches,
            seen.lost,
            seen.cpu * 100.0,
            seen.growth / 2000,
        );
        assert_eq!((seen.devices, seen.lost), (2000, 0));
    }
}

/// What an outage of the broker was like.
struct Outage {
    /// Values of viewers that were compared with the board's own; that were
    /// others; gaps that were told; batches that came to nobody, and were not told.
    compared: u64,
    wrong: u64,
    gaps: u64,
    silent: u64,
    /// How late the boards' own viewers got their batches, in milliseconds:
    /// before, during and after.
    delays: [Vec<f64>; 3],
    /// What a server took more at the end, in bytes.
    growth: i64,
}

/// The value in each batch, by device, start and number; `None` for a snapshot,
/// which shows what was known and not what that batch had.
type Batches = HashMap<(String, String, u64), Option<f64>>;

/// What one viewer of a fleet server has heard.
#[derive(Default)]
struct Heard {
    device: String,
    batches: Batches,
    /// What it was told to have lost: of which start, from where, to where.
    gaps: Vec<(String, u64, u64)>,
}

impl Heard {
    /// Batches between its first and its last that it neither saw nor was told of.
    fn silent(&self, truth: &Batches) -> u64 {
        let numbers = self.batches.keys().map(|(_, _, seq)| *seq);
        let Some((first, last)) = numbers.clone().min().zip(numbers.max()) else { return 0 };
        let live = truth.iter().filter(|(_, value)| value.is_some());
        let missed = live.map(|(batch, _)| batch).filter(|&batch| {
            let (device, epoch, seq) = batch;
            let told =
                |(of, from, to): &(String, u64, u64)| of == epoch && (from..=to).contains(&seq);
            *device == self.device
                && (first..=last).contains(seq)
                && !self.batches.contains_key(batch)
                && !self.gaps.iter().any(told)
        });
        missed.count() as u64
    }
}

/// Real boards publish to a real broker, which is killed and comes back; all
/// that viewers of two servers hear is compared with the boards' own streams.
fn outage(boards: usize, viewers: usize, away: Duration) -> Outage {
    let mut broker = Mosquitto::start("");
    let boards: Vec<_> = (0..boards).map(|number| board(&broker, number)).collect();
    let servers = [server(&broker), server(&broker)];
    for server in &servers {
        await_devices(server, boards.len());
    }
    let (stop, phase) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let own: Vec<_> = boards
        .iter()
        .enumerate()
        .map(|(number, board)| watch_board(board.address, number, &stop, &phase))
        .collect();
    let watching: Vec<_> = (0..viewers)
        .map(|number| watch_fleet(servers[number % 2].address, number / 2 % boards.len(), &stop))
        .collect();
    // What it takes once all is there.
    thread::sleep(Duration::from_secs(2));
    let before = Process::of(&servers[0]).resident();
    thread::sleep(away / 2);
    phase.store(1, Relaxed);
    broker.kill();
    thread::sleep(away);
    broker.start_again();
    for server in &servers {
        await_devices(server, boards.len());
    }
    phase.store(2, Relaxed);
    thread::sleep(away.max(Duration::from_secs(2)));
    stop.store(true, Relaxed);
    let growth = Process::of(&servers[0]).resident() - before;
    let mut seen =
        Outage { compared: 0, wrong: 0, gaps: 0, silent: 0, delays: Default::default(), growth };
    let mut truth = Batches::new();
    for reader in own {
        let (batches, delays) = reader.join().expect("no panic");
        truth.extend(batches);
        for (all, more) in seen.delays.iter_mut().zip(delays) {
            all.extend(more);
        }
    }
    for viewer in watching {
        let heard = viewer.join().expect("no panic");
        seen.gaps += heard.gaps.len() as u64;
        seen.silent += heard.silent(&truth);
        for (batch, value) in heard.batches {
            let own = truth.get(&batch).copied().flatten();
            let Some((own, value)) = own.zip(value) else { continue };
            seen.compared += 1;
            seen.wrong += u64::from(own != value);
        }
    }
    for server in servers.iter().chain(&boards) {
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
    seen
}

/// A real board that publishes all that it reads, ten times a second.
fn board(broker: &Mosquitto, number: usize) -> Binary {
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.args(["--config", "/dev/null", "--listen", "127.0.0.1:0", "--socket", "none"]);
    command.args(["--name", &format!("pi{number}"), "--interval", "500ms"]);
    Binary::run(command.args(["--mqtt", &broker.url(), "--mqtt-qos", "1"]))
}

fn server(broker: &Mosquitto) -> Binary {
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.args(["fleet", "--config", "/dev/null", "--listen", "127.0.0.1:0"]);
    // So that what grows is not the ring that fills.
    command.env("BOARDCAST_RING_SIZE", "1MiB");
    Binary::run(command.args(["--mqtt", &broker.url(), "--max-connections", "256"]))
}

/// Waits until a server has so many devices online, and a batch of each.
fn await_devices(server: &Binary, number: usize) {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let answer = get(server.address, "/api/devices");
        let list: Value = serde_json::from_str(answer.text()).expect("JSON");
        let devices = list["devices"].as_array().expect("a list");
        let online = devices.iter().filter(|d| d["status"] == "online" && d["seq"] != 0).count();
        if online == number {
            return;
        }
        assert!(Instant::now() < deadline, "{online} of {number} devices are online");
        thread::park_timeout(Duration::from_millis(100));
    }
}

/// Reads until `stop`, in its own thread; a message that does not come in 60 s
/// is a fault.
fn follow<T: Send + 'static>(
    address: SocketAddr,
    path: &str,
    stop: &Arc<AtomicBool>,
    mut state: T,
    mut take: impl FnMut(&mut T, &Value) + Send + 'static,
) -> JoinHandle<T> {
    let stop = stop.clone();
    let mut client = Client::connect(address, path);
    client.be_patient();
    thread::spawn(move || {
        while !stop.load(Relaxed) {
            take(&mut state, &client.json());
        }
        state
    })
}

/// A board's own viewer: the values that it sent, and how late they came.
fn watch_board(
    address: SocketAddr,
    number: usize,
    stop: &Arc<AtomicBool>,
    phase: &Arc<AtomicU64>,
) -> JoinHandle<(Batches, [Vec<f64>; 3])> {
    let (device, phase) = (format!("pi{number}"), phase.clone());
    let mut epoch = String::new();
    follow(address, "/ws?channels=mem/used", stop, Default::default(), {
        move |(batches, delays): &mut (Batches, [Vec<f64>; 3]), message| {
            if message["type"] == "hello" {
                epoch = message["epoch"].as_str().expect("an epoch").into();
            }
            let Some((seq, value)) = reading(message, "mem/used") else { return };
            let is_live = message["snapshot"] != true;
            batches.insert((device.clone(), epoch.clone(), seq), is_live.then_some(value));
            if is_live {
                delays[phase.load(Relaxed) as usize].push(lateness(message));
            }
        }
    })
}

/// A viewer of one device at a fleet server.
fn watch_fleet(address: SocketAddr, number: usize, stop: &Arc<AtomicBool>) -> JoinHandle<Heard> {
    let (device, channel) = (format!("pi{number}"), format!("pi{number}/mem/used"));
    let path = format!("/ws?channels={device}/mem/%2B");
    let heard = Heard { device, ..Heard::default() };
    follow(address, &path, stop, heard, move |heard, message| {
        let epoch = || message["epoch"].as_str().expect("an epoch").to_owned();
        if message["type"] == "gap" {
            let (from, to) = (message["from"].as_u64(), message["to"].as_u64());
            heard.gaps.push((epoch(), from.unwrap_or(0), to.expect("a number")));
        }
        let Some((seq, value)) = reading(message, &channel) else { return };
        let batch = (heard.device.clone(), epoch(), seq);
        if message["snapshot"] == true {
            heard.batches.entry(batch).or_default();
        } else if let Some(Some(_)) = heard.batches.insert(batch, Some(value)) {
            panic!("it came twice: {message}");
        }
    })
}

/// Number and value of a `data` message that has this channel.
fn reading(message: &Value, channel: &str) -> Option<(u64, f64)> {
    if message["type"] != "data" {
        return None;
    }
    Some((message["seq"].as_u64()?, message["values"][channel].as_f64()?))
}

/// How long ago a batch was read, in milliseconds: all is one machine.
fn lateness(message: &Value) -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("past 1970");
    (now.as_secs_f64() - message["t"].as_f64().expect("an instant")) * 1000.0
}

fn quantile(all: &mut [f64], share: f64) -> f64 {
    all.sort_by(f64::total_cmp);
    let place = (all.len() as f64 * share) as usize;
    all.get(place.min(all.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// What a fleet of simulated boards was like.
struct Simulated {
    devices: usize,
    batches: u64,
    /// Batches that a viewer of all did not get.
    lost: u64,
    /// Of one core.
    cpu: f64,
    /// What the server takes more than at rest, in bytes.
    growth: i64,
    delays: Vec<f64>,
}

/// So many boards send ten values a second each, over a link a hundred.
fn simulated(boards: usize, time: Duration) -> Simulated {
    let broker = Mosquitto::start("max_queued_messages 0");
    let server = server(&broker);
    let process = Process::of(&server);
    let rest = process.resident();
    let links: Vec<_> = (0..boards.div_ceil(100))
        .map(|number| {
            let options =
                Options::new(broker.url().parse().expect("a broker"), format!("boards-{number}"));
            let first = number * 100;
            mqtt::start(options, "bc-boards", Many::new(first, (boards - first).min(100)))
                .expect("a link")
        })
        .collect();
    await_devices(&server, boards);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(Mutex::new((0_u64, 0_u64, Vec::new())));
    let viewer = follow(server.address, "/ws?channels=%2B/cpu/usage", &stop, (), {
        let seen = seen.clone();
        let mut last: HashMap<String, u64> = HashMap::new();
        move |(), message| {
            if message["type"] != "data" {
                return;
            }
            let device = message["device"].as_str().expect("a device");
            let seq = message["seq"].as_u64().expect("a number");
            let before = last.insert(device.to_owned(), seq);
            if message["snapshot"] == true {
                return;
            }
            let mut seen = seen.lock().expect("no panic");
            seen.0 += 1;
            seen.1 += before.map_or(0, |before| seq - before - 1);
            seen.2.push(lateness(message));
        }
    });
    let (cpu, begun) = (process.cpu(), Instant::now());
    thread::sleep(time);
    let cpu = (process.cpu() - cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    let growth = process.resident() - rest;
    stop.store(true, Relaxed);
    viewer.join().expect("no panic");
    let answer = get(server.address, "/api/devices");
    let list: Value = serde_json::from_str(answer.text()).expect("JSON");
    let devices = list["devices"].as_array().expect("a list").len();
    drop(links);
    let (batches, lost, delays) = std::mem::take(&mut *seen.lock().expect("no panic"));
    Simulated { devices, batches, lost, cpu, growth, delays }
}

/// Boards that share a link; each sends its batch once a second, in turn.
struct Many {
    first: usize,
    sent: Vec<u64>,
    begun: Instant,
}

impl Many {
    const CHANNELS: [&str; 10] = [
        "cpu/usage",
        "cpu/user",
        "cpu/system",
        "cpu/temperature",
        "mem/used",
        "mem/available",
        "load/1m",
        "net/eth0/rx",
        "net/eth0/tx",
        "uptime",
    ];

    fn new(first: usize, boards: usize) -> Self {
        Self { first, sent: vec![0; boards], begun: Instant::now() }
    }

    fn say(&self, link: &mut Link<'_>, board: usize, what: &str, text: &str, retain: bool) {
        let topic = format!("boardcast/board{}/{what}", self.first + board);
        let payload: [&[u8]; 1] = [text.as_bytes()];
        link.publish(&Publication {
            topic: &topic,
            payload: &payload,
            qos: Qos::AtMostOnce,
            retain,
        });
    }

    fn describe(&self, link: &mut Link<'_>, board: usize) {
        let channels: Vec<_> = Self::CHANNELS
            .iter()
            .enumerate()
            .map(|(id, name)| serde_json::json!({ "id": id, "name": name, "kind": "gauge", "status": "ok" }))
            .collect();
        let text = serde_json::json!({
            "type": "channels", "device": format!("board{}", self.first + board),
            "epoch": "e", "seq": 0, "time": 0, "synced": true, "channels": channels,
        });
        self.say(link, board, "channels", &text.to_string(), true);
        self.say(link, board, "status", "online", true);
    }

    fn batch(&self, link: &mut Link<'_>, board: usize, seq: u64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("past 1970");
        let values: Vec<_> = Self::CHANNELS
            .iter()
            .enumerate()
            .map(|(number, name)| format!("\"{name}\":{}.25", seq % 100 + number as u64))
            .collect();
        let text = format!(
            "{{\"type\":\"data\",\"epoch\":\"e\",\"seq\":{seq},\"t\":{:.3},\"values\":{{{}}}}}",
            now.as_secs_f64(),
            values.join(",")
        );
        self.say(link, board, "data", &text, false);
    }
}

impl MqttClient for Many {
    fn connected(&mut self, _: &mut Link<'_>) {}

    fn ready(&mut self, link: &mut Link<'_>) -> Option<Instant> {
        let boards = self.sent.len() as u32;
        let mut next = None;
        for board in 0..self.sent.len() {
            let offset = Duration::from_secs(1) * board as u32 / boards;
            loop {
                let seq = self.sent[board] + 1;
                let due = self.begun + offset + Duration::from_secs(seq);
                if due > Instant::now() {
                    next = Some(next.map_or(due, |next: Instant| next.min(due)));
                    break;
                }
                if !link.has_room() {
                    return None;
                }
                if seq == 1 {
                    self.describe(link, board);
                }
                self.batch(link, board, seq);
                self.sent[board] = seq;
            }
        }
        next
    }

    fn message(&mut self, _: &mut Link<'_>, _: Incoming<'_>) {}

    fn lost(&mut self, why: &str) {
        panic!("the broker is lost: {why}");
    }
}
