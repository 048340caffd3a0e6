//! What the interfaces carry, from `/proc/net/dev`.
//!
//! ```text
//! Inter-|   Receive                                                |  Transmit
//!  face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs …
//!     lo:    3193      29    0    0    0     0          0         0     3193      29    0 …
//!   eth0: 5000000    4000    1    0    0     0          0         7   600000    3000    0 …
//! ```
//!
//! Totals since the interface was made (Documentation/filesystems/proc.rst,
//! "Networking info in /proc/net"; net/core/net-procfs.c).
//!
//! Parsed here, because procfs-core gives up all interfaces for one line that
//! it cannot read, as `eth0:5000000` of older kernels (proc.rst shows it so).

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{
    file::{TextFile, quoted},
    names::Names,
    rate,
};
use crate::{
    sources::Readings,
    telemetry::{BootTime, Channel, Value},
};

/// Reads `/proc/net/dev`.
#[derive(Debug)]
pub(super) struct Network {
    file: TextFile,
    names: Names<String>,
    previous: BTreeMap<String, (BootTime, Totals)>,
}

impl Network {
    pub(super) fn new(root: &Path) -> Self {
        let file = TextFile::new(root, "proc/net/dev");
        Self { file, names: Names::default(), previous: BTreeMap::new() }
    }

    pub(super) fn sample(&mut self, at: BootTime, readings: &mut Readings) {
        match self.file.parse(parse) {
            Some(Ok(interfaces)) => self.publish(at, &interfaces, readings),
            Some(Err(reason)) => {
                for level in self.names.levels() {
                    fail(level, &reason, readings);
                }
            }
            None => self.publish(at, &BTreeMap::new(), readings),
        }
    }

    fn publish(&mut self, at: BootTime, interfaces: &Interfaces, readings: &mut Readings) {
        self.names.update(interfaces.keys().map(|name| (name, name.as_str())));
        self.previous.retain(|name, _| interfaces.contains_key(name));
        for (name, totals) in interfaces {
            let Some(level) = self.names.level(name) else { continue };
            let Some(totals) = totals else {
                fail(
                    level,
                    &self.file.reason(format_args!("no totals of {}", quoted(name))),
                    readings,
                );
                continue;
            };
            if let Some((then, before)) = self.previous.insert(name.clone(), (at, *totals)) {
                let rates = totals.rates(&before, at.since(then));
                for (channel, rate) in [RX, TX].into_iter().zip(rates) {
                    readings.push(channel.of(level), rate.map_or(Value::Null, Value::from));
                }
            }
            readings.push(RX_BYTES.of(level), totals.rx);
            readings.push(TX_BYTES.of(level), totals.tx);
            readings.push(ERRORS.of(level), totals.errors);
        }
    }
}

/// Of an interface that is there, but cannot be read.
fn fail(level: &str, reason: &str, readings: &mut Readings) {
    for channel in [RX, TX, RX_BYTES, TX_BYTES, ERRORS] {
        readings.fail(channel.of(level), reason);
    }
}

/// A channel that every interface has.
#[derive(Clone, Copy)]
struct Figure {
    level: &'static str,
    label: &'static str,
    unit: &'static str,
    channel: fn(&str) -> crate::Result<Channel>,
}

const RX: Figure = Figure { level: "rx", label: "receiving", unit: "B/s", channel: Channel::gauge };
const TX: Figure = Figure { level: "tx", label: "sending", unit: "B/s", channel: Channel::gauge };
const RX_BYTES: Figure =
    Figure { level: "rx_bytes", label: "received", unit: "B", channel: Channel::counter };
const TX_BYTES: Figure =
    Figure { level: "tx_bytes", label: "sent", unit: "B", channel: Channel::counter };
const ERRORS: Figure =
    Figure { level: "errors", label: "errors", unit: "count", channel: Channel::counter };

impl Figure {
    fn of(self, interface: &str) -> crate::Result<Channel> {
        let channel = (self.channel)(&format!("net/{interface}/{}", self.level))?;
        Ok(channel.unit(self.unit).label(format!("{interface} {}", self.label)))
    }
}

/// The totals of one interface.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Totals {
    /// Bytes received.
    rx: u64,
    /// Bytes sent.
    tx: u64,
    /// Errors of both ways.
    errors: u64,
}

impl Totals {
    /// A total goes back when the interface was made anew, and on a 32-bit
    /// kernel every 4 GiB where the driver counts in an `unsigned long`: which
    /// of both, the file doesn't say.
    fn rates(&self, before: &Self, time: Duration) -> [Option<f64>; 2] {
        [rate(before.rx, self.rx, time), rate(before.tx, self.tx, time)]
    }
}

/// By name; `None` for a line that cannot be read.
type Interfaces = BTreeMap<String, Option<Totals>>;

fn parse(text: &str) -> Result<Interfaces, &'static str> {
    let mut lines = text.lines();
    if !lines.by_ref().take(2).any(|line| line.contains("|bytes")) {
        return Err("no table of interfaces");
    }
    Ok(lines.filter_map(parse_line).filter(|(name, _)| name != "lo").collect())
}

