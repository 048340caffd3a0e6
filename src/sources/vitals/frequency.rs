//! How fast the cores run, from `/sys/devices/system/cpu/cpufreq`.
//!
//! ```text
//! policy0/affected_cpus       0 1 2 3
//! policy0/scaling_cur_freq    1500000
//! policy0/cpuinfo_min_freq    600000
//! policy0/cpuinfo_max_freq    1800000
//! ```
//!
//! In kHz (Documentation/admin-guide/pm/cpufreq.rst, "Policy Interface in
//! sysfs"). A policy is what several cores share, on most boards all of them;
//! `cpu0/cpufreq` is a link to it, so that asking each policy instead of each
//! core is a quarter of the work. `affected_cpus` are those that are online. A
//! policy whose cores are all offline answers EBUSY (drivers/cpufreq/cpufreq.c,
//! `show`) and counts as not there.
//!
//! Without cpufreq (virtual machines, mostly) there is no such channel. The
//! "cpu MHz" of `/proc/cpuinfo` is not read instead: it stands there for x86
//! only, and is the nominal one where the kernel cannot measure.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use nix::errno::Errno;

use super::{
    file::{TextFile, numbered, quoted},
    rounded,
};
use crate::{sources::Readings, telemetry::Channel};

/// The most policies that are looked at; a PC has one for each core.
const MAX_POLICIES: usize = 256;

/// Reads the policies of `/sys/devices/system/cpu/cpufreq`.
#[derive(Debug)]
pub(super) struct Frequency {
    folder: PathBuf,
    /// They don't change while a policy is there.
    ranges: BTreeMap<u32, Range>,
}

/// The least and the greatest frequency of a policy in Hz, if it tells both.
type Range = Option<(f64, f64)>;

/// In Hz, or why it cannot be read.
type Measured = Result<f64, String>;

impl Frequency {
    pub(super) fn new(root: &Path) -> Self {
        Self { folder: root.join("sys/devices/system/cpu/cpufreq"), ranges: BTreeMap::new() }
    }

    pub(super) fn sample(&mut self, readings: &mut Readings) {
        let mut cores: BTreeMap<u32, (Measured, Range)> = BTreeMap::new();
        let policies = numbered(&self.folder, "policy", MAX_POLICIES);
        self.ranges.retain(|number, _| policies.contains(number));
        for number in policies {
            let folder = self.folder.join(format!("policy{number}"));
            let Some((affected, measured)) = read(&folder) else { continue };
            let range = *self.ranges.entry(number).or_insert_with(|| range(&folder));
            for core in affected {
                cores.insert(core, (measured.clone(), range));
            }
        }
        if cores.is_empty() {
            return;
        }
        let (mean, range) = together(cores.values());
        tell("cpu/frequency", "CPU frequency".into(), range, &mean, readings);
        for (core, (measured, range)) in &cores {
            let name = format!("cpu/core{core}/frequency");
            tell(&name, format!("Core {core} frequency"), *range, measured, readings);
        }
    }
}

fn tell(name: &str, label: String, range: Range, measured: &Measured, readings: &mut Readings) {
    let channel = Channel::gauge(name).map(|channel| {
        let channel = channel.unit("Hz").label(label);
        if let Some((min, max)) = range { channel.range(min, max) } else { channel }
    });
    match measured {
        Ok(hertz) => readings.push(channel, *hertz),
        Err(reason) => readings.fail(channel, reason),
    }
}

/// The mean of all cores, within the range of all. Without the frequency of
/// one it cannot be told: fast and slow cores may stand side by side.
fn together<'a>(cores: impl Iterator<Item = &'a (Measured, Range)> + Clone) -> (Measured, Range) {
    let measured: Result<Vec<f64>, &String> =
        cores.clone().map(|(measured, _)| measured.as_ref().copied()).collect();
    let mean = match measured {
        Ok(all) => Ok(rounded(all.iter().sum::<f64>() / all.len().max(1) as f64, 0)),
        Err(reason) => Err(reason.clone()),
    };
    let wider = |(a, b): (f64, f64), (c, d): (f64, f64)| (a.min(c), b.max(d));
    (mean, cores.filter_map(|(_, range)| *range).reduce(wider))
}

/// The cores of a policy and how fast they are; `None` when none is online.
fn read(folder: &Path) -> Option<(Vec<u32>, Measured)> {
    let file = |name| TextFile::new(folder, name).absent_on(Errno::EBUSY);
    let measured = file("scaling_cur_freq").parse(parse_frequency)?;
    match file("affected_cpus").parse(parse_cores)? {
        Ok(cores) if cores.is_empty() => None,
        Ok(cores) => Some((cores, measured)),
        Err(reason) => {
            log::debug!("{reason}");
            None
        }
    }
}

