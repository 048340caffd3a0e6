//! Whether a device is heard as it usually is: a function of instants.
//!
//! ```text
//! heard ──3 usual intervals, at least 5 s──▶ stale ──offline_after──▶ offline ──forget_after──▶ forgotten
//!   │                                                                   ▲
//!   └───────────────── its link is down, or it said so ─────────────────┘
//! ```

use std::time::Duration;

use crate::telemetry::{BootTime, DeviceStatus};

/// A device is not stale before that.
const PATIENCE: Duration = Duration::from_secs(5);
/// For as long as its usual interval is not known: a board with nothing to say
/// has a heartbeat every 15 s.
const UNKNOWN: Duration = Duration::from_secs(45);
/// So many intervals make it known.
const ENOUGH: u32 = 3;

/// What is known of a device's being there.
#[derive(Clone, Debug)]
pub(super) struct Freshness {
    heard: BootTime,
    /// The longest interval of late; older ones count less and less.
    usual: Duration,
    intervals: u32,
    /// Since when it is said to be away, and why.
    away: Option<(BootTime, String)>,
}

impl Freshness {
    /// Of a device that is heard of now.
    pub(super) fn new(now: BootTime) -> Self {
        Self { heard: now, usual: Duration::ZERO, intervals: 0, away: None }
    }

    /// Something came from it.
    pub(super) fn hear(&mut self, now: BootTime) {
        let interval = now.since(self.heard);
        // The pause of one that was away says nothing of its habits.
        if self.away.take().is_none() {
            self.usual = interval.max(self.usual - self.usual / 8);
            self.intervals = self.intervals.saturating_add(1);
        }
        self.heard = now;
    }

    /// It is heard of again, after it counted as offline for its silence: where
    /// its habits were known, that pause was none. To be told before
    /// [`hear`](Self::hear).
    pub(super) fn forgive(&mut self, now: BootTime) {
        if self.intervals >= ENOUGH {
            self.leave(now, "");
        }
    }

    /// It is away: it said so, or its link is down.
    pub(super) fn leave(&mut self, now: BootTime, why: &str) {
        let since = self.away.as_ref().map_or(now, |(since, _)| *since);
        self.away = Some((since, why.to_owned()));
        (self.usual, self.intervals) = (Duration::ZERO, 0);
    }

    /// How it stands, and why.
    pub(super) fn status(
        &self,
        now: BootTime,
        offline_after: Duration,
    ) -> (DeviceStatus, Option<String>) {
        if let Some((_, why)) = &self.away {
            return (DeviceStatus::Offline, Some(why.clone()));
        }
        let silence = now.since(self.heard);
        let known = self.intervals >= ENOUGH;
        let patience = if known { PATIENCE.max(self.usual * 3) } else { UNKNOWN };
        if silence > offline_after.max(patience) {
            let seconds = offline_after.as_secs();
            (DeviceStatus::Offline, Some(format!("nothing was heard for {seconds} s")))
        } else if silence > patience.min(offline_after) {
            (DeviceStatus::Stale, None)
        } else {
            (DeviceStatus::Online, None)
        }
    }

    /// For how long it has not been heard, nor been there.
    pub(super) fn silence(&self, now: BootTime) -> Duration {
        now.since(self.heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: f64) -> BootTime {
        BootTime::new(Duration::from_secs_f64(10_000.0 + seconds))
    }

    /// One that was heard every `interval` seconds, at last at 0.
    fn heard_every(interval: f64) -> Freshness {
        let mut fresh = Freshness::new(at(-10.0 * interval));
        (0..10).rev().for_each(|number| fresh.hear(at(f64::from(-number) * interval)));
        fresh
    }

    fn word(fresh: &Freshness, seconds: f64) -> &'static str {
        fresh.status(at(seconds), MINUTE).0.as_str()
    }

    #[test]
    fn one_that_falls_silent_is_stale_then_offline() {
        let fresh = heard_every(1.0);
        let words = [0.0, 4.9, 5.1, 59.9, 60.1].map(|seconds| word(&fresh, seconds));
        assert_eq!(words, ["online", "online", "stale", "stale", "offline"]);
        let fresh = heard_every(10.0);
        assert_eq!([29.0, 31.0].map(|s| word(&fresh, s)), ["online", "stale"]);
        // One that is seldom heard is not offline before it is stale.
        let fresh = heard_every(50.0);
        assert_eq!([59.0, 61.0, 149.0].map(|s| word(&fresh, s)), ["online", "stale", "stale"]);
        assert_eq!(word(&fresh, 151.0), "offline");
    }

    #[test]
    fn an_outage_is_no_habit_of_one_that_was_heard_often_and_one_that_never_was_may_have_it() {
        let mut fresh = heard_every(1.0);
        assert_eq!(word(&fresh, 600.0), "offline");
        fresh.forgive(at(600.0));
        fresh.hear(at(600.0));
        let words = [600.0, 644.0, 646.0, 659.0, 661.0].map(|seconds| word(&fresh, seconds));
        assert_eq!(words, ["online", "online", "stale", "stale", "offline"]);
        let mut seldom = Freshness::new(at(0.0));
        for number in 1..=3 {
            seldom.forgive(at(600.0 * f64::from(number)));
            seldom.hear(at(600.0 * f64::from(number)));
        }
        assert_eq!(word(&seldom, 2300.0), "stale", "it is heard every ten minutes");
    }

    #[test]
    fn a_burst_does_not_make_a_slow_one_stale_and_a_habit_is_forgotten() {
        let mut fresh = heard_every(10.0);
        for number in 0..8 {
            fresh.hear(at(f64::from(number) * 0.01));
        }
        assert_eq!(word(&fresh, 9.9), "online");
        for number in 0..100 {
            fresh.hear(at(1.0 + f64::from(number) * 0.1));
        }
        assert_eq!(word(&fresh, 17.0), "stale");
    }

    #[test]
    fn who_is_away_is_offline_at_once_until_it_is_heard() {
        let mut fresh = heard_every(1.0);
        fresh.leave(at(1.0), "no connection");
        fresh.leave(at(5.0), "refused");
        assert_eq!(fresh.status(at(5.0), MINUTE).1.as_deref(), Some("refused"));
        fresh.hear(at(30.0));
        assert_eq!(word(&fresh, 30.0), "online");
        assert_eq!(word(&fresh, 70.0), "online", "its habits are not known yet");
        assert_eq!(word(&fresh, 76.0), "stale");
        assert_eq!(fresh.silence(at(90.0)), MINUTE);
    }
}
