//! Which peers are served, by their address.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};

use crate::error::Error;

/// A network in CIDR form: `192.168.1.0/24`, `2001:db8::/32`; a bare address
/// is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    fn new(address: IpAddr, prefix: u8) -> Self {
        Self { address, prefix }
    }

    /// Whether the address is in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        fn same(a: u128, b: u128, prefix: u8, width: u8) -> bool {
            prefix == 0 || (a ^ b) >> (width - prefix.min(width)) == 0
        }
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(addr)) => {
                same(u32::from(net).into(), u32::from(addr).into(), self.prefix, 32)
            }
            (IpAddr::V6(net), IpAddr::V6(addr)) => same(net.into(), addr.into(), self.prefix, 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || {
            Error::Setting(format!(
                "{text:?} is no network: write it as in 203.0.113.0/24 or 2001:db8::/32"
            ))
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(width), str::parse).map_err(|_| refuse())?;
        if prefix > width {
            return Err(refuse());
        }
        Ok(Self::new(address, prefix))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Which peers are served.
#[derive(Debug)]
pub struct Networks {
    scope: Scope,
    /// Not these, whatever else is said.
    denied: Vec<Network>,
}

#[derive(Debug)]
enum Scope {
    /// Every one.
    All,
    /// Those close by, the prefixes of the own interfaces, and those named here.
    Local(Vec<Network>, OnLink),
}

/// The prefixes of the board's own interfaces. Browsers prefer a global IPv6
/// address where both ends have one, so a neighbour often comes with such a
/// one. They are read anew when a stranger comes, at most once a second.
#[derive(Debug, Default)]
struct OnLink(Mutex<(Vec<Network>, Option<Instant>)>);

impl OnLink {
    fn contains(&self, address: IpAddr, now: Instant) -> bool {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (networks, read) = &mut *cache;
        if read.is_none_or(|read| now.duration_since(read) >= Duration::from_secs(1)) {
            *read = Some(now);
            *networks = interface_networks();
        }
        any(networks, address)
    }
}

fn interface_networks() -> Vec<Network> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    interfaces
        .filter_map(|interface| {
            let address = ip_of(&interface.address?)?;
            let prefix = match ip_of(&interface.netmask?)? {
                IpAddr::V4(mask) => u32::from(mask).leading_ones(),
                IpAddr::V6(mask) => u128::from(mask).leading_ones(),
            };
            // A tunnel's "everything" is not a neighbourhood.
            (prefix >= 8).then(|| Network::new(address, prefix as u8))
        })
        .collect()
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

/// The addresses of the board's own interfaces that others can reach it by:
/// up, not loopback, not link-local.
pub(crate) fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let mut own: Vec<IpAddr> = interfaces
        .filter_map(|interface| ip_of(&interface.address?))
        .filter(|address| match address {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        })
        .collect();
    own.sort();
    own.dedup();
    own
}

impl Networks {
    /// Every one.
    pub fn all() -> Self {
        Self { scope: Scope::All, denied: Vec::new() }
    }

    /// Those close by (loopback, private (RFC 1918), link-local (RFC 3927,
    /// RFC 4291), unique-local (RFC 4193)), the on-link prefixes of the board's
    /// own interfaces, and `allowed`.
    pub fn local(allowed: Vec<Network>) -> Self {
        Self { scope: Scope::Local(allowed, OnLink::default()), denied: Vec::new() }
    }

    /// But not these.
    pub fn except(self, denied: Vec<Network>) -> Self {
        Self { denied, ..self }
    }

    /// Whether a peer with this address is served.
    pub fn contains(&self, address: IpAddr, now: Instant) -> bool {
        let address = address.to_canonical();
        if self.denies(address) {
            return false;
        }
        match &self.scope {
            Scope::All => true,
            Scope::Local(allowed, on_link) => {
                is_close(address) || any(allowed, address) || on_link.contains(address, now)
            }
        }
    }

    /// Whether it is refused by name.
    pub(super) fn denies(&self, address: IpAddr) -> bool {
        any(&self.denied, address.to_canonical())
    }
}

/// Whether one of these networks has it.
pub(super) fn any(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

fn is_close(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => close_v4(v4),
        IpAddr::V6(v6) => close_v6(v6),
    }
}

fn close_v4(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.is_private() || address.is_link_local()
}

fn close_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unicast_link_local() || address.is_unique_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (net, inside, outside) in [
            ("192.168.1.0/24", "192.168.1.255", "192.168.2.0"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("0.0.0.0/0", "203.0.113.7", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
        ] {
            assert!(network(net).contains(ip(inside)), "{inside} in {net}");
            assert!(!network(net).contains(ip(outside)), "{outside} in {net}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0.0/x", "pi.local", "::/129"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_is_close_by_or_named_is_served() {
        let networks = Networks::local(vec![network("198.51.100.0/24")]);
        let now = Instant::now();
        for close in [
            "127.0.0.1",
            "192.168.1.9",
            "10.1.2.3",
            "172.16.0.1",
            "169.254.1.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:192.168.1.9",
            "198.51.100.9",
        ] {
            assert!(networks.contains(ip(close), now), "{close}");
        }
        for far in ["8.8.8.8", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8"] {
            assert!(!networks.contains(ip(far), now), "{far}");
        }
        let networks = networks.except(vec![network("192.168.1.0/24"), network("::1")]);
        for denied in ["192.168.1.9", "::ffff:192.168.1.9", "::1"] {
            assert!(!networks.contains(ip(denied), now), "{denied}");
        }
        assert!(networks.contains(ip("192.168.2.9"), now));
        let all = Networks::all().except(vec![network("8.8.8.8")]);
        assert!(all.contains(ip("8.8.4.4"), now) && !all.contains(ip("8.8.8.8"), now));
    }
}
