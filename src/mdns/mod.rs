//! Boards find each other by name: announced by mDNS (RFC 6762) as services
//! (RFC 6763), and `boardcast discover`.
//!
//! | file | what |
//! |---|---|
//! | `on` | with the feature `mdns`: announcing and asking |
//! | `off` | without it: a sentence |
//!
//! A board is there twice: as `_http._tcp` (`_https._tcp` with TLS), which
//! browsers of the network show, and as `_boardcast._tcp`, which we ask for.

#[cfg(not(feature = "mdns"))]
#[path = "off.rs"]
mod on;
#[cfg(feature = "mdns")]
mod on;

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde_json::{Value, json};

pub(crate) use self::on::Announced;
use crate::error::{Error, Result};

#[cfg(not(feature = "mdns"))]
const NO_MDNS: &str = "this boardcast is built without mDNS; build it with --features mdns";

/// The most boards in one answer: anyone on the network may invent some.
#[cfg(feature = "mdns")]
const MOST: usize = 1024;

/// What a board tells the network of itself.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "mdns"), expect(dead_code, reason = "nobody is told"))]
pub(crate) struct Notice<'a> {
    /// The device's name, which becomes the service's.
    pub(crate) device: &'a str,
    /// The host's name, without `.local`.
    pub(crate) host: &'a str,
    /// Where it listens.
    pub(crate) listening: &'a [SocketAddr],
    /// Whether it speaks TLS.
    pub(crate) secure: bool,
}

impl Notice<'_> {
    /// Whether others can reach it: it listens at more than the loopback.
    pub(crate) fn reaches_out(&self) -> bool {
        self.listening.iter().any(|address| !address.ip().is_loopback())
    }
}

/// Starts to announce a board; `None` when it is not to be. Dropping what comes
/// says goodbye. `wanted` is the setting: left out, a board that listens beyond
/// the loopback is announced, where this build can.
///
/// # Errors
/// [`Error::Setting`] when it was asked for and this build cannot,
/// [`Error::Io`] when the system does not let it.
pub(crate) fn announce(wanted: Option<bool>, notice: &Notice<'_>) -> Result<Option<Announced>> {
    if !wanted.unwrap_or(cfg!(feature = "mdns") && notice.reaches_out()) {
        return Ok(None);
    }
    match Announced::start(notice) {
        // Nobody has asked for it: the rest works without.
        Err(error) if wanted.is_none() => {
            log::warn!("not announced by mDNS: {error}");
            Ok(None)
        }
        started => started.map(Some),
    }
}

/// What `boardcast discover` was asked for.
#[derive(Clone, Debug)]
pub struct Discover {
    /// How long to wait for answers.
    pub timeout: Duration,
    /// JSON, not lines.
    pub json: bool,
}

impl Discover {
    /// Asks the network, and waits for the whole time: a line for each board
    /// that answers, or one JSON object.
    ///
    /// # Errors
    /// [`Error::Setting`] when none answers, or this build cannot ask;
    /// [`Error::Io`] when the system does not let it.
    pub fn run(&self) -> Result<String> {
        let mut boards = on::find(self.timeout)?;
        boards.sort_by(|a, b| (&a.name, a.port).cmp(&(&b.name, b.port)));
        if self.json {
            let boards: Vec<_> = boards.iter().map(Board::json).collect();
            return Ok(json!({ "boards": boards }).to_string() + "\n");
        }
        if boards.is_empty() {
            return Err(Error::Setting(format!(
                "no board answered within {:?}; it must be in the same network, listen beyond \
                 the loopback, and have mDNS on (mdns = true)",
                self.timeout
            )));
        }
        let mut text = String::new();
        for board in &boards {
            let address = board.addresses.first().map(ToString::to_string).unwrap_or_default();
            let (name, version) = (&board.name, &board.version);
            // Writing to memory cannot fail.
            let _ = writeln!(text, "{name}\t{address}\t{}\t{version}", board.url());
        }
        Ok(text)
    }
}

/// A board that has answered. What it says of itself is a stranger's: short,
/// and without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// The device's name.
    pub name: String,
    /// The host's, with `.local`.
    pub host: String,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The port of the page.
    pub port: u16,
    /// Of the program.
    pub version: String,
    /// Whether it speaks TLS.
    pub secure: bool,
}

impl Board {
    /// Where its page is: by address, which works where `.local` does not; by
    /// name with TLS, for certificates know names.
    pub fn url(&self) -> String {
        let port = self.port;
        match self.addresses.iter().find(|address| address.is_ipv4()).or(self.addresses.first()) {
            Some(address) if !self.secure => format!("http://{}/", SocketAddr::new(*address, port)),
            _ => {
                let scheme = if self.secure { "https" } else { "http" };
                format!("{scheme}://{}:{port}/", self.host)
            }
        }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "host": self.host, "addresses": self.addresses, "port": self.port,
            "url": self.url(), "version": self.version, "tls": self.secure,
        })
    }
}

/// A stranger's text, fit for a line of a terminal.
#[cfg_attr(not(feature = "mdns"), cfg(test))]
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_has_an_address_to_open() {
        let mut board = Board {
            name: "pi".into(),
            host: "pi.local".into(),
            addresses: vec!["fd00::1".parse().expect("one"), "10.0.0.7".parse().expect("one")],
            port: 8642,
            version: "0.1.0".into(),
            secure: false,
        };
        assert_eq!(board.url(), "http://10.0.0.7:8642/");
        board.secure = true;
        assert_eq!(board.url(), "https://pi.local:8642/");
        (board.secure, board.addresses) = (false, vec!["fd00::1".parse().expect("one")]);
        assert_eq!(board.url(), "http://[fd00::1]:8642/");
        assert_eq!(board.json()["addresses"][0], "fd00::1");
    }

    #[test]
    fn who_listens_for_itself_alone_is_not_announced() {
        let announce = |wanted, address: &str| {
            let listening = [address.parse().expect("an address")];
            let notice = Notice { device: "pi", host: "pi", listening: &listening, secure: false };
            (notice.reaches_out(), super::announce(wanted, &notice).map(|a| a.is_some()))
        };
        assert!(matches!(announce(None, "127.0.0.1:80"), (false, Ok(false))));
        assert!(matches!(announce(Some(false), "0.0.0.0:80"), (true, Ok(false))));
    }

    #[test]
    fn what_a_stranger_says_is_short_and_harmless() {
        assert_eq!(plain("pi\x1b[31m\n"), "pi[31m");
        assert_eq!(plain(&"x".repeat(500)).len(), 64);
    }
}
