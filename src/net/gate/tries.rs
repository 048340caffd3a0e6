//! Who has shown wrong tokens, and how often: five a minute, then none is
//! looked at for the rest of it.
//!
//! A token cannot be guessed; but whoever tries fills the log and takes time.
//! The bound is for an address, or for the /64 of one: a single host has all
//! of that (RFC 4862 section 5.5).

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Wrong tokens in one [`WINDOW`].
const MOST: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; beyond, the oldest is forgotten.
const ADDRESSES: usize = 256;

/// The failed tries of the last minute.
#[derive(Debug, Default)]
pub(in crate::net) struct Tries(Mutex<Vec<Failed>>);

#[derive(Debug)]
struct Failed {
    who: IpAddr,
    since: Instant,
    times: u32,
}

impl Tries {
    fn lock(&self) -> MutexGuard<'_, Vec<Failed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long none of its tokens is looked at, if so.
    pub(super) fn blocked(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let who = group(address);
        let tries = self.lock();
        let failed = tries.iter().find(|failed| failed.who == who && failed.times >= MOST)?;
        let left = WINDOW.saturating_sub(now.saturating_duration_since(failed.since));
        (!left.is_zero()).then_some(left)
    }

    /// Notes a wrong token.
    pub(super) fn note(&self, address: IpAddr, now: Instant) {
        let who = group(address);
        let mut tries = self.lock();
        tries.retain(|failed| now.saturating_duration_since(failed.since) < WINDOW);
        if let Some(failed) = tries.iter_mut().find(|failed| failed.who == who) {
            failed.times = failed.times.saturating_add(1);
            return;
        }
        if tries.len() == ADDRESSES {
            tries.remove(0);
        }
        tries.push(Failed { who, since: now, times: 1 });
    }
}

/// An IPv4 address, or the network of an IPv6 one.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn five_a_minute_from_one_network_and_then_none() {
        let (tries, start) = (Tries::default(), Instant::now());
        for host in 1..=4 {
            tries.note(ip(&format!("2001:db8::{host}")), start);
        }
        assert_eq!(tries.blocked(ip("2001:db8::9"), start), None);
        let later = start + Duration::from_secs(20);
        tries.note(ip("2001:db8::5"), later);
        assert_eq!(tries.blocked(ip("2001:db8::9"), later), Some(Duration::from_secs(40)));
        assert_eq!(tries.blocked(ip("2001:db8:0:1::9"), later), None);
        assert_eq!(tries.blocked(ip("2001:db8::9"), start + WINDOW), None);
        tries.note(ip("2001:db8::9"), start + WINDOW);
        assert_eq!(tries.blocked(ip("2001:db8::9"), start + WINDOW), None);
    }

    #[test]
    fn an_ipv4_address_counts_alone_however_it_comes() {
        let (tries, now) = (Tries::default(), Instant::now());
        for _ in 0..3 {
            tries.note(ip("10.0.0.7"), now);
            tries.note(ip("::ffff:10.0.0.7"), now);
        }
        assert!(tries.blocked(ip("10.0.0.7"), now).is_some());
        assert_eq!(tries.blocked(ip("10.0.0.8"), now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (tries, now) = (Tries::default(), Instant::now());
        for number in 0..10_000_u32 {
            tries.note(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(tries.lock().len(), ADDRESSES);
    }
}
