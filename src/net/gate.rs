//! Who may come in: the peer's network, and the origin of the page that asks.
//!
//! | question | the product's answer | the library's |
//! |---|---|---|
//! | which network? | loopback, private, link-local, unique-local, the prefixes of the board's own interfaces, `--allow` | every one |
//! | which page (`Origin`, RFC 6454)? | one of this very host, `--allow-origin`; none sent means no browser | every one |

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};

use super::http::{Request, Response};
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
pub enum Networks {
    /// Every one.
    All,
    /// Those close by: loopback, private (RFC 1918), link-local (RFC 3927,
    /// RFC 4291), unique-local (RFC 4193), on-link prefixes of the board's own
    /// interfaces, and the networks named here.
    Local {
        /// Further networks.
        allowed: Vec<Network>,
        /// The prefixes of the own interfaces, as last read.
        on_link: OnLink,
    },
}

/// The prefixes of the board's own interfaces. Browsers prefer a global IPv6
/// address where both ends have one, so a neighbour often comes with such a
/// one. They are read anew when a stranger comes, at most once a second.
#[derive(Debug, Default)]
pub struct OnLink(Mutex<(Vec<Network>, Option<Instant>)>);

impl OnLink {
    fn contains(&self, address: IpAddr, now: Instant) -> bool {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (networks, read) = &mut *cache;
        if read.is_none_or(|read| now.duration_since(read) >= Duration::from_secs(1)) {
            *read = Some(now);
            *networks = interface_networks();
        }
        networks.iter().any(|network| network.contains(address))
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
    /// The close ones, and `allowed`.
    pub fn local(allowed: Vec<Network>) -> Self {
        Self::Local { allowed, on_link: OnLink::default() }
    }

    /// Whether a peer with this address is served.
    pub fn contains(&self, address: IpAddr, now: Instant) -> bool {
        let Self::Local { allowed, on_link } = self else { return true };
        let address = address.to_canonical();
        is_close(address)
            || allowed.iter().any(|network| network.contains(address))
            || on_link.contains(address, now)
    }
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

/// Whose pages may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Everyone's, as with `ws`: a page that was opened from a file works.
    Any,
    /// Pages of the host that the request names, and of these origins
    /// (`https://example.org`).
    Own(Vec<String>),
}

impl Origins {
    /// Whether a page of `origin` may ask a server that it calls `host`.
    fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        let Self::Own(others) = self else { return true };
        let origin = origin.trim_end_matches('/');
        if others.iter().any(|other| other.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
            return true;
        }
        let Some(host) = host else { return false };
        // An origin leaves its scheme's own port out, and so does Host.
        match origin.split_once("://") {
            Some(("http", authority)) => same_host(authority, host, ":80"),
            Some(("https", authority)) => same_host(authority, host, ":443"),
            _ => false,
        }
    }
}

fn same_host(authority: &str, host: &str, port: &str) -> bool {
    let plain = |name: &str| name.strip_suffix(port).unwrap_or(name).to_ascii_lowercase();
    plain(authority) == plain(host)
}

impl Request {
    /// Whether it comes from a program on this machine, or from a page of this
    /// server in a browser on it: one that may change something.
    ///
    /// A page is known by an `Origin` that is this very host, called by its
    /// address or `localhost`: any other name may be made to lead here by its
    /// owner (DNS rebinding). A peer that a proxy speaks for is not from here,
    /// although the proxy is.
    pub fn is_from_here(&self) -> bool {
        let proxied = ["forwarded", "x-forwarded-for", "via"];
        if !self.peer().ip().to_canonical().is_loopback()
            || proxied.iter().any(|name| self.header_count(name) > 0)
        {
            return false;
        }
        match (self.header_count("origin"), self.header("origin"), self.header("host")) {
            (0, _, _) => true,
            (1, Some(origin), Some(host)) => {
                is_own_name(host) && Origins::Own(Vec::new()).allow(origin, Some(host))
            }
            _ => false,
        }
    }
}

/// Whether nobody but this machine can be meant: an address, or `localhost`.
fn is_own_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    name.is_some_and(|name| {
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
    })
}

/// Everything that decides who may come in.
#[derive(Debug)]
pub struct Gate {
    /// Which peers are served.
    pub networks: Networks,
    /// Whose pages may ask.
    pub origins: Origins,
}

