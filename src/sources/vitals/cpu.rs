//! What the cores do, from `/proc/stat`.
//!
//! ```text
//! cpu  6500 10 1900 30000 170 20 45 0 0 0
//! cpu0 1000 10 500 8000 100 20 30 0 0 0
//! cpu2 3000 0 700 6000 0 0 0 0 0 0
//! intr 164821 0 0 …
//!      user nice system idle iowait irq softirq steal guest guest_nice
//! ```
//!
//! Time since boot in ticks of 1/100 s; the first line is the sum of all cores
//! (Documentation/filesystems/proc.rst, "Miscellaneous kernel statistics in
//! /proc/stat"). `guest` is part of `user` and `guest_nice` of `nice`
//! (kernel/sched/cputime.c, `account_guest_time`), so they are not added again.
//!
//! Parsed here, because procfs-core counts the cores instead of keeping their
//! numbers: with core 1 offline, core 2 would become core 1.

use std::{collections::BTreeMap, path::Path};

use super::{
    file::{TextFile, quoted},
    rounded,
};
use crate::{
    sources::Readings,
    telemetry::{Channel, Value},
};

/// Which line: that of one core, or (`None`) that of all.
type Core = Option<u32>;

/// Reads `/proc/stat`. It needs no clock: a share is ticks per ticks.
#[derive(Debug)]
pub(super) struct Cpu {
    file: TextFile,
    previous: BTreeMap<Core, Ticks>,
}

impl Cpu {
    pub(super) fn new(root: &Path) -> Self {
        Self { file: TextFile::new(root, "proc/stat"), previous: BTreeMap::new() }
    }

    pub(super) fn sample(&mut self, readings: &mut Readings) {
        match self.file.parse(parse) {
            Some(Ok(now)) => self.publish(now, readings),
            Some(Err(reason)) => self.fail(&reason, readings),
            None => self.previous.clear(),
        }
    }

    fn publish(&mut self, now: BTreeMap<Core, Ticks>, readings: &mut Readings) {
        for (core, ticks) in &now {
            // A core that just came has no shares yet.
            let Some(before) = self.previous.get(core) else { continue };
            let shares = ticks.since(before);
            for part in parts(*core) {
                let value = shares.map_or(Value::Null, |shares| (part.share)(&shares).into());
                readings.push(part.channel(*core), value);
            }
        }
        self.previous = now;
    }

    fn fail(&self, reason: &str, readings: &mut Readings) {
        let all = self.previous.is_empty().then_some(None);
        for core in self.previous.keys().copied().chain(all) {
            for part in parts(core) {
                readings.fail(part.channel(core), reason);
            }
        }
    }
}

/// What is told of each core.
struct Part {
    level: &'static str,
    label: &'static str,
    share: fn(&Shares) -> f64,
}

/// Stolen time is last: it is told of all cores together only.
const PARTS: [Part; 5] = [
    Part { level: "usage", label: "use", share: |shares| shares.usage },
    Part { level: "user", label: "use by programs", share: |shares| shares.user },
    Part { level: "system", label: "use by the kernel", share: |shares| shares.system },
    Part { level: "iowait", label: "waiting for I/O", share: |shares| shares.iowait },
    Part { level: "steal", label: "taken by the host", share: |shares| shares.steal },
];

fn parts(core: Core) -> &'static [Part] {
    if core.is_none() { &PARTS } else { &PARTS[..PARTS.len() - 1] }
}

impl Part {
    fn channel(&self, core: Core) -> crate::Result<Channel> {
        let Self { level, label, .. } = self;
        let (name, label) = match core {
            None => (format!("cpu/{level}"), format!("CPU {label}")),
            Some(n) => (format!("cpu/core{n}/{level}"), format!("Core {n} {label}")),
        };
        Ok(Channel::gauge(&name)?.unit("%").label(label).range(0.0, 100.0))
    }
}

/// One line, folded to what is told.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    /// user + nice
    user: u64,
    /// system + irq + softirq
    system: u64,
    steal: u64,
    /// idle + iowait
    rest: u64,
    iowait: u64,
}

/// Shares of the time between two readings, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shares {
    usage: f64,
    user: f64,
    system: f64,
    iowait: f64,
    steal: f64,
}

