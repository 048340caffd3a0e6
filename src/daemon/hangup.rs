//! What SIGHUP means: the settings have changed, or the terminal has gone.
//!
//! A service is told with it to read its settings anew. A program in the
//! foreground gets it when its terminal is closed, and should end then, unless
//! it was started with nohup(1).

use std::fs::{self, File};

/// The terminal that the program was started from.
#[derive(Debug)]
pub(super) struct Terminal {
    /// It has one, and ends when that goes.
    leads: bool,
}

impl Terminal {
    /// Looks at its start.
    pub(super) fn now() -> Self {
        let ignored = fs::read_to_string("/proc/self/status").is_ok_and(|text| ignores(&text));
        Self { leads: !ignored && is_there() }
    }

    /// Whether it was there and has gone.
    pub(super) fn has_gone(&self) -> bool {
        self.leads && !is_there()
    }
}

/// tty(4): it cannot be opened by a process that has no controlling terminal.
fn is_there() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether SIGHUP was ignored when the program began, as nohup(1) has it: bit
/// 0 of `SigIgn` (proc_pid_status(5)).
fn ignores(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_known_by_the_mask_of_ignored_signals() {
        assert!(ignores("Name:\tx\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!ignores(""));
    }
}