impl Gate {
    /// The product's gate: close networks, and pages of the very host.
    pub fn local() -> Self {
        Self { networks: Networks::local(Vec::new()), origins: Origins::Own(Vec::new()) }
    }

    /// A gate that lets everyone in.
    pub fn open() -> Self {
        Self { networks: Networks::All, origins: Origins::Any }
    }

    /// What to say to a peer that is not served, or `None` when it is.
    pub(super) fn refuse_peer(&self, address: IpAddr, now: Instant) -> Option<String> {
        (!self.networks.contains(address, now)).then(|| {
            let address = address.to_canonical();
            format!(
                "{address} is not in a network that this board serves; \
                 start boardcast with --allow {address} to let it in"
            )
        })
    }

    /// What to answer to a request whose page may not ask, or `None`.
    pub(super) fn refuse_request(&self, request: &Request) -> Option<Response> {
        // None sent: no browser. Two, or one that is no text: no browser either,
        // but someone who would like to pass for one.
        let fine = match (request.header_count("origin"), request.header("origin")) {
            (0, _) => true,
            (1, Some(origin)) => self.origins.allow(origin, request.header("host")),
            _ => self.origins == Origins::Any,
        };
        if fine {
            return None;
        }
        let sentence = "a page of another host may not read this board; \
                        start boardcast with --allow-origin and that page's origin to let it";
        Some(Response::text(403, sentence))
    }

    /// The origin that may read the answer from another host's page (CORS).
    pub(super) fn cross_origin(&self, request: &Request) -> Option<String> {
        let origin = request.header("origin")?;
        self.origins.allow(origin, request.header("host")).then(|| origin.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{super::http::Parsed, *};

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
    }

    #[test]
    fn an_origin_is_the_host_itself_or_a_named_one() {
        let own = Origins::Own(vec!["https://panel.example".into()]);
        for (origin, host) in [
            ("http://pi.local:8642", "pi.local:8642"),
            ("http://pi.local", "pi.local:80"),
            ("https://PI.local", "pi.local"),
            ("http://[fd00::1]:8642", "[fd00::1]:8642"),
            ("https://panel.example", "pi.local:8642"),
        ] {
            assert!(own.allow(origin, Some(host)), "{origin} asks {host}");
        }
        for (origin, host) in [
            ("null", "pi.local:8642"),
            ("http://pi.local", "pi.local:8642"),
            ("http://evil.example", "pi.local:8642"),
            ("http://pi.local:8642.evil.example", "pi.local:8642"),
            ("http://user@pi.local:8642", "pi.local:8642"),
            ("file://", "pi.local:8642"),
            ("http://panel.example", "pi.local:8642"),
        ] {
            assert!(!own.allow(origin, Some(host)), "{origin} asks {host}");
        }
        assert!(Origins::Any.allow("null", None));
    }

    #[test]
    fn only_this_machine_may_change_something() {
        let from_here = |peer: &str, lines: &str| {
            let head = format!("POST / HTTP/1.1\r\n{lines}\r\n\r\n");
            let peer = SocketAddr::new(ip(peer), 9);
            let Ok(Parsed::Whole(request, _)) = Request::parse(head.as_bytes(), peer) else {
                panic!("{head}")
            };
            request.is_from_here()
        };
        for (peer, lines, fine) in [
            ("127.0.0.1", "Host: pi", true),
            ("::ffff:127.0.0.1", "Host: pi", true),
            ("::1", "Host: [::1]:8642\r\nOrigin: http://[::1]:8642", true),
            ("127.0.0.1", "Host: localhost:8642\r\nOrigin: http://localhost:8642", true),
            ("127.0.0.1", "Host: 10.0.0.7:80\r\nOrigin: http://10.0.0.7", true),
            ("10.0.0.7", "Host: pi", false),
            ("127.0.0.1", "Host: pi\r\nOrigin: http://evil.example", false),
            ("127.0.0.1", "Host: evil.example\r\nOrigin: http://evil.example", false),
            ("127.0.0.1", "Host: localhost\r\nOrigin: null", false),
            ("127.0.0.1", "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: x", false),
            ("127.0.0.1", "Host: pi\r\nX-Forwarded-For: 203.0.113.7", false),
        ] {
            assert_eq!(from_here(peer, lines), fine, "{peer}, {lines}");
        }
    }
}
