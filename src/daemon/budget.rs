//! One budget of memory for the whole process, and who gives way when it is
//! small: docs/limits.md tells it to people.
//!
//! The budget is what a limit allows ([`room`](super::room)), or what the
//! setting `memory` says. From it come, in this order, what the program itself
//! takes, the ring, the history, what may be under way, and the connections.
//! When all that does not fit, these give way, each down to its floor:
//!
//! 1. what may be under way together: large bodies and answers wait for each other;
//! 2. history: shorter, then coarser;
//! 3. HTTP: once more what may be under way, and the connections kept for it;
//! 4. the other connections: the streams;
//! 5. the ring: slow clients are told of gaps sooner.
//!
//! A setting that somebody has made gives way only when the others have. If
//! the floors do not fit either, the program serves what it can, and says so.

use super::room::{Kind, Room, Taken};
use crate::{
    config::{Config, SocketPlace, show_size},
    mdns::Announcement,
    purse::Plan,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What one connection takes beside its stack, its unread answers and its
/// head. Measured with 100 viewers: 17 KiB are touched (glibc, one heap; musl: 12);
/// beside the stack 13 (glibc) to 28 KiB (musl) are mapped.
const TOUCHED: u64 = 18 * KIB;
const MAPPED: u64 = 28 * KIB;
/// What its TLS session adds (`tests/it/tls_stress.rs`: 17.5 KiB at rest), and
/// one record on its way.
const SESSION: u64 = 36 * KIB;
/// What the kernel keeps for one: a thread with its stack, a socket.
const KERNEL: u64 = 32 * KIB;
/// For tables, batches and readers that grow with the channels.
const GROWTH: u64 = 512 * KIB;
/// The stacks of the threads that always run, but the workers': the accept
/// loop, sampler, settings, watchdog.
const STACKS: u64 = (256 + 256 + 512 + 128) * KIB;
/// That of what writes history.
const KEEPER: u64 = 256 * KIB;
/// The stack of a worker; of an input; and of a source, which may have a second thread.
const WORKER: u64 = 256 * KIB;
const INPUT: u64 = 128 * KIB + 64 * KIB;
const SOURCE: u64 = 320 * KIB;
/// The stacks of sensors and file systems, of which a usual board has few.
const SENSORS: u64 = 4 * 64 * KIB;
/// What a thread touches of its stack, and beside it.
const THREAD: u64 = 24 * KIB;

/// What is left of each when it has given way.
const FLOOR_TRANSIT: u64 = 512 * KIB;
const FLOOR_HISTORY: u64 = 256 * KIB;
const FLOOR_RING: u64 = 64 * KIB;
const FLOOR_HTTP: usize = 2;
const FLOOR_STREAMS: usize = 4;
/// Above its floor, but still nobody's loss.
const FEW_TRANSIT: u64 = 2 * MIB;

/// Makes the settings fit into these rooms, one after the other; returns the
/// plan for the tightest, and a line for each in which something gave way.
pub(super) fn fit(config: &mut Config, rooms: &[Room], taken: Taken) -> (Plan, Vec<String>) {
    let asked = config.clone();
    let unlimited = Room { kind: Kind::Used, bytes: u64::MAX, by: String::new() };
    let share = Share::new(config, &unlimited, taken);
    let mut tightest = Plan { limit: None, own: share.own, connection: share.connection };
    let (mut least, mut lines) = (u64::MAX, Vec::new());
    for room in rooms {
        let before = config.clone();
        let mut share = Share::new(config, room, taken);
        share.give_way();
        let plan = Plan { limit: Some(room.bytes), own: share.own, connection: share.connection };
        let (left, needed) = (share.left(), share.needed());
        if left < least {
            (tightest, least) = (plan, left);
        }
        if needed > room.bytes {
            lines.push(format!(
                "{} of memory ({}) are too little: about {} are needed, so requests may fail; \
                 allow more",
                show(room.bytes),
                room.by,
                show(needed)
            ));
        } else if let Some(changes) = changes(&asked, &before, config) {
            lines.push(format!("{} of memory ({}): {changes}", show(room.bytes), room.by));
        }
    }
    (tightest, lines)
}

/// What has changed from `before` to `now`, told against what was asked for.
fn changes(asked: &Config, before: &Config, now: &Config) -> Option<String> {
    let size = |bytes: usize| show(bytes as u64);
    let number = |count: usize| count.to_string();
    let all = [
        ("history", size as fn(usize) -> String, [asked, before, now].map(|c| c.history_bytes)),
        ("connections", number, [asked, before, now].map(|c| c.limits.connections)),
        ("ring", size, [asked, before, now].map(|c| c.ring_bytes)),
        ("under way", size, [asked, before, now].map(|c| c.limits.transit_bytes)),
    ];
    let changed = all.iter().filter(|(_, _, [_, before, now])| before != now);
    let told: Vec<_> = changed
        .map(|(what, show, [asked, _, now])| {
            format!("{what} {} instead of {}", show(*now), show(*asked))
        })
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// A size for people: `6.3 MiB`.
fn show(bytes: u64) -> String {
    match usize::try_from(bytes) {
        Ok(bytes) if bytes % (1 << 20) != 0 && bytes > 1 << 20 => {
            format!("{:.1}MiB", bytes as f64 / MIB as f64)
        }
        Ok(bytes) => show_size(bytes),
        Err(_) => format!("{}MiB", bytes / MIB),
    }
}

/// A configuration that is made to fit.
struct Share<'a> {
    config: &'a mut Config,
    room: u64,
    own: u64,
    connection: u64,
}

impl<'a> Share<'a> {
    fn new(config: &'a mut Config, room: &Room, taken: Taken) -> Self {
        let limits = &config.limits;
        let workers = limits.workers as u64;
        let inputs = [config.stdin, config.socket != SocketPlace::None, config.udp.is_some()];
        let inputs = inputs.into_iter().map(u64::from).sum::<u64>();
        // The way out is a thread as a source has it, and so is a link to a board.
        let sources = config.sources.len() as u64
            + config.fleet.boards.len() as u64
            + u64::from(config.uplink.broker.is_some());
        let keeper = if config.history_file.is_some() { KEEPER } else { 0 };
        let stacks =
            STACKS + workers * WORKER + inputs * INPUT + sources * SOURCE + SENSORS + keeper;
        let announcer = if config.mdns { Announcement::STACK } else { 0 };
        let stacks = stacks + announcer;
        let threads = 9 + workers + inputs + 2 * sources + u64::from(announcer > 0);
        let unread = limits.control_bytes.max(2 * limits.head_bytes) as u64;
        let buffers = limits.read_buffer as u64 + unread;
        let (stack, send) = (limits.stack_bytes as u64, limits.send_buffer as u64);
        let (own, connection) = match room.kind {
            Kind::Data => (taken.data + stacks, stack + MAPPED + buffers),
            Kind::Space => (taken.mapped + stacks, stack + MAPPED + buffers),
            Kind::Used => (taken.resident + threads * THREAD, TOUCHED + buffers),
            Kind::Charged => {
                (taken.resident + threads * (THREAD + KERNEL), TOUCHED + buffers + KERNEL + send)
            }
        };
        let session = if config.tls_cert.is_some() { SESSION } else { 0 };
        Self { config, room: room.bytes, own: own + GROWTH, connection: connection + session }
    }

    fn needed(&self) -> u64 {
        let config = &self.config;
        let tables = config.ring_bytes + config.history_bytes + config.limits.transit_bytes;
        self.own + tables as u64 + config.limits.connections as u64 * self.connection
    }

    fn left(&self) -> u64 {
        self.room.saturating_sub(self.needed())
    }

    fn missing(&self) -> u64 {
        self.needed().saturating_sub(self.room)
    }

    fn give_way(&mut self) {
        // First those that nobody has set, then all.
        for set in [false, true] {
            let limits = &self.config.limits;
            // Each request and each message must find room when it is alone.
            let largest = limits.body_bytes.max(limits.message_bytes).max(limits.publisher_bytes);
            let transit = FLOOR_TRANSIT.max(3 * largest as u64);
            let may = |name: &str| set || !self.config.chosen.contains(&name);
            let (of_transit, of_history) = (may("transit_size"), may("history_size"));
            let (of_http, of_all) = (may("reserved_for_http"), may("max_connections"));
            let of_ring = may("ring_size");
            if of_transit {
                self.shrink(|config| &mut config.limits.transit_bytes, transit.max(FEW_TRANSIT));
            }
            if of_history {
                self.shrink(|config| &mut config.history_bytes, FLOOR_HISTORY);
            }
            if of_transit {
                self.shrink(|config| &mut config.limits.transit_bytes, transit);
            }
            if of_http && of_all {
                let fewer = self.fewer(self.config.limits.reserved_for_http, FLOOR_HTTP);
                self.config.limits.reserved_for_http -= fewer;
                self.config.limits.connections -= fewer;
            }
            if of_all {
                let least = FLOOR_STREAMS + self.config.limits.reserved_for_http;
                self.config.limits.connections -= self.fewer(self.config.limits.connections, least);
            }
            if of_ring {
                self.shrink(|config| &mut config.ring_bytes, FLOOR_RING);
            }
        }
    }

    /// Takes what is missing from this size, down to a floor.
    fn shrink(&mut self, size: impl Fn(&mut Config) -> &mut usize, floor: u64) {
        let missing = self.missing();
        let size = size(self.config);
        let spare = (*size as u64).saturating_sub(floor);
        *size -= usize::try_from(missing.min(spare)).unwrap_or(0);
        if missing < spare {
            // Whole KiB can be read.
            *size = (*size & !1023).max(1024);
        }
    }

    /// How many connections must go, of so many, down to a floor.
    fn fewer(&self, of: usize, floor: usize) -> usize {
        let missing = self.missing().div_ceil(self.connection.max(1));
        usize::try_from(missing).unwrap_or(usize::MAX).min(of.saturating_sub(floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Taken = Taken { data: 600 * KIB, mapped: 5 * MIB, resident: 3 * MIB };

    fn room(kind: Kind, bytes: u64) -> Room {
        Room { kind, bytes, by: "RLIMIT_DATA".into() }
    }

    fn fitted(bytes: u64, chosen: &[&'static str]) -> (Config, Vec<String>) {
        let mut config = Config { chosen: chosen.to_vec(), ..Config::default() };
        config.limits.workers = 2;
        let (plan, lines) = fit(&mut config, &[room(Kind::Data, bytes)], REST);
        assert_eq!(plan.limit, Some(bytes));
        config.limits.validate().expect("what fits is valid");
        (config, lines)
    }

    #[test]
    fn in_much_memory_nothing_changes_and_nothing_is_said() {
        let (config, lines) = fitted(1 << 30, &[]);
        let limits = crate::net::Limits { workers: 2, ..Default::default() };
        assert_eq!((config.limits, config.history_bytes, lines.len()), (limits, 4 << 20, 0));
    }

    #[test]
    fn what_gives_way_first_is_what_is_written() {
        // Below each, the next one begins to give way.
        let of = |config: &Config| {
            let limits = &config.limits;
            [
                limits.transit_bytes as u64 == 16 * MIB,
                config.history_bytes as u64 == 4 * MIB,
                limits.reserved_for_http == 16,
                limits.streams() == 112,
                config.ring_bytes as u64 == MIB,
            ]
        };
        let mut seen = Vec::new();
        for mib in (5..64).rev() {
            let (config, lines) = fitted(mib * MIB, &[]);
            let whole = of(&config);
            assert_eq!(lines.is_empty(), whole == [true; 5], "{mib} MiB: {lines:?}");
            let given = whole.iter().filter(|whole| !**whole).count();
            let order = whole.iter().position(|&whole| whole).unwrap_or(whole.len());
            assert_eq!(order, given, "{mib} MiB: {whole:?}");
            if seen.last() != Some(&given) {
                seen.push(given);
            }
        }
        assert!(seen.is_sorted() && seen.first() == Some(&0) && seen.contains(&2), "{seen:?}");
        assert!(seen.contains(&4) && seen.last() == Some(&5), "{seen:?}");
    }

    #[test]
    fn what_fits_is_within_the_budget() {
        for kind in [Kind::Data, Kind::Space, Kind::Used, Kind::Charged] {
            for mib in 12..80 {
                let mut config = Config::default();
                config.limits.workers = 2;
                let rooms = [room(kind, mib * MIB)];
                let (plan, lines) = fit(&mut config, &rooms, REST);
                let share = Share::new(&mut config, &rooms[0], REST);
                assert!(share.needed() <= mib * MIB, "{kind:?}, {mib} MiB: {lines:?}");
                assert_eq!((plan.own, plan.connection), (share.own, share.connection));
            }
        }
    }

    #[test]
    fn what_somebody_has_set_gives_way_last() {
        let (config, lines) = fitted(24 * MIB, &["history_size", "ring_size"]);
        assert_eq!((config.history_bytes, config.ring_bytes), (4 << 20, 1 << 20));
        assert!(config.limits.connections < 128);
        assert!(lines[0].contains("24MiB of memory (RLIMIT_DATA): connections "), "{lines:?}");
        let (config, _) = fitted(24 * MIB, &["max_connections"]);
        assert_eq!(config.history_bytes as u64, FLOOR_HISTORY);
        assert!((20..128).contains(&config.limits.connections), "it cannot be had");
    }

    #[test]
    fn too_little_is_said_and_everything_is_as_small_as_it_can_be() {
        let (config, lines) = fitted(MIB, &["max_connections"]);
        assert_eq!(config.limits.connections, FLOOR_HTTP + FLOOR_STREAMS);
        assert!(lines[0].starts_with("1MiB of memory (RLIMIT_DATA) are too little"), "{lines:?}");
    }

    #[test]
    fn of_several_limits_the_tightest_is_told() {
        let mut config = Config::default();
        let rooms = [room(Kind::Charged, 64 * MIB), room(Kind::Data, 20 * MIB)];
        let (plan, lines) = fit(&mut config, &rooms, REST);
        assert_eq!(plan.limit, Some(20 * MIB));
        assert_eq!(lines.len(), 1, "the one that changed something: {lines:?}");
        let (plan, lines) = fit(&mut Config::default(), &[], REST);
        assert_eq!((plan.limit, lines.len()), (None, 0));
        assert!(plan.own > REST.resident && plan.connection > 0, "{plan:?}");
    }
}
