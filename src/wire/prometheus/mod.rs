//! What Prometheus reads: its text format 0.0.4, and OpenMetrics 1.0.
//!
//! ```text
//! # HELP boardcast_cpu_core_usage_ratio The latest reading of cpu/core{core}/*.
//! # TYPE boardcast_cpu_core_usage_ratio gauge
//! boardcast_cpu_core_usage_ratio{core="0"} 0.125
//! # HELP boardcast_channel_up Whether a channel has a reading that is not stale.
//! # TYPE boardcast_channel_up gauge
//! boardcast_channel_up{channel="cpu/core0/usage",source="vitals"} 1
//! ```
//!
//! A channel's metric follows from its description alone (`names`). Whatever
//! channels there are, no family and no series is there twice: where two would
//! have the same name, the one that was there first keeps it.

mod names;
#[cfg(test)]
mod tests;
mod units;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt::Write,
    sync::Arc,
};

use self::names::{Named, Type};
use crate::telemetry::{ChannelName, ChannelState, Kind, Status, Value};

/// The two forms of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text 0.0.4, which everyone reads.
    #[default]
    Text,
    /// OpenMetrics 1.0: the same, with `UNIT`, `info` and an end.
    OpenMetrics,
}

impl Format {
    /// What the ranges of a request's `Accept` ask for (RFC 9110 section 12.5.1):
    /// OpenMetrics where it is named and weighs at least as much as text.
    pub fn from_accept<'a>(ranges: impl Iterator<Item = &'a str>) -> Self {
        let (mut text, mut named, mut any) = (None, 0.0, 0.0);
        for range in ranges {
            let mut parameters = range.split(';').map(str::trim);
            let media = parameters.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut version) = (1.0, "1.0.0");
            for (name, value) in parameters.filter_map(|pair| pair.split_once('=')) {
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = value.parse().unwrap_or(0.0),
                    "version" => version = value,
                    _ => {}
                }
            }
            match media.as_str() {
                "application/openmetrics-text" if version == "1.0.0" => named = weight,
                "text/plain" => text = Some(weight),
                "text/*" if text.is_none() => text = Some(weight),
                "*/*" => any = weight,
                _ => {}
            }
        }
        let wanted = named > 0.0 && named >= text.unwrap_or(any);
        if wanted { Self::OpenMetrics } else { Self::Text }
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page of metrics under way: first the program's own, then the channels'.
#[derive(Debug)]
pub struct Page {
    format: Format,
    /// The first level of a channel's name is a device.
    fleet: bool,
    text: String,
    /// The families that the program has for itself.
    own: HashSet<String>,
    rows: Vec<Row>,
}

/// One channel.
#[derive(Debug)]
struct Row {
    name: ChannelName,
    source: Arc<str>,
    named: Named,
    up: bool,
    value: Option<f64>,
}

impl Page {
    /// An empty page. On a `fleet`'s server channels are `<device>/<channel>`,
    /// and the device becomes a label.
    pub fn new(format: Format, fleet: bool) -> Self {
        let (text, own, rows) = Default::default();
        Self { format, fleet, text, own, rows }
    }

