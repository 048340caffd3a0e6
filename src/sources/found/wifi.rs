//! How well the radio hears its access point, from `/proc/net/wireless`.
//!
//! ```text
//! Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
//!  face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
//!  wlan0: 0000   58.  -52.  -256        0      0      0      4      0        0
//! ```
//!
//! A line per interface with a link; `.` marks what was measured since the
//! last look (net/wireless/wext-proc.c, `wireless_seq_printf_stats`). `level`
//! and `noise` are dBm where they are below zero, and -256 is "not measured".
//! Some drivers give a level without a unit, 0 to 100, which is left out: it
//! is `link` in other words. Reading it asks the driver.

use std::path::{Path, PathBuf};

use super::files::Files;
use crate::{
    sources::{
        Readings,
        isolated::{Device, Round, Watch},
        vitals::file::quoted,
    },
    telemetry::{Channel, Levels},
};

/// Of all interfaces; each has two lines' worth of text at most.
const MAX_INTERFACES: usize = 16;

/// The file, if the kernel has it (CONFIG_CFG80211_WEXT).
#[derive(Debug)]
pub(super) struct Wifi {
    path: PathBuf,
    files: Files,
}

impl Wifi {
    pub(super) fn new(root: &Path) -> Self {
        Self { path: root.join("proc/net/wireless"), files: Files::default() }
    }

    /// Whether the kernel has the file.
    pub(super) fn any(&self) -> bool {
        self.path.exists()
    }
}

impl Device for Wifi {
    fn read(&mut self, watch: &Watch, readings: &mut Readings) -> Round {
        let mut levels = Levels::default();
        match self.files.read(watch, &self.path, parse) {
            Ok(links) => {
                for link in links.iter().flatten() {
                    link.tell(&levels.level(&link.interface), readings);
                }
            }
            // Which interfaces there are is not known then.
            Err(reason) => log::debug!("{reason}"),
        }
        Round::Done
    }
}

/// One line.
#[derive(Debug, PartialEq)]
struct Link {
    interface: String,
    quality: f64,
    /// In dBm.
    signal: Option<f64>,
    noise: Option<f64>,
    /// Packets that were given up after all retries, and beacons not heard.
    retries: f64,
    missed: f64,
}

impl Link {
    fn tell(&self, level: &str, readings: &mut Readings) {
        let name = |end: &str| format!("net/{level}/{end}");
        let labelled = |what: &str| format!("{} {what}", self.interface);
        for (end, what, value) in
            [("signal", "signal", self.signal), ("noise", "noise", self.noise)]
        {
            if let Some(value) = value {
                let channel = Channel::gauge(&name(end));
                readings.push(channel.map(|c| c.unit("dBm").label(labelled(what))), value);
            }
        }
        let channel = Channel::gauge(&name("link_quality"));
        readings.push(channel.map(|c| c.label(labelled("link quality"))), self.quality);
        for (end, what, value) in [
            ("failed_retries", "packets given up", self.retries),
            ("missed_beacons", "missed beacons", self.missed),
        ] {
            let channel = Channel::counter(&name(end));
            readings.push(channel.map(|c| c.unit("count").label(labelled(what))), value);
        }
    }
}

fn parse(text: &str) -> Result<Vec<Link>, String> {
    let lines = text.lines().skip(2).filter(|line| !line.trim().is_empty());
    let links = lines.take(MAX_INTERFACES).map(|line| {
        parse_line(line)
            .ok_or_else(|| format!("not a line of a wireless interface: {}", quoted(line)))
    });
    links.collect()
}

fn parse_line(line: &str) -> Option<Link> {
    let (interface, fields) = line.rsplit_once(": ").or_else(|| line.rsplit_once(':'))?;
    let number = |field: &str| super::files::number(field.trim_end_matches('.')).ok();
    let fields: Vec<f64> =
        fields.split_ascii_whitespace().skip(1).map(number).collect::<Option<_>>()?;
    let [quality, level, noise, _, _, _, retries, _, missed] = fields.try_into().ok()?;
    let decibels = |number: f64| Some(number).filter(|dbm| (-255.0..0.0).contains(dbm));
    Some(Link {
        interface: interface.trim().to_owned(),
        quality,
        signal: decibels(level),
        noise: decibels(noise),
        retries,
        missed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Inter-| sta-| …\n face | tus | …\n";

    #[test]
    fn a_link_has_its_signal_and_what_was_lost() {
        let text = format!(
            "{HEAD} wlan0: 0000   58.  -52.  -256        0      0      0      4      0        2\n"
        );
        let expected = Link {
            interface: "wlan0".into(),
            quality: 58.0,
            signal: Some(-52.0),
            noise: None,
            retries: 4.0,
            missed: 2.0,
        };
        assert_eq!(parse(&text), Ok(vec![expected]));
        assert_eq!(parse(HEAD), Ok(Vec::new()));
        assert_eq!(parse(""), Ok(Vec::new()));
    }

    #[test]
    fn a_level_without_a_unit_is_no_signal() {
        let text = format!("{HEAD}wlan0: 0000   58   70    0   0 0 0 0 0 0\n");
        let links = parse(&text).expect("a link");
        assert_eq!((links[0].signal, links[0].noise), (None, None));
    }

    #[test]
    fn garbage_is_an_error() {
        for line in ["x", "wlan0:", "wlan0: 0000 1 2 3", "wlan0: 0000 x. 2 3 4 5 6 7 8 9", ": :::"]
        {
            assert!(parse(&format!("{HEAD}{line}\n")).is_err(), "{line}");
        }
    }
}
