//! What this process takes of the board, from `/proc/self`.
//!
//! ```text
//! status   VmRSS:      5120 kB
//!          Threads:    9
//! stat     4242 (boardcast) S 1 4242 … utime stime …
//! fd/      one entry for each open descriptor
//! ```
//!
//! Documentation/filesystems/proc.rst, tables 1-2 and 1-4. The resident memory
//! is taken from `status` and not from `statm`, which counts pages: those have
//! 4 KiB on most boards and 16 KiB on a Raspberry Pi 5.

use std::{fs, path::Path, time::Duration};

use super::file::TextFile;

/// How long a tick of `stat` is. `USER_HZ` is 100 wherever Rust runs on Linux
/// (include/asm-generic/param.h; 1,024 on Alpha and Itanium only). It is not
/// the `HZ` that a kernel is built with.
const TICK: Duration = Duration::from_millis(10);

/// What this process takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Process {
    /// Memory that is resident, in bytes.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors; `None` where `fd` cannot be listed, for instance
    /// because no descriptor is left to list it with.
    pub descriptors: Option<u64>,
    /// Time on a core since the start, in all threads.
    pub cpu: Duration,
}

impl Process {
    /// Reads `proc/self` below `root`; `None` when it cannot be read.
    pub(crate) fn read(root: &Path) -> Option<Self> {
        let folder = root.join("proc/self");
        let status = TextFile::new(&folder, "status").parse(|t| parse_status(t).ok_or("garbled"));
        let (resident, threads) = status?.ok()?;
        let cpu = TextFile::new(&folder, "stat").parse(|t| parse_cpu(t).ok_or("garbled"));
        Some(Self { resident, threads, descriptors: count(&folder.join("fd")), cpu: cpu?.ok()? })
    }
}

fn parse_status(text: &str) -> Option<(u64, u64)> {
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
    let resident: u64 = field("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some((resident.checked_mul(1024)?, field("Threads:")?.trim().parse().ok()?))
}

fn parse_cpu(text: &str) -> Option<Duration> {
    // The name of the program, in brackets, may hold brackets and spaces.
    let (_, fields) = text.rsplit_once(')')?;
    // Behind the name: state is field 3, utime 14, stime 15.
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    TICK.checked_mul(user.checked_add(system)?.try_into().ok()?)
}

fn count(folder: &Path) -> Option<u64> {
    let entries = fs::read_dir(folder).ok()?.count() as u64;
    // One is the descriptor that lists the folder.
    Some(entries.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::{super::trees::*, *};

    #[test]
    fn a_process_is_read() {
        let process = Process::read(Tree::board("pi-4").root()).expect("it is there");
        let expected = Process {
            resident: 5_242_880, // 5,120 x 1,024
            threads: 9,
            descriptors: Some(4), // 0 to 4 without the one that lists them
            cpu: Duration::from_secs(4), // (250 + 150) x 10 ms
        };
        assert_eq!(process, expected);
    }

    #[test]
    fn pages_of_16_kib_change_nothing() {
        let process = Process::read(Tree::board("pi-5").root()).expect("it is there");
        assert_eq!(process.resident, 6_291_456); // 6,144 x 1,024 = 384 pages
    }

    #[test]
    fn a_recorded_process_is_read() {
        let process = Process::read(Tree::board("pc").root()).expect("it is there");
        assert_eq!((process.threads, process.descriptors), (1, None));
    }

    #[test]
    fn this_process_is_read() {
        let process = Process::read(Path::new("/")).expect("Linux has /proc/self");
        assert!(process.resident > 100_000 && process.threads >= 1);
        assert!(process.descriptors.is_some_and(|count| count >= 1));
    }

    #[test]
    fn the_name_of_a_program_may_hold_brackets() {
        let text = "1 (a) b) (c) S 1 1 1 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 5";
        assert_eq!(parse_cpu(text), Some(Duration::from_millis(30)));
    }

    #[test]
    fn what_is_garbled_or_missing_is_none() {
        for bad in ["", ")", "1 (a) S", "1 (a) S 1 1 1 0 -1 0 0 0 0 0 x 2"] {
            assert_eq!(parse_cpu(bad), None, "{bad:?}");
        }
        let many = format!("1 (a) S 1 1 1 0 -1 0 0 0 0 0 {} 2", u64::MAX);
        assert_eq!(parse_cpu(&many), None);
        for bad in ["", "VmRSS: 1 kB\n", "VmRSS: x kB\nThreads: 1\n", "VmRSS: 1\nThreads: 1\n"] {
            assert_eq!(parse_status(bad), None, "{bad:?}");
        }
        assert_eq!(Process::read(Tree::new().root()), None);
    }
}
