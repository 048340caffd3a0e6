//! Memory and swap, from `/proc/meminfo`.
//!
//! ```text
//! MemTotal:         443392 kB
//! MemFree:          120000 kB
//! MemAvailable:     280000 kB
//! Buffers:           20000 kB
//! Cached:           150000 kB
//! SwapTotal:        102396 kB
//! SwapFree:          92396 kB
//! ```
//!
//! Documentation/filesystems/proc.rst, "meminfo"; its kB are of 1,024 bytes.
//! `MemAvailable`, what programs can still take without swapping, came with
//! Linux 3.14; before that the caches count as available.
//!
//! Parsed here, because `Meminfo` of procfs-core panics on a garbled line (a
//! name that ends in a character of two bytes, or a size that overflows), and
//! fails as a whole where one of seventeen lines is missing.

use std::path::Path;

use super::file::{TextFile, quoted};
use crate::{sources::Readings, telemetry::Channel};

/// Reads `/proc/meminfo`.
#[derive(Debug)]
pub(super) struct Memory {
    file: TextFile,
    has_swap: bool,
}

impl Memory {
    pub(super) fn new(root: &Path) -> Self {
        Self { file: TextFile::new(root, "proc/meminfo"), has_swap: false }
    }

    pub(super) fn sample(&mut self, readings: &mut Readings) {
        match self.file.parse(parse) {
            Some(Ok(figures)) => {
                self.has_swap = figures.swap.is_some();
                figures.publish(readings);
            }
            Some(Err(reason)) => self.fail(&reason, readings),
            None => self.has_swap = false,
        }
    }

    fn fail(&self, reason: &str, readings: &mut Readings) {
        let swap: &[_] = if self.has_swap { &[SWAP_TOTAL, SWAP_USED] } else { &[] };
        for (name, label) in [TOTAL, AVAILABLE, USED].iter().chain(swap) {
            readings.fail(bytes(name, label), reason);
        }
    }
}

const TOTAL: (&str, &str) = ("mem/total", "Memory in all");
const AVAILABLE: (&str, &str) = ("mem/available", "Memory available");
const USED: (&str, &str) = ("mem/used", "Memory in use");
const SWAP_TOTAL: (&str, &str) = ("swap/total", "Swap in all");
const SWAP_USED: (&str, &str) = ("swap/used", "Swap in use");

fn bytes(name: &str, label: &'static str) -> crate::Result<Channel> {
    Ok(Channel::gauge(name)?.unit("B").label(label))
}

/// What is told, in bytes.
#[derive(Debug, PartialEq)]
struct Figures {
    total: u64,
    available: u64,
    /// Total and free; `None` without swap.
    swap: Option<(u64, u64)>,
}

impl Figures {
    fn publish(&self, readings: &mut Readings) {
        let &Self { total, available, swap } = self;
        let mut push = |(name, label): (&str, _), value: u64, max: Option<u64>| {
            let mut channel = bytes(name, label);
            if let (Ok(channel), Some(max)) = (&mut channel, max) {
                (channel.min, channel.max) = (Some(0.0), Some(max as f64));
            }
            readings.push(channel, value);
        };
        push(TOTAL, total, None);
        push(AVAILABLE, available, Some(total));
        push(USED, total.saturating_sub(available), Some(total));
        if let Some((total, free)) = swap {
            push(SWAP_TOTAL, total, None);
            push(SWAP_USED, total.saturating_sub(free), Some(total));
        }
    }
}

fn parse(text: &str) -> Result<Figures, String> {
    let [mut total, mut free, mut available, mut buffers] = [None; 4];
    let [mut cached, mut swap_total, mut swap_free] = [None; 3];
    for line in text.lines() {
        let Some((name, size)) = line.split_once(':') else { continue };
        let figure = match name {
            "MemTotal" => &mut total,
            "MemFree" => &mut free,
            "MemAvailable" => &mut available,
            "Buffers" => &mut buffers,
            "Cached" => &mut cached,
            "SwapTotal" => &mut swap_total,
            "SwapFree" => &mut swap_free,
            _ => continue,
        };
        *figure = Some(parse_size(size).ok_or_else(|| format!("not a size: {}", quoted(line)))?);
    }
    let caches = || {
        let (free, buffers, cached): (u64, u64, u64) = (free?, buffers?, cached?);
        Some(free.saturating_add(buffers).saturating_add(cached))
    };
    Ok(Figures {
        total: total.ok_or("no line \"MemTotal\"")?,
        available: available.or_else(caches).ok_or("no line \"MemAvailable\"")?,
        swap: swap_total.zip(swap_free).filter(|(total, _)| *total > 0),
    })
}

