//! The vitals of a board: processor, memory, load, network, disks. What asks a
//! sensor is in [`found`](super::found).
//!
//! | file | what it reads | channels |
//! |---|---|---|
//! | `cpu` | `/proc/stat` | `cpu/usage`, `cpu/core0/usage` and their parts |
//! | `frequency` | `/sys/devices/system/cpu/cpufreq` | `cpu/frequency`, `cpu/core0/frequency` |
//! | `memory` | `/proc/meminfo` | `mem/…`, `swap/…` |
//! | `load` | `/proc/loadavg`, `/proc/uptime` | `load/1m` and its kin, `processes/…`, `uptime` |
//! | `pressure` | `/proc/pressure` | `pressure/cpu`, `pressure/io`, `pressure/memory` |
//! | `network` | `/proc/net/dev` | `net/<interface>/…` |
//! | `disk` | `/sys/block` | `disk/<disk>/…` |
//! | `filesystems`, `space` | `/proc/self/mountinfo`, statvfs(3) | `fs/<mount point>/…` |
//! | `board` | device tree or DMI, os-release | `board/model`, `board/os`, `board/kernel` |
//!
//! All of them, with their units and kinds, are in `docs/channels.md`.
//!
//! Each is a parser of text and a thin reader that keeps the counters of the
//! last tick. Rates and shares need two ticks: at the first one their channels
//! are not there. Where two ticks don't tell (a counter went back), the
//! channel is there without a value.

pub(crate) mod board;
mod cpu;
mod disk;
pub(super) mod file;
mod filesystems;
mod frequency;
mod load;
mod memory;
pub(super) mod names;
mod network;
mod pressure;
pub(crate) mod process;
pub(crate) mod space;
#[cfg(test)]
pub(crate) mod trees;

use std::{path::Path, sync::Arc, time::Duration};

use self::{
    board::Board, cpu::Cpu, disk::Disks, filesystems::Filesystems, frequency::Frequency,
    load::Load, memory::Memory, network::Network, pressure::Pressure, space::Statvfs,
};
use super::{Readings, Source};
use crate::telemetry::BootTime;

/// The source `vitals`.
#[derive(Debug)]
pub struct Vitals {
    cpu: Cpu,
    frequency: Frequency,
    memory: Memory,
    load: Load,
    pressure: Pressure,
    network: Network,
    disks: Disks,
    filesystems: Filesystems,
    board: Board,
}

impl Vitals {
    /// Reads `proc`, `sys` and `etc` below `root`, which is `/` on a board.
    pub fn new(root: &Path) -> Self {
        Self::with(root, Arc::new(space::statvfs))
    }

    /// The same, with another way to ask for the room of file systems.
    pub(crate) fn with(root: &Path, statvfs: Statvfs) -> Self {
        Self {
            cpu: Cpu::new(root),
            frequency: Frequency::new(root),
            memory: Memory::new(root),
            load: Load::new(root),
            pressure: Pressure::new(root),
            network: Network::new(root),
            disks: Disks::new(root),
            filesystems: Filesystems::new(root, statvfs),
            board: Board::new(root),
        }
    }
}

impl Vitals {
    /// Whether each file system has answered, or is known not to.
    pub(crate) fn settled(&mut self, at: BootTime) -> bool {
        self.filesystems.settled(at)
    }
}

impl Source for Vitals {
    fn name(&self) -> &str {
        "vitals"
    }

    fn sample(&mut self, at: BootTime, readings: &mut Readings) {
        // First, so that its answers are there when they are told.
        self.filesystems.ask(at);
        self.cpu.sample(readings);
        self.frequency.sample(readings);
        self.memory.sample(readings);
        self.load.sample(readings);
        self.pressure.sample(readings);
        self.network.sample(at, readings);
        self.disks.sample(at, readings);
        self.board.sample(readings);
        self.filesystems.sample(at, readings);
    }
}

/// A number as it is shown: digits that only say how it was divided are noise
/// on the wire.
fn rounded(number: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (number * scale).round() / scale
}

/// What a total grew by a second; `None` when that cannot be told, because it
/// went back or no time has passed.
fn rate(before: u64, now: u64, time: Duration) -> Option<f64> {
    let grown = now.checked_sub(before)?;
    (!time.is_zero()).then(|| rounded(grown as f64 / time.as_secs_f64(), 1))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Instant};

    use super::{trees::*, *};

    #[test]
    fn every_board_has_its_vitals_and_no_channel_twice() {
        for (board, channels) in [("pc", 52), ("pi-zero-w", 41), ("pi-4", 64), ("pi-5", 71)] {
            let tree = Tree::board(board);
            let mut vitals = Vitals::with(tree.root(), rooms());
            let mut answers = || {
                let first = readings(|r| vitals.sample(at(1.0), r));
                // A Pi has its boot partition beside the root.
                let more = usize::from(board != "pc");
                names(&first).iter().filter(|name| name.starts_with("fs/")).count() == 3 + 3 * more
            };
            let start = Instant::now();
            while !answers() {
                assert!(start.elapsed().as_secs() < 10, "waited in vain");
            }
            tree.turn(board, 1);
            let second = readings(|r| vitals.sample(at(2.0), r));
            let names = names(&second);
            assert_eq!(names.len(), channels, "{board}: {names:?}");
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), channels, "{board}");
            for name in ["cpu/usage", "mem/used", "load/1m", "uptime"] {
                assert!(second.number(name).is_some(), "{board} has no {name}");
            }
            assert!(second.iter().all(|reading| reading.value.is_ok()), "{board}");
            assert!(second.iter().all(|reading| reading.channel.label.is_some()), "{board}");
        }
    }

    #[test]
    fn a_rate_needs_time_and_a_total_that_grows() {
        assert_eq!(rate(0, 5, Duration::ZERO), None);
        assert_eq!(rate(5, 4, Duration::from_secs(1)), None);
        assert_eq!(rate(0, 1, Duration::from_secs(3)), Some(0.3));
    }

    #[test]
    fn an_empty_root_is_no_channel_and_no_fault() {
        let mut vitals = Vitals::new(Tree::new().root());
        assert_eq!(names(&readings(|r| vitals.sample(at(1.0), r))), [""; 0]);
        assert_eq!(vitals.name(), "vitals");
    }

    #[test]
    fn this_machine_can_be_read() {
        let mut vitals = Vitals::new(Path::new("/"));
        let first = readings(|r| vitals.sample(at(1.0), r));
        assert!(first.number("mem/total").is_some_and(|bytes| bytes > 0.0));
        assert!(first.number("uptime").is_some_and(|seconds| seconds > 0.0));
    }

    #[test]
    #[ignore = "prints a time; run it with --release --nocapture"]
    fn one_sample_takes() {
        let mut vitals = Vitals::new(Path::new("/"));
        let mut readings = Readings::default();
        let rounds = 2000;
        let start = Instant::now();
        for round in 0..rounds {
            readings.clear();
            vitals.sample(at(f64::from(round)), &mut readings);
        }
        let each = start.elapsed() / rounds;
        println!("{} channels, {each:?} a sample", readings.iter().count());
    }
}
