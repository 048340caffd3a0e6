//! What the board lacks, from `/proc/pressure`.
//!
//! ```text
//! some avg10=0.23 avg60=2.80 avg300=15.18 total=763406897
//! full avg10=0.00 avg60=0.00 avg300=0.00 total=0
//! ```
//!
//! The share of the time in which some of what had to be done, or all of it,
//! waited for the resource; a mean of about the last 10 seconds
//! (Documentation/accounting/psi.rst). It tells a lack earlier than the load
//! does, and which one. `full` says nothing of the CPU as a whole ("undefined
//! at the system level"), and is left out there.
//!
//! A kernel without it has no such folder, one that has it switched off (as
//! Raspberry Pi OS unless started with `psi=1`) neither, or answers EOPNOTSUPP
//! (kernel/sched/psi.c, `psi_show`).

use std::path::Path;

use nix::errno::Errno;

use super::file::{TextFile, quoted};
use crate::{sources::Readings, telemetry::Channel};

/// The files, and the channels of their lines `some` and `full`.
const RESOURCES: [(&str, &[(&str, &str)]); 3] = [
    ("cpu", &[("pressure/cpu", "Some wait for the CPU")]),
    ("io", &[("pressure/io", "Some wait for I/O"), ("pressure/io_full", "All wait for I/O")]),
    (
        "memory",
        &[
            ("pressure/memory", "Some wait for memory"),
            ("pressure/memory_full", "All wait for memory"),
        ],
    ),
];

/// Reads the files of `/proc/pressure`.
#[derive(Debug)]
pub(super) struct Pressure {
    files: [TextFile; 3],
}

impl Pressure {
    pub(super) fn new(root: &Path) -> Self {
        let folder = root.join("proc/pressure");
        let file = |(name, _)| TextFile::new(&folder, name).absent_on(Errno::EOPNOTSUPP);
        Self { files: RESOURCES.map(file) }
    }

    pub(super) fn sample(&self, readings: &mut Readings) {
        for (file, (_, channels)) in self.files.iter().zip(RESOURCES) {
            let Some(shares) = file.parse(|text| parse(text, channels.len())) else { continue };
            for (index, (name, label)) in channels.iter().enumerate() {
                let channel = Channel::gauge(name)
                    .map(|channel| channel.unit("%").label(*label).range(0.0, 100.0));
                match &shares {
                    Ok(shares) => readings.push(channel, shares[index]),
                    Err(reason) => readings.fail(channel, reason),
                }
            }
        }
    }
}

/// The shares of as many lines, in percent.
fn parse(text: &str, lines: usize) -> Result<Vec<f64>, String> {
    let share = |(line, kind): (&str, &str)| {
        let numbers = line.strip_prefix(kind)?.strip_prefix(" avg10=")?;
        let share = numbers.split(' ').next()?.parse().ok()?;
        (0.0..=100.0).contains(&share).then_some(share)
    };
    let shares: Vec<f64> =
        text.lines().zip(["some", "full"]).take(lines).filter_map(share).collect();
    let all = shares.len() == lines;
    all.then_some(shares).ok_or_else(|| format!("not shares of time: {}", quoted(text)))
}

#[cfg(test)]
mod tests {
    use super::{super::trees::*, *};

    fn sample(tree: &Tree) -> Readings {
        readings(|r| Pressure::new(tree.root()).sample(r))
    }

    const FULL: &str = "full avg10=1.25 avg60=0.00 avg300=0.00 total=0\n";

    #[test]
    fn the_mean_of_the_last_ten_seconds_is_told() {
        let tree = Tree::board("pi-5");
        let seen = sample(&tree);
        assert_numbers(
            &seen,
            &[
                ("pressure/cpu", 1.5),
                ("pressure/io", 12.25),
                ("pressure/io_full", 10.0),
                ("pressure/memory", 0.0),
                ("pressure/memory_full", 0.0),
            ],
        );
        assert_eq!(seen.iter().count(), 5);
        tree.turn("pi-5", 1);
        assert_numbers(&sample(&tree), &[("pressure/io", 14.5)]);
        // A recorded machine.
        assert_numbers(&sample(&Tree::board("pc")), &[("pressure/memory", 0.0)]);
    }

    #[test]
    fn an_older_kernel_has_no_full_line_of_the_cpu() {
        // Before Linux 5.13.
        let tree = Tree::new();
        tree.write("proc/pressure/cpu", "some avg10=3.50 avg60=0.00 avg300=0.00 total=0\n");
        assert_numbers(&sample(&tree), &[("pressure/cpu", 3.5)]);
    }

    #[test]
    fn what_cannot_be_read_fails_and_names_its_file() {
        let garbled = ["", "\n", FULL, "some avg10=", "some avg10=x avg60=0", "some avg10=nan a"];
        for bad in garbled.into_iter().chain(["some avg10=101.0 ", "some avg10=-1 ", "some "]) {
            let tree = Tree::new();
            tree.write("proc/pressure/cpu", bad);
            tree.write("proc/pressure/io", bad.to_owned() + "\n" + FULL);
            let seen = sample(&tree);
            for name in ["pressure/cpu", "pressure/io", "pressure/io_full"] {
                let why = failure(&seen, name).expect("it fails");
                assert!(why.contains("proc/pressure/"), "{bad:?}: {why}");
            }
        }
    }

    #[test]
    fn a_kernel_without_it_has_no_such_channel() {
        assert_eq!(names(&sample(&Tree::new())), [""; 0]);
        assert_eq!(names(&sample(&Tree::board("pi-4"))), [""; 0]);
    }
}
