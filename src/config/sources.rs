//! `[[source]]` tables: commands, files, serial ports and their kin.

use std::{path::PathBuf, time::Duration};

use super::{
    table::{At, Table},
    values::parse_time_in,
};
use crate::{
    error::{Error, Result},
    mqtt::{Broker, Filter, NO_MQTT, Qos},
    sources::configured::{Bias, Format, Framing, Kind, Parity, SourceSettings, Template, Topics},
    telemetry::ChannelName,
    wire::line::{Columns, Pattern, Pointers},
};

const DAY: Duration = Duration::from_secs(86_400);
/// How often something may be started or read at most.
const OFTEN: Duration = Duration::from_millis(50);
/// The most filters of topics of one source.
const MOST_TOPICS: usize = 64;
/// How long one run of a command may take, unless it is said.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Names that the program's own sources have.
const OWN: [&str; 10] =
    ["boardcast", "demo", "found", "http", "mqtt", "socket", "stdin", "udp", "vitals", "websocket"];
const KINDS: &str = "command, file, serial, tcp, mqtt, gpio or iio";

/// Reads one table; `None`, with what is wrong noted, when it is of no use.
pub(super) fn read(table: &mut Table<'_>) -> Option<SourceSettings> {
    table.is("a source");
    table.need("name", "\"gps\"");
    table.need("kind", &format!("\"command\" (one of {KINDS})"));
    let name = table.parsed("name", "\"gps\"", parse_name);
    let word = table.text("kind", "\"command\"");
    let prefix = table.parsed("prefix", "\"gps\"", ChannelName::new);
    let stale_after = table
        .parsed("stale_after", "\"30s\"", |text| parse_time_in(text, Duration::from_secs(1), DAY));
    let Some(word) = word else {
        // What it may have is not known: say no more of it.
        table.ignore_rest();
        return None;
    };
    table.is(format!("a source of kind {}", word.value));
    let kind = match word.value {
        "command" => command(table),
        "file" => file(table),
        "serial" => serial(table),
        "tcp" => tcp(table),
        "mqtt" if cfg!(feature = "mqtt") => mqtt(table),
        "mqtt" => {
            table.complain(word.place, NO_MQTT);
            table.ignore_rest();
            return None;
        }
        "gpio" => gpio(table),
        "iio" => capture(table),
        other => {
            table.complain(word.place, format!("there is no kind {other:?}: use {KINDS}"));
            table.ignore_rest();
            return None;
        }
    };
    let format = match &kind {
        Some(Kind::Gpio { .. } | Kind::Capture { .. }) => Some(Format::Lines),
        _ => format(table, word.value),
    };
    Some(SourceSettings { name: name?, kind: kind?, format: format?, prefix, stale_after })
}

fn parse_name(text: &str) -> Result<String> {
    if OWN.contains(&text) {
        return Err(Error::Setting(format!(
            "{text} is a source of the program itself; choose another name"
        )));
    }
    if text.contains('/') {
        return Err(Error::Setting(format!(
            "{text:?} has a slash: a source's name is one word, as in gps"
        )));
    }
    ChannelName::new(text).map(|name| name.as_str().to_owned())
}

fn every(table: &mut Table<'_>) -> Option<Duration> {
    table.parsed("every", "\"10s\"", |text| parse_time_in(text, OFTEN, DAY))
}