impl Ticks {
    /// `None` where nothing can be said: no tick has passed, or a count went
    /// back (idle time does when a core goes offline, fs/proc/stat.c).
    ///
    /// iowait "will decrease in certain conditions" (proc.rst) because the
    /// same time is then counted as idle: their sum holds, so it is the sum
    /// that is trusted, and iowait is kept within it.
    fn since(&self, before: &Self) -> Option<Shares> {
        let user = self.user.checked_sub(before.user)?;
        let system = self.system.checked_sub(before.system)?;
        let steal = self.steal.checked_sub(before.steal)?;
        let rest = self.rest.checked_sub(before.rest)?;
        let iowait = self.iowait.saturating_sub(before.iowait).min(rest);
        let busy = user.saturating_add(system).saturating_add(steal);
        let total = busy.saturating_add(rest);
        if total == 0 {
            return None;
        }
        let percent = |ticks: u64| rounded(ticks as f64 * 100.0 / total as f64, 2);
        Some(Shares {
            usage: percent(busy),
            user: percent(user),
            system: percent(system),
            iowait: percent(iowait),
            steal: percent(steal),
        })
    }
}

fn parse(text: &str) -> Result<BTreeMap<Core, Ticks>, String> {
    let mut cores = BTreeMap::new();
    for line in text.lines().take_while(|line| line.starts_with("cpu")) {
        let (core, ticks) =
            parse_line(line).ok_or_else(|| format!("not a line of ticks: {}", quoted(line)))?;
        cores.insert(core, ticks);
    }
    if cores.contains_key(&None) { Ok(cores) } else { Err("no line \"cpu\" at its head".into()) }
}

fn parse_line(line: &str) -> Option<(Core, Ticks)> {
    let (name, numbers) = line.strip_prefix("cpu")?.split_once(' ')?;
    let core = if name.is_empty() { None } else { Some(name.parse().ok()?) };
    // Kernels before 2.6.11 have fewer columns; the first four were always there.
    let mut columns = [0_u64; 8];
    let mut words = numbers.split_ascii_whitespace();
    for (index, column) in columns.iter_mut().enumerate() {
        match words.next() {
            Some(word) => *column = word.parse().ok()?,
            None if index < 4 => return None,
            None => break,
        }
    }
    let [user, nice, system, idle, iowait, irq, softirq, steal] = columns;
    let ticks = Ticks {
        user: user.saturating_add(nice),
        system: system.saturating_add(irq).saturating_add(softirq),
        steal,
        rest: idle.saturating_add(iowait),
        iowait,
    };
    Some((core, ticks))
}

#[cfg(test)]
mod tests {
    use super::{super::trees::*, *};

    /// The shares in all between two lines.
    fn between(before: &str, now: &str) -> Option<Shares> {
        let ticks = |line| parse_line(line).expect("a good line").1;
        ticks(now).since(&ticks(before))
    }

    #[test]
    fn the_first_tick_has_no_shares_and_the_second_has_all() {
        let tree = Tree::board("pi-4");
        let mut cpu = Cpu::new(tree.root());
        assert_eq!(names(&readings(|r| cpu.sample(r))), [""; 0]);
        tree.turn("pi-4", 1);
        let second = readings(|r| cpu.sample(r));
        assert_eq!(second.iter().count(), 5 + 4 * 4);
        // All: user 260 + nice 10 = 270, system 30 + irq 4 + softirq 6 = 40,
        // idle 490 + iowait 0; together 800 ticks.
        assert_numbers(
            &second,
            &[
                ("cpu/usage", 38.75), // (270 + 40) / 800
                ("cpu/user", 33.75),  // 270 / 800; the 30 of guest are in user
                ("cpu/system", 5.0),  // 40 / 800
                ("cpu/iowait", 0.0),  // core 0 has 10 more, core 3 has 10 less
                ("cpu/steal", 0.0),
                // Core 0: user 40, nice 10, system 20, idle 110, iowait 10,
                // irq 4, softirq 6; together 200.
                ("cpu/core0/usage", 40.0),  // (50 + 30) / 200
                ("cpu/core0/user", 25.0),   // 50 / 200
                ("cpu/core0/system", 15.0), // 30 / 200
                ("cpu/core0/iowait", 5.0),  // 10 / 200
                // Core 1: user 200. Core 2: idle 200.
                ("cpu/core1/usage", 100.0),
                ("cpu/core1/user", 100.0),
                ("cpu/core2/usage", 0.0),
                // Core 3: user 20, system 10, idle 180, iowait -10; 200.
                ("cpu/core3/usage", 15.0), // 30 / 200
                ("cpu/core3/iowait", 0.0),
            ],
        );
        assert_eq!(second.number("cpu/core0/steal"), None);
    }

