//! A channel is a named quantity: `cpu/temperature`, `net/wlan0/rx`.
//!
//! Its name is made of levels, as an MQTT topic is, so that later filters can
//! use `+` and `#`; its unit is a SenML unit (RFC 8428 section 12.1, RFC 8798).

use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc, time::Duration};

use crate::error::{Error, Result};

/// The longest name, in bytes.
pub const MAX_NAME: usize = 128;
/// The most levels a name may have.
pub const MAX_LEVELS: usize = 8;
/// The longest level that is made from a foreign name, in bytes.
const MAX_FOREIGN_LEVEL: usize = 40;

/// A valid channel name: 1 to 8 levels of `[A-Za-z0-9._-]+` joined by `/`,
/// at most 128 bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Error::Channel`] names the rule that the name breaks.
    #[inline(never)]
    pub fn new(name: &str) -> Result<Self> {
        if let Some(rule) = Self::broken_rule(name) {
            // Precision does not cut a Debug form, so cut before.
            let start: String = name.chars().take(MAX_NAME).collect();
            return Err(Error::Channel(format!("channel name {start:?}: {rule}")));
        }
        Ok(Self(name.into()))
    }

    /// The rule that a name breaks, in words; `None` when it is a good name.
    pub(crate) fn broken_rule(name: &str) -> Option<&'static str> {
        if name.len() > MAX_NAME {
            return Some("longer than 128 bytes");
        }
        let (mut levels, mut in_level) = (1, 0);
        for byte in name.bytes() {
            match byte {
                b'/' if in_level == 0 => break,
                b'/' => (levels, in_level) = (levels + 1, 0),
                byte if allowed(byte) => in_level += 1,
                _ => return Some("a level may hold A-Z a-z 0-9 . _ - only"),
            }
        }
        match in_level {
            0 => Some("an empty level; write it as in cpu/temperature"),
            _ if levels > MAX_LEVELS => Some("more than 8 levels"),
            _ => None,
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Whether a level may hold this byte.
pub(crate) fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Turns names that the system gives (interfaces, disks, labels) into levels.
///
/// What is not allowed in a level becomes `_`; two names that would then be
/// the same are told apart by `_2`, `_3`, … in the order in which they come.
///
/// ```
/// # use boardcast::telemetry::Levels;
/// let mut levels = Levels::default();
/// assert_eq!(levels.level("cpu thermal"), "cpu_thermal");
/// assert_eq!(levels.level("cpu:thermal"), "cpu_thermal_2");
/// ```
#[derive(Debug, Default)]
pub struct Levels {
    taken: HashSet<String>,
}

impl Levels {
    /// The level for one foreign name; asking twice for the same name counts
    /// as two different things, so use one `Levels` per list.
    pub fn level(&mut self, foreign: &str) -> String {
        let mut base: String = foreign
            .trim()
            .chars()
            .map(|c| if c.is_ascii() && allowed(c as u8) { c } else { '_' })
            .take(MAX_FOREIGN_LEVEL)
            .collect();
        if base.is_empty() {
            base.push('_');
        }
        let mut level = base.clone();
        let mut count = 1;
        while !self.taken.insert(level.clone()) {
            count += 1;
            level = format!("{base}_{count}");
        }
        level
    }
}

/// What kind of quantity a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down: a temperature, a rate.
    Gauge,
    /// Only grows, until its source starts anew: bytes received in all.
    Counter,
    /// One of a few states: on or off, a mode.
    State,
}

impl Kind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::State => "state",
        }
    }
}

/// How a channel is doing. The last good value stays visible beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Readings arrive.
    Ok,
    /// No reading for longer than the channel's `stale_after`.
    Stale,
    /// Its source could not read it; the reason, for people.
    Error(Arc<str>),
    /// Its source no longer has it: an interface was unplugged.
    Gone,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Stale => "stale",
            Self::Error(_) => "error",
            Self::Gone => "gone",
        }
    }
}

/// The number of a channel on the wire; never used for another channel within
/// one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub(crate) u32);

impl ChannelId {
    /// Stands for every channel that is hidden and was never declared. No
    /// table of channels reaches so far, so nothing is taken under it.
    pub(crate) const HIDDEN: Self = Self(u32::MAX);

    /// The number itself, counted from 0; `u32::MAX` for a channel that a rule
    /// [hides](super::Rule::hide).
    pub fn get(self) -> u32 {
        self.0
    }
}

