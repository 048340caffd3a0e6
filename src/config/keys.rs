//! The table of all settings that have one value each, or a list of them.
//!
//! A setting has one name everywhere: `history_file` in a file,
//! `BOARDCAST_HISTORY_FILE` in the environment, `--history-file` on the command
//! line, where it is an option at all. The command line's help, the manual
//! page, `boardcast config` and the reader of files are made from this table.

use std::time::Duration;

use log::LevelFilter;

use super::{
    Config, SocketPlace,
    table::quote,
    values::{
        parse_count_in, parse_every, parse_interval, parse_listen, parse_origin, parse_size_in,
        parse_socket, parse_time_in, parse_udp, show_size, show_time,
    },
};
use crate::{
    error::{Error, Result},
    fleet,
    mqtt::{Broker, Qos, is_topic},
    net::Limits,
    telemetry::Filter,
    wire::subscribe::Pace,
};

/// How a setting is written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `name = "pi-kitchen"`.
    Text,
    /// `listen = ["0.0.0.0:80", "[::]:80"]`; one text alone is a list of one.
    Texts,
    /// `demo = true`.
    Truth,
    /// `workers = 2`.
    Count,
    /// `ring_size = "1MiB"`, or a number of bytes.
    Size,
}

/// Of which command a setting is an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of both.
    Both,
    /// Of `serve`: a fleet server has no use for it.
    Board,
    /// Of `fleet`: a board has no use for it.
    Fleet,
}