fn parse_size(text: &str) -> Option<u64> {
    text.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{super::trees::*, *};

    fn sample(tree: &Tree) -> Readings {
        readings(|r| Memory::new(tree.root()).sample(r))
    }

    #[test]
    fn sizes_are_bytes_and_used_is_what_is_not_available() {
        let seen = sample(&Tree::board("pi-zero-w"));
        assert_numbers(
            &seen,
            &[
                ("mem/total", 454_033_408.0),     // 443,392 x 1,024
                ("mem/available", 286_720_000.0), // 280,000 x 1,024
                ("mem/used", 167_313_408.0),      // 163,392 x 1,024
                ("swap/total", 104_853_504.0),    // 102,396 x 1,024
                ("swap/used", 10_240_000.0),      // 10,000 x 1,024
            ],
        );
        let used = &reading(&seen, "mem/used").expect("it is there").channel;
        assert_eq!((used.min, used.max), (Some(0.0), Some(454_033_408.0)));
        assert_eq!(used.unit.as_deref(), Some("B"));
    }

    #[test]
    fn without_swap_there_are_no_swap_channels() {
        let seen = sample(&Tree::board("pi-4"));
        assert_eq!(names(&seen), ["mem/total", "mem/available", "mem/used"]);
        assert_numbers(
            &seen,
            &[
                ("mem/total", 3_977_662_464.0), // 3,884,436 x 1,024
                ("mem/used", 905_662_464.0),    // (3,884,436 - 3,000,000) x 1,024
            ],
        );
        // A recorded file: 24,684,084 and 24,684,084 - 24,344,388 = 339,696 kB.
        let seen = sample(&Tree::board("pc"));
        assert_numbers(&seen, &[("mem/total", 25_276_502_016.0), ("mem/used", 347_848_704.0)]);
    }

    #[test]
    fn a_pi_5_swaps_into_memory() {
        // 8,244,224 - 6,144,000 and 2,097,136 - 2,080,752 kB.
        let seen = sample(&Tree::board("pi-5"));
        assert_numbers(&seen, &[("mem/used", 2_150_629_376.0), ("swap/used", 16_777_216.0)]);
    }

    #[test]
    fn an_old_kernel_counts_its_caches_as_available() {
        let text = "MemTotal: 100 kB\nMemFree: 10 kB\nBuffers: 20 kB\nCached: 30 kB\n";
        let figures = parse(text).expect("enough lines");
        // 10 + 20 + 30 = 60 kB
        assert_eq!(figures, Figures { total: 102_400, available: 61_440, swap: None });
    }

    #[test]
    fn more_available_than_there_is_is_nothing_used() {
        let tree = Tree::new();
        tree.write("proc/meminfo", "MemTotal: 1 kB\nMemAvailable: 2 kB\n");
        assert_eq!(sample(&tree).number("mem/used"), Some(0.0));
    }

    #[test]
    fn a_garbled_file_fails_what_was_there_and_names_itself() {
        let huge = format!("MemTotal: {} kB\nMemAvailable: 1 kB\n", u64::MAX);
        let garbled =
            ["", "é", "é: 1 kB", "MemTotal: 1 kB\n", "MemTotal: x kB\n", "MemTotal: 1\n", &huge];
        for bad in garbled {
            let tree = Tree::new();
            let mut memory = Memory::new(tree.root());
            tree.write("proc/meminfo", bad);
            let seen = readings(|r| memory.sample(r));
            assert_eq!(names(&seen), ["mem/total", "mem/available", "mem/used"], "{bad:?}");
            let why = failure(&seen, "mem/used").expect("it fails");
            assert!(why.contains("proc/meminfo: "), "{why}");

            memory.has_swap = true;
            assert!(failure(&readings(|r| memory.sample(r)), "swap/used").is_some(), "{bad:?}");
        }
    }

    #[test]
    fn a_missing_file_is_no_channel() {
        assert_eq!(names(&sample(&Tree::new())), [""; 0]);
    }
}
