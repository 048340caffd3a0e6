//! Single values of settings: text → value, and back for people.

use std::{net::SocketAddr, time::Duration};

use super::{PORT, SocketPlace};
use crate::error::{Error, Result};

/// The shortest and the longest interval of the polled sources.
pub(super) const INTERVALS: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_secs(3600));
/// The shortest and the longest time between two writes of a file: a short one
/// wears out an SD card.
const WRITES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400));

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

/// Parses how often the board is read: `1s`, `100ms`, `2m`, `0.5s`.
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
    let time = parse_time(text).filter(|time| (WRITES.0..=WRITES.1).contains(time));
    time.ok_or_else(|| {
        Error::Setting(format!("{text:?} is no such time: write it as in 10m or 1h (1m to 24h)"))
    })
}

/// Parses a time within these limits, both included.
#[inline(never)]
pub(super) fn parse_time_in(text: &str, least: Duration, most: Duration) -> Result<Duration> {
    let time = parse_time(text).filter(|time| (least..=most).contains(time));
    time.ok_or_else(|| {
        Error::Setting(format!(
            "{text:?} is no such time: write it as in 5s, 500ms or 2m ({} to {})",
            show_time(least),
            show_time(most)
        ))
    })
}

#[inline(never)]
fn parse_time(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.trim().parse().ok()?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// A time as the settings have it: `500ms`, `90s`, `10m`.
#[inline(never)]
pub(super) fn show_time(time: Duration) -> String {
    let (millis, seconds) = (time.as_millis(), time.as_secs());
    match () {
        () if millis % 1000 != 0 => format!("{millis}ms"),
        () if seconds > 0 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        () if seconds >= 120 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        () => format!("{seconds}s"),
    }
}

/// Parses a number of bytes, `65536`, `64KiB` or `1MiB`, within these limits.
#[inline(never)]
pub(super) fn parse_size_in(text: &str, least: usize, most: usize) -> Result<usize> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim() {
        "" | "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        _ => None,
    };
    let number = number.parse::<usize>().ok();
    let size = shift.zip(number).and_then(|(shift, number)| number.checked_mul(1 << shift));
    size.filter(|size| (least..=most).contains(size)).ok_or_else(|| {
        Error::Setting(format!(
            "{text:?} is no such size: write it as in 65536, 64KiB or 1MiB ({} to {})",
            show_size(least),
            show_size(most)
        ))
    })
}

/// A number of bytes as the settings have it: `64KiB`.
#[inline(never)]
pub(crate) fn show_size(bytes: usize) -> String {
    match bytes {
        0 => "0".into(),
        _ if bytes % (1 << 20) == 0 => format!("{}MiB", bytes >> 20),
        _ if bytes % (1 << 10) == 0 => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// Parses a whole number within these limits, both included.
#[inline(never)]
pub(super) fn parse_count_in(text: &str, least: u64, most: u64) -> Result<u64> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        Error::Setting(format!("{text:?} is no such number: write one from {least} to {most}"))
    })
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
    fn times_sizes_and_numbers_read_as_they_are_shown() {
        for text in ["500ms", "90s", "10m", "2h", "0s", "60s"] {
            let time = parse_time_in(text, Duration::ZERO, Duration::MAX).expect(text);
            assert_eq!(show_time(time), text);
        }
        for text in ["0", "512", "64KiB", "3MiB", "1000"] {
            assert_eq!(show_size(parse_size_in(text, 0, usize::MAX).expect(text)), text);
        }
        for bad in ["", "64 KB", "-1", "1.5MiB", "99999999999999999999", "4GiB", "5", "2KiB"] {
            let error = parse_size_in(bad, 6, 1024).expect_err(bad).to_string();
            assert!(error.contains("6 to 1KiB"), "{error}");
        }
        assert_eq!(parse_count_in("7", 1, 7).expect("fine"), 7);
        assert!(parse_count_in("8", 1, 7).expect_err("more").to_string().contains("1 to 7"));
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