/// One setting.
pub struct Key {
    /// Its name in a file: `history_file`.
    pub name: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// What it is for: one sentence, with its default where that is no value.
    pub help: &'static str,
    /// Its name on the command line, `history-file`, and what stands for its
    /// value in the help; `None`: it is no option.
    pub flag: Option<(&'static str, &'static str)>,
    /// Of which command it is an option, if it is one.
    pub scope: Scope,
    /// A change of it counts when the settings are read anew (SIGHUP), without
    /// a restart.
    pub live: bool,
    /// A value, where the default is none.
    example: Option<&'static str>,
    set: fn(&mut Config, &[String]) -> Result<()>,
    show: fn(&Config) -> Vec<String>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Key {
    const fn new(
        name: &'static str,
        shape: Shape,
        help: &'static str,
        set: fn(&mut Config, &[String]) -> Result<()>,
        show: fn(&Config) -> Vec<String>,
    ) -> Self {
        Self {
            name,
            shape,
            help,
            flag: None,
            scope: Scope::Both,
            live: false,
            example: None,
            set,
            show,
        }
    }

    const fn flag(mut self, option: &'static str, value: &'static str) -> Self {
        self.flag = Some((option, value));
        self
    }

    const fn of(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    const fn live(mut self) -> Self {
        self.live = true;
        self
    }

    const fn like(mut self, value: &'static str) -> Self {
        self.example = Some(value);
        self
    }

    /// How it may be written in a file: `"1s"`, `["0.0.0.0:8642"]`.
    pub fn example(&self) -> String {
        let example: Vec<_> = self.example.map(str::to_owned).into_iter().collect();
        let default = || self.write(&self.show(&Config::default()));
        self.write(&example).or_else(default).unwrap_or_default()
    }

    /// Values as a file has them; `None` when there are none.
    pub(super) fn write(&self, values: &[String]) -> Option<String> {
        match self.shape {
            Shape::Texts if values.is_empty() => None,
            Shape::Texts => {
                let quoted: Vec<_> = values.iter().map(|value| quote(value)).collect();
                Some(format!("[{}]", quoted.join(", ")))
            }
            Shape::Truth | Shape::Count => values.first().cloned(),
            Shape::Text | Shape::Size => values.first().map(|value| quote(value)),
        }
    }

    /// The setting of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Its name in the environment: `BOARDCAST_HISTORY_FILE`.
    pub fn variable(&self) -> String {
        format!("BOARDCAST_{}", self.name.to_ascii_uppercase())
    }

    /// Sets it.
    ///
    /// # Errors
    /// [`Error::Setting`] when it cannot be that; the sentence has an example.
    pub fn set(&self, config: &mut Config, values: &[String]) -> Result<()> {
        (self.set)(config, values)
    }

    /// What it is set to, as the texts that would [set](Self::set) it; empty
    /// where the default is no value.
    pub fn show(&self, config: &Config) -> Vec<String> {
        (self.show)(config)
    }
}

/// The last one, of something that is set once.
fn one(values: &[String]) -> &str {
    values.last().map_or("", String::as_str)
}

fn truth(values: &[String]) -> Result<bool> {
    match one(values) {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(Error::Setting(format!("{other:?} is neither true nor false"))),
    }
}

/// A name for people: it goes into messages, labels and the page's title.
fn parse_name(text: &str) -> Result<String> {
    let fine = !text.trim().is_empty() && text.len() <= 64 && !text.contains(char::is_control);
    if fine {
        return Ok(text.trim().to_owned());
    }
    Err(Error::Setting(format!("{text:?} is no name for a board: use 1 to 64 bytes of plain text")))
}

/// As useradd(8) has them, or a number.
fn parse_user(text: &str) -> Result<String> {
    let fine = !text.is_empty()
        && text.len() <= 32
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.$".contains(&byte));
    if fine {
        return Ok(text.to_owned());
    }
    Err(Error::Setting(format!("{text:?} is no user's name: write one as in boardcast")))
}

fn parse_level(text: &str) -> Result<LevelFilter> {
    text.parse().map_err(|_| {
        Error::Setting(format!("{text:?} is no level: use off, error, warn, info, debug or trace"))
    })
}

/// A name that the board answers to, or `*`.
fn parse_host(text: &str) -> Result<String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if text == "*" || (1..=253).contains(&text.len()) && text.bytes().all(fine) {
        return Ok(text.to_owned());
    }
    Err(Error::Setting(format!(
        "{text:?} is no host's name: write it without scheme and port, as in board.example.org"
    )))
}

/// An origin in a policy for browsers (CSP Level 3, "frame-ancestors"), or `*`.
fn parse_frame(text: &str) -> Result<String> {
    let origin = if text == "*" { text.to_owned() } else { parse_origin(text)? };
    // What ends a source there, or has a meaning of its own.
    match origin.contains([';', ',', '\'', '"']) || !origin.is_ascii() {
        true => Err(Error::Setting(format!("{text:?} is no origin that a policy can name"))),
        false => Ok(origin),
    }
}

/// `/pi`, without the last `/`; `/` alone is nothing.
fn parse_base_path(text: &str) -> Result<String> {
    let path = text.strip_suffix('/').unwrap_or(text);
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"/.-_~".contains(&byte);
    let whole = path.is_empty() && text == "/" || path.starts_with('/') && !path.contains("//");
    if whole && path.len() <= 128 && path.bytes().all(fine) {
        return Ok(path.to_owned());
    }
    Err(Error::Setting(format!("{text:?} is no path of a page: write it as in /pi")))
}

/// A path of this machine, not of the folder in which a service happens to start.
fn parse_path(text: &str) -> Result<std::path::PathBuf> {
    if text.is_empty() {
        return Err(Error::Setting(
            "a path is missing: write it as in /var/lib/boardcast/x".into(),
        ));
    }
    Ok(text.into())
}

/// Where a broker is, as it would be written, but for the password.
fn show_broker(broker: &Broker) -> String {
    let place = broker.to_string();
    match (broker.user(), place.split_once("://")) {
        (Some(user), Some((scheme, place))) => {
            let secret = if broker.password().is_some() { ":***" } else { "" };
            format!("{scheme}://{user}{secret}@{place}")
        }
        _ => place,
    }
}

/// The first levels of topics.
fn parse_prefix(text: &str) -> Result<String> {
    let fine =
        is_topic(text) && text.len() <= 128 && text.split('/').all(|level| !level.is_empty());
    if fine
        && !text.starts_with('$')
        && !text.contains(|c: char| c.is_control() || c.is_whitespace())
    {
        return Ok(text.to_owned());
    }
    Err(Error::Setting(format!("{text:?} is no beginning of a topic: write it as in home/boards")))
}

/// MQTT 5 section 3.1.3.1 lets a broker take no others.
fn parse_client_id(text: &str) -> Result<String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(fine) {
        return Ok(text.to_owned());
    }
    Err(Error::Setting(format!(
        "{text:?} is no name for a client of a broker: use 1 to 64 of A-Z a-z 0-9 - _ ."
    )))
}

fn parse_qos(text: &str) -> Result<Qos> {
    Ok(if parse_count_in(text, 0, 1)? == 1 { Qos::AtLeastOnce } else { Qos::AtMostOnce })
}

