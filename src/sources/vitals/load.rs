//! Load, processes and uptime, from `/proc/loadavg` and `/proc/uptime`.
//!
//! ```text
//! 0.15 1.07 0.99 2/312 4711
//! 98765.43 300000.00
//! ```
//!
//! The load is how many threads run, wait for a core or wait for a disk, as a
//! moving average of 1, 5 and 15 minutes (proc_loadavg(5)); a busy core counts
//! one. `2/312`: of 312 "kernel scheduling entities" two run or wait for a
//! core. An entity is a thread, the kernel's own among them; processes would
//! have to be counted by listing `/proc`, at many times the price. The uptime
//! is in seconds, sleep included (proc_uptime(5)).

use std::path::Path;

use procfs_core::{FromRead, LoadAverage, Uptime};

use super::{
    file::{TextFile, quoted},
    rounded,
};
use crate::{sources::Readings, telemetry::Channel};

/// What `/proc/loadavg` holds, in its order.
const CHANNELS: [(&str, &str); 5] = [
    ("load/1m", "Load, 1 minute"),
    ("load/5m", "Load, 5 minutes"),
    ("load/15m", "Load, 15 minutes"),
    ("processes/running", "Threads that run or wait for a core"),
    ("processes/total", "Threads in all"),
];

/// Reads `/proc/loadavg` and `/proc/uptime`.
#[derive(Debug)]
pub(super) struct Load {
    load: TextFile,
    uptime: TextFile,
}

impl Load {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            load: TextFile::new(root, "proc/loadavg"),
            uptime: TextFile::new(root, "proc/uptime"),
        }
    }

    pub(super) fn sample(&self, readings: &mut Readings) {
        if let Some(load) = self.load.parse(parse_load) {
            for (index, (name, label)) in CHANNELS.into_iter().enumerate() {
                let mut channel = Channel::gauge(name).map(|channel| channel.label(label));
                if name.starts_with("processes/") {
                    channel = channel.map(|channel| channel.unit("count"));
                }
                match &load {
                    Ok(numbers) => readings.push(channel, numbers[index]),
                    Err(reason) => readings.fail(channel, reason),
                }
            }
        }
        if let Some(uptime) = self.uptime.parse(parse_uptime) {
            let channel = Channel::gauge("uptime").map(|channel| channel.unit("s").label("Uptime"));
            match uptime {
                Ok(seconds) => readings.push(channel, seconds),
                Err(reason) => readings.fail(channel, reason),
            }
        }
    }
}

fn parse_load(text: &str) -> Result<[f64; 5], String> {
    // The error of procfs-core asks for a report of a bug of its own.
    let garbled = || format!("not averages and counts: {}", quoted(text));
    let load = LoadAverage::from_read(text.as_bytes()).map_err(|_| garbled())?;
    // Its f32 turns 0.15 into 0.15000000596; the kernel writes two decimals.
    let [one, five, fifteen] =
        [load.one, load.five, load.fifteen].map(|load| rounded(load.into(), 2));
    let numbers = [one, five, fifteen, load.cur.into(), load.max.into()];
    if numbers.into_iter().all(possible) { Ok(numbers) } else { Err(garbled()) }
}

fn parse_uptime(text: &str) -> Result<f64, String> {
    match Uptime::from_read(text.as_bytes()) {
        Ok(uptime) if possible(uptime.uptime) => Ok(uptime.uptime),
        _ => Err(format!("not a time: {}", quoted(text))),
    }
}

/// Rust reads `nan`, `inf` and `-1` as numbers, too.
fn possible(number: f64) -> bool {
    number.is_finite() && number >= 0.0
}

#[cfg(test)]
mod tests {
    use super::{super::trees::*, *};

    fn sample(tree: &Tree) -> Readings {
        readings(|r| Load::new(tree.root()).sample(r))
    }

    #[test]
    fn load_and_uptime_are_the_numbers_of_the_files() {
        let seen = sample(&Tree::board("pi-4"));
        assert_eq!(names(&seen)[..5], CHANNELS.map(|(name, _)| name));
        assert_eq!(names(&seen)[5..], ["uptime"]);
        assert_numbers(
            &seen,
            &[
                ("load/1m", 0.15),
                ("load/5m", 1.07),
                ("load/15m", 0.99),
                ("processes/running", 2.0),
                ("processes/total", 312.0),
                ("uptime", 98_765.43),
            ],
        );
        let seen = sample(&Tree::board("pc"));
        assert_numbers(&seen, &[("load/1m", 0.52), ("uptime", 1201.09)]);
    }

    #[test]
    fn what_cannot_be_read_fails_and_names_its_file() {
        for bad in ["", "\n", "0.1 0.2\n", "nan 0 0 1/1 1\n", "-1 0 0 1/1 1\n", "a b c d e\n"] {
            let tree = Tree::new();
            tree.write("proc/loadavg", bad);
            let seen = sample(&tree);
            assert_eq!(names(&seen), CHANNELS.map(|(name, _)| name), "{bad:?}");
            let why = failure(&seen, "load/5m").expect("it fails");
            assert!(why.contains("proc/loadavg: "), "{why}");
        }
        for bad in ["", "\n", "1.0\n", "inf 1\n", "-1 1\n", "x y\n"] {
            let tree = Tree::new();
            tree.write("proc/uptime", bad);
            let seen = sample(&tree);
            assert_eq!(names(&seen), ["uptime"], "{bad:?}");
            let why = failure(&seen, "uptime").expect("it fails");
            assert!(why.contains("proc/uptime: "), "{why}");
        }
    }

    #[test]
    fn a_missing_file_is_no_channel() {
        assert_eq!(names(&sample(&Tree::new())), [""; 0]);
    }
}