/// The description of a channel, as its source declares it.
///
/// ```
/// # use boardcast::telemetry::Channel;
/// # fn main() -> boardcast::Result<()> {
/// let temperature = Channel::gauge("room/temperature")?.unit("Cel").range(-40.0, 85.0);
/// assert_eq!(temperature.name.as_str(), "room/temperature");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// What kind of quantity it is.
    pub kind: Kind,
    /// A SenML unit (RFC 8428 section 12.1, RFC 8798): `Cel`, `B/s`, `%`.
    pub unit: Option<Cow<'static, str>>,
    /// A name for people, where the channel's own does not do.
    pub label: Option<Cow<'static, str>>,
    /// The least value that is possible or normal, in `unit`.
    pub min: Option<f64>,
    /// The greatest value that is possible or normal, in `unit`.
    pub max: Option<f64>,
    /// After how long without a reading the channel is stale.
    pub stale_after: Option<Duration>,
    /// Whether a reading means no more than an `f32` can say (24 bits, about 7
    /// digits), as most converters' do. Such readings travel in half the bytes
    /// and are written with as few digits as tell them apart: 0.1, not
    /// 0.10000000149011612. A counter is never cut short.
    pub single_precision: bool,
}

impl Channel {
    /// A channel of any kind.
    ///
    /// # Errors
    /// [`Error::Channel`] when the name is not valid.
    #[inline(never)]
    pub fn new(kind: Kind, name: &str) -> Result<Self> {
        let name = ChannelName::new(name)?;
        Ok(Self {
            name,
            kind,
            unit: None,
            label: None,
            min: None,
            max: None,
            stale_after: None,
            single_precision: false,
        })
    }

    /// A quantity that goes up and down.
    ///
    /// # Errors
    /// [`Error::Channel`] when the name is not valid.
    pub fn gauge(name: &str) -> Result<Self> {
        Self::new(Kind::Gauge, name)
    }

    /// A total that only grows.
    ///
    /// # Errors
    /// [`Error::Channel`] when the name is not valid.
    pub fn counter(name: &str) -> Result<Self> {
        Self::new(Kind::Counter, name)
    }

    /// One of a few states.
    ///
    /// # Errors
    /// [`Error::Channel`] when the name is not valid.
    pub fn state(name: &str) -> Result<Self> {
        Self::new(Kind::State, name)
    }

    /// Sets the SenML unit.
    #[inline(never)]
    pub fn unit(mut self, unit: impl Into<Cow<'static, str>>) -> Self {
        self.unit = Some(unit.into());
        self
    }

    /// Sets the name for people.
    #[inline(never)]
    pub fn label(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets the least and the greatest value, in the channel's unit.
    #[inline(never)]
    pub fn range(mut self, min: f64, max: f64) -> Self {
        (self.min, self.max) = (Some(min), Some(max));
        self
    }

    /// Sets after how long without a reading the channel is stale.
    #[inline(never)]
    pub fn stale_after(mut self, time: Duration) -> Self {
        self.stale_after = Some(time);
        self
    }

    /// Says that readings mean no more than an `f32` can say, as most
    /// converters' do: they travel in half the bytes.
    #[inline(never)]
    pub fn single_precision(mut self) -> Self {
        self.single_precision = true;
        self
    }

    /// A reading of this channel as an `f32`, when that is all that it means;
    /// `None` for a counter, and for what an `f32` cannot hold at all.
    pub(crate) fn as_single(&self, number: f64) -> Option<f32> {
        let single = number as f32;
        let meant = self.single_precision && self.kind != Kind::Counter;
        (meant && single.is_finite()).then_some(single)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_rules_of_levels() {
        for good in ["a", "cpu/core0/usage", "net/eth0.100/rx_bytes", "a/b/c/d/e/f/g/h"] {
            assert_eq!(ChannelName::new(good).expect(good).as_str(), good);
        }
        let long = "x".repeat(MAX_NAME + 1);
        for bad in ["", "/", "a//b", "a/", "/a", "a b", "a/+", "#", "ä", "a/b/c/d/e/f/g/h/i", &long]
        {
            assert!(ChannelName::new(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(ChannelName::new(&"x".repeat(MAX_NAME)).is_ok());
    }

    #[test]
    fn a_reading_is_single_where_its_channel_says_so_and_it_can_be() {
        let gauge = Channel::gauge("a").expect("valid");
        assert_eq!(gauge.as_single(0.1), None);
        let gauge = gauge.single_precision();
        assert_eq!(gauge.as_single(0.1), Some(0.1_f32));
        assert_eq!(gauge.as_single(1e300), None);
        let counter = Channel::counter("b").expect("valid").single_precision();
        assert_eq!(counter.as_single(1.0), None);
    }

    #[test]
    fn a_foreign_name_becomes_one_level_and_collisions_are_numbered() {
        let mut levels = Levels::default();
        assert_eq!(levels.level("wlan0"), "wlan0");
        assert_eq!(levels.level("a/b"), "a_b");
        assert_eq!(levels.level("a b"), "a_b_2");
        assert_eq!(levels.level("a+b"), "a_b_3");
        assert_eq!(levels.level("  "), "_");
        assert_eq!(levels.level("é"), "__2");
        let long = levels.level(&"y".repeat(500));
        assert!(ChannelName::new(&format!("net/{long}/rx_bytes")).is_ok());
    }
}
