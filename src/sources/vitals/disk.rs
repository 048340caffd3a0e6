//! What the disks read and write, from `/sys/block/<disk>/stat`.
//!
//! ```text
//!   328917   25529 45249114  690731    80388   46926 16000280   61339        0    66884 …
//!    reads  merged  sectors      ms   writes  merged  sectors      ms  flying  ms busy
//! ```
//!
//! Totals since boot; a sector is 512 bytes here whatever the disk's own are
//! (Documentation/block/stat.rst, which says that the line is of one instant).
//! `ms busy` is the time in which the disk had something to do.
//!
//! From here and not from `/proc/diskstats`, which has the partitions between
//! the disks without telling which is which.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    file::{TextFile, quoted},
    names::Names,
    rate, rounded,
};
use crate::{
    sources::Readings,
    telemetry::{BootTime, Channel, Value},
};

/// The most disks that are looked at.
const MAX_DISKS: usize = 64;

/// What keeps its data in memory or on other disks, whose work would be
/// counted twice: files as disks, memory as disks, and what is put together
/// of disks (device mapper, RAID, bcache, DRBD).
const NO_DISKS: [&str; 8] = ["loop", "ram", "zram", "brd", "dm-", "md", "bcache", "drbd"];

/// Reads the disks of `/sys/block`.
#[derive(Debug)]
pub(super) struct Disks {
    folder: PathBuf,
    names: Names<String>,
    previous: BTreeMap<String, (BootTime, Totals)>,
}

impl Disks {
    pub(super) fn new(root: &Path) -> Self {
        let folder = root.join("sys/block");
        Self { folder, names: Names::default(), previous: BTreeMap::new() }
    }

    pub(super) fn sample(&mut self, at: BootTime, readings: &mut Readings) {
        let disks = self.read();
        self.names.update(disks.keys().map(|name| (name, name.as_str())));
        self.previous.retain(|name, _| disks.contains_key(name));
        for (name, totals) in disks {
            let Some(level) = self.names.level(&name) else { continue };
            match totals {
                Ok(totals) => {
                    let before = self.previous.insert(name.clone(), (at, totals));
                    totals.publish(level, at, before, readings);
                }
                Err(reason) => {
                    for figure in [READ, WRITE, BUSY, READ_BYTES, WRITE_BYTES] {
                        readings.fail(figure.of(level), &reason);
                    }
                }
            }
        }
    }

    /// The disks by name. One that was never asked anything is not there: an
    /// empty card reader, a network block device that nobody connected.
    fn read(&self) -> BTreeMap<String, Result<Totals, String>> {
        let disk = |name: String| {
            let totals = TextFile::new(&self.folder.join(&name), "stat").parse(parse)?;
            (totals != Ok(Totals::default())).then_some((name, totals))
        };
        disks(&self.folder).unwrap_or_default().into_iter().filter_map(disk).collect()
    }
}

fn disks(folder: &Path) -> io::Result<Vec<String>> {
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    Ok(fs::read_dir(folder)?
        .filter_map(name)
        .filter(|name| is_disk(name))
        .take(MAX_DISKS)
        .collect())
}

/// By its name, because a name is there at no price.
fn is_disk(name: &str) -> bool {
    // mmcblk0boot0, mmcblk0rpmb: corners of mmcblk0 with a folder of their own.
    let corner = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    // nvme0c0n1: one of the paths to nvme0n1.
    let path = name.strip_prefix("nvme").is_some_and(|rest| rest.contains('c'));
    !corner && !path && !NO_DISKS.iter().any(|prefix| name.starts_with(prefix))
}

/// A channel that every disk has.
#[derive(Clone, Copy)]
struct Figure {
    level: &'static str,
    label: &'static str,
    unit: &'static str,
    channel: fn(&str) -> crate::Result<Channel>,
}

const READ: Figure =
    Figure { level: "read", label: "reading", unit: "B/s", channel: Channel::gauge };
const WRITE: Figure =
    Figure { level: "write", label: "writing", unit: "B/s", channel: Channel::gauge };
const BUSY: Figure = Figure {
    level: "busy",
    label: "busy",
    unit: "%",
    channel: |name| Ok(Channel::gauge(name)?.range(0.0, 100.0)),
};
const READ_BYTES: Figure =
    Figure { level: "read_bytes", label: "read", unit: "B", channel: Channel::counter };
const WRITE_BYTES: Figure =
    Figure { level: "write_bytes", label: "written", unit: "B", channel: Channel::counter };

impl Figure {
    fn of(self, disk: &str) -> crate::Result<Channel> {
        let channel = (self.channel)(&format!("disk/{disk}/{}", self.level))?;
        Ok(channel.unit(self.unit).label(format!("{disk} {}", self.label)))
    }
}

/// The totals of one disk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    /// Bytes read.
    read: u64,
    /// Bytes written.
    written: u64,
    /// Milliseconds with something to do.
    busy: u64,
}