fn parse_line(line: &str) -> Option<(String, Option<Totals>)> {
    // The last colon: old kernels allow one in a name, and numbers have none.
    let (name, numbers) = line.rsplit_once(':')?;
    Some((name.trim().to_owned(), parse_totals(numbers)))
}

fn parse_totals(numbers: &str) -> Option<Totals> {
    let numbers: Vec<u64> =
        numbers.split_ascii_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [rx, _, rx_errors, _, _, _, _, _, tx, _, tx_errors, ..] = *numbers else { return None };
    Some(Totals { rx, tx, errors: rx_errors.saturating_add(tx_errors) })
}

#[cfg(test)]
mod tests {
    use super::{super::trees::*, *};
    use crate::telemetry::Kind;

    const HEADER: &str = "Inter-| Receive | Transmit\n face |bytes packets |bytes packets\n";

    /// A table of interfaces that received and sent `rx` and `tx` bytes.
    fn table(interfaces: &[(&str, u64, u64)]) -> String {
        let line = |(name, rx, tx): &(&str, u64, u64)| {
            format!("{name:>6}: {rx} 0 0 0 0 0 0 0 {tx} 0 0 0 0 0 0 0\n")
        };
        HEADER.to_owned() + &interfaces.iter().map(line).collect::<String>()
    }

    #[test]
    fn totals_come_at_once_and_rates_with_the_second_tick() {
        let tree = Tree::board("pi-4");
        let mut network = Network::new(tree.root());
        let first = readings(|r| network.sample(at(10.0), r));
        assert_eq!(
            names(&first),
            [
                "net/eth0/rx_bytes",
                "net/eth0/tx_bytes",
                "net/eth0/errors",
                "net/wlan0/rx_bytes",
                "net/wlan0/tx_bytes",
                "net/wlan0/errors"
            ]
        );
        assert_numbers(&first, &[("net/eth0/rx_bytes", 5_000_000.0), ("net/eth0/errors", 1.0)]);
        tree.turn("pi-4", 1);
        let second = readings(|r| network.sample(at(12.0), r));
        assert_numbers(
            &second,
            &[
                ("net/eth0/rx", 500_000.0), // (6,000,000 - 5,000,000) / 2 s
                ("net/eth0/tx", 6_172.5),   // (612,345 - 600,000) / 2 s
                ("net/eth0/rx_bytes", 6_000_000.0),
                ("net/eth0/tx_bytes", 612_345.0),
                ("net/eth0/errors", 3.0), // 1 received, 2 sent
                ("net/wlan0/rx", 0.5),    // 1 / 2 s
                ("net/wlan0/tx", 0.0),
                // Came between the two ticks: no rate yet.
                ("net/eth0.100/rx_bytes", 100.0),
            ],
        );
        assert!(reading(&second, "net/eth0.100/rx").is_none());
        assert!(reading(&second, "net/lo/rx_bytes").is_none());
    }

    #[test]
    fn a_total_that_wraps_at_32_bits_gives_no_rate_and_the_next_one_does() {
        let tree = Tree::board("pi-zero-w");
        let mut network = Network::new(tree.root());
        network.sample(at(10.0), &mut Readings::default());
        tree.turn("pi-zero-w", 1);
        let second = readings(|r| network.sample(at(11.0), r));
        // 4,294,960,000 + 10,000 bytes = 2,704 beyond 2^32.
        assert!(is_null(&second, "net/wlan0/rx"));
        assert_numbers(
            &second,
            &[
                ("net/wlan0/rx_bytes", 2_704.0),
                ("net/wlan0/tx", 2_500.0), // (52,500 - 50,000) / 1 s
                ("net/wlan0/errors", 5.0), // 3 received, 2 sent
            ],
        );
        let third = readings(|r| network.sample(at(12.0), r));
        assert_eq!(third.number("net/wlan0/rx"), Some(0.0));
    }

    #[test]
    fn a_recorded_machine_is_read() {
        let tree = Tree::board("pc");
        let mut network = Network::new(tree.root());
        network.sample(at(0.0), &mut Readings::default());
        tree.turn("pc", 1);
        let second = readings(|r| network.sample(at(2.11), r));
        assert_numbers(
            &second,
            &[
                ("net/eth0/rx_bytes", 302_369_329.0),
                ("net/eth0/tx_bytes", 463_309.0),
                ("net/eth0/rx", 0.0),
                ("net/ifb1/errors", 0.0),
            ],
        );
    }

