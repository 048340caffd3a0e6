//! What a channel is called in Prometheus: a function of its description.
//!
//! ```text
//! cpu/usage            %    gauge     boardcast_cpu_usage_ratio
//! cpu/core0/usage      %    gauge     boardcast_cpu_core_usage_ratio{core="0"}
//! net/eth0/rx_bytes    B    counter   boardcast_net_rx_bytes_total{interface="eth0"}
//! room/temperature     Cel  gauge     boardcast_room_temperature_celsius
//! imu/m                –    gauge     boardcast_reading{channel="imu/m"}
//! ```
//!
//! The last is where a name goes that Prometheus would read as something else:
//! `_m` is an abbreviated unit to it. `docs/prometheus.md` has the rule.

use std::fmt::Write;

use super::{
    escape,
    units::{self, Base},
};
use crate::telemetry::{Channel, Kind};

/// What all names begin with.
const PREFIX: &str = "boardcast";
/// The families of channels that cannot have one of their own; the counters'
/// has another name, since a family has one type.
const READING: &str = "reading";
const COUNTED: &str = "counted";

/// Channels of which a level names an instance, and how their family begins.
/// `{label}` takes a level, or the digits behind `core`; `*` is a level that
/// goes on the family's name.
const PATTERNS: [(&str, &str); 14] = [
    ("cpu/core{core}/*", "cpu_core"),
    ("net/{interface}/*", "net"),
    ("disk/{disk}/*", "disk"),
    ("fs/{mountpoint}/*", "fs"),
    ("thermal/{sensor}", "thermal"),
    ("hwmon/{chip}/{sensor}", "hwmon"),
    ("iio/{chip}/{sensor}", "iio"),
    ("w1/{sensor}/*", "w1"),
    ("supply/{supply}/*", "supply"),
    ("led/{led}", "led"),
    ("backlight/{backlight}/*", "backlight"),
    ("clock/{clock}/*", "clock"),
    ("processes/total", "processes"),
    ("boardcast/*", "server"),
];

/// Texts that say what something is and seldom change: an `info`.
const TEXTS: [&str; 6] = [
    "board/model",
    "board/os",
    "board/kernel",
    "disk/{disk}/health",
    "supply/{supply}/health",
    "supply/{supply}/status",
];

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Gauge,
    Counter,
    Info,
}

/// Where a channel's value stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named {
    /// The family's name, without the `_total` or `_info` of its series.
    pub family: String,
    pub of: Type,
    /// As they stand between the braces.
    pub labels: String,
    pub base: Base,
    /// The pattern that the name has matched, for whoever reads the page.
    pub pattern: Option<&'static str>,
    /// It is where [`set_apart`](Self::set_apart) puts it.
    pub apart: bool,
    /// A unit that is none of ours, which is a label.
    unit: Option<Box<str>>,
}

/// The name of a channel. Two channels may have the same one (`a/b` and
/// `a_b`): whoever makes a page sets the later one apart. With `fleet` the
/// first level is a device.
pub(super) fn named(channel: &Channel, fleet: bool) -> Named {
    let (device, name) = split(channel.name.as_str(), fleet);
    let given = channel.unit.as_deref().unwrap_or_default();
    let known = units::base_of(given);
    let unit = if known.is_none() { Some(given.into()) } else { None };
    let base = known.unwrap_or(Base::NONE);
    let of = match channel.kind {
        _ if TEXTS.iter().any(|text| captures(text, name).is_some()) => Type::Info,
        Kind::Counter => Type::Counter,
        Kind::Gauge | Kind::State => Type::Gauge,
    };
    let mut labels = String::new();
    device_label(&mut labels, device);
    let found = PATTERNS
        .iter()
        .find_map(|(pattern, begin)| Some((*pattern, *begin, captures(pattern, name)?)));
    let mut family = String::from(PREFIX);
    match &found {
        Some((_, begin, captured)) => {
            add_words(&mut family, begin);
            for (label, value) in captured {
                match *label {
                    "*" => add_words(&mut family, value),
                    _ => add_label(&mut labels, label, value),
                }
            }
        }
        None => add_words(&mut family, name),
    }
    if of == Type::Counter {
        cut(&mut family, "_total");
    }
    let words = family[PREFIX.len()..].trim_start_matches('_');
    let first = words.split('_').next();
    let good = !words.is_empty() && is_clean(words) && !matches!(first, Some(READING | COUNTED));
    add_unit(&mut family, base);
    let good = good && !ends_reserved(&family);
    let pattern = found.map(|(pattern, ..)| pattern);
    let mut named = Named { family, of, labels, base, pattern, apart: false, unit };
    if !good {
        named.set_apart(channel.name.as_str(), fleet);
    } else if let Some(unit) = &named.unit {
        add_label(&mut named.labels, "unit", unit);
    }
    named
}