fn command(table: &mut Table<'_>) -> Option<Kind> {
    const EXAMPLE: &str = "\"vcgencmd measure_temp\", or [\"vcgencmd\", \"measure_temp\"]";
    table.need("command", EXAMPLE);
    // A list is a program and its arguments; one text is for the shell.
    let shell = !table.is_list("command");
    let words = table.texts("command", EXAMPLE);
    let every = every(table);
    let timeout = table.parsed("timeout", "\"5s\"", |text| {
        parse_time_in(text, Duration::from_millis(100), Duration::from_secs(3600))
    });
    let words = words?;
    if words.first().is_none_or(|word| word.value.trim().is_empty()) {
        table.complain(
            words.first().map_or(table.start(), |word| word.place),
            format!("the command is empty: write command = {EXAMPLE}"),
        );
        return None;
    }
    if let Some(word) = words.iter().find(|word| word.value.contains('\0')) {
        table.complain(word.place, "a command cannot hold the character NUL: take it out");
        return None;
    }
    let words: Vec<String> = words.iter().map(|word| word.value.to_owned()).collect();
    let command = match shell {
        true => ["/bin/sh".into(), "-c".into()].into_iter().chain(words).collect(),
        false => words,
    };
    Some(Kind::Command { command, every, timeout: timeout.unwrap_or(TIMEOUT) })
}

fn file(table: &mut Table<'_>) -> Option<Kind> {
    table.need("path", "\"/sys/class/…\"");
    let path = absolute(table, "path", "\"/sys/class/…\"");
    let every = every(table).unwrap_or(Duration::from_secs(1));
    Some(Kind::File { path: path?.into(), every })
}

fn absolute(table: &mut Table<'_>, key: &'static str, example: &str) -> Option<String> {
    table.parsed(key, example, |text| match text.starts_with('/') && !text.contains('\0') {
        true => Ok(text.to_owned()),
        false => Err(Error::Setting(format!(
            "{text:?} is no path from the root: write it as in {example}"
        ))),
    })
}

fn serial(table: &mut Table<'_>) -> Option<Kind> {
    const EXAMPLE: &str = "\"/dev/ttyUSB0\"";
    table.need("port", EXAMPLE);
    let port = absolute(table, "port", EXAMPLE);
    let baud = table.count("baud", "9600").unwrap_or(At { value: 9600, place: 0 });
    let fine = (50..=4_000_000).contains(&baud.value);
    if !fine {
        let message = format!("{} baud is none: write one from 50 to 4000000", baud.value);
        table.complain(baud.place, message);
    }
    let framing = table.parsed("framing", "\"8N1\"", parse_framing);
    let framing = framing.unwrap_or(Framing { data_bits: 8, parity: Parity::None, stop_bits: 1 });
    let port = port.filter(|_| fine)?.into();
    // Within the bounds above.
    Some(Kind::Serial { port, baud: baud.value as u32, framing })
}

fn parse_framing(text: &str) -> Result<Framing> {
    let parsed = || {
        let [data, parity, stop] = <[u8; 3]>::try_from(text.as_bytes()).ok()?;
        let parity = match parity.to_ascii_uppercase() {
            b'N' => Parity::None,
            b'E' => Parity::Even,
            b'O' => Parity::Odd,
            _ => return None,
        };
        let (data_bits, stop_bits) = (data.wrapping_sub(b'0'), stop.wrapping_sub(b'0'));
        let fine = (5..=8).contains(&data_bits) && (1..=2).contains(&stop_bits);
        fine.then_some(Framing { data_bits, parity, stop_bits })
    };
    parsed().ok_or_else(|| {
        Error::Setting(format!(
            "{text:?} is no framing: write data bits, parity (N, E or O) and stop bits, as in 8N1 or 7E1"
        ))
    })
}

fn tcp(table: &mut Table<'_>) -> Option<Kind> {
    const EXAMPLE: &str = "\"10.0.0.5:4001\"";
    table.need("address", EXAMPLE);
    let address = table.parsed("address", EXAMPLE, |text| {
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
            Some(1..) => Ok(text.to_owned()),
            _ => Err(Error::Setting(format!(
                "{text:?} is no host and port: write it as in {EXAMPLE}"
            ))),
        }
    });
    Some(Kind::Tcp { address: address? })
}

