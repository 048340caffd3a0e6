//! Two clocks: one that never jumps, for keeping; one that people read, for showing.
//!
//! A board has no battery-backed clock: its wall clock starts in the past and
//! jumps when NTP answers. So every instant is kept in boot time
//! (`CLOCK_BOOTTIME`, which also counts sleep), and turned into wall time only
//! when it is encoded.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::time::{ClockId, clock_gettime};

use crate::fault;

/// An instant, as time since the board was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// The instant `since_boot` after the start of the board.
    pub const fn new(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// Time since boot.
    pub const fn since_boot(self) -> Duration {
        self.0
    }

    /// Whole milliseconds since boot, signed as the axis of
    /// [`History`](super::History) is.
    pub fn millis(self) -> i64 {
        // Not `as_millis`: its 128 bits are dear on a 32-bit board.
        let seconds = i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX / 1000 - 1);
        seconds * 1000 + i64::from(self.0.subsec_millis())
    }

    /// The time from `earlier` to this instant, or zero when it is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

/// Where the program reads the time; tests hand in their own.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Now, in boot time.
    fn boot(&self) -> BootTime;
    /// Now, in seconds since 1970-01-01T00:00:00Z. It may jump.
    fn wall(&self) -> f64;
    /// Whether the wall clock is known to be synchronised (NTP, GPS, …).
    fn synced(&self) -> bool;

    /// Boot time in wall time, by the offset of this moment.
    fn wall_of(&self, instant: BootTime) -> f64 {
        self.wall() - self.boot().0.as_secs_f64() + instant.0.as_secs_f64()
    }
}

/// The clocks of the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot(&self) -> BootTime {
        // Only an unknown clock fails, and this one is as old as Linux 2.6.39;
        // time_t of 32 bits does for 68 years of uptime.
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
        BootTime(now)
    }

    fn wall(&self) -> f64 {
        // std's clock is 64 bits wide on 32-bit boards too.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs_f64() + fault::wall_offset()
    }

    fn synced(&self) -> bool {
        crate::sys::clock_is_synchronised()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_runs_and_wall_time_follows_it() {
        let clock = SystemClock;
        let earlier = clock.boot();
        let later = clock.boot();
        assert!(later >= earlier);
        assert!((clock.wall_of(clock.boot()) - clock.wall()).abs() < 0.1);
    }
}
