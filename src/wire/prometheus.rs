//! The Prometheus text format, version 0.0.4.
//!
//! ```text
//! # HELP boardcast_reading The latest value of a channel, in its unit.
//! # TYPE boardcast_reading gauge
//! boardcast_reading{channel="cpu/usage",unit="%",source="vitals"} 12.5
//! ```
//!
//! Channels are labels and not metric names: their units stay SenML's, and a
//! name that a user pushes can never become a metric that collides.

use std::fmt::Write;

use crate::telemetry::{ChannelState, Kind, Status, Value};

/// The media type.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics under way.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// One number that the program counts about itself.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// One number for each of several sources.
    pub fn by_source<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        values: impl Iterator<Item = (&'a str, u64)>,
    ) {
        self.family(name, kind, help);
        for (source, value) in values {
            let _ = writeln!(self.0, "{name}{{source=\"{}\"}} {value}", escape(source));
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// The latest values. A channel that is not `ok` is left out, so that
    /// Prometheus marks its series stale; a text is no number and left out too.
    pub fn readings(&mut self, channels: &[ChannelState]) {
        let gauges = "The latest value of a channel, in its unit; a state is 0 or 1.";
        self.family_of(channels, "boardcast_reading", "gauge", gauges, |kind| {
            kind != Kind::Counter
        });
        let totals = "The latest total of a channel, in its unit.";
        self.family_of(channels, "boardcast_reading_total", "counter", totals, |kind| {
            kind == Kind::Counter
        });
    }

    fn family_of(
        &mut self,
        channels: &[ChannelState],
        name: &str,
        kind: &str,
        help: &str,
        wanted: impl Fn(Kind) -> bool,
    ) {
        let chosen = channels.iter().filter(|s| wanted(s.channel.kind) && s.status == Status::Ok);
        let with_number = chosen.filter_map(|state| Some((state, number(&state.value)?)));
        let mut with_number = with_number.peekable();
        if with_number.peek().is_none() {
            return;
        }
        self.family(name, kind, help);
        for (state, value) in with_number {
            let channel = escape(state.channel.name.as_str());
            let unit = escape(state.channel.unit.as_deref().unwrap_or_default());
            let source = escape(&state.source);
            let _ = writeln!(
                self.0,
                "{name}{{channel=\"{channel}\",unit=\"{unit}\",source=\"{source}\"}} {value}"
            );
        }
    }

    /// The finished text.
    pub fn finish(self) -> String {
        self.0
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Bool(on) => Some(f64::from(u8::from(*on))),
        Value::Text(_) | Value::Null => None,
    }
}

/// Label values escape the backslash, the quote and the line feed.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Batch, BootTime, Channel, Hub, HubSettings};

    #[test]
    fn readings_are_labelled_and_escaped_and_only_good_numbers_appear() {
        let hub = Hub::new(HubSettings::default());
        let publisher = hub.publisher("my \"source\"");
        let mut batch = Batch::at(BootTime::default());
        let mut add = |channel: Channel, value: Value| {
            let id = publisher.channel(channel).expect("declared");
            batch.set(id, value);
            id
        };
        add(Channel::gauge("a").expect("valid").unit("%\n"), 12.5.into());
        add(Channel::counter("net/eth0/rx_bytes").expect("valid").unit("B"), 7.0.into());
        add(Channel::state("door").expect("valid"), true.into());
        add(Channel::state("name").expect("valid"), "text".into());
        let broken = add(Channel::gauge("broken").expect("valid"), 1.0.into());
        publisher.publish(batch);
        publisher.fail(broken, "unplugged");
        let mut page = Page::default();
        page.single("boardcast_panics_total", "counter", "Panics.", 0);
        let pushed = [("stdin", 7), ("a\"b", 0)].into_iter();
        page.by_source("boardcast_pushed_lines_total", "counter", "Lines.", pushed);
        page.readings(hub.view().channels());
        assert_eq!(
            page.finish(),
            r#"# HELP boardcast_panics_total Panics.
# TYPE boardcast_panics_total counter
boardcast_panics_total 0
# HELP boardcast_pushed_lines_total Lines.
# TYPE boardcast_pushed_lines_total counter
boardcast_pushed_lines_total{source="stdin"} 7
boardcast_pushed_lines_total{source="a\"b"} 0
# HELP boardcast_reading The latest value of a channel, in its unit; a state is 0 or 1.
# TYPE boardcast_reading gauge
boardcast_reading{channel="a",unit="%\n",source="my \"source\""} 12.5
boardcast_reading{channel="door",unit="",source="my \"source\""} 1
# HELP boardcast_reading_total The latest total of a channel, in its unit.
# TYPE boardcast_reading_total counter
boardcast_reading_total{channel="net/eth0/rx_bytes",unit="B",source="my \"source\""} 7
"#
        );
    }
}