fn range(folder: &Path) -> Range {
    let limit = |name| TextFile::new(folder, name).parse(parse_frequency)?.ok();
    Some((limit("cpuinfo_min_freq")?, limit("cpuinfo_max_freq")?))
}

/// Of kHz, Hz.
fn parse_frequency(text: &str) -> Result<f64, String> {
    match text.trim().parse::<u32>() {
        Ok(kilohertz) if kilohertz > 0 => Ok(f64::from(kilohertz) * 1000.0),
        _ => Err(format!("not a frequency: {}", quoted(text))),
    }
}

fn parse_cores(text: &str) -> Result<Vec<u32>, String> {
    let cores = text.split_ascii_whitespace().map(|core| core.parse().ok()).collect();
    Option::ok_or_else(cores, || format!("not a list of cores: {}", quoted(text)))
}

#[cfg(test)]
mod tests {
    use super::{super::trees::*, *};

    fn policy(tree: &Tree, number: u32, cores: &str, frequency: &str) {
        let folder = format!("sys/devices/system/cpu/cpufreq/policy{number}");
        tree.write(&format!("{folder}/affected_cpus"), cores);
        tree.write(&format!("{folder}/scaling_cur_freq"), frequency);
    }

    fn sample(tree: &Tree) -> Readings {
        readings(|r| Frequency::new(tree.root()).sample(r))
    }

    #[test]
    fn the_cores_of_a_board_share_one_frequency() {
        let tree = Tree::board("pi-4");
        let seen = sample(&tree);
        assert_eq!(seen.iter().count(), 1 + 4);
        assert_numbers(
            &seen,
            &[("cpu/frequency", 600_000_000.0), ("cpu/core3/frequency", 600_000_000.0)],
        );
        let all = &reading(&seen, "cpu/frequency").expect("it is there").channel;
        assert_eq!((all.min, all.max), (Some(600_000_000.0), Some(1_800_000_000.0)));
        assert_eq!(all.unit.as_deref(), Some("Hz"));
        tree.turn("pi-4", 1);
        assert_numbers(&sample(&tree), &[("cpu/frequency", 1_500_000_000.0)]);
        let one = sample(&Tree::board("pi-zero-w"));
        assert_eq!(names(&one), ["cpu/frequency", "cpu/core0/frequency"]);
        assert_eq!(names(&sample(&Tree::board("pc"))), [""; 0]);
    }

    #[test]
    fn fast_and_slow_cores_have_a_mean_of_those_that_are_online() {
        let tree = Tree::new();
        policy(&tree, 0, "0 1\n", "600000\n");
        policy(&tree, 4, "4\n", "1800001\n");
        policy(&tree, 6, "\n", "2000000\n");
        let seen = sample(&tree);
        assert_eq!(seen.iter().count(), 1 + 3);
        // (2 x 600,000 + 1,800,001) / 3 kHz = 1,000,000.333
        assert_numbers(
            &seen,
            &[("cpu/frequency", 1_000_000_333.0), ("cpu/core4/frequency", 1_800_001_000.0)],
        );
        assert_eq!(reading(&seen, "cpu/frequency").and_then(|r| r.channel.max), None);
    }

    #[test]
    fn what_cannot_be_read_fails_its_cores_and_the_mean() {
        for bad in ["", "0\n", "x\n", "-1\n", "1.5\n", "99999999999\n"] {
            let tree = Tree::new();
            policy(&tree, 0, "0\n", "600000\n");
            policy(&tree, 1, "1\n", bad);
            let seen = sample(&tree);
            assert_eq!(seen.number("cpu/core0/frequency"), Some(600_000_000.0));
            for name in ["cpu/frequency", "cpu/core1/frequency"] {
                let why = failure(&seen, name).expect("it fails");
                assert!(why.contains("policy1/scaling_cur_freq: "), "{why}");
            }
        }
    }

    #[test]
    fn a_policy_without_cores_is_not_there() {
        let tree = Tree::new();
        policy(&tree, 0, "0-3\n", "600000\n");
        tree.folder("sys/devices/system/cpu/cpufreq/policy4");
        tree.write("sys/devices/system/cpu/cpufreq/boost", "1\n");
        assert_eq!(names(&sample(&tree)), [""; 0]);
        assert_eq!(names(&sample(&Tree::new())), [""; 0]);
    }
}