impl Totals {
    fn publish(
        &self,
        level: &str,
        at: BootTime,
        before: Option<(BootTime, Self)>,
        readings: &mut Readings,
    ) {
        if let Some((then, before)) = before {
            let rates = self.rates(&before, at.since(then));
            for (figure, rate) in [READ, WRITE, BUSY].into_iter().zip(rates) {
                readings.push(figure.of(level), rate.map_or(Value::Null, Value::from));
            }
        }
        readings.push(READ_BYTES.of(level), self.read);
        readings.push(WRITE_BYTES.of(level), self.written);
    }

    /// Totals go back when another disk takes the name, and on a 32-bit kernel
    /// every 2 TiB and every 49 days of work, for they are `unsigned long` of
    /// sectors and of ms there.
    fn rates(&self, before: &Self, time: Duration) -> [Option<f64>; 3] {
        // The kernel counts in its ticks, so that a busy disk may be a little
        // over the whole time. Of ms a second, %.
        let busy = rate(before.busy, self.busy, time);
        let busy = busy.map(|busy| rounded(busy / 10.0, 2).min(100.0));
        [rate(before.read, self.read, time), rate(before.written, self.written, time), busy]
    }
}

fn parse(text: &str) -> Result<Totals, String> {
    let garbled = || format!("not totals of a disk: {}", quoted(text));
    let words = text.split_ascii_whitespace();
    let numbers: Option<Vec<u64>> = words.map(|word| word.parse().ok()).collect();
    let [_, _, read, _, _, _, written, _, _, busy, ..] = *numbers.ok_or_else(garbled)? else {
        return Err(garbled());
    };
    let bytes = |sectors: u64| sectors.checked_mul(512).ok_or_else(garbled);
    Ok(Totals { read: bytes(read)?, written: bytes(written)?, busy })
}

#[cfg(test)]
mod tests {
    use super::{super::trees::*, *};
    use crate::telemetry::Kind;

    fn stat(tree: &Tree, disk: &str, read: u64, written: u64, busy: u64) {
        let line = format!("1 0 {read} 1 1 0 {written} 1 0 {busy} 2\n");
        tree.write(&format!("sys/block/{disk}/stat"), line);
    }

    #[test]
    fn totals_come_at_once_and_rates_with_the_second_tick() {
        let tree = Tree::board("pi-4");
        let mut disks = Disks::new(tree.root());
        let first = readings(|r| disks.sample(at(10.0), r));
        assert_eq!(names(&first), ["disk/mmcblk0/read_bytes", "disk/mmcblk0/write_bytes"]);
        // 2,000,000 and 500,000 sectors.
        assert_numbers(
            &first,
            &[
                ("disk/mmcblk0/read_bytes", 1_024_000_000.0),
                ("disk/mmcblk0/write_bytes", 256_000_000.0),
            ],
        );
        tree.turn("pi-4", 1);
        let second = readings(|r| disks.sample(at(12.0), r));
        assert_numbers(
            &second,
            &[
                ("disk/mmcblk0/read", 1_024_000.0), // 4,000 x 512 / 2 s
                ("disk/mmcblk0/write", 256_000.0),  // 1,000 x 512 / 2 s
                ("disk/mmcblk0/busy", 25.0),        // 500 ms / 2 s
                ("disk/mmcblk0/read_bytes", 1_026_048_000.0),
                // Plugged in between the two: no rate yet.
                ("disk/sda/read_bytes", 4_096.0), // 8 sectors
            ],
        );
        assert!(reading(&second, "disk/sda/read").is_none());
    }

    #[test]
    fn two_disks_of_a_board() {
        let tree = Tree::board("pi-5");
        let mut disks = Disks::new(tree.root());
        disks.sample(at(0.0), &mut Readings::default());
        tree.turn("pi-5", 1);
        let second = readings(|r| disks.sample(at(1.0), r));
        assert_numbers(
            &second,
            &[
                ("disk/nvme0n1/read", 409_600_000.0), // 800,000 x 512
                ("disk/nvme0n1/write", 10_240_000.0), // 20,000 x 512
                ("disk/nvme0n1/busy", 100.0),         // 1,004 ms in 1 s
                ("disk/mmcblk0/read", 0.0),
                ("disk/mmcblk0/busy", 0.0),
            ],
        );
        // zram0, loop0 and mmcblk0boot0 are there and no disks.
        assert_eq!(second.iter().count(), 2 * 5);
    }