fn parse_hz(text: &str) -> Result<Pace> {
    let refuse = |_| {
        Error::Setting(format!(
            "{text:?} is no rate: write a number of messages a second, as in 0.2"
        ))
    };
    // What is no number is no number above 0, either.
    Pace::from_hz(text.parse().unwrap_or(f64::NAN)).map_err(refuse)
}

fn list<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn all<T>(values: &[String], parse: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    values.iter().map(|value| parse(value)).collect()
}

/// A bound of the engine that is a time.
macro_rules! time {
    ($field:ident, $help:literal, $least:literal) => {
        Key::new(
            stringify!($field),
            Shape::Text,
            $help,
            |config, values| {
                let least = Duration::from_millis($least);
                config.limits.$field = parse_time_in(one(values), least, Limits::LONGEST)?;
                Ok(())
            },
            |config| vec![show_time(config.limits.$field)],
        )
    };
}

/// A bound of the engine that is a number.
macro_rules! count {
    ($name:literal, $field:ident, $help:literal, $least:literal, $most:literal) => {
        Key::new(
            $name,
            Shape::Count,
            $help,
            |config, values| {
                let number = parse_count_in(one(values), $least, $most)?;
                // The bounds above are well within every type.
                config.limits.$field = number as _;
                Ok(())
            },
            |config| vec![config.limits.$field.to_string()],
        )
    };
}

/// A list of what `$parse` makes of texts, at the place that is named by its path.
macro_rules! texts {
    ($name:literal, $($field:ident).+, $parse:expr, $help:literal) => {
        Key::new(
            $name,
            Shape::Texts,
            $help,
            |config, values| {
                config.$($field).+ = all(values, $parse)?;
                Ok(())
            },
            |config| list(&config.$($field).+),
        )
    };
}

/// Yes or no, at the place that is named by its path.
macro_rules! truth {
    ($name:literal, $($field:ident).+, $help:literal) => {
        Key::new(
            $name,
            Shape::Truth,
            $help,
            |config, values| {
                config.$($field).+ = truth(values)?;
                Ok(())
            },
            |config| vec![config.$($field).+.to_string()],
        )
    };
}

/// A size, in bytes, at the place that is named by its path.
macro_rules! size {
    ($name:literal, $($field:ident).+, $help:literal, $least:literal, $most:expr) => {
        Key::new(
            $name,
            Shape::Size,
            $help,
            |config, values| {
                config.$($field).+ = parse_size_in(one(values), $least, $most)? as _;
                Ok(())
            },
            |config| vec![show_size(config.$($field).+ as usize)],
        )
    };
}