impl Named {
    /// Puts it where a channel is called by a label alone: no other has that
    /// label, and no other name is that of this family.
    pub(super) fn set_apart(&mut self, name: &str, fleet: bool) {
        let word = if self.of == Type::Counter { COUNTED } else { READING };
        self.of = if self.of == Type::Counter { Type::Counter } else { Type::Gauge };
        self.family = format!("{PREFIX}_{word}");
        add_unit(&mut self.family, self.base);
        self.labels = identity(name, fleet);
        if let Some(unit) = &self.unit {
            add_label(&mut self.labels, "unit", unit);
        }
        (self.pattern, self.apart) = (Some("a channel without a metric of its own"), true);
    }
}

/// The labels that say which channel is meant: `device="pi1",channel="cpu/usage"`.
pub(super) fn identity(name: &str, fleet: bool) -> String {
    let (device, name) = split(name, fleet);
    let mut labels = String::new();
    device_label(&mut labels, device);
    add_label(&mut labels, "channel", name);
    labels
}

fn split(name: &str, fleet: bool) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((device, rest)) if fleet => (Some(device), rest),
        _ => (None, name),
    }
}

fn device_label(labels: &mut String, device: Option<&str>) {
    if let Some(device) = device {
        add_label(labels, "device", device);
    }
}

pub(super) fn add_label(labels: &mut String, label: &str, value: &str) {
    let comma = if labels.is_empty() { "" } else { "," };
    // Writing to memory cannot fail.
    let _ = write!(labels, "{comma}{label}=\"{}\"", escape(value));
}

/// What a pattern takes from a name that it matches: label, or `*`, and level.
fn captures<'a>(pattern: &'static str, name: &'a str) -> Option<Vec<(&'static str, &'a str)>> {
    let mut captured = Vec::new();
    let mut levels = name.split('/');
    for part in pattern.split('/') {
        let level = levels.next()?;
        if part == "*" {
            captured.push(("*", level));
        } else if let Some((before, label)) = part.split_once('{') {
            let value = level.strip_prefix(before).filter(|value| !value.is_empty())?;
            let is_number = || value.bytes().all(|byte| byte.is_ascii_digit());
            if !before.is_empty() && !is_number() {
                return None;
            }
            captured.push((label.trim_end_matches('}'), value));
        } else if part != level {
            return None;
        }
    }
    levels.next().is_none().then_some(captured)
}

/// Goes on with the words of a name, in small letters, one `_` between two.
fn add_words(family: &mut String, name: &str) {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        family.push('_');
        family.extend(word.chars().map(|c| c.to_ascii_lowercase()));
    }
}

/// Goes on with the unit, unless the name ends in it already.
fn add_unit(family: &mut String, base: Base) {
    let there = family.strip_suffix(base.name).is_some_and(|before| before.ends_with('_'));
    if !base.name.is_empty() && !there {
        family.push('_');
        family.push_str(base.name);
    }
}

fn cut(family: &mut String, end: &str) {
    if let Some(before) = family.strip_suffix(end) {
        family.truncate(before.len());
    }
}

/// Whether no word is one that means something to Prometheus: an abbreviated
/// unit, one that is no base unit, a type. `promtool check metrics` asks so.
fn is_clean(words: &str) -> bool {
    const SHORT: [&str; 16] = [
        "s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d", "min", "hr",
    ];
    const TYPES: [&str; 5] = ["gauge", "counter", "histogram", "summary", "untyped"];
    const BASES: [&str; 10] = [
        "amperes", "bytes", "celsius", "grams", "joules", "kelvin", "meters", "metres", "seconds",
        "volts",
    ];
    const OTHERS: [&str; 17] = [
        "minutes",
        "hours",
        "days",
        "weeks",
        "kelvins",
        "fahrenheit",
        "fahrenheits",
        "rankine",
        "rankines",
        "inches",
        "feet",
        "yards",
        "miles",
        "bits",
        "calories",
        "pounds",
        "ounces",
    ];
    const PREFIXES: [&str; 19] = [
        "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega",
        "mibi", "mebi", "giga", "gibi", "tera", "tebi", "peta", "pebi",
    ];
    let prefixed = |word: &str| {
        let rest = PREFIXES.iter().find_map(|prefix| word.strip_prefix(prefix));
        rest.is_some_and(|unit| BASES.contains(&unit) || OTHERS.contains(&unit))
    };
    let means = |word: &str| {
        SHORT.contains(&word) || TYPES.contains(&word) || OTHERS.contains(&word) || prefixed(word)
    };
    !words.split('_').any(means)
}

/// Whether a family's name ends in what OpenMetrics puts behind one (its
/// section "Suffixes").
fn ends_reserved(family: &str) -> bool {
    const ENDS: [&str; 8] =
        ["total", "count", "sum", "bucket", "created", "info", "gcount", "gsum"];
    family.rsplit('_').next().is_some_and(|word| ENDS.contains(&word))
}
