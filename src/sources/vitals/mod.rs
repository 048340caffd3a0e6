//! The vitals of a board: processor, memory, load, network, temperatures.
//!
//! | file | what it reads | channels |
//! |---|---|---|
//! | `cpu` | `/proc/stat` | `cpu/usage`, `cpu/core0/usage` and their parts |
//! | `memory` | `/proc/meminfo` | `mem/…`, `swap/…` |
//! | `load` | `/proc/loadavg`, `/proc/uptime` | `load/1m`, `load/5m`, `load/15m`, `uptime` |
//! | `network` | `/proc/net/dev` | `net/<interface>/…` |
//! | `thermal` | `/sys/class/thermal` | `thermal/<zone>`, `cpu/temperature` |
//!
//! Each is a parser of text and a thin reader that keeps the counters of the
//! last tick. Rates and shares need two ticks: at the first one their channels
//! are not there. Where two ticks don't tell (a counter went back), the
//! channel is there without a value.

mod cpu;
mod file;
mod load;
mod memory;
mod names;
mod network;
pub(crate) mod process;
mod thermal;
#[cfg(test)]
mod trees;

use std::path::Path;

use self::{cpu::Cpu, load::Load, memory::Memory, network::Network, thermal::Thermal};
use super::{Polled, Readings};
use crate::telemetry::BootTime;

/// The source `vitals`.
#[derive(Debug)]
pub struct Vitals {
    cpu: Cpu,
    memory: Memory,
    load: Load,
    network: Network,
    thermal: Thermal,
}

impl Vitals {
    /// Reads `proc` and `sys` below `root`, which is `/` on a board.
    pub fn new(root: &Path) -> Self {
        Self {
            cpu: Cpu::new(root),
            memory: Memory::new(root),
            load: Load::new(root),
            network: Network::new(root),
            thermal: Thermal::new(root),
        }
    }
}

impl Polled for Vitals {
    fn name(&self) -> &str {
        "vitals"
    }

    fn sample(&mut self, at: BootTime, readings: &mut Readings) {
        self.cpu.sample(readings);
        self.memory.sample(readings);
        self.load.sample(readings);
        self.network.sample(at, readings);
        self.thermal.sample(readings);
    }
}

/// A number as it is shown: digits that only say how it was divided are noise
/// on the wire.
fn rounded(number: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (number * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Instant};

    use super::{trees::*, *};

    #[test]
    fn every_board_has_its_vitals_and_no_channel_twice() {
        for (board, channels) in [("pc", 35), ("pi-zero-w", 25), ("pi-4", 43)] {
            let tree = Tree::board(board);
            let mut vitals = Vitals::new(tree.root());
            vitals.sample(at(1.0), &mut Readings::default());
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
