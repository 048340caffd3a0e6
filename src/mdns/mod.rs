//! Boards say to their network that they are there, and `boardcast discover`
//! lists them: DNS-SD (RFC 6763) over multicast DNS (RFC 6762).
//!
//! | service | for |
//! |---|---|
//! | `_http._tcp` | browsers of networks, which show a page to click at |
//! | `_boardcast._tcp` | our own clients |
//!
//! Both have the TXT entries `path` (of the page), `device`, `version` and
//! `tls` (`1` or `0`). The feature `mdns` brings the library; without it
//! nothing is said, and nobody is found.

#[cfg(feature = "mdns")]
mod announce;
#[cfg(feature = "mdns")]
mod boards;
#[cfg(feature = "mdns")]
mod discover;
#[cfg(not(feature = "mdns"))]
mod off;

use std::{net::SocketAddr, time::Duration};

#[cfg(feature = "mdns")]
pub use self::announce::Announcement;
#[cfg(not(feature = "mdns"))]
pub use self::off::Announcement;

/// What our own clients look for.
#[cfg(feature = "mdns")]
const BOARDCAST: &str = "_boardcast._tcp.local.";
/// What browsers of networks look for.
#[cfg(feature = "mdns")]
const HTTP: &str = "_http._tcp.local.";

/// What a board says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced<'a> {
    /// The device's name.
    pub device: &'a str,
    /// The host's name, without a domain.
    pub host: &'a str,
    /// Where it listens. Only what others can reach is announced.
    pub listening: &'a [SocketAddr],
    /// Whether TLS is spoken there.
    pub secure: bool,
    /// What a proxy puts before every path; mostly empty.
    pub base_path: &'a str,
}

impl Announced<'_> {
    /// Whether somebody else could reach it.
    pub fn is_reachable(&self) -> bool {
        self.port().is_some()
    }

    /// The port of the first address that others can reach.
    fn port(&self) -> Option<u16> {
        let mut open = self.listening.iter().filter(|address| !address.ip().is_loopback());
        open.next().map(SocketAddr::port)
    }
}

/// A look for boards: `boardcast discover`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discover {
    /// For so long; on most networks all have answered within a second.
    pub time: Duration,
    /// Whether the list is JSON.
    pub json: bool,
}
