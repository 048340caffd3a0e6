//! Which names the board answers to (`Host`), against DNS rebinding.
//!
//! Whoever owns a name can make it lead to this board's address, for a page of
//! theirs that a browser in this network has open: to the browser, board and
//! page are then the same host. So the board answers to names alone that
//! nobody outside can own:
//!
//! ```text
//! 192.168.1.7  [fd00::7]            an address, whichever
//! localhost  x.localhost            this very machine (RFC 6761 section 6.3)
//! pi  pi.local  pi.lan              its host name, alone or below .local (RFC 6762), .lan and
//! pi.home.arpa  pi.fritz.box        .home.arpa (RFC 8375), and the resolver's search domains
//! board.example.org                 what the settings name
//! ```

use std::{
    fs::File,
    io::Read,
    net::IpAddr,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Where the resolver's search domains are (resolv.conf(5)).
const RESOLVER: &str = "/etc/resolv.conf";
/// More of it is not read.
const MOST_BYTES: u64 = 16 * 1024;
/// How often the own names may be looked up anew: a board gets them from its
/// network, perhaps after this program has started.
const EVERY: Duration = Duration::from_secs(1);

/// Which names the board answers to.
#[derive(Debug)]
pub enum Hosts {
    /// Every one.
    Any,
    /// Its own.
    Own(OwnNames),
}

/// The names of this board.
#[derive(Debug)]
pub struct OwnNames {
    named: Vec<String>,
    resolver: PathBuf,
    known: Mutex<(Vec<String>, Option<Instant>)>,
}

impl Hosts {
    /// Those that nobody outside can own, and `named` ones.
    pub fn own(named: Vec<String>) -> Self {
        let named = named.into_iter().map(|name| plain(&name).to_owned()).collect();
        Self::Own(OwnNames { named, resolver: RESOLVER.into(), known: Mutex::default() })
    }

    /// Whether the board answers to what a request calls it: `pi.local:8642`.
    pub(super) fn contain(&self, host: &str, now: Instant) -> bool {
        let Self::Own(own) = self else { return true };
        let name = name_of(host);
        is_address(host) || is_local(name) || own.contain(&name.to_ascii_lowercase(), now)
    }
}

impl OwnNames {
    fn contain(&self, name: &str, now: Instant) -> bool {
        if self.named.iter().any(|named| named.eq_ignore_ascii_case(name)) {
            return true;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (names, read) = &mut *known;
        if read.is_none_or(|read| now.duration_since(read) >= EVERY) {
            *read = Some(now);
            let host = nix::unistd::gethostname().unwrap_or_default();
            *names = names_of(&host.to_string_lossy(), &self.search_domains());
        }
        names.iter().any(|known| known == name)
    }

    fn search_domains(&self) -> Vec<String> {
        let mut text = Vec::new();
        // A board without that file has no search domains.
        let file = File::open(&self.resolver);
        let _ = file.and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text));
        parse_search(&String::from_utf8_lossy(&text))
    }
}

/// The name in `Host`, without its port and the root's dot.
fn name_of(host: &str) -> &str {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    plain(name)
}

fn plain(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether it is an address: `10.0.0.7:80`, `[fd00::7]:80`.
fn is_address(host: &str) -> bool {
    let text = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
        _ => name_of(host),
    };
    text.parse::<IpAddr>().is_ok()
}

fn is_local(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

/// Whether nobody but this machine can be meant: an address, or `localhost`.
pub(super) fn is_own(host: &str) -> bool {
    is_address(host) || name_of(host).eq_ignore_ascii_case("localhost")
}

/// What a host of this name may be called in its network, in lower case.
fn names_of(host: &str, search: &[String]) -> Vec<String> {
    let host = plain(host).to_ascii_lowercase();
    let short = host.split('.').next().unwrap_or_default();
    if short.is_empty() {
        return Vec::new();
    }
    let usual = ["local", "lan", "home.arpa"].into_iter();
    let domains = usual.chain(search.iter().map(String::as_str));
    let mut names: Vec<_> = domains.map(|domain| format!("{short}.{domain}")).collect();
    names.extend([short.to_owned(), host.clone()]);
    names
}

/// The domains in `search fritz.box home.example`, or in `domain fritz.box`;
/// the last such line counts (resolv.conf(5)).
fn parse_search(text: &str) -> Vec<String> {
    let mut lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("search" | "domain")).then_some(words)
    });
    let domains = lines.next_back().into_iter().flatten();
    domains.map(|domain| plain(domain).to_ascii_lowercase()).filter(|d| !d.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_answers_to_what_nobody_outside_can_own() {
        let names = names_of("Pi-Kitchen", &["fritz.box".into()]);
        let own = OwnNames {
            named: vec!["board.example.org".into()],
            resolver: "/nonexistent".into(),
            known: Mutex::new((names, Some(Instant::now() + EVERY))),
        };
        let hosts = Hosts::Own(own);
        let now = Instant::now();
        for host in [
            "127.0.0.1",
            "192.168.1.7:8642",
            "[::1]",
            "[fd00::7]:8642",
            "localhost:8642",
            "LocalHost.",
            "panel.localhost",
            "pi-kitchen",
            "PI-KITCHEN:8642",
            "pi-kitchen.local",
            "pi-kitchen.local.:8642",
            "pi-kitchen.lan",
            "pi-kitchen.home.arpa",
            "pi-kitchen.fritz.box:80",
            "Board.Example.org:443",
        ] {
            assert!(hosts.contain(host, now), "{host}");
        }
        for host in [
            "",
            ":8642",
            ".",
            "evil.example",
            "evil.example:8642",
            "pi-kitchen.evil.example",
            "pi-kitchen.local.evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.local",
            "user@localhost.evil",
            "[::1].evil.example",
            "[localhost]",
            "example.org",
        ] {
            assert!(!hosts.contain(host, now), "{host}");
        }
        assert!(Hosts::Any.contain("evil.example", now));
    }

    #[test]
    fn search_domains_are_those_of_the_last_line() {
        let text = "# by dhcpcd\nnameserver 10.0.0.1\ndomain old.example\nsearch Fritz.Box. lan\n";
        assert_eq!(parse_search(text), ["fritz.box", "lan"]);
        assert!(parse_search("nameserver 10.0.0.1\nsearch\n").is_empty());
        assert!(parse_search("\0\u{fffd}").is_empty());
    }

    #[test]
    fn a_host_with_a_domain_is_known_by_both_its_names() {
        let names = names_of("pi.example.org", &[]);
        for name in ["pi", "pi.local", "pi.example.org"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        assert!(names_of("", &["lan".into()]).is_empty());
    }

    #[test]
    fn the_own_names_are_looked_up() {
        let host = nix::unistd::gethostname().expect("a host name");
        let host = host.to_string_lossy();
        assert!(Hosts::own(Vec::new()).contain(&format!("{host}.local:80"), Instant::now()));
    }
}