    #[test]
    fn a_recorded_machine_is_read() {
        let tree = Tree::board("pc");
        let mut disks = Disks::new(tree.root());
        disks.sample(at(0.0), &mut Readings::default());
        tree.turn("pc", 1);
        let second = readings(|r| disks.sample(at(2.18), r));
        assert_numbers(
            &second,
            &[
                ("disk/vda/read", 18_789.0),                // 80 sectors x 512 / 2.18 s
                ("disk/vda/write", 192_404_902.8),          // 819,224 sectors
                ("disk/vda/busy", 8.44),                    // 184 ms
                ("disk/vda/write_bytes", 10_862_280_704.0), // 21,215,392 sectors
            ],
        );
        assert_eq!(second.iter().count(), 5);
    }

    #[test]
    fn a_total_that_wraps_at_32_bits_gives_no_rate_and_the_next_one_does() {
        let tree = Tree::board("pi-zero-w");
        let mut disks = Disks::new(tree.root());
        disks.sample(at(10.0), &mut Readings::default());
        tree.turn("pi-zero-w", 1);
        let second = readings(|r| disks.sample(at(11.0), r));
        // 4,294,967,000 + 1,000 sectors = 704 beyond 2^32.
        assert!(is_null(&second, "disk/mmcblk0/write"));
        assert_numbers(
            &second,
            &[
                ("disk/mmcblk0/write_bytes", 360_448.0), // 704 x 512
                ("disk/mmcblk0/read", 51_200.0),         // 100 x 512
                ("disk/mmcblk0/busy", 4.0),              // 40 ms
            ],
        );
        let third = readings(|r| disks.sample(at(12.0), r));
        assert_eq!(third.number("disk/mmcblk0/write"), Some(0.0));
    }

    #[test]
    fn what_is_kept_elsewhere_is_no_disk() {
        for disk in ["mmcblk0", "sda", "nvme0n1", "vda", "xvda", "hdc", "mtdblock0", "nbd0", "sr0"]
        {
            assert!(is_disk(disk), "{disk}");
        }
        for other in
            ["loop0", "ram15", "zram0", "dm-0", "md127", "mmcblk2boot1", "mmcblk0rpmb", "nvme0c1n1"]
        {
            assert!(!is_disk(other), "{other}");
        }
    }

    #[test]
    fn a_disk_that_was_never_asked_is_not_there_until_it_is() {
        let tree = Tree::new();
        let mut disks = Disks::new(tree.root());
        tree.write("sys/block/sdb/stat", "0 0 0 0 0 0 0 0 0 0 0\n");
        assert_eq!(names(&readings(|r| disks.sample(at(0.0), r))), [""; 0]);
        stat(&tree, "sdb", 8, 0, 1);
        assert_eq!(readings(|r| disks.sample(at(1.0), r)).iter().count(), 2);
    }

    #[test]
    fn a_disk_that_comes_back_starts_anew() {
        let tree = Tree::new();
        let mut disks = Disks::new(tree.root());
        stat(&tree, "sda", 8, 8, 1);
        disks.sample(at(0.0), &mut Readings::default());
        tree.remove("sys/block/sda");
        assert_eq!(names(&readings(|r| disks.sample(at(1.0), r))), [""; 0]);
        stat(&tree, "sda", 9, 9, 2);
        assert!(reading(&readings(|r| disks.sample(at(2.0), r)), "disk/sda/read").is_none());
    }

    #[test]
    fn one_disk_that_cannot_be_read_fails_alone() {
        let huge = format!("1 0 {} 1 1 0 1 1 0 1 2", u64::MAX);
        for bad in ["", "\n", "1 2 3", "1 0 x 1 1 0 1 1 0 1 2", "1 0 -1 1 1 0 1 1 0 1", &huge] {
            let tree = Tree::new();
            let mut disks = Disks::new(tree.root());
            stat(&tree, "sda", 8, 8, 1);
            tree.write("sys/block/sdb/stat", bad);
            let seen = readings(|r| disks.sample(at(0.0), r));
            assert_eq!(seen.number("disk/sda/read_bytes"), Some(4096.0));
            let why = failure(&seen, "disk/sdb/busy").expect("it fails");
            assert!(why.contains("sys/block/sdb/stat: "), "{why}");
        }
    }

    #[test]
    fn a_folder_that_is_missing_or_none_has_no_disks() {
        let tree = Tree::new();
        let sample = || readings(|r| Disks::new(tree.root()).sample(at(0.0), r));
        assert_eq!(names(&sample()), [""; 0]);
        tree.write("sys/block", "no folder");
        assert_eq!(names(&sample()), [""; 0]);
    }

    #[test]
    fn a_channel_says_what_it_is() {
        let channel = BUSY.of("sda").expect("a good name");
        assert_eq!((channel.kind, channel.unit.as_deref()), (Kind::Gauge, Some("%")));
        assert_eq!((channel.min, channel.max), (Some(0.0), Some(100.0)));
        let channel = WRITE_BYTES.of("sda").expect("a good name");
        assert_eq!((channel.kind, channel.unit.as_deref()), (Kind::Counter, Some("B")));
        assert_eq!(channel.label.as_deref(), Some("sda written"));
    }
}