fn mqtt(table: &mut Table<'_>) -> Option<Kind> {
    const EXAMPLE: &str = "[\"zigbee2mqtt/+\"]";
    table.need("url", "\"mqtt://user@broker.lan:1883\"");
    table.need("topics", EXAMPLE);
    let broker = table.parsed("url", "\"mqtt://user@broker.lan:1883\"", str::parse::<Broker>);
    let password_file = absolute(table, "password_file", "\"/etc/boardcast/mqtt.password\"");
    let authority = absolute(table, "authority", "\"/etc/boardcast/broker.pem\"");
    let client_id = table.parsed("client_id", "\"boardcast-greenhouse\"", |text| {
        match (1..=256).contains(&text.len()) && !text.contains('\0') {
            true => Ok(text.to_owned()),
            false => Err(Error::Setting("a client id has 1 to 256 bytes, and no NUL".into())),
        }
    });
    let qos = table.count("qos", "1").unwrap_or(At { value: 0, place: 0 });
    let qos = match qos.value {
        0 => Some(Qos::AtMostOnce),
        1 => Some(Qos::AtLeastOnce),
        other => {
            table.complain(qos.place, format!("there is no qos {other} here: use 0 or 1"));
            None
        }
    };
    let template = table.text("channel", "\"zigbee/{1}\"");
    let topics = table.texts("topics", EXAMPLE)?;
    let filter = |at: &At<&str>| table.noted(at.place, Filter::parse(at.value));
    let filters: Option<Vec<_>> = topics.iter().map(filter).collect();
    let filters = filters?;
    if filters.is_empty() || filters.len() > MOST_TOPICS {
        table.complain(
            table.start(),
            format!("topics has 1 to {MOST_TOPICS} of them: write topics = {EXAMPLE}"),
        );
        return None;
    }
    let template = match template {
        None => Template::default(),
        Some(at) => table.noted(at.place, Template::parse(at.value, &filters))?,
    };
    let [password_file, authority] = [password_file, authority].map(|path| path.map(PathBuf::from));
    let (broker, qos) = (broker?, qos?);
    Some(Kind::Mqtt(Topics { broker, password_file, authority, client_id, filters, qos, template }))
}

fn gpio(table: &mut Table<'_>) -> Option<Kind> {
    const EXAMPLE: &str = "{ \"door\" = \"GPIO17\" }";
    table.need("lines", EXAMPLE);
    let pairs = table.pairs("lines", EXAMPLE);
    let bias = table.parsed("bias", "\"pull-up\"", |text| match text {
        "pull-up" => Ok(Bias::PullUp),
        "pull-down" => Ok(Bias::PullDown),
        "disabled" => Ok(Bias::Disabled),
        other => {
            Err(Error::Setting(format!("{other:?} is no bias: use pull-up, pull-down or disabled")))
        }
    });
    let active_low = table.truth("active_low").unwrap_or(false);
    let debounce = table.parsed("debounce", "\"5ms\"", |text| {
        parse_time_in(text, Duration::ZERO, Duration::from_secs(10))
    });
    let pairs = pairs?;
    if pairs.is_empty() {
        table.complain(table.start(), format!("no line is named: write lines = {EXAMPLE}"));
        return None;
    }
    let lines = channels(table, &pairs)?;
    Some(Kind::Gpio { lines, bias, active_low, debounce: debounce.unwrap_or_default() })
}

/// Names of channels, and what each stands for.
fn channels(
    table: &Table<'_>,
    pairs: &[(At<&str>, At<&str>)],
) -> Option<Vec<(ChannelName, String)>> {
    let channel = |(name, what): &(At<&str>, At<&str>)| match ChannelName::new(name.value) {
        Ok(channel) => Some((channel, what.value.to_owned())),
        Err(error) => {
            table.complain(name.place, error.to_string());
            None
        }
    };
    pairs.iter().map(channel).collect()
}