    #[test]
    fn a_board_of_one_core_has_its_core_and_the_sum() {
        let tree = Tree::board("pi-zero-w");
        let mut cpu = Cpu::new(tree.root());
        cpu.sample(&mut Readings::default());
        tree.turn("pi-zero-w", 1);
        let second = readings(|r| cpu.sample(r));
        // user 30, nice 5, system 10, idle 48, iowait 5, softirq 2: 100 ticks.
        assert_numbers(
            &second,
            &[
                ("cpu/usage", 47.0),
                ("cpu/user", 35.0),
                ("cpu/system", 12.0),
                ("cpu/iowait", 5.0),
                ("cpu/core0/usage", 47.0),
            ],
        );
        assert_eq!(second.iter().count(), 5 + 4);
    }

    #[test]
    fn a_recorded_machine_adds_up() {
        let tree = Tree::board("pc");
        let mut cpu = Cpu::new(tree.root());
        cpu.sample(&mut Readings::default());
        tree.turn("pc", 1);
        let second = readings(|r| cpu.sample(r));
        // All: user 9816 - 9593 = 223, system 3801 - 3705 = 96, steal 441 - 438 = 3,
        // idle 225340 - 225259 = 81, iowait 644 - 627 = 17; together 420.
        assert_numbers(
            &second,
            &[
                ("cpu/usage", 76.67),  // 322 / 420
                ("cpu/user", 53.1),    // 223 / 420
                ("cpu/system", 22.86), // 96 / 420
                ("cpu/iowait", 4.05),  // 17 / 420
                ("cpu/steal", 0.71),   // 3 / 420
                // Core 0: user 4657 - 4447 = 210, steal 1; 211.
                ("cpu/core0/usage", 100.0),
                ("cpu/core0/user", 99.53), // 210 / 211
                // Core 1: user 13, system 96, steal 3, idle 81, iowait 17; 210.
                ("cpu/core1/usage", 53.33),  // 112 / 210
                ("cpu/core1/user", 6.19),    // 13 / 210
                ("cpu/core1/system", 45.71), // 96 / 210
                ("cpu/core1/iowait", 8.1),   // 17 / 210
            ],
        );
    }

    #[test]
    fn a_pi_5_reading_its_ssd_waits_for_it() {
        let tree = Tree::board("pi-5");
        let mut cpu = Cpu::new(tree.root());
        cpu.sample(&mut Readings::default());
        tree.turn("pi-5", 1);
        // All: user 20, system 60, idle 200, iowait 100, softirq 20; 400.
        assert_numbers(
            &readings(|r| cpu.sample(r)),
            &[
                ("cpu/usage", 25.0), // (20 + 60 + 20) / 400
                ("cpu/iowait", 25.0),
                ("cpu/core0/system", 80.0), // (60 + 20) / 100
                ("cpu/core1/iowait", 100.0),
                ("cpu/core2/usage", 0.0),
            ],
        );
    }

    #[test]
    fn a_core_keeps_its_number_when_another_is_offline() {
        let tree = Tree::new();
        let mut cpu = Cpu::new(tree.root());
        tree.write("proc/stat", "cpu  1 0 0 1\ncpu0 1 0 0 0\ncpu2 0 0 0 1\nintr 5\n");
        cpu.sample(&mut Readings::default());
        tree.write("proc/stat", "cpu  2 0 0 2\ncpu0 2 0 0 0\ncpu2 0 0 0 2\nintr 6\n");
        let second = readings(|r| cpu.sample(r));
        assert_numbers(&second, &[("cpu/core0/usage", 100.0), ("cpu/core2/usage", 0.0)]);
        assert_eq!(second.number("cpu/core1/usage"), None);
    }

