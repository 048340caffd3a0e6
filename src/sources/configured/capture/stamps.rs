//! When the samples of a buffer were taken.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::telemetry::BootTime;

/// A sample's stamp that is older than this, or lies ahead, is not believed.
const BELIEVABLE: Duration = Duration::from_secs(60);

/// The clock that a device stamps its samples with, by the name of it in
/// `current_timestamp_clock` (drivers/iio/industrialio-core.c). Kernels before
/// 4.5 have no such file, and stamp with the wall clock.
pub(super) fn clock(name: Option<&str>) -> Option<ClockId> {
    Some(match name {
        None | Some("realtime") => ClockId::CLOCK_REALTIME,
        Some("monotonic") => ClockId::CLOCK_MONOTONIC,
        Some("monotonic_raw") => ClockId::CLOCK_MONOTONIC_RAW,
        Some("realtime_coarse") => ClockId::CLOCK_REALTIME_COARSE,
        Some("monotonic_coarse") => ClockId::CLOCK_MONOTONIC_COARSE,
        Some("boottime") => ClockId::CLOCK_BOOTTIME,
        Some("tai") => ClockId::CLOCK_TAI,
        Some(_) => return None,
    })
}

/// A clock's time now; zero when it has none.
pub(super) fn now(clock: ClockId) -> Duration {
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

/// Gives samples their instants, ascending from read to read.
#[derive(Debug)]
pub(super) struct Stamps {
    /// From one sample to the next, where that is known.
    step: Option<Duration>,
    /// The instant of the last sample.
    last: BootTime,
}

impl Stamps {
    /// For samples that come at this rate, a second, from `start` on.
    pub(super) fn new(rate: Option<f64>, start: BootTime) -> Self {
        let step = rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        Self { step, last: start }
    }

    /// The instants of samples that were read `now`.
    ///
    /// Those with stamps: nanoseconds of the device's clock, whose time is
    /// `clock` now, so that a clock that is set does not move them. When one of
    /// them cannot be right, or there are none, the newest sample is of now and
    /// the others lie before it, by the rate; without one they share the time
    /// since the last read.
    pub(super) fn place(
        &mut self,
        now: BootTime,
        clock: Duration,
        stamps: &[i64],
        count: usize,
    ) -> Vec<BootTime> {
        let stamped: Option<Vec<Duration>> =
            stamps.iter().map(|&stamp| age(clock, stamp)).collect();
        let ages = match stamped.filter(|ages| ages.len() == count && count > 0) {
            Some(ages) => ages,
            None => self.spread(now, count),
        };
        let instants = ages.into_iter().map(|age| {
            let at = BootTime::new(now.since_boot().saturating_sub(age));
            self.last = self.last.max(at);
            self.last
        });
        instants.collect()
    }

    /// Ages of samples that lie apart evenly.
    fn spread(&self, now: BootTime, count: usize) -> Vec<Duration> {
        let samples = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        let room = now.since(self.last) / samples;
        let step = self.step.map_or(room, |step| step.min(room));
        (0..samples).rev().take(count).map(|behind| step * behind).collect()
    }
}

/// How old a stamp is; `None` when that cannot be.
fn age(clock: Duration, stamp: i64) -> Option<Duration> {
    let stamp = Duration::from_nanos(u64::try_from(stamp).ok()?);
    let ahead = stamp.saturating_sub(clock);
    let age = clock.saturating_sub(stamp);
    // A little ahead: a coarse clock's time is up to 10 ms old.
    (age <= BELIEVABLE && ahead <= Duration::from_millis(20)).then_some(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn at(millis: u32) -> BootTime {
        BootTime::new(MILLI * millis)
    }

    #[test]
    fn stamps_count_by_their_age() {
        let mut stamps = Stamps::new(Some(1000.0), at(0));
        let clock = Duration::from_secs(1_700_000_000);
        let of = |age: u64| (clock.as_nanos() as u64 - age * 1_000_000) as i64;
        let placed = stamps.place(at(5000), clock, &[of(30), of(20), of(10)], 3);
        assert_eq!(placed, [at(4970), at(4980), at(4990)]);
        // The wall clock was set by a year; so were the stamps.
        let later = clock + Duration::from_secs(31_536_000);
        let stamp = (later.as_nanos() as u64 - 3_000_000) as i64;
        assert_eq!(stamps.place(at(5010), later, &[stamp], 1), [at(5007)]);
        // Not before what was told already, and not ahead.
        let stamp = |millis: i64| 1_000_000_000_000 + millis * 1_000_000;
        let clock = Duration::from_secs(1000);
        let placed = stamps.place(at(5020), clock, &[stamp(-100), stamp(10)], 2);
        assert_eq!(placed, [at(5007), at(5020)]);
    }

    #[test]
    fn without_believable_stamps_the_rate_places_them() {
        let clock = Duration::from_secs(1000);
        let hostile = [
            &[][..],
            &[1],
            &[i64::MIN, 0],
            &[i64::MAX, i64::MAX],
            &[-1, 5],
            &[1_000_000_000_000, 2_000_000_000_000],
            &[0, 0],
            &[1_000_000_000_000; 3],
        ];
        for stamps in hostile {
            let mut fast = Stamps::new(Some(100.0), at(1000));
            assert_eq!(fast.place(at(2000), clock, stamps, 2), [at(1990), at(2000)], "{stamps:?}");
            // More of them than the rate says: they share the time.
            assert_eq!(fast.place(at(2010), clock, stamps, 2), [at(2005), at(2010)], "{stamps:?}");
        }
        for rate in [None, Some(0.0), Some(f64::NAN), Some(-1.0), Some(f64::MIN_POSITIVE)] {
            let mut unknown = Stamps::new(rate, at(1000));
            let placed = unknown.place(at(1100), clock, &[], 4);
            assert_eq!(placed, [at(1025), at(1050), at(1075), at(1100)], "{rate:?}");
        }
        assert_eq!(Stamps::new(None, at(0)).place(at(5), clock, &[], 0), []);
    }

    #[test]
    fn instants_ascend_whatever_the_stamps_are() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut stamps = Stamps::new(Some(1000.0), at(0));
        let mut last = at(0);
        for round in 1..2000 {
            let now = at(round * 20);
            let clock = Duration::from_nanos(random() >> (random() % 64));
            let raw: Vec<i64> = (0..random() % 30)
                .map(|_| match random() % 3 {
                    0 => random() as i64,
                    _ => (clock.as_nanos() as i64).wrapping_sub((random() % 40_000_000) as i64),
                })
                .collect();
            for instant in stamps.place(now, clock, &raw, raw.len()) {
                assert!(last <= instant && instant <= now, "{instant:?}");
                last = instant;
            }
        }
    }

    #[test]
    fn the_kernels_clocks_are_known_by_name() {
        assert_eq!(clock(None), Some(ClockId::CLOCK_REALTIME));
        assert_eq!(clock(Some("boottime")), Some(ClockId::CLOCK_BOOTTIME));
        assert_eq!(clock(Some("tai")), Some(ClockId::CLOCK_TAI));
        assert_eq!(clock(Some("sundial")), None);
        assert!(now(ClockId::CLOCK_BOOTTIME) > Duration::ZERO);
    }
}
