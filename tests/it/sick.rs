//! Clients that do not read, beside others that do: what becomes of each, and
//! how late readings are.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{fixture::*, strain::Process};

/// What was seen of the program and its clients.
#[derive(Debug)]
pub(crate) struct Seen {
    /// How late each batch was, in milliseconds, in order.
    pub(crate) delays: Vec<f64>,
    /// Growth of the program's memory, in bytes, once all had joined.
    pub(crate) growth: i64,
    /// When the first and the last of the sick were ended, counted from the
    /// first send that was refused.
    pub(crate) ended: Option<(Duration, Duration)>,
}

impl Seen {
    /// The delay that so much of all stays below.
    pub(crate) fn delay(&self, part: f64) -> f64 {
        self.delays[((self.delays.len() - 1) as f64 * part) as usize]
    }
}

#[test]
fn beside_clients_that_do_not_read_the_others_get_everything_in_little_memory() {
    let seen = watch(6, 2, Duration::from_secs(3), "1s");
    assert!(seen.delays.len() > 100, "{} batches", seen.delays.len());
    assert!(seen.ended.is_some(), "the sick are still there");
}

/// A hundred batches a second for so long, to so many that never read and so
/// many that do; `stuck` is how long one may take nothing.
pub(crate) fn watch(sick: usize, well: usize, time: Duration, stuck: &str) -> Seen {
    let mut command = command(env!("CARGO_BIN_EXE_boardcast"));
    command.env("BOARDCAST_STUCK", stuck).env("BOARDCAST_MAX_CONNECTIONS", "128");
    // So that they are full in seconds, whatever the kernel would let them have.
    command.env("BOARDCAST_SEND_BUFFER", "4KiB");
    let server = Binary::run(command.args(["--listen", "127.0.0.1:0", "--interval", "10ms"]));
    let process = Process::of(&server);
    let still: Vec<_> = (0..sick).map(|_| upgrade(narrow_tcp(server.address), "/ws")).collect();
    let over = AtomicBool::new(false);
    let mut seen = thread::scope(|scope| {
        let readers: Vec<_> = (0..well).map(|_| scope.spawn(|| read(&server, &over))).collect();
        let blocked = || server.metric("boardcast_blocked_sends_total");
        wait_for("a refused send", || (blocked() > 0).then_some(()));
        let (first, resident) = (Instant::now(), process.resident());
        let ended = || server.metric("boardcast_ended_slow_total");
        let mut ends = None;
        while first.elapsed() < time || ends.is_none_or(|(_, count)| count < sick) {
            assert!(first.elapsed() < time + PATIENCE, "{} were ended", ended());
            let count = ended() as usize;
            if count > ends.map_or(0, |(_, count)| count) {
                let from = ends.map_or(first.elapsed(), |((from, _), _)| from);
                ends = Some(((from, first.elapsed()), count));
            }
            thread::sleep(Duration::from_millis(50));
        }
        let growth = process.resident() - resident;
        over.store(true, Relaxed);
        let delays = readers.into_iter().flat_map(|reader| reader.join().expect("it got all"));
        Seen { delays: delays.collect(), growth, ended: ends.map(|(times, _)| times) }
    });
    seen.delays.sort_by(f64::total_cmp);
    assert!(seen.growth < 4 << 20 || emulated(), "memory grew by {} bytes", seen.growth);
    // Those that do not read are overtaken by the ring before they are ended;
    // those that do would have stumbled over a gap.
    assert!(server.metric("boardcast_gaps_total") <= sick as u64);
    drop(still);
    seen
}

/// Reads along until it is over; each batch once, and how late it was.
fn read(server: &Binary, over: &AtomicBool) -> Vec<f64> {
    let mut client = Client::connect(server.address, "/ws");
    let mut seq = client.next("data")["seq"].as_u64().expect("a snapshot");
    let mut delays = Vec::new();
    while !over.load(Relaxed) {
        let text = client.text();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let Some(rest) = text.strip_prefix(r#"{"type":"data","seq":"#) else {
            assert!(!text.starts_with(r#"{"type":"gap""#), "a reader was overtaken");
            continue;
        };
        let (number, rest) = rest.split_once(',').expect("a number");
        let time = rest.strip_prefix(r#""t":"#).and_then(|rest| rest.split(',').next());
        seq += 1;
        assert_eq!(number.parse(), Ok(seq), "each batch once and in order");
        let time: f64 = time.and_then(|time| time.parse().ok()).expect("a time");
        delays.push((now - time) * 1000.0);
    }
    delays
}