    #[test]
    fn a_core_that_comes_back_starts_anew() {
        let tree = Tree::new();
        let mut cpu = Cpu::new(tree.root());
        let present = |core1: &str| format!("cpu  9 0 0 9\ncpu0 9 0 0 9\n{core1}intr 5\n");
        for core1 in ["cpu1 9 0 0 9\n", "", "cpu1 5 0 0 50\n"] {
            tree.write("proc/stat", present(core1));
            let seen = readings(|r| cpu.sample(r));
            assert!(reading(&seen, "cpu/core1/usage").is_none(), "{core1:?}");
        }
        tree.write("proc/stat", present("cpu1 6 0 0 53\n"));
        assert_eq!(readings(|r| cpu.sample(r)).number("cpu/core1/usage"), Some(25.0));
    }

    #[test]
    fn counts_that_go_back_give_no_shares_but_iowait_may() {
        assert_eq!(between("cpu 9 0 0 9", "cpu 8 0 0 19"), None);
        assert_eq!(between("cpu 9 0 0 9", "cpu 19 0 0 8"), None);
        assert_eq!(between("cpu 9 0 0 9", "cpu 9 0 0 9"), None);
        // 5 of iowait are counted as idle now: idle 10, iowait -5, user 5.
        let shares = between("cpu 0 0 0 0 5", "cpu 5 0 0 10 0").expect("10 ticks");
        assert_eq!((shares.usage, shares.iowait), (50.0, 0.0));
        // More iowait than there was rest: idle -4, iowait 6, user 2.
        let shares = between("cpu 0 0 0 4 0", "cpu 2 0 0 0 6").expect("4 ticks");
        assert_eq!((shares.usage, shares.iowait), (50.0, 50.0));
    }

    #[test]
    fn no_count_is_too_large() {
        let huge = format!("cpu {0} {0} {0} {0} {0} {0} {0} {0}", u64::MAX);
        let shares = between("cpu 0 0 0 0", &huge).expect("many ticks");
        assert!((0.0..=100.0).contains(&shares.usage), "{shares:?}");
    }

    #[test]
    fn a_channel_without_shares_stays_but_has_no_value() {
        let tree = Tree::new();
        let mut cpu = Cpu::new(tree.root());
        tree.write("proc/stat", "cpu  1 0 0 1\n");
        cpu.sample(&mut Readings::default());
        assert!(is_null(&readings(|r| cpu.sample(r)), "cpu/usage"));
    }

    #[test]
    fn a_garbled_file_fails_what_was_there_and_names_itself() {
        for bad in ["", "\n", "cpu\n", "cpu  1 2\n", "cpu  1 2 3 x\n", "cpux 1 2 3 4\n", "intr 1\n"]
        {
            let tree = Tree::new();
            let mut cpu = Cpu::new(tree.root());
            tree.write("proc/stat", bad);
            let seen = readings(|r| cpu.sample(r));
            assert_eq!(seen.iter().count(), 5, "{bad:?}");
            let why = failure(&seen, "cpu/usage").expect("it fails");
            assert!(why.contains("proc/stat: "), "{why}");

            tree.write("proc/stat", "cpu  1 0 0 1\ncpu3 1 0 0 1\n");
            cpu.sample(&mut Readings::default());
            tree.write("proc/stat", bad);
            assert!(failure(&readings(|r| cpu.sample(r)), "cpu/core3/user").is_some());
        }
    }

    #[test]
    fn a_missing_file_is_no_channel() {
        let tree = Tree::new();
        assert_eq!(names(&readings(|r| Cpu::new(tree.root()).sample(r))), [""; 0]);
    }

    #[test]
    fn a_channel_says_what_it_is() {
        let channel = PARTS[0].channel(Some(2)).expect("a good name");
        assert_eq!(channel.label.as_deref(), Some("Core 2 use"));
        assert_eq!(channel.unit.as_deref(), Some("%"));
        assert_eq!((channel.min, channel.max), (Some(0.0), Some(100.0)));
    }
}
