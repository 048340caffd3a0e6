//! The settings of the program, checked; where they come from is `cli`'s.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    error::{Error, Result},
    net::{Limits, Network},
};

/// The port when none is named.
pub const PORT: u16 = 8642;
/// The shortest and the longest interval of the polled sources.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3600));
/// The shortest and the longest time between two writes of a file: a short one
/// wears out an SD card.
const EVERY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400));

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; empty: the port [`PORT`] on all addresses.
    pub listen: Vec<SocketAddr>,
    /// How often the polled sources are read.
    pub interval: Duration,
    /// The device's name; the host's when none is given.
    pub name: Option<String>,
    /// Networks that are served beside the close ones.
    pub allow: Vec<Network>,
    /// Origins whose pages may read the board, beside its own.
    pub allow_origin: Vec<String>,
    /// Whether there are simulated sensors, too.
    pub demo: bool,
    /// The file that keeps history over a restart; `None`: none does.
    pub history_file: Option<PathBuf>,
    /// How often that file is written; once more at the end.
    pub history_every: Duration,
    /// Whether readings come on standard input.
    pub stdin: bool,
    /// Where readings come in over a Unix socket.
    pub socket: SocketPlace,
    /// Where readings come in over UDP; `None`: nowhere.
    pub udp: Option<SocketAddr>,
    /// The engine's bounds.
    pub limits: Limits,
    /// Where `proc` and `sys` are; `/` on a board.
    pub root: PathBuf,
}

/// Where the Unix socket for pushed readings is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SocketPlace {
    /// At the first of the usual places that can be had.
    #[default]
    Usual,
    /// Nowhere.
    None,
    /// There and nowhere else.
    At(PathBuf),
}

/// Parses a place of the socket: a path, or `none`.
///
/// # Errors
/// [`Error::Setting`] when it is empty.
pub fn parse_socket(text: &str) -> Result<SocketPlace> {
    match text {
        "" => Err(Error::Setting("the socket needs a path, or none".into())),
        "none" => Ok(SocketPlace::None),
        path => Ok(SocketPlace::At(path.into())),
    }
}

/// Parses where UDP is taken: an address and a port, or a port on loopback.
///
/// # Errors
/// [`Error::Setting`] with examples, when it is none.
pub fn parse_udp(text: &str) -> Result<SocketAddr> {
    let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
    let loopback = port.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    loopback.or_else(|_| text.parse()).map_err(|_| {
        Error::Setting(format!(
            "{text:?} is no place for UDP: write it as in 8125 (this machine only) or 0.0.0.0:8125"
        ))
    })
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            interval: Duration::from_secs(1),
            name: None,
            allow: Vec::new(),
            allow_origin: Vec::new(),
            demo: false,
            history_file: None,
            history_every: Duration::from_secs(600),
            stdin: false,
            socket: SocketPlace::Usual,
            udp: None,
            limits: Limits::default(),
            root: "/".into(),
        }
    }
}

/// Parses a time: `1s`, `100ms`, `2m`, `0.5s`.
///
/// # Errors
/// [`Error::Setting`] with examples, when it is none or out of range.
pub fn parse_interval(text: &str) -> Result<Duration> {
    let time = parse_time(text).filter(|time| (INTERVALS.0..=INTERVALS.1).contains(time));
    time.ok_or_else(|| {
        Error::Setting(format!(
            "{text:?} is no interval: write it as in 1s, 100ms or 2m (10ms to 60m)"
        ))
    })
}

/// Parses how often a file is written: `10m`, `1h`.
///
/// # Errors
/// [`Error::Setting`] with examples, when it is no time or out of range.
pub fn parse_every(text: &str) -> Result<Duration> {
    let time = parse_time(text).filter(|time| (EVERY.0..=EVERY.1).contains(time));
    time.ok_or_else(|| {
        Error::Setting(format!("{text:?} is no such time: write it as in 10m or 1h (1m to 24h)"))
    })
}

fn parse_time(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.trim().parse().ok()?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// Parses an origin as a browser sends it (RFC 6454 section 6.1).
///
/// # Errors
/// [`Error::Setting`] with an example, when it is none.
pub fn parse_origin(text: &str) -> Result<String> {
    let refuse = || {
        Error::Setting(format!(
            "{text:?} is no origin: write it as in https://panel.example or http://10.0.0.5:3000"
        ))
    };
    let origin = text.trim_end_matches('/');
    let (scheme, authority) = origin.split_once("://").ok_or_else(refuse)?;
    let fine = matches!(scheme, "http" | "https")
        && !authority.is_empty()
        && !authority.contains(['/', '?', '#', '@', ' ']);
    if fine { Ok(origin.to_owned()) } else { Err(refuse()) }
}

/// Parses an address to listen on.
///
/// # Errors
/// [`Error::Setting`] with examples, when it is none.
pub fn parse_listen(text: &str) -> Result<SocketAddr> {
    text.parse().map_err(|_| {
        Error::Setting(format!(
            "{text:?} is no address and port: write it as in 0.0.0.0:{PORT} or [::1]:9000"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_a_unit_and_a_range() {
        for (text, millis) in [("1s", 1000), ("100ms", 100), ("0.5s", 500), ("2m", 120_000)] {
            assert_eq!(parse_interval(text).expect(text), Duration::from_millis(millis));
        }
        for bad in ["", "1", "s", "2h", "-1s", "1ms", "61m", "NaNs", "infs", "1e99s", "1 s s"] {
            assert!(parse_interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_card_is_not_written_all_the_time() {
        assert_eq!(parse_every("1h").expect("fine"), Duration::from_secs(3600));
        for bad in ["59s", "25h", "often"] {
            assert!(parse_every(bad).expect_err(bad).to_string().contains("10m"), "{bad}");
        }
    }

    #[test]
    fn places_of_inputs_are_checked() {
        let loopback = "127.0.0.1:8125".parse().expect("an address");
        assert_eq!(parse_udp("8125").expect("fine"), loopback);
        assert_eq!(parse_udp(":8125").expect("fine"), loopback);
        assert_eq!(parse_udp("[::]:9").expect("fine").port(), 9);
        assert!(parse_udp("udp").expect_err("none").to_string().contains("8125"));
        assert_eq!(parse_socket("none").expect("fine"), SocketPlace::None);
        assert_eq!(parse_socket("/run/x").expect("fine"), SocketPlace::At("/run/x".into()));
        assert!(parse_socket("").is_err());
    }

    #[test]
    fn origins_and_addresses_are_checked() {
        assert_eq!(parse_origin("https://a.example/").expect("fine"), "https://a.example");
        for bad in ["a.example", "https://", "ftp://a", "https://a/b", "null", "http://u@a"] {
            assert!(parse_origin(bad).is_err(), "{bad}");
        }
        assert!(parse_listen("[::]:8642").is_ok());
        assert!(parse_listen("8642").expect_err("no address").to_string().contains("0.0.0.0:8642"));
    }
}