fn capture(table: &mut Table<'_>) -> Option<Kind> {
    table.need("device", "\"adxl345\"");
    let device = table.text("device", "\"adxl345\"");
    let elements = table.texts("elements", "[\"accel_x\", \"accel_y\"]").unwrap_or_default();
    let rate = table.number("rate", "100");
    let trigger = table.text("trigger", "\"trigger0\"").map(|text| text.value.to_owned());
    if rate.is_some_and(|rate| !(0.001..=1e6).contains(&rate)) {
        table.complain(
            table.start(),
            "rate is samples a second, from 0.001 to 1000000: write rate = 100",
        );
    }
    let device = device?;
    if device.value.is_empty() || device.value.contains(['/', '\0']) {
        table.complain(device.place, format!("{:?} is no IIO device: write its name, as in \"adxl345\", or its folder, as in \"iio:device0\"", device.value));
        return None;
    }
    let elements = elements.iter().map(|text| text.value.to_owned()).collect();
    Some(Kind::Capture { device: device.value.to_owned(), elements, rate, trigger })
}

/// How what it prints is read. A file that is one value needs no more than the
/// channel's name.
fn format(table: &mut Table<'_>, kind: &str) -> Option<Format> {
    const FORMATS: &str = "lines, value, pattern, json or columns";
    let word = table.text("format", "\"lines\"");
    // That of a topic has holes, and has been read.
    let channel = match kind {
        "mqtt" => None,
        _ => table.parsed("channel", "\"room/light\"", ChannelName::new),
    };
    let pattern = table.text("pattern", "'temp=(?<temperature>[0-9.]+)'");
    let pattern = pattern.and_then(|at| table.noted(at.place, Pattern::parse(at.value)));
    let pointers = table.pairs("pointers", "{ \"gps/lat\" = \"/lat\" }");
    let columns = table.texts("columns", "[\"-\", \"temp\", \"hum\"]");
    let separator = table.text("separator", "\",\"");
    // A setting that names the format's parts names the format.
    let implied = match () {
        () if pattern.is_some() => "pattern",
        () if pointers.is_some() => "json",
        () if columns.is_some() => "columns",
        () if channel.is_some() => "value",
        () if kind == "mqtt" => "value",
        () => "lines",
    };
    let word = word.unwrap_or(At { value: implied, place: table.start() });
    let missing = |what: &str| {
        table.complain(word.place, format!("format {} needs {what}", word.value));
        None
    };
    match word.value {
        "lines" if channel.is_some() => {
            table.complain(word.place, "lines name their channels themselves: take channel out, or write format = \"value\"");
            None
        }
        "lines" => Some(Format::Lines),
        // Its channel is the topic's.
        "value" if kind == "mqtt" => Some(Format::Payload),
        "value" => match channel {
            Some(channel) => Some(Format::Value(channel)),
            None => missing(&format!("the channel of that {kind}: write channel = \"room/light\"")),
        },
        "pattern" => match pattern {
            Some(pattern) => Some(Format::Pattern(pattern)),
            None if table.has("pattern") => None,
            None => missing("a regular expression: write pattern = 'temp=(?<temperature>[0-9.]+)'"),
        },
        "json" => match pointers {
            Some(pairs) => {
                let list = channels(table, &pairs)?;
                let place = pairs.first().map_or(word.place, |pair| pair.1.place);
                table.noted(place, Pointers::parse(&list)).map(Format::Pointers)
            }
            None => {
                missing("pointers into the document: write pointers = { \"gps/lat\" = \"/lat\" }")
            }
        },
        "columns" => match columns {
            Some(columns) => {
                let mut chars = separator.map_or(",", |text| text.value).chars();
                let (Some(separator), None) = (chars.next(), chars.next()) else {
                    table.complain(
                        word.place,
                        "separator is one character: write separator = \",\", or \"\\t\"",
                    );
                    return None;
                };
                let names: Vec<String> = columns.iter().map(|name| name.value.to_owned()).collect();
                let place = columns.first().map_or(word.place, |name| name.place);
                table.noted(place, Columns::parse(&names, separator)).map(Format::Columns)
            }
            None => missing("the columns' names: write columns = [\"-\", \"temp\", \"hum\"]"),
        },
        other => {
            table.complain(word.place, format!("there is no format {other:?}: use {FORMATS}"));
            None
        }
    }
}
