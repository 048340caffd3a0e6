//! The ticks of a paced client. All clients of a rate have the same ticks, so
//! that they can share what is sent at each.

use std::time::{Duration, Instant};

use crate::wire::subscribe::Pace;

/// A client that wants to hear at most so often.
#[derive(Debug)]
pub(super) struct Pacer {
    period: Duration,
    /// The ticks count from here.
    start: Instant,
    /// In which tick something new came that was not sent yet.
    news: Option<u64>,
}

impl Pacer {
    pub(super) fn new(pace: Pace, start: Instant) -> Self {
        Self { period: pace.period(), start, news: None }
    }

    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// The tick that has begun last.
    pub(super) fn tick(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.start).as_millis();
        u64::try_from(millis / self.period.as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes that there may be something new.
    pub(super) fn note(&mut self, now: Instant) {
        let tick = self.tick(now);
        self.news.get_or_insert(tick);
    }

    /// Whether a tick has begun since something new came.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.news.is_some_and(|tick| tick < self.tick(now))
    }

    /// All that was new has been sent.
    pub(super) fn rest(&mut self) {
        self.news = None;
    }

    /// When to send what is new; `None` while nothing is: no client wakes a
    /// worker for nothing.
    pub(super) fn due(&self) -> Option<Instant> {
        let next = self.news?.checked_add(1)?;
        let millis = next.checked_mul(u64::try_from(self.period.as_millis()).ok()?)?;
        self.start.checked_add(Duration::from_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_waits_for_the_next_tick_and_silence_for_nothing() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pacer = Pacer::new(Pace::from_hz(5.0).expect("a rate"), start);
        assert_eq!((pacer.due(), pacer.is_due(at(10_000))), (None, false));
        pacer.note(at(450));
        assert_eq!((pacer.due(), pacer.is_due(at(599))), (Some(at(600)), false));
        pacer.note(at(590));
        assert!(pacer.is_due(at(600)), "what came first counts");
        pacer.rest();
        pacer.note(at(600));
        assert_eq!(pacer.due(), Some(at(800)));
    }

    #[test]
    fn ticks_are_the_same_for_whoever_comes_when() {
        let start = Instant::now();
        let pace = Pace::from_hz(3.0).expect("a rate");
        let pacers = [Pacer::new(pace, start), Pacer::new(pace, start)];
        let later = start + Duration::from_secs(40 * 24 * 3600);
        assert_eq!(pacers[0].tick(later), pacers[1].tick(later));
        assert_eq!(pacers[0].tick(later), 40 * 24 * 3600 * 1000 / 333);
    }
}