    /// One number that the program counts about itself; `kind` is `counter`,
    /// then the name ends in `_total`, or `gauge`.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.own_family(name, kind, help);
        let _ = writeln!(self.text, "{name} {value}");
    }

    /// One number for each of several sources.
    pub fn by_source<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        values: impl Iterator<Item = (&'a str, u64)>,
    ) {
        self.own_family(name, kind, help);
        for (source, value) in values {
            let _ = writeln!(self.text, "{name}{{source=\"{}\"}} {value}", escape(source));
        }
    }

    /// Which program this is: `boardcast_build_info{version="…"} 1`.
    pub fn build(&mut self, version: &str) {
        self.own.insert("boardcast_build".into());
        self.family("boardcast_build", Type::Info, "", "The program that this is.");
        let _ = writeln!(self.text, "boardcast_build_info{{version=\"{}\"}} 1", escape(version));
    }

    /// Notes the latest values of these channels, behind those that were noted
    /// before; writes nothing yet, so that a hub need not wait for that.
    pub fn readings(&mut self, channels: &[ChannelState]) {
        let fleet = self.fleet;
        self.rows.extend(channels.iter().map(|state| {
            let channel = &state.channel;
            let mut named = names::named(channel, fleet);
            let up = state.status == Status::Ok;
            let short = channel.single_precision && channel.kind != Kind::Counter;
            let mut value = number(&state.value, short).map(|value| named.base.scale(value));
            if named.of == Type::Info {
                value = None;
                if let Value::Text(text) = &state.value {
                    names::add_label(&mut named.labels, "value", text);
                    value = Some(1.0);
                }
            }
            let (name, source) = (channel.name.clone(), state.source.clone());
            Row { name, source, named, up, value: value.filter(|_| up) }
        }));
    }

    /// The finished text.
    pub fn finish(mut self) -> String {
        let mut rows = std::mem::take(&mut self.rows);
        self.own.extend(["boardcast_channel", "boardcast_channel_up"].map(String::from));
        self.settle(&mut rows);
        self.channel_up(&rows);
        rows.retain(|row| row.value.is_some());
        rows.sort_by(|a, b| a.named.family.cmp(&b.named.family));
        let mut last = String::new();
        for Row { name, named, value, .. } in rows {
            let family = &named.family;
            if *family != last {
                let of = named.pattern.unwrap_or(name.as_str());
                let help = format!("The latest reading of {of}.");
                self.family(family, named.of, named.base.name, &help);
            }
            let end = suffix(named.of);
            let (open, close) = if named.labels.is_empty() { ("", "") } else { ("{", "}") };
            let (labels, value) = (&named.labels, value.unwrap_or_default());
            // Writing to memory cannot fail.
            let _ = writeln!(self.text, "{family}{end}{open}{labels}{close} {value}");
            last = named.family;
        }
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// Moves each row apart whose place is taken: by the program's own
    /// metrics, or by a row before it. Those without a value count as well, so
    /// that a series does not move when a channel fails.
    fn settle(&self, rows: &mut [Row]) {
        let mut types: HashMap<&str, Type> = HashMap::new();
        let mut series: HashSet<(&str, &str)> = HashSet::new();
        let mut moved = Vec::new();
        for (place, Row { named, .. }) in
            rows.iter().enumerate().filter(|(_, row)| !row.named.apart)
        {
            let free = !self.own.contains(&named.family)
                && *types.entry(&named.family).or_insert(named.of) == named.of
                && series.insert((&named.family, &named.labels));
            if !free {
                moved.push(place);
            }
        }
        for place in moved {
            let Row { name, named, value, .. } = &mut rows[place];
            if named.of == Type::Info {
                // A text has no place there.
                *value = None;
            }
            named.set_apart(name.as_str(), self.fleet);
        }
    }

    fn channel_up(&mut self, rows: &[Row]) {
        if rows.is_empty() {
            return;
        }
        let name = "boardcast_channel_up";
        self.family(name, Type::Gauge, "", "Whether a channel has a reading that is not stale.");
        for row in rows {
            let labels = names::identity(row.name.as_str(), self.fleet);
            let (source, up) = (escape(&row.source), u8::from(row.up));
            let _ = writeln!(self.text, "{name}{{{labels},source=\"{source}\"}} {up}");
        }
    }

    fn own_family(&mut self, name: &str, kind: &str, help: &str) {
        let of = if kind == "counter" { Type::Counter } else { Type::Gauge };
        let family = name.strip_suffix(suffix(of)).unwrap_or(name);
        self.own.insert(family.into());
        let unit = if family.ends_with("_bytes") { "bytes" } else { "" };
        self.family(family, of, unit, help);
    }

    fn family(&mut self, family: &str, of: Type, unit: &str, help: &str) {
        let (end, word) = match (self.format, of) {
            (Format::OpenMetrics, Type::Info) => ("", "info"),
            (Format::OpenMetrics, Type::Counter) => ("", "counter"),
            (_, Type::Counter) => ("_total", "counter"),
            (_, Type::Info) => ("_info", "gauge"),
            (_, Type::Gauge) => ("", "gauge"),
        };
        let _ = writeln!(self.text, "# HELP {family}{end} {help}\n# TYPE {family}{end} {word}");
        if self.format == Format::OpenMetrics && !unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {family} {unit}");
        }
    }
}

/// What stands behind the family's name in a line with a value.
fn suffix(of: Type) -> &'static str {
    match of {
        Type::Gauge => "",
        Type::Counter => "_total",
        Type::Info => "_info",
    }
}

/// A reading as a number; one that means no more than an `f32` with as few
/// digits as tell it apart.
fn number(value: &Value, short: bool) -> Option<f64> {
    match value {
        Value::Number(number) if short => (*number as f32).to_string().parse().ok(),
        Value::Number(number) => Some(*number),
        Value::Bool(on) => Some(f64::from(u8::from(*on))),
        Value::Text(_) | Value::Null => None,
    }
}

/// Label values escape the backslash, the quote and the line feed.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '"', '\n']) {
        return text.into();
    }
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
}