/// All settings, in the order in which they are shown and set.
pub static KEYS: &[Key] = &[
    Key::new(
        "listen",
        Shape::Texts,
        "Where to listen; may be given more than once [default: port 8642 on all addresses]",
        |config, values| {
            config.listen = all(values, parse_listen)?;
            Ok(())
        },
        |config| list(&config.listen),
    )
    .flag("listen", "ADDR:PORT")
    .like("0.0.0.0:8642"),
    Key::new(
        "interval",
        Shape::Text,
        "How often the board is read [default: 1s]",
        |config, values| {
            config.interval = parse_interval(one(values))?;
            Ok(())
        },
        |config| vec![show_time(config.interval)],
    )
    .flag("interval", "TIME")
    .of(Scope::Board),
    Key::new(
        "name",
        Shape::Text,
        "The board's name on the page [default: its host name]",
        |config, values| {
            config.name = Some(parse_name(one(values))?);
            Ok(())
        },
        |config| list(config.name.as_slice()),
    )
    .flag("name", "NAME")
    .like("pi-kitchen"),
    Key::new(
        "log",
        Shape::Text,
        "How much to log: off, error, warn, info, debug or trace [default: info]",
        |config, values| {
            config.level = parse_level(one(values))?;
            Ok(())
        },
        |config| vec![config.level.as_str().to_ascii_lowercase()],
    )
    .flag("log", "LEVEL"),
    texts!("allow", gate.allow, str::parse, "Serve this network too; may be given more than once")
        .flag("allow", "CIDR")
        .like("203.0.113.0/24")
        .live(),
    texts!("deny", gate.deny, str::parse, "Do not serve this network, although it is close by")
        .flag("deny", "CIDR")
        .like("192.168.3.0/24")
        .live(),
    texts!(
        "host",
        gate.hosts,
        parse_host,
        "Answer to this name too, beside the host's own; '*': to every name"
    )
    .flag("host", "NAME")
    .like("board.example.org")
    .live(),
    texts!(
        "allow_origin",
        gate.origins,
        parse_origin,
        "Let pages of this origin read the board; may be given more than once"
    )
    .flag("allow-origin", "ORIGIN")
    .like("https://panel.example")
    .live(),
    texts!(
        "frame_ancestor",
        gate.frames,
        parse_frame,
        "Let pages of this origin show the board in a frame (Home Assistant's, say); '*': all"
    )
    .flag("frame-ancestor", "ORIGIN")
    .like("https://panel.example")
    .live(),
    Key::new(
        "tokens",
        Shape::Text,
        "The file of tokens; boardcast token makes its lines [default: none, or the service \
         manager's credential boardcast.tokens]",
        |config, values| {
            config.gate.tokens = Some(parse_path(one(values))?);
            Ok(())
        },
        |config| config.gate.tokens.iter().map(|path| path.display().to_string()).collect(),
    )
    .flag("tokens", "PATH")
    .like("/etc/boardcast/tokens")
    .live(),
    truth!(
        "view_needs_token",
        gate.view_needs_token,
        "Show the board to those alone who have a token; programs on the board need none"
    )
    .flag("view-needs-token", "")
    .live(),
    truth!(
        "token_in_url",
        gate.token_in_url,
        "Take a token in the URL, too (?token=…); it then stands in histories and logs"
    )
    .flag("token-in-url", "")
    .live(),
    texts!(
        "trusted_proxy",
        gate.proxies,
        str::parse,
        "Believe this reverse proxy whom it speaks for (X-Forwarded-For, -Proto, -Host)"
    )
    .flag("trusted-proxy", "CIDR")
    .like("127.0.0.1")
    .live(),
    Key::new(
        "base_path",
        Shape::Text,
        "The path below which a proxy has the board, when it leaves that in the requests",
        |config, values| {
            config.gate.base_path = parse_base_path(one(values))?;
            Ok(())
        },
        |config| Some(&config.gate.base_path).filter(|p| !p.is_empty()).cloned().into_iter().collect(),
    )
    .flag("base-path", "PATH")
    .like("/pi")
    .live(),
    Key::new(
        "tls_cert",
        Shape::Text,
        "Speak TLS, https:// and wss://, with this certificate (PEM); boardcast cert makes one",
        |config, values| {
            config.tls_cert = Some(parse_path(one(values))?);
            Ok(())
        },
        |config| config.tls_cert.iter().map(|path| path.display().to_string()).collect(),
    )
    .flag("tls-cert", "PATH")
    .like("/etc/boardcast/tls/cert.pem"),
    Key::new(
        "tls_key",
        Shape::Text,
        "The certificate's key (PEM); both files are read anew when they change",
        |config, values| {
            config.tls_key = Some(parse_path(one(values))?);
            Ok(())
        },
        |config| config.tls_key.iter().map(|path| path.display().to_string()).collect(),
    )
    .flag("tls-key", "PATH")
    .like("/etc/boardcast/tls/key.pem"),
    truth!("demo", demo, "Add simulated sensors, below demo/, to try things out without any").flag("demo", "").of(Scope::Board),
    Key::new(
        "history_file",
        Shape::Text,
        "Keep history in this file over a restart [default: none]",
        |config, values| {
            config.history_file = Some(parse_path(one(values))?);
            Ok(())
        },
        |config| config.history_file.iter().map(|path| path.display().to_string()).collect(),
    )
    .flag("history-file", "PATH")
    .of(Scope::Board)
    .like("/var/lib/boardcast/history"),
    Key::new(
        "history_every",
        Shape::Text,
        "How often that file is written (1m to 24h); a short time wears out an SD card [default: 10m]",
        |config, values| {
            config.history_every = parse_every(one(values))?;
            Ok(())
        },
        |config| vec![show_time(config.history_every)],
    )
    .flag("history-every", "TIME")
    .of(Scope::Board),
    Key::new(
        "memory",
        Shape::Size,
        "Memory that the program may take, kernel aside; history gives way first [default: what the \
         system lets it]",
        |config, values| {
            config.memory = Some(parse_size_in(one(values), 8 << 20, 1 << 30)?);
            Ok(())
        },
        |config| config.memory.iter().map(|&bytes| show_size(bytes)).collect(),
    )
    .flag("memory", "SIZE")
    .like("16MiB"),
    size!(
        "history_size",
        history_bytes,
        "Memory for history, all channels together; 0: no history [default: 4MiB; of a fleet: 64MiB]",
        0,
        256 << 20
    ),
    truth!("stdin", stdin, "Take readings on standard input, one line each: sensor | boardcast serve --stdin").flag("stdin", "").of(Scope::Board),
    Key::new(
        "socket",
        Shape::Text,
        "Take readings at this Unix socket, or none [default: boardcast.sock in /run/boardcast, if \
         the service has made it, else in $XDG_RUNTIME_DIR/boardcast]",
        |config, values| {
            config.socket = parse_socket(one(values))?;
            Ok(())
        },
        |config| match &config.socket {
            SocketPlace::Usual => Vec::new(),
            SocketPlace::None => vec!["none".into()],
            SocketPlace::At(path) => vec![path.display().to_string()],
        },
    )
    .flag("socket", "PATH")
    .of(Scope::Board)
    .like("/run/boardcast/boardcast.sock"),
    Key::new(
        "socket_clients",
        Shape::Count,
        "Programs that may be connected to it at a time [default: 16]",
        |config, values| {
            config.socket_clients = parse_count_in(one(values), 1, 1024)? as usize;
            Ok(())
        },
        |config| vec![config.socket_clients.to_string()],
    ),
    Key::new(
        "udp",
        Shape::Text,
        "Take readings over UDP; a port alone is for this machine only [default: nowhere]",
        |config, values| {
            config.udp = Some(parse_udp(one(values))?);
            Ok(())
        },
        |config| config.udp.iter().map(ToString::to_string).collect(),
    )
    .flag("udp", "ADDR:PORT")
    .of(Scope::Board)
    .like("127.0.0.1:8125"),
    Key::new(
        "board",
        Shape::Texts,
        "A board that the fleet server has a link of its own to: pi1, shed=ws://10.0.0.7:8642/ws; may \
         be given up to 64 times",
        |config, values| {
            config.fleet.boards = fleet::boards(values)?;
            Ok(())
        },
        |config| list(&config.fleet.boards),
    )
    .flag("board", "[NAME=]URL")
    .like("pi1=ws://pi1:8642/ws")
    .of(Scope::Fleet),
    Key::new(
        "board_token_file",
        Shape::Text,
        "The file with the token that the fleet server shows its boards [default: none]",
        |config, values| {
            config.fleet.token_file = Some(parse_path(one(values))?);
            Ok(())
        },
        |config| config.fleet.token_file.iter().map(|path| path.display().to_string()).collect(),
    )
    .flag("token-file", "PATH")
    .like("/etc/boardcast/board.token")
    .of(Scope::Fleet),
    Key::new(
        "board_authority",
        Shape::Text,
        "Trust the certificates in this file (PEM) at boards with wss://, in place of the system's",
        |config, values| {
            config.fleet.authority = Some(parse_path(one(values))?);
            Ok(())
        },
        |config| config.fleet.authority.iter().map(|path| path.display().to_string()).collect(),
    )
    .flag("authority", "PATH")
    .like("/etc/boardcast/ca.pem")
    .of(Scope::Fleet),
    texts!(
        "history_channels",
        fleet.history,
        Filter::parse,
        "Channels of which the fleet server keeps history, as in +/cpu/usage [default: none]"
    )
    .flag("history-channels", "FILTER")
    .like("+/cpu/usage")
    .of(Scope::Fleet),
    Key::new(
        "offline_after",
        Shape::Text,
        "After how long without a word a device of a fleet is offline [default: 1m]",
        |config, values| {
            config.fleet.offline_after =
                parse_time_in(one(values), Duration::from_secs(1), Duration::from_secs(86_400))?;
            Ok(())
        },
        |config| vec![show_time(config.fleet.offline_after)],
    )
    .flag("offline-after", "TIME")
    .of(Scope::Fleet),
    Key::new(
        "forget_after",
        Shape::Text,
        "After how long without a word a device of a fleet is forgotten [default: 24h]",
        |config, values| {
            config.fleet.forget_after =
                parse_time_in(one(values), Duration::from_secs(10), Limits::LONGEST)?;
            Ok(())
        },
        |config| vec![show_time(config.fleet.forget_after)],
    )
    .flag("forget-after", "TIME")
    .of(Scope::Fleet),
    Key::new(
        "max_devices",
        Shape::Count,
        "Devices that a fleet may have [default: 2048]",
        |config, values| {
            config.fleet.max_devices = parse_count_in(one(values), 1, 65_536)? as usize;
            Ok(())
        },
        |config| vec![config.fleet.max_devices.to_string()],
    )
    .flag("max-devices", "N")
    .of(Scope::Fleet),
    Key::new(
        "max_device_channels",
        Shape::Count,
        "Channels that one device of a fleet may have [default: 1024]",
        |config, values| {
            config.fleet.channels_each = parse_count_in(one(values), 1, 65_536)? as usize;
            Ok(())
        },
        |config| vec![config.fleet.channels_each.to_string()],
    ),
    Key::new(
        "mqtt",
        Shape::Text,
        "Publish the readings to this MQTT broker, or, of a fleet, hear the boards there: mqtt://host, \
         mqtts://user@host:8883",
        |config, values| {
            config.uplink.broker = Some(one(values).parse()?);
            Ok(())
        },
        |config| config.uplink.broker.iter().map(show_broker).collect(),
    )
    .flag("mqtt", "URL")
    .like("mqtt://boards@broker.lan:1883")
    .live(),
    Key::new(
        "mqtt_password_file",
        Shape::Text,
        "The file whose first line is the password for it [default: none, or the service manager's \
         credential boardcast.mqtt]",
        |config, values| {
            config.uplink.password_file = Some(parse_path(one(values))?);
            Ok(())
        },
        |config| config.uplink.password_file.iter().map(|path| path.display().to_string()).collect(),
    )
    .flag("mqtt-password-file", "PATH")
    .like("/etc/boardcast/mqtt.password")
    .live(),
    Key::new(
        "mqtt_authority",
        Shape::Text,
        "Trust these authorities (PEM) at the broker, in place of the system's",
        |config, values| {
            config.uplink.authority = Some(parse_path(one(values))?);
            Ok(())
        },
        |config| config.uplink.authority.iter().map(|path| path.display().to_string()).collect(),
    )
    .flag("mqtt-authority", "PATH")
    .like("/etc/boardcast/ca.pem")
    .live(),
    Key::new(
        "mqtt_client_id",
        Shape::Text,
        "Whom the broker knows the board as; each has its own [default: boardcast- and its name]",
        |config, values| {
            config.uplink.client_id = Some(parse_client_id(one(values))?);
            Ok(())
        },
        |config| list(config.uplink.client_id.as_slice()),
    )
    .flag("mqtt-client-id", "ID")
    .like("boardcast-pi-kitchen")
    .live(),
    Key::new(
        "mqtt_prefix",
        Shape::Text,
        "How all topics begin; the board's name is behind it [default: boardcast]",
        |config, values| {
            config.uplink.prefix = parse_prefix(one(values))?;
            Ok(())
        },
        |config| vec![config.uplink.prefix.clone()],
    )
    .flag("mqtt-prefix", "TOPIC")
    .live(),
    Key::new(
        "mqtt_qos",
        Shape::Count,
        "0: each message at most once; 1: at least once, again when it was not acknowledged \
         [default: 0]",
        |config, values| {
            config.uplink.qos = parse_qos(one(values))?;
            Ok(())
        },
        |config| vec![(config.uplink.qos as u8).to_string()],
    )
    .flag("mqtt-qos", "0|1")
    .live(),
    texts!(
        "mqtt_channels",
        uplink.channels,
        Filter::parse,
        "The channels that are published; may be given more than once [default: all]"
    )
    .flag("mqtt-channels", "FILTER")
    .of(Scope::Board)
    .like("cpu/#")
    .live(),
    Key::new(
        "mqtt_max_hz",
        Shape::Text,
        "Publish readings at most so often a second, the newest of each channel [default: each batch]",
        |config, values| {
            config.uplink.max_hz = Some(parse_hz(one(values))?);
            Ok(())
        },
        |config| {
            let hz = |pace: &Pace| ((pace.hz() * 1000.0).round() / 1000.0).to_string();
            config.uplink.max_hz.iter().map(hz).collect()
        },
    )
    .flag("mqtt-max-hz", "N")
    .of(Scope::Board)
    .like("0.2")
    .live(),
    texts!(
        "mqtt_per_channel",
        uplink.per_channel,
        Filter::parse,
        "The channels whose values have a topic of their own, too: value/CHANNEL"
    )
    .flag("mqtt-per-channel", "FILTER")
    .of(Scope::Board)
    .like("room/#")
    .live(),
    texts!(
        "mqtt_home_assistant",
        uplink.home_assistant,
        Filter::parse,
        "The channels that Home Assistant is told of"
    )
    .flag("mqtt-home-assistant", "FILTER")
    .of(Scope::Board)
    .like("room/#")
    .live(),
    Key::new(
        "mqtt_home_assistant_prefix",
        Shape::Text,
        "How Home Assistant's topics begin [default: homeassistant]",
        |config, values| {
            config.uplink.home_assistant_prefix = parse_prefix(one(values))?;
            Ok(())
        },
        |config| vec![config.uplink.home_assistant_prefix.clone()],
    )
    .live(),
    Key::new(
        "user",
        Shape::Text,
        "Become this user once all is bound, when started as root [default: none]",
        |config, values| {
            config.user = Some(parse_user(one(values))?);
            Ok(())
        },
        |config| list(config.user.as_slice()),
    )
    .flag("user", "NAME")
    .like("boardcast"),
    Key::new(
        "sandbox",
        Shape::Truth,
        "Close a sandbox around the server, which then opens no file but those that it needs \
         [default: true; --no-sandbox is for debugging]",
        |config, values| {
            config.sandbox = truth(values)?;
            Ok(())
        },
        |config| vec![config.sandbox.to_string()],
    )
    .flag("no-sandbox", ""),
    Key::new(
        "mdns",
        Shape::Truth,
        "Tell the local network of this board, unless it listens on the loopback alone \
         [default: true, in builds that can; --no-mdns]",
        |config, values| {
            config.mdns = truth(values)?;
            Ok(())
        },
        |config| vec![config.mdns.to_string()],
    )
    .flag("no-mdns", ""),
    Key::new(
        "max_connections",
        Shape::Count,
        "Connections in all, of which an eighth is kept for plain HTTP [default: 128]",
        |config, values| {
            // Within `usize` on every board.
            config.limits.connections = parse_count_in(one(values), 2, 60_000)? as usize;
            config.limits.reserved_for_http = config.limits.connections / 8;
            Ok(())
        },
        |config| vec![config.limits.connections.to_string()],
    )
    .flag("max-connections", "N"),
    count!(
        "reserved_for_http",
        reserved_for_http,
        "Of these, how many are kept for plain HTTP [default: an eighth]",
        0,
        59_999
    ),
    count!(
        "max_per_address",
        per_address,
        "Connections from one address; loopback is exempt [default: 32]",
        1,
        60_000
    )
    .flag("max-per-address", "N"),
    count!(
        "max_heads",
        unfinished_heads,
        "Connections whose request is not complete; more wait in the kernel [default: 32]",
        1,
        60_000
    )
    .flag("max-heads", "N"),
    count!(
        "workers",
        workers,
        "Threads that push readings to the viewers [default: one a core, at most 4]",
        1,
        64
    )
    .flag("workers", "N"),
    Key::new(
        "max_channels",
        Shape::Count,
        "Channels that the board may have [default: 1024; of a fleet in all: 131072]",
        |config, values| {
            config.max_channels = parse_count_in(one(values), 16, 1 << 20)? as usize;
            Ok(())
        },
        |config| vec![config.max_channels.to_string()],
    ),
    size!(
        "ring_size",
        ring_bytes,
        "Memory for the last readings, which slow and returning clients catch up from [default: 1MiB; of \
         a fleet: 16MiB]",
        65_536,
        256 << 20
    ),
    size!("head_size", limits.head_bytes, "The longest head of a request [default: 8KiB]", 1024, 65_536),
    time!(head_time, "How long a request's head may take [default: 5s]", 100),
    size!("body_size", limits.body_bytes, "The longest body of a request [default: 64KiB]", 1024, 1 << 20),
    time!(body_time, "How long a request's body may take [default: 10s]", 100),
    time!(response_time, "How long a response may take to be read [default: 30s]", 100),
    time!(keep_alive, "How long an idle connection waits for a next request [default: 5s]", 0),
    size!(
        "message_size",
        limits.message_bytes,
        "The longest message of a viewer [default: 16KiB; of a fleet: 256KiB]",
        1024,
        1 << 20
    ),
    time!(message_time, "How long one message may take to arrive [default: 10s]", 100),
    count!("message_rate", message_rate, "Messages a second of a viewer [default: 20]", 1, 100_000),
    count!(
        "message_burst",
        message_burst,
        "Messages at once of a viewer that was quiet [default: 40]",
        1,
        100_000
    ),
    count!("control_rate", control_rate, "Control frames a second of a viewer [default: 10]", 1, 100_000),
    size!(
        "control_size",
        limits.control_bytes,
        "Answers that wait for a slow viewer [default: 16KiB]",
        1024,
        1 << 20
    ),
    size!(
        "publisher_message_size",
        limits.publisher_bytes,
        "The longest message of a viewer that may publish [default: 64KiB]",
        1024,
        1 << 20
    ),
    count!(
        "publisher_message_rate",
        publisher_rate,
        "Messages a second of a viewer that may publish [default: 200]",
        1,
        100_000
    ),
    size!(
        "transit_size",
        limits.transit_bytes,
        "Memory for bodies, long messages and large answers under way, together [default: 16MiB]",
        65_536,
        256 << 20
    ),
    count!(
        "refused_peers",
        refused_peers,
        "Refused peers that are given time to read why [default: 16]",
        1,
        1024
    ),
    size!(
        "read_buffer",
        limits.read_buffer,
        "The buffer for what a viewer says; longer messages make room [default: 512]",
        256,
        65_536
    ),
    size!(
        "stack_size",
        limits.stack_bytes,
        "Stack of a connection's thread; what is not touched costs nothing [default: 128KiB]",
        65_536,
        8 << 20
    ),
    size!(
        "send_buffer",
        limits.send_buffer,
        "The kernel's buffer for each viewer [default: 64KiB]",
        4096,
        8 << 20
    ),
    size!(
        "not_sent",
        limits.not_sent,
        "Of that, what may be there that is not on its way yet [default: 16KiB]",
        1024,
        8 << 20
    ),
    time!(ping_every, "How often a viewer is pinged [default: 20s]", 1000),
    time!(silence, "After how long without a sign of life a viewer is ended [default: 45s]", 2000),
    time!(stuck, "How long a viewer may take nothing before it is ended [default: 10s]", 1000),
    time!(close_time, "How long the end of a connection may take [default: 2s]", 100),
    time!(stop_time, "How long all connections may take to end at a stop [default: 5s]", 100),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_setting_shows_sets_it_to_the_same() {
        for key in KEYS {
            let shown = key.show(&Config::default());
            if shown.is_empty() {
                continue;
            }
            let mut config = Config::default();
            key.set(&mut config, &shown).expect(key.name);
            assert_eq!(key.show(&config), shown, "{}", key.name);
        }
    }

    #[test]
    fn each_setting_has_an_example_that_it_takes() {
        // A build without MQTT takes no broker.
        for key in KEYS.iter().filter(|key| cfg!(feature = "mqtt") || key.name != "mqtt") {
            let example = key.example();
            let plain = example.trim_matches(['[', ']', '"']).to_owned();
            key.set(&mut Config::default(), &[plain]).expect(key.name);
        }
    }

    #[test]
    fn each_setting_has_a_name_of_its_own_and_refuses_nonsense() {
        let mut names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KEYS.len());
        let any = [
            "name",
            "history_file",
            "socket",
            "tokens",
            "tls_cert",
            "tls_key",
            "board_token_file",
            "board_authority",
            "mqtt_password_file",
            "mqtt_authority",
        ];
        for key in KEYS.iter().filter(|key| !any.contains(&key.name)) {
            let nonsense = ["no such thing".to_owned()];
            let error = key.set(&mut Config::default(), &nonsense).expect_err(key.name);
            let error = error.to_string();
            // A build without it says that, whatever is written.
            let absent = !cfg!(feature = "mqtt") && error.contains("--features mqtt");
            assert!(absent || error.contains("no such thing"), "{}: {error}", key.name);
        }
    }

    #[cfg(feature = "mqtt")]
    #[test]
    fn a_broker_is_shown_without_its_password() {
        let mut config = Config::default();
        let key = Key::find("mqtt").expect("there");
        let shown = |config: &Config| key.show(config).concat();
        key.set(&mut config, &["mqtt://me:hunter2@host".into()]).expect("fine");
        assert_eq!(shown(&config), "mqtt://me:***@host:1883");
        key.set(&mut config, &["mqtt://me@[::1]:9".into()]).expect("fine");
        assert_eq!(shown(&config), "mqtt://me@[::1]:9");
    }

    #[test]
    fn an_eighth_of_the_connections_is_for_http_unless_it_is_said() {
        let mut config = Config::default();
        let set = |config: &mut Config, name: &str, value: &str| {
            Key::find(name).expect(name).set(config, &[value.to_owned()]).expect(name);
        };
        set(&mut config, "max_connections", "64");
        assert_eq!(config.limits.streams(), 56);
        set(&mut config, "reserved_for_http", "4");
        assert_eq!(config.limits.streams(), 60);
    }
}
