//! The boards that were found, as text for people or as JSON.

use std::net::{IpAddr, Ipv6Addr};

use serde::Serialize;

use crate::watch::printable;

/// A board that answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Found {
    /// The device's name.
    pub(super) device: String,
    /// The page, at the address that is best to reach.
    pub(super) url: String,
    /// The host's name, `pi.local`.
    pub(super) host: String,
    /// The version of its program; empty when it says none.
    pub(super) version: String,
}

impl Found {
    /// The address of the page. An IPv4 address goes first, since it works
    /// everywhere; one of a single link (fe80::/10) last: a URL cannot say which.
    pub(super) fn page(
        addresses: &[IpAddr],
        port: u16,
        secure: bool,
        path: &str,
    ) -> Option<String> {
        let rank = |address: &IpAddr| match address {
            IpAddr::V4(v4) => (u8::from(v4.is_link_local()), 0),
            IpAddr::V6(v6) => (1 + 2 * u8::from(is_link_local(v6)), 1),
        };
        let mut ranked = addresses.to_vec();
        ranked.sort_by_key(|address| (rank(address), *address));
        let host = match ranked.first()? {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let scheme = if secure { "https" } else { "http" };
        // It comes from the network; a path that is none is left out.
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"/.-_~".contains(&byte);
        let fits = path.starts_with('/') && path.len() <= 130 && path.bytes().all(fine);
        Some(format!("{scheme}://{host}:{port}{}", if fits { path } else { "/" }))
    }
}

fn is_link_local(address: &Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

/// A line a board, in columns, or one JSON array; each board once.
pub(super) fn show(mut boards: Vec<Found>, json: bool) -> String {
    boards.sort();
    boards.dedup();
    if json {
        return serde_json::to_string(&boards).unwrap_or_default() + "\n";
    }
    let width = |of: fn(&Found) -> &str| {
        boards.iter().map(|board| of(board).chars().count()).max().unwrap_or_default()
    };
    let (names, urls) = (width(|board| &board.device), width(|board| &board.url));
    let lines = boards.iter().map(|Found { device, url, host, version }| {
        let line = format!("{device:names$}  {url:urls$}  {host}  {version}");
        printable(line.trim_end()) + "\n"
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(addresses: &[&str], path: &str) -> Option<String> {
        let addresses: Vec<_> = addresses.iter().map(|a| a.parse().expect(a)).collect();
        Found::page(&addresses, 8642, false, path)
    }

    #[test]
    fn the_address_that_works_in_most_places_is_shown() {
        let all = ["fe80::1", "2001:db8::7", "169.254.1.2", "10.0.0.7"];
        assert_eq!(page(&all, "/").as_deref(), Some("http://10.0.0.7:8642/"));
        assert_eq!(page(&all[..2], "/pi/").as_deref(), Some("http://[2001:db8::7]:8642/pi/"));
        assert_eq!(page(&[], "/"), None);
    }

    #[test]
    fn what_comes_from_the_network_steers_no_terminal_and_no_browser() {
        assert_eq!(page(&["10.0.0.7"], "@evil.example/").as_deref(), Some("http://10.0.0.7:8642/"));
        let device = "pi\u{1b}[31m".to_owned();
        let found = Found { device, url: "u".into(), host: "h".into(), version: "1\n2".into() };
        let text = show(vec![found.clone(), found.clone()], false);
        assert_eq!(text, "pi·[31m  u  h  1·2\n");
        let json: serde_json::Value = serde_json::from_str(&show(vec![found], true)).expect("JSON");
        assert_eq!(json[0]["device"], "pi\u{1b}[31m");
    }
}
