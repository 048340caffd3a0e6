//! How long to wait before something is tried again.

use std::time::Duration;

/// How long to wait before something is tried again: 1 s, 2 s, 4 s, … up to a
/// bound; from the start again when it went well for a minute.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_secs(1);
    const WELL: Duration = Duration::from_secs(60);

    pub(crate) fn new(most: Duration) -> Self {
        Self { next: Self::FIRST, most }
    }

    /// How long to wait after it went for so long.
    pub(crate) fn after(&mut self, went: Duration) -> Duration {
        if went >= Self::WELL {
            self.next = Self::FIRST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(self.most);
        wait
    }
}

/// Up to a quarter more or less, so that many boards do not come at once when
/// their server is back.
pub(crate) fn jittered(wait: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    wait.mul_f64(0.75 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_later_and_later_until_it_has_gone_well() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        let waits: Vec<_> = (0..8).map(|_| backoff.after(Duration::ZERO).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.after(Duration::from_secs(59)).as_secs(), 60);
        assert_eq!(backoff.after(Duration::from_secs(60)).as_secs(), 1);
        assert_eq!(backoff.after(Duration::ZERO).as_secs(), 2);
    }

    #[test]
    fn waits_vary_by_a_quarter() {
        let waits: Vec<_> = (0..100).map(|_| jittered(Duration::from_secs(4))).collect();
        assert!(waits.iter().all(|wait| (3.0..=5.0).contains(&wait.as_secs_f64())));
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }
}