    #[test]
    fn a_name_keeps_its_level_whatever_comes_and_goes_and_in_any_order() {
        let tree = Tree::new();
        let mut network = Network::new(tree.root());
        let mut rx_bytes = |interfaces: &[(&str, u64, u64)]| {
            tree.write("proc/net/dev", table(interfaces));
            let seen = readings(|r| network.sample(at(0.0), r));
            let number = |level| seen.number(&format!("net/{level}/rx_bytes"));
            [number("a_b"), number("a_b_2")]
        };
        // '+' is sorted before '='.
        assert_eq!(rx_bytes(&[("a=b", 1, 0), ("a+b", 2, 0)]), [Some(2.0), Some(1.0)]);
        assert_eq!(rx_bytes(&[("a+b", 2, 0), ("a=b", 1, 0)]), [Some(2.0), Some(1.0)]);
        assert_eq!(rx_bytes(&[("a=b", 1, 0)]), [None, Some(1.0)]);
        assert_eq!(rx_bytes(&[("a!b", 3, 0), ("a=b", 1, 0)]), [Some(3.0), Some(1.0)]);
    }

    #[test]
    fn an_interface_that_comes_back_starts_anew() {
        let tree = Tree::new();
        let mut network = Network::new(tree.root());
        for (second, interfaces) in
            [&[("usb0", 9, 9)][..], &[], &[("usb0", 10, 10)]].into_iter().enumerate()
        {
            tree.write("proc/net/dev", table(interfaces));
            let seen = readings(|r| network.sample(at(second as f64), r));
            assert!(reading(&seen, "net/usb0/rx").is_none());
        }
    }

    #[test]
    fn a_pi_5_has_its_interface_behind_rp1() {
        let tree = Tree::board("pi-5");
        let mut network = Network::new(tree.root());
        network.sample(at(0.0), &mut Readings::default());
        tree.turn("pi-5", 1);
        let second = readings(|r| network.sample(at(1.0), r));
        // 8,123,456,789 - 8,000,000,000 in 1 s; totals are 64 bits wide.
        assert_numbers(&second, &[("net/eth0/rx", 123_456_789.0), ("net/eth0/tx", 2_000_000.0)]);
    }

    #[test]
    fn a_name_without_a_space_behind_it_is_read() {
        // As proc.rst shows it.
        let line = parse_line("  ppp0:15475140  20721  410 0 0 410 0 0 1375103 17405 0 0 0 0 0 0");
        let totals = Totals { rx: 15_475_140, tx: 1_375_103, errors: 410 };
        assert_eq!(line, Some(("ppp0".to_owned(), Some(totals))));
    }

    #[test]
    fn one_line_that_cannot_be_read_fails_its_interface_only() {
        for bad in ["", "1 2 3", "x 0 0 0 0 0 0 0 0 0 0", "-1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"] {
            let tree = Tree::new();
            tree.write("proc/net/dev", table(&[("eth0", 1, 2)]) + " wlan0: " + bad + "\n");
            let seen = readings(|r| Network::new(tree.root()).sample(at(0.0), r));
            assert_eq!(seen.number("net/eth0/rx_bytes"), Some(1.0));
            let why = failure(&seen, "net/wlan0/rx").expect("it fails");
            assert!(why.contains("proc/net/dev: ") && why.contains("wlan0"), "{why}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_fails_what_was_there() {
        for bad in ["", "garbage", "a: b\nc: d\ne: f\n"] {
            let tree = Tree::new();
            let mut network = Network::new(tree.root());
            tree.write("proc/net/dev", bad);
            assert_eq!(names(&readings(|r| network.sample(at(0.0), r))), [""; 0], "{bad:?}");
            tree.write("proc/net/dev", table(&[("eth0", 1, 2)]));
            network.sample(at(1.0), &mut Readings::default());
            tree.write("proc/net/dev", bad);
            let seen = readings(|r| network.sample(at(2.0), r));
            assert_eq!(seen.iter().count(), 5);
            assert!(failure(&seen, "net/eth0/tx").is_some_and(|w| w.contains("proc/net/dev: ")));
            // The totals before it still count: 4 bytes in 2 s.
            tree.write("proc/net/dev", table(&[("eth0", 5, 2)]));
            let seen = readings(|r| network.sample(at(3.0), r));
            assert_eq!(seen.number("net/eth0/rx"), Some(2.0));
        }
    }

    #[test]
    fn a_huge_file_is_read_to_its_limit() {
        let tree = Tree::new();
        let many: Vec<_> = (0..20_000).map(|n| format!("veth{n}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), 1, 1)).collect();
        tree.write("proc/net/dev", table(&many));
        let seen = readings(|r| Network::new(tree.root()).sample(at(0.0), r));
        assert!(seen.number("net/veth0/rx_bytes").is_some());
        assert!(seen.iter().count() < 3 * 8_000);
        assert!(seen.iter().all(|reading| reading.value.is_ok()));
    }

    #[test]
    fn a_channel_says_what_it_is() {
        let channel = RX.of("eth0").expect("a good name");
        assert_eq!((channel.kind, channel.unit.as_deref()), (Kind::Gauge, Some("B/s")));
        assert_eq!(channel.label.as_deref(), Some("eth0 receiving"));
        let channel = RX_BYTES.of("eth0").expect("a good name");
        assert_eq!((channel.kind, channel.unit.as_deref()), (Kind::Counter, Some("B")));
    }
}
